#include "kernels/cpu/attention.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/attention_backward.cpp"
#include "kernels/cpu/targets-inl.h"
// After it, since it is compiled once for each set too.
#include "kernels/cpu/attention-inl.h"

HWY_BEFORE_NAMESPACE();
namespace attend::kernels::HWY_NAMESPACE {
namespace {

// The fewest tasks, if there are keys for them.
constexpr int64_t kFewestTasks = 8, kFewestKeys = 4 * kBlockKeys;

// Where the numbers of a task lie, one part behind the other. Dims are rounded up to vectors.
template <typename T>
struct BackwardWorkspace {
  T *queries, *output_gradients;              // of a block: [rows, D], scaled; [rows, Dv]
  T *key_columns, *value_columns;             // K^T and V^T in panels
  T* keys;                                    // [keys, D]
  T *key_gradients, *value_gradients;         // [keys, D], [keys, Dv]
  T *weights, *score_gradients, *cap_slopes;  // [rows, block keys]
  T* query_gradients;                         // [strip, D]
  T* bias_sums;                               // [rows + keys - 1]
  int64_t head_dim, value_dim;
  int64_t size;

  BackwardWorkspace(const Attention<T>& a, T* begin)
      : head_dim(rounded_up<T>(a.head_dim)), value_dim(rounded_up<T>(a.value_dim)) {
    const auto rows = least(kBlockRows, a.target * a.group),
               keys_ = least(kBlockKeys, rounded_up<T>(a.source));
    T* next = begin;
    const auto take = [&](int64_t count) {
      T* const part = next;
      next += (count + 15) / 16 * 16;
      return part;
    };
    queries = take(rows * head_dim);
    output_gradients = take(rows * value_dim);
    key_columns = take(keys_ * a.head_dim);
    value_columns = take(keys_ * a.value_dim);
    keys = take(keys_ * head_dim);
    key_gradients = take(keys_ * head_dim);
    value_gradients = take(keys_ * value_dim);
    weights = take(rows * kBlockKeys);
    score_gradients = take(rows * kBlockKeys);
    cap_slopes = take(a.soft_cap > T{0} ? rows * kBlockKeys : 0);
    query_gradients = take(kTallTile * head_dim);
    bias_sums = take(kBlockRows + kBlockKeys);
    size = next - begin;
  }
};

// Keys [key, key + count) of a head, and the rows of a block. `seen`: the keys, counted from `key`,
// that the band lets some row see.
template <typename T>
struct BackwardBlock {
  QueryRows rows;
  int64_t key, count;
  Range seen;
  bool is_masked;
};

// How the heads of keys of all sentences are divided into tasks: in groups that share a gradient of
// the bias, or parts of these.
struct BackwardTasks {
  bool by_batch, by_head;             // whether sentences, heads have gradients of their own
  bool by_keys;                       // whether parts of the keys do
  int64_t kv_heads, groups, sharers;  // groups of so many heads of keys
  int64_t key_parts, parts;           // of the keys; of a group

  template <typename T>
  BackwardTasks(const Attention<T>& a, const BiasGradient<T>& bias, int64_t parts_of_keys)
      : by_batch(bias.data == nullptr || bias.batch_stride != 0 || a.batch == 1),
        by_head(bias.data == nullptr || bias.head_stride != 0 || a.kv_heads() == 1),
        by_keys(bias.data != nullptr && bias.target_stride < 0),
        kv_heads(a.kv_heads()),
        groups((by_batch ? a.batch : 1) * (by_head ? kv_heads : 1)),
        sharers(a.batch * kv_heads / groups),
        key_parts(parts_of_keys),
        parts(most(
            1, least(sharers, (kFewestTasks + groups * key_parts - 1) / (groups * key_parts)))) {}

  int64_t count() const { return groups * parts * key_parts; }
  int64_t bias_parts() const { return parts * (by_keys ? key_parts : 1); }
  int64_t bias_part(int64_t part, int64_t key_part) const {
    return by_keys ? part * key_parts + key_part : part;
  }
  Range sharers_of(int64_t part) const {
    return {sharers * part / parts, sharers * (part + 1) / parts};
  }
  // Of sharer i of a group, which of all B * Hkv.
  int64_t head_of(int64_t group, int64_t i) const {
    if (by_batch && by_head) return group;
    if (by_batch) return group * kv_heads + i;
    return by_head ? i * kv_heads + group : i;
  }
};

template <typename T>
HWY_INLINE void load_block_keys(const Attention<T>& a, int64_t batch, int64_t kv_head, int64_t key,
                                int64_t count, const BackwardWorkspace<T>& w) {
  const T* keys = a.key.at(batch, kv_head) + key * a.key.row_stride;
  const T* values = a.value.at(batch, kv_head) + key * a.value.row_stride;
  transpose_rows(keys, a.key.row_stride, count, a.head_dim, w.key_columns);
  transpose_rows(values, a.value.row_stride, count, a.value_dim, w.value_columns);
  for (int64_t s = 0; s < count; ++s) {
    copy_row(keys + s * a.key.row_stride, a.head_dim, w.head_dim, T{1}, w.keys + s * w.head_dim);
  }
  clear(w.key_gradients, 0, count * w.head_dim);
  clear(w.value_gradients, 0, count * w.value_dim);
}

template <typename T>
HWY_INLINE void load_block_queries(const Attention<T>& a, HeadRows<const T> output_gradient,
                                   const QueryRows& rows, const BackwardWorkspace<T>& w) {
  for (int64_t r = 0; r < rows.rows(); ++r) {
    const auto head = rows.head_of(r), t = rows.query_of(r);
    const T* query = a.query.at(rows.batch, head) + t * a.query.row_stride;
    const T* gradient = output_gradient.at(rows.batch, head) + t * output_gradient.row_stride;
    prefetch_row(query + kRowsAhead * a.query.row_stride, a.head_dim);
    prefetch_row(gradient + kRowsAhead * output_gradient.row_stride, a.value_dim);
    copy_row(query, a.head_dim, w.head_dim, a.scale, w.queries + r * w.head_dim);
    copy_row(gradient, a.value_dim, w.value_dim, T{1}, w.output_gradients + r * w.value_dim);
  }
}

// The row of the gradient of weights of a query, with zeros outside of `range`.
template <typename T>
HWY_INLINE void load_weights_gradient(const WeightsView<const T>& gradient, const QueryRows& rows,
                                      int64_t row, int64_t key, Range range, T* HWY_RESTRICT to) {
  const auto head = rows.head_of(row);
  const T* HWY_RESTRICT from = gradient.row(rows.batch, head, rows.query_of(row)) + key;
  const T share = gradient.share(head);
  clear(to, rounded_down<T>(range.begin), rounded_up<T>(range.end));
  for (auto s = range.begin; s < range.end; ++s) to[s] = share * from[s];
}

// The gradients of scores of a row, of keys [range) from b.key on, are those of the bias. Where
// queries share these, a block's are added up first: in sums[0], ... for its last query.
template <typename T>
HWY_INLINE void add_to_bias(const BiasGradient<T>& bias, const BackwardBlock<T>& b, int64_t row,
                            Range range, const T* HWY_RESTRICT gradients, T* sums) {
  const auto t = b.rows.query_of(row), last = b.rows.first + b.rows.count - 1;
  const auto row_of = [&](int64_t query) {
    return bias.row(b.rows.batch, b.rows.head_of(row), query) + b.key;
  };
  const bool is_shared = bias.target_stride <= 0;
  T* HWY_RESTRICT to = is_shared ? sums + (t - last) * bias.target_stride : row_of(t);
  for (auto s = range.begin; s < range.end; ++s) to[s] += gradients[s];
  if (!is_shared || t != last) return;
  T* HWY_RESTRICT whole = row_of(last);
  const auto count = b.count + (1 - b.rows.count) * bias.target_stride;
  for (int64_t i = 0; i < count; ++i) whole[i] += sums[i];
  fill(sums, 0, count, T{0});
}

// Scores of one row become weights, and gradients of weights become those of scores.
template <typename T>
HWY_INLINE void backward_of_row(const Attention<T>& a, const AttentionBackward<T>& back,
                                const BackwardBlock<T>& b, int64_t row,
                                const BackwardWorkspace<T>& w) {
  const Vectors<T> d;
  const auto lanes = lanes_of<T>();
  T* const weights = w.weights + row * kBlockKeys;
  T* const gradients = w.score_gradients + row * kBlockKeys;
  T* const slopes = a.soft_cap > T{0} ? w.cap_slopes + row * kBlockKeys : nullptr;
  const auto head = b.rows.head_of(row), t = b.rows.query_of(row);
  const auto index = (b.rows.batch * a.heads + head) * a.target + t;
  const auto band = band_of(a, t);
  auto range = Range{band.begin - b.key, band.end - b.key}.within(0, b.count);
  if (range.is_empty()) range = {b.seen.begin, b.seen.begin};
  const auto first = rounded_down<T>(range.begin), last = rounded_up<T>(range.end);
  if (first < last && (b.is_masked || has_finish(a))) {
    finish_scores<T>(a, b.rows.batch, head, t, b.key, range.begin, range.end, b.is_masked, weights,
                     slopes);
  }
  forbid_outside(weights, first, last, range);
  HWY_ALIGN T kept[kBlockKeys];
  const bool drops = a.dropout.threshold > 0;
  if (drops) draw_kept(a.dropout, index, b.key, kept);
  HWY_ALIGN T added[kBlockKeys];
  const auto& of_weights = back.weights_gradient;
  const bool adds = of_weights.data != nullptr && of_weights.has_head(head) &&
                    of_weights.has_query(t) && !range.is_empty();
  if (adds) load_weights_gradient(of_weights, b.rows, row, b.key, range, added);
  const auto largest = hn::Set(d, back.sums[2 * index]),
             inverse = hn::Set(d, back.sums[2 * index + 1]), delta = hn::Set(d, back.deltas[index]);
  for (auto s = first; s < last; s += lanes) {
    const auto score = hn::LoadU(d, weights + s);
    const auto weight = hn::Mul(exponential(d, hn::Sub(score, largest)), inverse);
    auto gradient = hn::LoadU(d, gradients + s);
    auto used = weight;
    if (drops) {
      const auto keeps = hn::Load(d, kept + s);
      gradient = hn::Mul(gradient, keeps);
      used = hn::Mul(weight, keeps);
    }
    if (adds) gradient = hn::Add(gradient, hn::Load(d, added + s));
    hn::StoreU(used, d, weights + s);
    hn::StoreU(hn::Mul(weight, hn::Sub(gradient, delta)), d, gradients + s);
  }
  // The bias is added behind the cap.
  if (back.bias.data != nullptr) add_to_bias(back.bias, b, row, range, gradients, w.bias_sums);
  for (auto s = first; slopes != nullptr && s < last; s += lanes) {
    hn::StoreU(hn::Mul(hn::LoadU(d, gradients + s), hn::LoadU(d, slopes + s)), d, gradients + s);
  }
  for (auto* row_of : {weights, gradients}) {
    clear(row_of, rounded_down<T>(b.seen.begin), first);
    clear(row_of, last, rounded_up<T>(b.seen.end));
  }
}

// Of the keys of a block: sums += rows^T factors, where `factors` [rows, block keys] are weights or
// gradients of scores, and `rows` [rows, dim] queries or gradients of the output.
template <typename T>
HWY_INLINE void add_to_keys(const Attention<T>& a, const BackwardBlock<T>& b, const T* factors,
                            const T* rows, int64_t dim, T* sums) {
  for (auto key = b.seen.begin; key < b.seen.end; key += kTallTile) {
    const auto count = least(kTallTile, b.seen.end - key);
    const auto seeing = rows_seeing(a, b.rows, b.key + key, b.key + key + count);
    if (seeing.is_empty()) continue;
    const BlockProduct<T> p{factors + seeing.begin * kBlockKeys + key,
                            1,
                            kBlockKeys,
                            seeing.end - seeing.begin,
                            sums + key * dim,
                            dim,
                            true};
    product(p, rows + seeing.begin * dim, dim, count);
  }
}

// query_gradient += scale * score_gradients keys
template <typename T>
HWY_INLINE void add_to_queries(const Attention<T>& a, const BackwardBlock<T>& b,
                               HeadRows<T> query_gradient, const BackwardWorkspace<T>& w) {
  const Vectors<T> d;
  const auto lanes = lanes_of<T>(), count = b.rows.rows();
  const auto scale = hn::Set(d, a.scale);
  for (int64_t strip = 0; strip < count; strip += kTallTile) {
    const auto rows = least(kTallTile, count - strip);
    auto seen = b.seen;
    if (b.rows.members == 1) {
      seen = Range{band_of(a, b.rows.query_of(strip)).begin - b.key,
                   band_of(a, b.rows.query_of(strip + rows - 1)).end - b.key}
                 .within(b.seen.begin, b.seen.end);
    }
    if (seen.is_empty()) continue;
    const BlockProduct<T> p{w.score_gradients + strip * kBlockKeys + seen.begin,
                            kBlockKeys,
                            1,
                            seen.end - seen.begin,
                            w.query_gradients,
                            w.head_dim,
                            false};
    product(p, w.keys + seen.begin * w.head_dim, w.head_dim, rows);
    for (int64_t r = 0; r < rows; ++r) {
      const T* from = w.query_gradients + r * w.head_dim;
      T* const to = query_gradient.at(b.rows.batch, b.rows.head_of(strip + r)) +
                    b.rows.query_of(strip + r) * query_gradient.row_stride;
      int64_t i = 0;
      for (; i + lanes <= a.head_dim; i += lanes) {
        hn::StoreU(hn::MulAdd(hn::Load(d, from + i), scale, hn::LoadU(d, to + i)), d, to + i);
      }
      for (; i < a.head_dim; ++i) to[i] += from[i] * a.scale;
    }
  }
}

template <typename T>
HWY_INLINE void backward_of_block(const Attention<T>& a, const AttentionBackward<T>& back,
                                  const BackwardBlock<T>& b, HeadRows<T> query_gradient,
                                  const BackwardWorkspace<T>& w) {
  load_block_queries(a, back.output_gradient, b.rows, w);
  const auto seen = Range{b.seen.begin, b.seen.end};
  products_with_columns<T>(a, b.rows, b.key, b.count, seen,
                           {w.queries, w.head_dim, 1, a.head_dim, w.weights, kBlockKeys, false},
                           w.key_columns);
  products_with_columns<T>(
      a, b.rows, b.key, b.count, seen,
      {w.output_gradients, w.value_dim, 1, a.value_dim, w.score_gradients, kBlockKeys, false},
      w.value_columns);
  for (int64_t row = 0; row < b.rows.rows(); ++row) backward_of_row(a, back, b, row, w);
  add_to_keys(a, b, w.weights, w.output_gradients, w.value_dim, w.value_gradients);
  add_to_keys(a, b, w.score_gradients, w.queries, w.head_dim, w.key_gradients);
  add_to_queries(a, b, query_gradient, w);
}

template <typename T>
HWY_INLINE void store_rows(const T* from, int64_t stride, int64_t count, int64_t dim, T* to,
                           int64_t to_stride) {
  for (int64_t row = 0; row < count; ++row) {
    for (int64_t i = 0; i < dim; ++i) to[row * to_stride + i] = from[row * stride + i];
  }
}

template <typename T>
HWY_INLINE int64_t key_parts(const Attention<T>& a) {
  const auto tasks = a.batch * a.kv_heads();
  const auto wanted = (kFewestTasks + tasks - 1) / tasks;
  return most(1, least(wanted, a.source / kFewestKeys));
}

// Part `part` of the keys of a head.
template <typename T>
HWY_INLINE void backward_of_keys(const Attention<T>& a, const AttentionBackward<T>& back,
                                 int64_t batch, int64_t kv_head, int64_t part, int64_t parts,
                                 const BackwardWorkspace<T>& w) {
  const auto blocks_of_keys = (a.source + kBlockKeys - 1) / kBlockKeys;
  const auto first_key = blocks_of_keys * part / parts * kBlockKeys,
             last_key = least(a.source, blocks_of_keys * (part + 1) / parts * kBlockKeys);
  auto query_gradient = back.gradients.query;
  if (part > 0) {
    const auto head_size = a.target * a.head_dim;
    query_gradient = {back.query_parts + (part - 1) * a.batch * a.heads * head_size,
                      a.heads * head_size, head_size, a.head_dim};
  }
  const QueryRows all{batch, kv_head * a.group, a.group, 0, a.target};
  const Parts blocks(all.members, all.count, kBlockRows);
  for (auto key = first_key; key < last_key; key += kBlockKeys) {
    const auto count = least(kBlockKeys, a.source - key);
    load_block_keys(a, batch, kv_head, key, count, w);
    for (int64_t i = 0; i < blocks.count(); ++i) {
      BackwardBlock<T> block{blocks.part(all, i), key, count, {}, false};
      const auto band = band_of(a, block.rows).within(key, key + count);
      if (band.is_empty()) continue;
      const auto mask = visible(a, block.rows, band.begin, band.end);
      if (mask == Visible::kNone) continue;
      block.seen = {band.begin - key, band.end - key};
      block.is_masked = mask == Visible::kSome;
      backward_of_block(a, back, block, query_gradient, w);
    }
    const auto& g = back.gradients;
    store_rows(w.key_gradients, w.head_dim, count, a.head_dim,
               g.key.at(batch, kv_head) + key * g.key.row_stride, g.key.row_stride);
    store_rows(w.value_gradients, w.value_dim, count, a.value_dim,
               g.value.at(batch, kv_head) + key * g.value.row_stride, g.value.row_stride);
  }
}

template <typename T>
HWY_INLINE BackwardTasks tasks_of(const Attention<T>& a, const BiasGradient<T>& bias) {
  return {a, bias, key_parts(a)};
}

template <typename T>
HWY_INLINE void backward(const Attention<T>& a, const AttentionBackward<T>& back, int64_t task,
                         T* workspace) {
  const auto tasks = tasks_of(a, back.bias);
  const auto key_part = task % tasks.key_parts, rest = task / tasks.key_parts;
  const auto part = rest % tasks.parts, group = rest / tasks.parts;
  auto own = back;
  if (back.bias.data != nullptr) {
    own.bias.data += tasks.bias_part(part, key_part) * back.bias.part_stride;
  }
  const BackwardWorkspace<T> w(a, workspace);
  fill(w.bias_sums, 0, kBlockRows + kBlockKeys, T{0});
  const auto sharers = tasks.sharers_of(part);
  for (auto i = sharers.begin; i < sharers.end; ++i) {
    const auto head = tasks.head_of(group, i);
    backward_of_keys(a, own, head / a.kv_heads(), head % a.kv_heads(), key_part, tasks.key_parts,
                     w);
  }
}

template <typename T>
HWY_INLINE void deltas(const Attention<T>& a, HeadRows<const T> output,
                       HeadRows<const T> output_gradient, T* to, int64_t first, int64_t last) {
  const Vectors<T> d;
  const auto lanes = lanes_of<T>();
  for (auto head = first; head < last; ++head) {
    const T* out = output.at(head / a.heads, head % a.heads);
    const T* gradient = output_gradient.at(head / a.heads, head % a.heads);
    for (int64_t t = 0; t < a.target; ++t) {
      const T* x = out + t * output.row_stride;
      const T* y = gradient + t * output_gradient.row_stride;
      auto sums = hn::Zero(d);
      int64_t i = 0;
      for (; i + lanes <= a.value_dim; i += lanes) {
        sums = hn::MulAdd(hn::LoadU(d, x + i), hn::LoadU(d, y + i), sums);
      }
      T sum = hn::GetLane(hn::SumOfLanes(d, sums));
      for (; i < a.value_dim; ++i) sum += x[i] * y[i];
      to[head * a.target + t] = sum;
    }
  }
}

// Highway's tables hold functions, not templates.
void backward_float(const Attention<float>& a, const AttentionBackward<float>& back, int64_t task,
                    float* workspace) {
  backward(a, back, task, workspace);
}
void backward_double(const Attention<double>& a, const AttentionBackward<double>& back,
                     int64_t task, double* workspace) {
  backward(a, back, task, workspace);
}
void deltas_float(const Attention<float>& a, HeadRows<const float> output,
                  HeadRows<const float> output_gradient, float* to, int64_t first, int64_t last) {
  deltas(a, output, output_gradient, to, first, last);
}
void deltas_double(const Attention<double>& a, HeadRows<const double> output,
                   HeadRows<const double> output_gradient, double* to, int64_t first,
                   int64_t last) {
  deltas(a, output, output_gradient, to, first, last);
}
int64_t backward_workspace_float(const Attention<float>& a) {
  return BackwardWorkspace<float>(a, nullptr).size;
}
int64_t backward_workspace_double(const Attention<double>& a) {
  return BackwardWorkspace<double>(a, nullptr).size;
}
int64_t tasks_float(const Attention<float>& a, const BiasGradient<float>& bias) {
  return tasks_of(a, bias).count();
}
int64_t tasks_double(const Attention<double>& a, const BiasGradient<double>& bias) {
  return tasks_of(a, bias).count();
}
int64_t bias_parts_float(const Attention<float>& a, const BiasGradient<float>& bias) {
  return tasks_of(a, bias).bias_parts();
}
int64_t bias_parts_double(const Attention<double>& a, const BiasGradient<double>& bias) {
  return tasks_of(a, bias).bias_parts();
}
int64_t key_parts_float(const Attention<float>& a) { return key_parts(a); }
int64_t key_parts_double(const Attention<double>& a) { return key_parts(a); }

}  // namespace
}  // namespace attend::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attend::kernels {
namespace {

HWY_EXPORT(backward_float);
HWY_EXPORT(backward_double);
HWY_EXPORT(deltas_float);
HWY_EXPORT(deltas_double);
HWY_EXPORT(backward_workspace_float);
HWY_EXPORT(backward_workspace_double);
HWY_EXPORT(key_parts_float);
HWY_EXPORT(key_parts_double);
HWY_EXPORT(tasks_float);
HWY_EXPORT(tasks_double);
HWY_EXPORT(bias_parts_float);
HWY_EXPORT(bias_parts_double);

}  // namespace

template <>
void attention_backward(const Attention<float>& a, const AttentionBackward<float>& back,
                        int64_t task, float* workspace) {
  HWY_DYNAMIC_DISPATCH(backward_float)(a, back, task, workspace);
}
template <>
void attention_backward(const Attention<double>& a, const AttentionBackward<double>& back,
                        int64_t task, double* workspace) {
  HWY_DYNAMIC_DISPATCH(backward_double)(a, back, task, workspace);
}
template <>
void attention_deltas(const Attention<float>& a, HeadRows<const float> output,
                      HeadRows<const float> output_gradient, float* to, int64_t first,
                      int64_t last) {
  HWY_DYNAMIC_DISPATCH(deltas_float)(a, output, output_gradient, to, first, last);
}
template <>
void attention_deltas(const Attention<double>& a, HeadRows<const double> output,
                      HeadRows<const double> output_gradient, double* to, int64_t first,
                      int64_t last) {
  HWY_DYNAMIC_DISPATCH(deltas_double)(a, output, output_gradient, to, first, last);
}
template <>
int64_t attention_backward_workspace(const Attention<float>& a) {
  return HWY_DYNAMIC_DISPATCH(backward_workspace_float)(a);
}
template <>
int64_t attention_backward_workspace(const Attention<double>& a) {
  return HWY_DYNAMIC_DISPATCH(backward_workspace_double)(a);
}
template <>
int64_t attention_backward_tasks(const Attention<float>& a, const BiasGradient<float>& bias) {
  return HWY_DYNAMIC_DISPATCH(tasks_float)(a, bias);
}
template <>
int64_t attention_backward_tasks(const Attention<double>& a, const BiasGradient<double>& bias) {
  return HWY_DYNAMIC_DISPATCH(tasks_double)(a, bias);
}
template <>
int64_t attention_bias_parts(const Attention<float>& a, const BiasGradient<float>& bias) {
  return HWY_DYNAMIC_DISPATCH(bias_parts_float)(a, bias);
}
template <>
int64_t attention_bias_parts(const Attention<double>& a, const BiasGradient<double>& bias) {
  return HWY_DYNAMIC_DISPATCH(bias_parts_double)(a, bias);
}
template <>
int64_t attention_key_parts(const Attention<float>& a) {
  return HWY_DYNAMIC_DISPATCH(key_parts_float)(a);
}
template <>
int64_t attention_key_parts(const Attention<double>& a) {
  return HWY_DYNAMIC_DISPATCH(key_parts_double)(a);
}

}  // namespace attend::kernels
#endif  // HWY_ONCE
