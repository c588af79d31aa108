#include "kernels/cpu/attention.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/attention_forward.cpp"
#include "kernels/cpu/targets-inl.h"
// After it, since it is compiled once for each set too.
#include "kernels/cpu/attention-inl.h"

HWY_BEFORE_NAMESPACE();
namespace attend::kernels::HWY_NAMESPACE {
namespace {

// So many numbers of queries and outputs are worked on together, in the second cache.
constexpr int64_t kChunkNumbers = 65536;

template <typename T>
HWY_INLINE int64_t chunk_rows(const Attention<T>& a) {
  const auto blocks = kChunkNumbers / (kBlockRows * (a.head_dim + a.value_dim));
  return kBlockRows * least(most(blocks, 1), 8);
}

// Where the numbers of a task lie, one part behind the other.
template <typename T>
struct Workspace {
  T *queries, *outputs;  // [chunk rows, D], [chunk rows, Dv]; scaled, not yet divided
  T *largest, *sums;     // [chunk rows], of exp(score - largest)
  T *keys, *values;      // of a block: K^T in panels, [keys, Dv]
  T* scores;             // [block rows, block keys]
  int64_t value_dim;     // rounded up to vectors
  int64_t size;

  Workspace(const Attention<T>& a, T* begin) : value_dim(rounded_up<T>(a.value_dim)) {
    const auto chunk = least(chunk_rows(a), a.target * a.group),
               keys_ = least(kBlockKeys, rounded_up<T>(a.source));
    T* next = begin;
    const auto take = [&](int64_t count) {
      T* const part = next;
      next += (count + 15) / 16 * 16;
      return part;
    };
    queries = take(chunk * a.head_dim);
    outputs = take(chunk * value_dim);
    largest = take(chunk);
    sums = take(chunk);
    keys = take(keys_ * a.head_dim);
    values = take(keys_ * value_dim);
    scores = take(least(kBlockRows, chunk) * kBlockKeys);
    size = next - begin;
  }
};

template <typename T>
HWY_INLINE void load_queries(const Attention<T>& a, const QueryRows& rows, const Workspace<T>& w) {
  for (int64_t row = 0; row < rows.rows(); ++row) {
    const auto head = rows.head_of(row);
    const T* from = a.query.at(rows.batch, head) + rows.query_of(row) * a.query.row_stride;
    T* const to = w.queries + row * a.head_dim;
    prefetch_row(from + kRowsAhead * a.query.row_stride, a.head_dim);
    for (int64_t k = 0; k < a.head_dim; ++k) to[k] = from[k] * a.scale;
    // A sink is a key without a value that has been seen before all others.
    const bool has_sink = a.sinks != nullptr && a.sinks[head] != -kInfinity<T>;
    w.largest[row] = has_sink ? a.sinks[head] : -kInfinity<T>;
    w.sums[row] = has_sink ? T{1} : T{0};
  }
  fill(w.outputs, 0, rows.rows() * w.value_dim, T{0});
}

template <typename T>
HWY_INLINE void load_keys(const Attention<T>& a, int64_t batch, int64_t kv_head, int64_t key,
                          int64_t count, const Workspace<T>& w) {
  transpose_rows(a.key.at(batch, kv_head) + key * a.key.row_stride, a.key.row_stride, count,
                 a.head_dim, w.keys);
  const T* values = a.value.at(batch, kv_head) + key * a.value.row_stride;
  for (int64_t s = 0; s < count; ++s) {
    prefetch_row(values + (s + kRowsAhead) * a.value.row_stride, a.value_dim);
    copy_row(values + s * a.value.row_stride, a.value_dim, w.value_dim, T{1},
             w.values + s * w.value_dim);
  }
}

// A block: rows of the workspace from `row` on, and the keys [key, key + count), which are loaded.
template <typename T>
struct Block {
  QueryRows rows;
  int64_t row;
  int64_t key, count;
  bool is_masked;
};

template <typename T>
HWY_INLINE void attend_block(const Attention<T>& a, const Block<T>& b, const Workspace<T>& w) {
  const auto count = b.rows.rows();
  const auto band = band_of(a, b.rows);
  const auto seen = Range{band.begin - b.key, band.end - b.key}.within(0, b.count);
  products_with_columns<T>(
      a, b.rows, b.key, b.count, seen,
      {w.queries + b.row * a.head_dim, a.head_dim, 1, a.head_dim, w.scores, kBlockKeys, false},
      w.keys);
  for (int64_t strip = 0; strip < count; strip += kTallTile) {
    const auto rows = least(kTallTile, count - strip);
    Range of_row[kTallTile];
    Range all{b.count, 0};
    for (int64_t r = 0; r < rows; ++r) {
      const auto row = b.row + strip + r;
      of_row[r] = weights_of_row<T>(
          a, b.rows, strip + r, b.key, b.count, b.is_masked,
          {w.largest[row], w.sums[row], w.outputs + row * w.value_dim, w.value_dim},
          w.scores + (strip + r) * kBlockKeys);
      if (of_row[r].is_empty()) continue;
      all = {least(all.begin, of_row[r].begin), most(all.end, of_row[r].end)};
    }
    if (all.is_empty()) continue;
    for (int64_t r = 0; r < rows; ++r) {
      T* const scores = w.scores + (strip + r) * kBlockKeys;
      const auto range = of_row[r].is_empty() ? Range{all.end, all.end} : of_row[r];
      clear(scores, all.begin, range.begin);
      clear(scores, range.end, all.end);
    }
    all.end = least(all.end, b.count);
    const BlockProduct<T> p{
        w.scores + strip * kBlockKeys + all.begin, kBlockKeys,  1,   all.end - all.begin,
        w.outputs + (b.row + strip) * w.value_dim, w.value_dim, true};
    product(p, w.values + all.begin * w.value_dim, w.value_dim, rows);
  }
}

template <typename T>
HWY_INLINE void store_outputs(const Attention<T>& a, const QueryRows& rows, const Workspace<T>& w,
                              HeadRows<T> output, T* sums) {
  for (int64_t row = 0; row < rows.rows(); ++row) {
    const auto head = rows.head_of(row), t = rows.query_of(row);
    const T sum = w.sums[row];
    const T inverse = sum == T{0} ? T{0} : T{1} / sum;
    const T* from = w.outputs + row * w.value_dim;
    T* const to = output.at(rows.batch, head) + t * output.row_stride;
    for (int64_t i = 0; i < a.value_dim; ++i) to[i] = from[i] * inverse;
    if (sums != nullptr) {
      const auto index = (rows.batch * a.heads + head) * a.target + t;
      store_sums(sums + 2 * index, w.largest[row], inverse);
    }
  }
}

template <typename T>
HWY_INLINE void forward(const Attention<T>& a, HeadRows<T> output, T* sums, int64_t task,
                        T* workspace) {
  const Parts chunks(a.group, a.target, chunk_rows(a));
  const auto group = task / chunks.count();
  const auto batch = group / a.kv_heads(), kv_head = group % a.kv_heads();
  const auto rows =
      chunks.part({batch, kv_head * a.group, a.group, 0, a.target}, task % chunks.count());
  const Workspace<T> w(a, workspace);
  load_queries(a, rows, w);
  const Parts blocks(rows.members, rows.count, kBlockRows);
  const auto band = band_of(a, rows);
  for (auto key = band.begin - band.begin % kBlockKeys; key < band.end; key += kBlockKeys) {
    const auto count = least(kBlockKeys, band.end - key);
    bool is_loaded = false;
    for (int64_t i = 0; i < blocks.count(); ++i) {
      Block<T> block{blocks.part(rows, i), 0, key, count, false};
      // rows lie head by head
      block.row = (block.rows.head - rows.head) * rows.count + block.rows.first - rows.first;
      const auto seen = band_of(a, block.rows).within(key, key + count);
      if (seen.is_empty()) continue;
      const auto mask = visible(a, block.rows, seen.begin, seen.end);
      if (mask == Visible::kNone) continue;
      block.is_masked = mask == Visible::kSome;
      if (!is_loaded) load_keys(a, batch, kv_head, key, count, w);
      is_loaded = true;
      attend_block(a, block, w);
    }
  }
  store_outputs(a, rows, w, output, sums);
}

template <typename T>
HWY_INLINE int64_t tasks(const Attention<T>& a) {
  return a.batch * a.kv_heads() * Parts(a.group, a.target, chunk_rows(a)).count();
}

template <typename T>
HWY_INLINE void kept_rows(const AttentionDropout& dropout, int64_t source, T* kept, int64_t first,
                          int64_t last) {
  HWY_ALIGN T drawn[kBlockKeys];
  for (auto row = first; row < last; ++row) {
    for (int64_t key = 0; key < source; key += kBlockKeys) {
      draw_kept(dropout, row, key, drawn);
      const auto count = least(kBlockKeys, source - key);
      for (int64_t s = 0; s < count; ++s) kept[(row - first) * source + key + s] = drawn[s];
    }
  }
}

// Highway's tables hold functions, not templates.
void forward_float(const Attention<float>& a, HeadRows<float> output, float* sums, int64_t task,
                   float* workspace) {
  forward(a, output, sums, task, workspace);
}
void forward_double(const Attention<double>& a, HeadRows<double> output, double* sums, int64_t task,
                    double* workspace) {
  forward(a, output, sums, task, workspace);
}
void kept_float(const AttentionDropout& dropout, int64_t source, float* kept, int64_t first,
                int64_t last) {
  kept_rows(dropout, source, kept, first, last);
}
void kept_double(const AttentionDropout& dropout, int64_t source, double* kept, int64_t first,
                 int64_t last) {
  kept_rows(dropout, source, kept, first, last);
}
int64_t tasks_float(const Attention<float>& a) { return tasks(a); }
int64_t tasks_double(const Attention<double>& a) { return tasks(a); }
int64_t workspace_float(const Attention<float>& a) { return Workspace<float>(a, nullptr).size; }
int64_t workspace_double(const Attention<double>& a) { return Workspace<double>(a, nullptr).size; }

}  // namespace
}  // namespace attend::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attend::kernels {
namespace {

HWY_EXPORT(forward_float);
HWY_EXPORT(forward_double);
HWY_EXPORT(kept_float);
HWY_EXPORT(kept_double);
HWY_EXPORT(tasks_float);
HWY_EXPORT(tasks_double);
HWY_EXPORT(workspace_float);
HWY_EXPORT(workspace_double);

}  // namespace

template <>
void attention_forward(const Attention<float>& a, HeadRows<float> output, float* sums, int64_t task,
                       float* workspace) {
  HWY_DYNAMIC_DISPATCH(forward_float)(a, output, sums, task, workspace);
}
template <>
void attention_forward(const Attention<double>& a, HeadRows<double> output, double* sums,
                       int64_t task, double* workspace) {
  HWY_DYNAMIC_DISPATCH(forward_double)(a, output, sums, task, workspace);
}
template <>
void attention_kept(const AttentionDropout& dropout, int64_t source, float* kept, int64_t first,
                    int64_t last) {
  HWY_DYNAMIC_DISPATCH(kept_float)(dropout, source, kept, first, last);
}
template <>
void attention_kept(const AttentionDropout& dropout, int64_t source, double* kept, int64_t first,
                    int64_t last) {
  HWY_DYNAMIC_DISPATCH(kept_double)(dropout, source, kept, first, last);
}
template <>
int64_t attention_forward_tasks(const Attention<float>& a) {
  return HWY_DYNAMIC_DISPATCH(tasks_float)(a);
}
template <>
int64_t attention_forward_tasks(const Attention<double>& a) {
  return HWY_DYNAMIC_DISPATCH(tasks_double)(a);
}
template <>
int64_t attention_forward_workspace(const Attention<float>& a) {
  return HWY_DYNAMIC_DISPATCH(workspace_float)(a);
}
template <>
int64_t attention_forward_workspace(const Attention<double>& a) {
  return HWY_DYNAMIC_DISPATCH(workspace_double)(a);
}

}  // namespace attend::kernels
#endif  // HWY_ONCE
