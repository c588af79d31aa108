#include "kernels/cpu/attention.h"
#include "kernels/cpu/attention_functions.h"

#define HWY_WANT_AVX3_DL  // for the instructions of pairs of bfloat16
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

// Where the numbers of a task lie, one part behind the other. Dims are rounded up to vectors; of a
// product's factors and of what it multiplies along rows there are two forms of pairs.
template <class Kind>
struct BackwardWorkspace {
  using T = typename Kind::Sum;
  using Number = typename Kind::Number;
  using Stored = typename Kind::Stored;

  Number *queries, *output_gradients;   // of a block, as factors: [rows, head_depth], scaled unless
                                        // they are pairs; [rows, value_depth]
  Number *query_rows, *gradient_rows;   // the same along rows: [depth_of(rows), D], [.., Dv]
  Number *key_columns, *value_columns;  // K^T and V^T in panels
  Number* key_rows;                     // [depth_of(keys), D]
  Number *packed_rows,
      *packed_gradients;               // of keys or values; [strip, block keys / 2]; pairs alone
  T *key_gradients, *value_gradients;  // [keys, D], [keys, Dv]
  T *weights, *score_gradients;        // [rows, block keys], which pairs of rows replace
  T* cap_slopes;                       // [rows, block keys]
  T* query_gradients;                  // [strip, D]
  T* bias_sums;                        // [rows + keys - 1]
  int64_t head_dim, value_dim, head_depth, value_depth;
  int64_t size;  // in numbers of T

  BackwardWorkspace(const Attention<T, Stored>& a, T* begin)
      : head_dim(rounded_up<T>(a.head_dim)),
        value_dim(rounded_up<T>(a.value_dim)),
        head_depth(padded_depth<Kind>(a.head_dim)),
        value_depth(padded_depth<Kind>(a.value_dim)) {
    constexpr bool kHasPairs = Kind::kNumbers > 1;
    const auto rows = least(kBlockRows, a.target * a.group),
               keys = least(kBlockKeys, rounded_up<T>(a.source));
    WorkspaceParts<T> parts(begin);
    parts.take(queries, rows * head_depth);
    parts.take(output_gradients, rows * value_depth);
    query_rows = queries;
    gradient_rows = output_gradients;
    if (kHasPairs) {
      parts.take(query_rows, depth_of<Kind>(rows) * head_dim);
      parts.take(gradient_rows, depth_of<Kind>(rows) * value_dim);
    }
    parts.take(key_columns, keys * depth_of<Kind>(a.head_dim));
    parts.take(value_columns, keys * depth_of<Kind>(a.value_dim));
    parts.take(key_rows, depth_of<Kind>(keys) * head_dim);
    parts.take(packed_rows, Kind::kPacksKeys ? keys * most(head_depth, value_depth) : 0);
    parts.take(packed_gradients, kHasPairs ? kTallTile * depth_of<Kind>(kBlockKeys) : 0);
    parts.take(key_gradients, keys * head_dim);
    parts.take(value_gradients, keys * value_dim);
    parts.take(weights, rows * kBlockKeys);
    parts.take(score_gradients, rows * kBlockKeys);
    parts.take(cap_slopes, a.soft_cap > T{0} ? rows * kBlockKeys : 0);
    parts.take(query_gradients, kTallTile * head_dim);
    parts.take(bias_sums, kBlockRows + kBlockKeys);
    size = parts.size();
  }
};

// Keys [key, key + count) of a head, and the rows of a block. `seen`: the keys, counted from `key`,
// that the band lets some row see. Of a part's first keys, `is_first`, gradients of queries are
// written; those of others are added to them.
struct BackwardBlock {
  QueryRows rows;
  int64_t key, count;
  Range seen;
  bool is_masked, is_first;
};

// How the heads of keys of all sentences are divided into tasks: in groups that share a gradient of
// the bias, or parts of these.
struct BackwardTasks {
  bool by_batch, by_head;             // whether sentences, heads have gradients of their own
  bool by_keys;                       // whether parts of the keys do
  int64_t kv_heads, groups, sharers;  // groups of so many heads of keys
  int64_t key_parts, parts;           // of the keys; of a group

  template <typename T, typename Stored>
  BackwardTasks(const Attention<T, Stored>& a, const BiasGradient<T>& bias, int64_t parts_of_keys)
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

template <class Kind, typename T = typename Kind::Sum, typename Stored = typename Kind::Stored>
HWY_INLINE void load_block_keys(const Attention<T, Stored>& a, int64_t batch, int64_t kv_head,
                                int64_t key, int64_t count, const BackwardWorkspace<Kind>& w) {
  const auto* keys = a.key.at(batch, kv_head) + key * a.key.row_stride;
  const auto* values = a.value.at(batch, kv_head) + key * a.value.row_stride;
  load_columns<Kind>(keys, a.key.row_stride, count, a.head_dim, w.packed_rows, w.key_columns);
  load_columns<Kind>(values, a.value.row_stride, count, a.value_dim, w.packed_rows,
                     w.value_columns);
  load_rows<Kind>(keys, a.key.row_stride, count, a.head_dim, w.key_rows);
  clear(w.key_gradients, 0, count * w.head_dim);
  clear(w.value_gradients, 0, count * w.value_dim);
}

template <class Kind, typename T = typename Kind::Sum, typename Stored = typename Kind::Stored>
HWY_INLINE void load_block_queries(const Attention<T, Stored>& a,
                                   HeadRows<const Stored> output_gradient, const QueryRows& rows,
                                   const BackwardWorkspace<Kind>& w) {
  const auto query_of = [&](int64_t r) HWY_ATTR {
    return a.query.at(rows.batch, rows.head_of(r)) + rows.query_of(r) * a.query.row_stride;
  };
  const auto gradient_of = [&](int64_t r) HWY_ATTR {
    return output_gradient.at(rows.batch, rows.head_of(r)) +
           rows.query_of(r) * output_gradient.row_stride;
  };
  for (int64_t r = 0; r < rows.rows(); ++r) {
    prefetch_row(query_of(r) + kRowsAhead * a.query.row_stride, a.head_dim);
    prefetch_row(gradient_of(r) + kRowsAhead * output_gradient.row_stride, a.value_dim);
    load_factors<Kind>(query_of(r), a.head_dim, a.scale, w.queries + r * w.head_depth);
    load_factors<Kind>(gradient_of(r), a.value_dim, T{1}, w.output_gradients + r * w.value_depth);
  }
  if constexpr (Kind::kNumbers > 1) {
    for (int64_t r = 0; r < rows.rows(); r += 2) {
      const bool has_second = r + 1 < rows.rows();
      load_row<Kind>(query_of(r), has_second ? query_of(r + 1) : nullptr, a.head_dim,
                     w.query_rows + r / 2 * w.head_dim);
      load_row<Kind>(gradient_of(r), has_second ? gradient_of(r + 1) : nullptr, a.value_dim,
                     w.gradient_rows + r / 2 * w.value_dim);
    }
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
HWY_INLINE void add_to_bias(const BiasGradient<T>& bias, const BackwardBlock& b, int64_t row,
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
template <class Kind, typename T = typename Kind::Sum, typename Stored = typename Kind::Stored>
HWY_INLINE void backward_of_row(const Attention<T, Stored>& a,
                                const AttentionBackward<T, Stored>& back, const BackwardBlock& b,
                                int64_t row, const BackwardWorkspace<Kind>& w) {
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
  const auto shift = hn::Set(d, back.sums[2 * index]),
             inverse = hn::Set(d, back.sums[2 * index + 1]), delta = hn::Set(d, back.deltas[index]);
  for (auto s = first; s < last; s += lanes) {
    const auto score = hn::LoadU(d, weights + s);
    const auto weight = hn::Mul(exponential(d, hn::Sub(score, shift)), inverse);
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

// Factors [rows, block keys] of the keys `seen` as they are multiplied along rows: pairs of rows
// take the places of the first rows.
template <class Kind>
HWY_INLINE const typename Kind::Number* factors_along_rows(typename Kind::Sum* rows,
                                                           [[maybe_unused]] int64_t count,
                                                           [[maybe_unused]] Range seen) {
  if constexpr (Kind::kNumbers == 1) {
    return rows;
  } else {
    auto* const pairs = reinterpret_cast<Pair*>(rows);
    const auto begin = rounded_down<float>(seen.begin);
    const auto columns = rounded_up<float>(seen.end) - begin;
    for (int64_t row = 0; row < count; row += 2) {
      const float* const first = rows + row * kBlockKeys + begin;
      stack_row(first, row + 1 < count ? first + kBlockKeys : nullptr, columns,
                pairs + row / 2 * kBlockKeys + begin);
    }
    return pairs;
  }
}

// Of the keys of a block: sums += scale rows^T factors, where `factors` [rows, block keys] are weights
// or gradients of scores, and `rows` [rows, dim] queries or gradients of the output.
template <class Kind, typename T = typename Kind::Sum, typename Stored = typename Kind::Stored,
          typename Number = typename Kind::Number>
HWY_INLINE void add_to_keys(const Attention<T, Stored>& a, const BackwardBlock& b,
                            const Number* factors, const Number* rows, int64_t dim, T scale,
                            T* sums) {
  for (auto key = b.seen.begin; key < b.seen.end; key += kTallTile) {
    const auto count = least(kTallTile, b.seen.end - key);
    const auto seeing = rows_seeing(a, b.rows, b.key + key, b.key + key + count);
    if (seeing.is_empty()) continue;
    const auto first = seeing.begin / Kind::kNumbers, last = depth_of<Kind>(seeing.end);
    const BlockProduct<T, Number> p{factors + first * kBlockKeys + key,
                                    1,
                                    kBlockKeys,
                                    last - first,
                                    sums + key * dim,
                                    dim,
                                    true,
                                    scale};
    product(p, rows + first * dim, dim, count);
  }
}

template <typename T>
HWY_INLINE T* row_of(HeadRows<T> gradient, const QueryRows& rows, int64_t row) {
  return gradient.at(rows.batch, rows.head_of(row)) + rows.query_of(row) * gradient.row_stride;
}

// Of the rows [first, last).
template <typename T>
HWY_INLINE void clear_gradients(HeadRows<T> gradient, const QueryRows& rows, int64_t first,
                                int64_t last, int64_t dim) {
  for (auto row = first; row < last; ++row) fill(row_of(gradient, rows, row), 0, dim, T{0});
}

// query_gradient (+)= scale * score_gradients keys
template <class Kind, typename T = typename Kind::Sum, typename Stored = typename Kind::Stored>
HWY_INLINE void add_to_queries(const Attention<T, Stored>& a, const BackwardBlock& b,
                               HeadRows<T> query_gradient, const BackwardWorkspace<Kind>& w) {
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
    if (seen.is_empty()) {
      if (b.is_first) clear_gradients(query_gradient, b.rows, strip, strip + rows, a.head_dim);
      continue;
    }
    seen.begin -= seen.begin % Kind::kNumbers;
    const auto factors = factors_along_keys<Kind>(w.score_gradients + strip * kBlockKeys,
                                                  seen.begin, seen.end, rows, w.packed_gradients);
    const BlockProduct<T, typename Kind::Number> p{
        factors.first,     factors.stride, 1,    depth_of<Kind>(seen.end - seen.begin),
        w.query_gradients, w.head_dim,     false};
    product(p, w.key_rows + seen.begin / Kind::kNumbers * w.head_dim, w.head_dim, rows);
    for (int64_t r = 0; r < rows; ++r) {
      const T* from = w.query_gradients + r * w.head_dim;
      T* const to = row_of(query_gradient, b.rows, strip + r);
      if (b.is_first) {
        store_row(from, a.head_dim, a.scale, to);
        continue;
      }
      int64_t i = 0;
      for (; i + lanes <= a.head_dim; i += lanes) {
        hn::StoreU(hn::MulAdd(hn::Load(d, from + i), scale, hn::LoadU(d, to + i)), d, to + i);
      }
      for (; i < a.head_dim; ++i) to[i] += from[i] * a.scale;
    }
  }
}

template <class Kind, typename T = typename Kind::Sum, typename Stored = typename Kind::Stored>
HWY_INLINE void backward_of_block(const Attention<T, Stored>& a,
                                  const AttentionBackward<T, Stored>& back, const BackwardBlock& b,
                                  HeadRows<T> query_gradient, const BackwardWorkspace<Kind>& w) {
  using Product = BlockProduct<T, typename Kind::Number>;
  load_block_queries(a, back.output_gradient, b.rows, w);
  const auto seen = Range{b.seen.begin, b.seen.end};
  const Product scored{w.queries, w.head_depth, 1,     depth_of<Kind>(a.head_dim),
                       w.weights, kBlockKeys,   false, a.scale};
  products_with_columns(a, b.rows, b.key, b.count, seen, scored, w.key_columns);
  const Product weighed{w.output_gradients, w.value_depth, 1,    depth_of<Kind>(a.value_dim),
                        w.score_gradients,  kBlockKeys,    false};
  products_with_columns(a, b.rows, b.key, b.count, seen, weighed, w.value_columns);
  const auto rows = b.rows.rows();
  for (int64_t row = 0; row < rows; ++row) backward_of_row(a, back, b, row, w);
  add_to_queries(a, b, query_gradient, w);
  add_to_keys<Kind>(a, b, factors_along_rows<Kind>(w.weights, rows, seen), w.gradient_rows,
                    w.value_dim, T{1}, w.value_gradients);
  add_to_keys<Kind>(a, b, factors_along_rows<Kind>(w.score_gradients, rows, seen), w.query_rows,
                    w.head_dim, a.scale, w.key_gradients);
}

template <typename T, typename Stored>
HWY_INLINE void store_rows(const T* from, int64_t stride, int64_t count, int64_t dim, Stored* to,
                           int64_t to_stride) {
  for (int64_t row = 0; row < count; ++row) {
    store_row(from + row * stride, dim, T{1}, to + row * to_stride);
  }
}

template <typename T, typename Stored>
int64_t key_parts(const Attention<T, Stored>& a) {
  const auto tasks = a.batch * a.kv_heads();
  const auto wanted = (kFewestTasks + tasks - 1) / tasks;
  return most(1, least(wanted, a.source / kFewestKeys));
}

// Part `part` of the keys of a head.
template <class Kind, typename T = typename Kind::Sum, typename Stored = typename Kind::Stored>
HWY_INLINE void backward_of_keys(const Attention<T, Stored>& a,
                                 const AttentionBackward<T, Stored>& back, int64_t batch,
                                 int64_t kv_head, int64_t part, int64_t parts,
                                 const BackwardWorkspace<Kind>& w) {
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
      BackwardBlock block{blocks.part(all, i), key, count, {}, false, key == first_key};
      const auto band = band_of(a, block.rows).within(key, key + count);
      const auto mask =
          band.is_empty() ? Visible::kNone : visible(a, block.rows, band.begin, band.end);
      if (mask == Visible::kNone) {
        if (block.is_first) {
          clear_gradients(query_gradient, block.rows, 0, block.rows.rows(), a.head_dim);
        }
        continue;
      }
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

template <typename T, typename Stored>
HWY_INLINE BackwardTasks tasks_of(const Attention<T, Stored>& a, const BiasGradient<T>& bias) {
  return {a, bias, key_parts(a)};
}

template <class Kind, typename T = typename Kind::Sum, typename Stored = typename Kind::Stored>
void backward(const Attention<T, Stored>& a, const AttentionBackward<T, Stored>& back, int64_t task,
              T* workspace) {
  const auto tasks = tasks_of(a, back.bias);
  const auto key_part = task % tasks.key_parts, rest = task / tasks.key_parts;
  const auto part = rest % tasks.parts, group = rest / tasks.parts;
  auto own = back;
  if (back.bias.data != nullptr) {
    own.bias.data += tasks.bias_part(part, key_part) * back.bias.part_stride;
  }
  const BackwardWorkspace<Kind> w(a, workspace);
  fill(w.bias_sums, 0, kBlockRows + kBlockKeys, T{0});
  const auto sharers = tasks.sharers_of(part);
  for (auto i = sharers.begin; i < sharers.end; ++i) {
    const auto head = tasks.head_of(group, i);
    backward_of_keys(a, own, head / a.kv_heads(), head % a.kv_heads(), key_part, tasks.key_parts,
                     w);
  }
}

template <class Kind, typename T = typename Kind::Sum, typename Stored = typename Kind::Stored>
int64_t backward_workspace(const Attention<T, Stored>& a) {
  return BackwardWorkspace<Kind>(a, nullptr).size;
}

template <typename T, typename Stored>
void deltas(const Attention<T, Stored>& a, HeadRows<const Stored> output,
            HeadRows<const Stored> output_gradient, T* to, int64_t first, int64_t last) {
  const Vectors<T> d;
  const auto lanes = lanes_of<T>();
  for (auto head = first; head < last; ++head) {
    const Stored* out = output.at(head / a.heads, head % a.heads);
    const Stored* gradient = output_gradient.at(head / a.heads, head % a.heads);
    for (int64_t t = 0; t < a.target; ++t) {
      const Stored* x = out + t * output.row_stride;
      const Stored* y = gradient + t * output_gradient.row_stride;
      auto sums = hn::Zero(d);
      int64_t i = 0;
      for (; i + lanes <= a.value_dim; i += lanes) {
        sums = hn::MulAdd(load_vector(d, x + i), load_vector(d, y + i), sums);
      }
      if (i < a.value_dim) {
        const auto left = a.value_dim - i;
        sums = hn::MulAdd(load_first(d, x + i, left), load_first(d, y + i, left), sums);
      }
      to[head * a.target + t] = hn::GetLane(hn::SumOfLanes(d, sums));
    }
  }
}

template <typename T, typename Stored>
int64_t task_count(const Attention<T, Stored>& a, const BiasGradient<T>& bias) {
  return tasks_of(a, bias).count();
}
template <typename T, typename Stored>
int64_t bias_parts(const Attention<T, Stored>& a, const BiasGradient<T>& bias) {
  return tasks_of(a, bias).bias_parts();
}

template <class Kind, typename T = typename Kind::Sum, typename Stored = typename Kind::Stored>
BackwardFunctions<T, Stored> backward_functions() {
  return {backward<Kind>,        deltas<T, Stored>,    task_count<T, Stored>,
          bias_parts<T, Stored>, key_parts<T, Stored>, backward_workspace<Kind>};
}

#if ATTEND_FUNCTIONS_OF_AVX3
BackwardFunctions<float> backward_float() { return N_AVX3::backward_float(); }
BackwardFunctions<double> backward_double() { return N_AVX3::backward_double(); }
BackwardFunctions<float, BFloat16> backward_bfloat16() { return N_AVX3::backward_bfloat16(); }
#else
BackwardFunctions<float> backward_float() { return backward_functions<Singles<float> >(); }
BackwardFunctions<double> backward_double() { return backward_functions<Singles<double> >(); }
BackwardFunctions<float, BFloat16> backward_bfloat16() {
  return backward_functions<Singles<float, BFloat16> >();
}
#endif
BackwardFunctions<float, BFloat16> backward_pairs() {
#if ATTEND_HAS_PAIRS
  return backward_functions<Pairs>();
#else
  return backward_bfloat16();
#endif
}

}  // namespace
}  // namespace attend::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attend::kernels {
namespace {

HWY_EXPORT(backward_float);
HWY_EXPORT(backward_double);
HWY_EXPORT(backward_bfloat16);
HWY_EXPORT(backward_pairs);

BackwardFunctions<float> functions_of(const Attention<float>& /*a*/) {
  return HWY_DYNAMIC_DISPATCH(backward_float)();
}
BackwardFunctions<double> functions_of(const Attention<double>& /*a*/) {
  return HWY_DYNAMIC_DISPATCH(backward_double)();
}
BackwardFunctions<float, BFloat16> functions_of(const Attention<float, BFloat16>& a) {
  return a.multiplies_pairs ? HWY_DYNAMIC_DISPATCH(backward_pairs)()
                            : HWY_DYNAMIC_DISPATCH(backward_bfloat16)();
}

}  // namespace

template <typename T, typename Stored>
void attention_backward(const Attention<T, Stored>& a, const AttentionBackward<T, Stored>& back,
                        int64_t task, T* workspace) {
  functions_of(a).run(a, back, task, workspace);
}
template <typename T, typename Stored>
void attention_deltas(const Attention<T, Stored>& a, HeadRows<const Stored> output,
                      HeadRows<const Stored> output_gradient, T* to, int64_t first, int64_t last) {
  functions_of(a).deltas(a, output, output_gradient, to, first, last);
}
template <typename T, typename Stored>
int64_t attention_backward_workspace(const Attention<T, Stored>& a) {
  return functions_of(a).workspace(a);
}
template <typename T, typename Stored>
int64_t attention_backward_tasks(const Attention<T, Stored>& a, const BiasGradient<T>& bias) {
  return functions_of(a).tasks(a, bias);
}
template <typename T, typename Stored>
int64_t attention_bias_parts(const Attention<T, Stored>& a, const BiasGradient<T>& bias) {
  return functions_of(a).bias_parts(a, bias);
}
template <typename T, typename Stored>
int64_t attention_key_parts(const Attention<T, Stored>& a) {
  return functions_of(a).key_parts(a);
}

// NOLINTBEGIN(bugprone-macro-parentheses): of types
#define ATTEND_INSTANTIATE(T, Stored)                                                             \
  template void attention_backward(const Attention<T, Stored>&,                                   \
                                   const AttentionBackward<T, Stored>&, int64_t, T*);             \
  template void attention_deltas(const Attention<T, Stored>&, HeadRows<const Stored>,             \
                                 HeadRows<const Stored>, T*, int64_t, int64_t);                   \
  template int64_t attention_backward_workspace(const Attention<T, Stored>&);                     \
  template int64_t attention_backward_tasks(const Attention<T, Stored>&, const BiasGradient<T>&); \
  template int64_t attention_bias_parts(const Attention<T, Stored>&, const BiasGradient<T>&);     \
  template int64_t attention_key_parts(const Attention<T, Stored>&);
// NOLINTEND(bugprone-macro-parentheses)
ATTEND_INSTANTIATE(float, float)
ATTEND_INSTANTIATE(double, double)
ATTEND_INSTANTIATE(float, BFloat16)
#undef ATTEND_INSTANTIATE

}  // namespace attend::kernels
#endif  // HWY_ONCE
