#include "kernels/cpu/attention.h"
#include "kernels/cpu/attention_functions.h"

#define HWY_WANT_AVX3_DL  // for the instructions of pairs of bfloat16
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

template <typename T, typename Stored>
HWY_INLINE int64_t chunk_rows(const Attention<T, Stored>& a) {
  const auto blocks = kChunkNumbers / (kBlockRows * (a.head_dim + a.value_dim));
  return kBlockRows * least(most(blocks, 1), 8);
}

// Where the numbers of a task lie, one part behind the other.
template <class Kind>
struct Workspace {
  using T = typename Kind::Sum;
  using Number = typename Kind::Number;
  using Stored = typename Kind::Stored;

  Number* queries;         // [chunk rows, head_depth]
  T* outputs;              // [chunk rows, Dv], not yet divided
  T* shifts;               // [chunk rows]
  T* sums;                 // [chunk rows, lanes]: RowState's
  Number *keys, *values;   // of a block: K^T in panels, [depth_of(keys), Dv]
  Number* packed_keys;     // [keys, head_depth], if the kind packs keys
  T* scores;               // [block rows, block keys]
  Number* packed_weights;  // [strip, block keys / 2]; pairs alone
  int64_t head_depth;      // padded_depth(D)
  int64_t value_dim;       // rounded up to vectors
  int64_t size;            // in numbers of T

  Workspace(const Attention<T, Stored>& a, T* begin)
      : head_depth(padded_depth<Kind>(a.head_dim)), value_dim(rounded_up<T>(a.value_dim)) {
    const auto chunk = least(chunk_rows(a), a.target * a.group),
               keys_ = least(kBlockKeys, rounded_up<T>(a.source));
    WorkspaceParts<T> parts(begin);
    parts.take(queries, chunk * head_depth);
    parts.take(outputs, chunk * value_dim);
    parts.take(shifts, chunk);
    parts.take(sums, chunk * lanes_of<T>());
    parts.take(keys, keys_ * depth_of<Kind>(a.head_dim));
    parts.take(values, depth_of<Kind>(keys_) * value_dim);
    parts.take(packed_keys, Kind::kPacksKeys ? keys_ * head_depth : 0);
    parts.take(scores, least(kBlockRows, chunk) * kBlockKeys);
    parts.take(packed_weights, Kind::kNumbers > 1 ? kTallTile * depth_of<Kind>(kBlockKeys) : 0);
    size = parts.size();
  }
};

template <class Kind, typename T = typename Kind::Sum, typename Stored = typename Kind::Stored>
HWY_INLINE void load_queries(const Attention<T, Stored>& a, const QueryRows& rows,
                             const Workspace<Kind>& w, HeadRows<Stored> output) {
  fill(w.sums, 0, rows.rows() * lanes_of<T>(), T{0});
  for (int64_t row = 0; row < rows.rows(); ++row) {
    const auto head = rows.head_of(row);
    const Stored* from = a.query.at(rows.batch, head) + rows.query_of(row) * a.query.row_stride;
    prefetch_row(from + kRowsAhead * a.query.row_stride, a.head_dim);
    prefetch_row_to_write(output.at(rows.batch, head) + rows.query_of(row) * output.row_stride,
                          a.value_dim);
    load_factors<Kind>(from, a.head_dim, a.scale, w.queries + row * w.head_depth);
    // A sink is a key without a value that has been seen before all others.
    const bool has_sink = a.sinks != nullptr && a.sinks[head] != -kInfinity<T>;
    w.shifts[row] = has_sink ? a.sinks[head] : -kInfinity<T>;
    if (has_sink) w.sums[row * lanes_of<T>()] = T{1};
  }
  fill(w.outputs, 0, rows.rows() * w.value_dim, T{0});
}

template <class Kind, typename T = typename Kind::Sum, typename Stored = typename Kind::Stored>
HWY_INLINE void load_keys(const Attention<T, Stored>& a, int64_t batch, int64_t kv_head,
                          int64_t key, int64_t count, const Workspace<Kind>& w) {
  load_columns<Kind>(a.key.at(batch, kv_head) + key * a.key.row_stride, a.key.row_stride, count,
                     a.head_dim, w.packed_keys, w.keys);
  load_rows<Kind>(a.value.at(batch, kv_head) + key * a.value.row_stride, a.value.row_stride, count,
                  a.value_dim, w.values);
}

// A block: rows of the workspace from `row` on, and the keys [key, key + count), which are loaded.
struct Block {
  QueryRows rows;
  int64_t row;
  int64_t key, count;
  bool is_masked;
};

template <class Kind, typename T = typename Kind::Sum, typename Stored = typename Kind::Stored>
HWY_INLINE void attend_block(const Attention<T, Stored>& a, const Block& b,
                             const Workspace<Kind>& w) {
  using Number = typename Kind::Number;
  const auto count = b.rows.rows();
  const auto band = band_of(a, b.rows);
  const auto seen = Range{band.begin - b.key, band.end - b.key}.within(0, b.count);
  const BlockProduct<T, Number> scored{w.queries + b.row * w.head_depth,
                                       w.head_depth,
                                       1,
                                       depth_of<Kind>(a.head_dim),
                                       w.scores,
                                       kBlockKeys,
                                       false,
                                       a.scale};
  products_with_columns(a, b.rows, b.key, b.count, seen, scored, w.keys);
  for (int64_t strip = 0; strip < count; strip += kTallTile) {
    const auto rows = least(kTallTile, count - strip);
    Range of_row[kTallTile];
    Range all{b.count, 0};
    for (int64_t r = 0; r < rows; ++r) {
      const auto row = b.row + strip + r;
      of_row[r] =
          weights_of_row<T>(a, b.rows, strip + r, b.key, b.count, b.is_masked,
                            {w.shifts[row], kMostAboveShift<T>, w.sums + row * lanes_of<T>(),
                             w.outputs + row * w.value_dim, w.value_dim},
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
    const auto factors = factors_along_keys<Kind>(w.scores + strip * kBlockKeys, all.begin, all.end,
                                                  rows, w.packed_weights);
    const BlockProduct<T, Number> p{factors.first,
                                    factors.stride,
                                    1,
                                    depth_of<Kind>(all.end - all.begin),
                                    w.outputs + (b.row + strip) * w.value_dim,
                                    w.value_dim,
                                    true};
    product(p, w.values + all.begin / Kind::kNumbers * w.value_dim, w.value_dim, rows);
  }
}

template <class Kind, typename T = typename Kind::Sum, typename Stored = typename Kind::Stored>
HWY_INLINE void store_outputs(const Attention<T, Stored>& a, const QueryRows& rows,
                              const Workspace<Kind>& w, HeadRows<Stored> output, T* sums) {
  for (int64_t row = 0; row < rows.rows(); ++row) {
    const auto head = rows.head_of(row), t = rows.query_of(row);
    const T sum = sum_of_lanes(w.sums + row * lanes_of<T>());
    const T inverse = sum == T{0} ? T{0} : T{1} / sum;
    const T* from = w.outputs + row * w.value_dim;
    store_row(from, a.value_dim, inverse, output.at(rows.batch, head) + t * output.row_stride);
    if (sums != nullptr) {
      const auto index = (rows.batch * a.heads + head) * a.target + t;
      store_sums(sums + 2 * index, w.shifts[row], inverse);
    }
  }
}

template <class Kind, typename T = typename Kind::Sum, typename Stored = typename Kind::Stored>
void forward(const Attention<T, Stored>& a, HeadRows<Stored> output, T* sums, int64_t task,
             T* workspace) {
  const Parts chunks(a.group, a.target, chunk_rows(a));
  const auto group = task / chunks.count();
  const auto batch = group / a.kv_heads(), kv_head = group % a.kv_heads();
  const auto rows =
      chunks.part({batch, kv_head * a.group, a.group, 0, a.target}, task % chunks.count());
  const Workspace<Kind> w(a, workspace);
  load_queries(a, rows, w, output);
  const Parts blocks(rows.members, rows.count, kBlockRows);
  const auto band = band_of(a, rows);
  for (auto key = band.begin - band.begin % kBlockKeys; key < band.end; key += kBlockKeys) {
    const auto count = least(kBlockKeys, band.end - key);
    bool is_loaded = false;
    for (int64_t i = 0; i < blocks.count(); ++i) {
      Block block{blocks.part(rows, i), 0, key, count, false};
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

template <class Kind, typename T = typename Kind::Sum, typename Stored = typename Kind::Stored>
int64_t workspace_size(const Attention<T, Stored>& a) {
  return Workspace<Kind>(a, nullptr).size;
}

template <typename T, typename Stored>
int64_t tasks(const Attention<T, Stored>& a) {
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

template <class Kind, typename T = typename Kind::Sum, typename Stored = typename Kind::Stored>
ForwardFunctions<T, Stored> forward_functions() {
  return {forward<Kind>, tasks<T, Stored>, workspace_size<Kind>};
}

#if ATTEND_FUNCTIONS_OF_AVX3
ForwardFunctions<float> forward_float() { return N_AVX3::forward_float(); }
ForwardFunctions<double> forward_double() { return N_AVX3::forward_double(); }
ForwardFunctions<float, BFloat16> forward_bfloat16() { return N_AVX3::forward_bfloat16(); }
#else
ForwardFunctions<float> forward_float() { return forward_functions<Singles<float> >(); }
ForwardFunctions<double> forward_double() { return forward_functions<Singles<double> >(); }
ForwardFunctions<float, BFloat16> forward_bfloat16() {
  return forward_functions<Singles<float, BFloat16> >();
}
#endif
ForwardFunctions<float, BFloat16> forward_pairs() {
#if ATTEND_HAS_PAIRS
  return forward_functions<Pairs>();
#else
  return forward_bfloat16();
#endif
}
void kept_float(const AttentionDropout& dropout, int64_t source, float* kept, int64_t first,
                int64_t last) {
  kept_rows(dropout, source, kept, first, last);
}
void kept_double(const AttentionDropout& dropout, int64_t source, double* kept, int64_t first,
                 int64_t last) {
  kept_rows(dropout, source, kept, first, last);
}

}  // namespace
}  // namespace attend::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attend::kernels {
namespace {

HWY_EXPORT(forward_float);
HWY_EXPORT(forward_double);
HWY_EXPORT(forward_bfloat16);
HWY_EXPORT(forward_pairs);
HWY_EXPORT(kept_float);
HWY_EXPORT(kept_double);

ForwardFunctions<float> functions_of(const Attention<float>& /*a*/) {
  return HWY_DYNAMIC_DISPATCH(forward_float)();
}
ForwardFunctions<double> functions_of(const Attention<double>& /*a*/) {
  return HWY_DYNAMIC_DISPATCH(forward_double)();
}
ForwardFunctions<float, BFloat16> functions_of(const Attention<float, BFloat16>& a) {
  return a.multiplies_pairs ? HWY_DYNAMIC_DISPATCH(forward_pairs)()
                            : HWY_DYNAMIC_DISPATCH(forward_bfloat16)();
}

}  // namespace

template <typename T, typename Stored>
void attention_forward(const Attention<T, Stored>& a, HeadRows<Stored> output, T* sums,
                       int64_t task, T* workspace) {
  functions_of(a).run(a, output, sums, task, workspace);
}
template <typename T, typename Stored>
int64_t attention_forward_tasks(const Attention<T, Stored>& a) {
  return functions_of(a).tasks(a);
}
template <typename T, typename Stored>
int64_t attention_forward_workspace(const Attention<T, Stored>& a) {
  return functions_of(a).workspace(a);
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

// NOLINTBEGIN(bugprone-macro-parentheses): of types
#define ATTEND_INSTANTIATE(T, Stored)                                                              \
  template void attention_forward(const Attention<T, Stored>&, HeadRows<Stored>, T*, int64_t, T*); \
  template int64_t attention_forward_tasks(const Attention<T, Stored>&);                           \
  template int64_t attention_forward_workspace(const Attention<T, Stored>&);
// NOLINTEND(bugprone-macro-parentheses)
ATTEND_INSTANTIATE(float, float)
ATTEND_INSTANTIATE(double, double)
ATTEND_INSTANTIATE(float, BFloat16)
#undef ATTEND_INSTANTIATE

}  // namespace attend::kernels
#endif  // HWY_ONCE
