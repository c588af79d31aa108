#include "kernels/cpu/attention.h"
#include "kernels/cpu/attention_functions.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/attention_weights.cpp"
#include "kernels/cpu/targets-inl.h"
// After it, since it is compiled once for each set too.
#include "kernels/cpu/attention-inl.h"

HWY_BEFORE_NAMESPACE();
namespace attend::kernels::HWY_NAMESPACE {
namespace {

// So many queries share the panels of a block of keys.
constexpr int64_t kWeightsChunk = 4 * kBlockRows;
// The fewest tasks, if there are keys for them.
constexpr int64_t kWeightsTasks = 16;

// Where the numbers of a task lie, one part behind the other.
template <class Kind>
struct WeightsWorkspace {
  using T = typename Kind::Sum;

  T* queries;        // of a block: [rows, D], scaled
  T* keys;           // K^T in panels
  T* packed_keys;    // [keys, D], if the kind packs keys
  T* scores;         // [rows, block keys]
  int64_t head_dim;  // rounded up to vectors
  int64_t size;

  WeightsWorkspace(const Attention<T, typename Kind::Stored>& a, T* begin)
      : head_dim(rounded_up<T>(a.head_dim)) {
    const auto rows = least(kBlockRows, a.target),
               keys_ = least(kBlockKeys, rounded_up<T>(a.source));
    WorkspaceParts<T> parts(begin);
    parts.take(queries, rows * head_dim);
    parts.take(keys, keys_ * a.head_dim);
    parts.take(packed_keys, Kind::kPacksKeys ? keys_ * head_dim : 0);
    parts.take(scores, rows * kBlockKeys);
    size = parts.size();
  }
};

// Some queries, heads and keys of a sentence.
struct WeightsTask {
  int64_t batch;
  Range heads, queries, keys;
};

// The first queries from t on that are wanted and lie together, a block at most.
template <typename Element>
HWY_INLINE Range wanted_from(const WeightsView<Element>& view, int64_t t, int64_t end) {
  while (t < end && !view.has_query(t)) ++t;
  auto last = t;
  while (last < least(end, t + kBlockRows) && view.has_query(last)) ++last;
  return {t, last};
}

// A block: some queries of one head, and keys [key, key + count).
struct WeightsBlock {
  QueryRows rows;
  int64_t key, count;

  template <typename T, typename Stored>
  int64_t index(const Attention<T, Stored>& a, int64_t row) const {  // of all B * H * T
    return (rows.batch * a.heads + rows.head) * a.target + rows.first + row;
  }
};

// Scores of the keys `seen`, counted from the block's first. is_loaded: whether the keys are there.
template <class Kind, typename T = typename Kind::Sum, typename Stored = typename Kind::Stored>
HWY_INLINE void scores_of_block(const Attention<T, Stored>& a, const WeightsBlock& b, Range seen,
                                bool& is_loaded, const WeightsWorkspace<Kind>& w) {
  const auto count = b.rows.rows();
  const auto kv_head = b.rows.head / a.group;
  const Stored* const keys = a.key.at(b.rows.batch, kv_head) + b.key * a.key.row_stride;
  for (int64_t r = 0; r < count; ++r) {
    const Stored* query =
        a.query.at(b.rows.batch, b.rows.head) + (b.rows.first + r) * a.query.row_stride;
    load_factors<Kind>(query, a.head_dim, a.scale, w.queries + r * w.head_dim);
  }
  if (has_few_queries(a)) {
    for (auto s = seen.begin; s < seen.end; ++s) {
      prefetch_row(keys + (s + kRowsAhead) * a.key.row_stride, a.head_dim);
      for (int64_t r = 0; r < count; ++r) {
        w.scores[r * kBlockKeys + s] =
            dot(keys + s * a.key.row_stride, w.queries + r * w.head_dim, a.head_dim);
      }
    }
    return;
  }
  if (!is_loaded) {
    load_columns<Kind>(keys, a.key.row_stride, b.count, a.head_dim, w.packed_keys, w.keys);
  }
  is_loaded = true;
  const BlockProduct<T> scored{w.queries, w.head_dim, 1, a.head_dim, w.scores, kBlockKeys, false};
  products_with_columns(a, b.rows, b.key, b.count, seen, scored, w.keys);
}

// The weights of a block, in w.scores, with zeros where a key is hidden.
template <class Kind, typename T = typename Kind::Sum, typename Stored = typename Kind::Stored>
HWY_NOINLINE void weights_of_block(const Attention<T, Stored>& a, const T* sums,
                                   const WeightsBlock& b, bool& is_loaded,
                                   const WeightsWorkspace<Kind>& w) {
  const Vectors<T> d;
  const auto band = band_of(a, b.rows).within(b.key, b.key + b.count);
  const auto mask = band.is_empty() ? Visible::kNone : visible(a, b.rows, band.begin, band.end);
  if (mask != Visible::kNone) {
    scores_of_block(a, b, {band.begin - b.key, band.end - b.key}, is_loaded, w);
  }
  for (int64_t r = 0; r < b.rows.rows(); ++r) {
    const auto t = b.rows.first + r;
    const T shift = sums[2 * b.index(a, r)], inverse = sums[2 * b.index(a, r) + 1];
    T* const scores = w.scores + r * kBlockKeys;
    const auto own = band_of(a, t);
    auto range = Range{own.begin - b.key, own.end - b.key}.within(0, b.count);
    if (mask == Visible::kNone || range.is_empty()) range = {0, 0};
    const auto first = rounded_down<T>(range.begin), last = rounded_up<T>(range.end);
    if (first < last) {
      const bool is_masked = mask == Visible::kSome;
      if (is_masked || has_finish(a)) {
        finish_scores<T>(a, b.rows.batch, b.rows.head, t, b.key, range.begin, range.end, is_masked,
                         scores, nullptr);
      }
      forbid_outside(scores, first, last, range);
    }
    for (auto s = first; s < last; s += lanes_of<T>()) {
      const auto value = exponential(d, hn::Sub(hn::LoadU(d, scores + s), hn::Set(d, shift)));
      hn::StoreU(hn::Mul(value, hn::Set(d, inverse)), d, scores + s);
    }
    // NaN in a row that is not a number.
    const T hidden = T{0} * inverse;
    fill(scores, 0, first, hidden);
    fill(scores, last, rounded_up<T>(b.count), hidden);
  }
}

// Calls use(block, weights [rows, block keys]) for all blocks of a task.
template <class Kind, typename Element, class Use, typename T = typename Kind::Sum,
          typename Stored = typename Kind::Stored>
HWY_INLINE void for_each_block(const Attention<T, Stored>& a, const WeightsView<Element>& view,
                               const T* sums, const WeightsTask& task, T* workspace,
                               const Use& use) {
  const WeightsWorkspace<Kind> w(a, workspace);
  for (auto key = task.keys.begin; key < task.keys.end; key += kBlockKeys) {
    const auto count = least(kBlockKeys, task.keys.end - key);
    bool is_loaded = false;
    for (auto head = task.heads.begin; head < task.heads.end; ++head) {
      if (head % a.group == 0) is_loaded = false;
      if (!view.has_head(head)) continue;
      auto run = wanted_from(view, task.queries.begin, task.queries.end);
      for (; !run.is_empty(); run = wanted_from(view, run.end, task.queries.end)) {
        const WeightsBlock block{{task.batch, head, 1, run.begin, run.end - run.begin}, key, count};
        weights_of_block(a, sums, block, is_loaded, w);
        use(a, block, w.scores);
      }
    }
  }
}

template <typename T>
struct StoreWeights {
  WeightsView<T> to;

  // Heads of a mean come in order, each added to those before it.
  HWY_INLINE bool is_first(int64_t head) const {
    if (to.shares == nullptr) return true;
    for (int64_t before = 0; before < head; ++before) {
      if (to.has_head(before)) return false;
    }
    return true;
  }
  template <typename Stored>
  HWY_INLINE void operator()(const Attention<T, Stored>& /*a*/, const WeightsBlock& b,
                             const T* weights) const {
    const auto head = b.rows.head;
    const T share = to.share(head);
    const bool is_first_head = is_first(head);
    for (int64_t r = 0; r < b.rows.rows(); ++r) {
      const T* HWY_RESTRICT from = weights + r * kBlockKeys;
      T* HWY_RESTRICT row = to.row(b.rows.batch, head, b.rows.first + r) + b.key;
      if (is_first_head) {
        for (int64_t s = 0; s < b.count; ++s) row[s] = share * from[s];
      } else {
        for (int64_t s = 0; s < b.count; ++s) row[s] += share * from[s];
      }
    }
  }
};

template <typename T>
struct AddToDeltas {
  WeightsView<const T> gradient;
  T* deltas;

  template <typename Stored>
  HWY_INLINE void operator()(const Attention<T, Stored>& a, const WeightsBlock& b,
                             const T* weights) const {
    const auto head = b.rows.head;
    for (int64_t r = 0; r < b.rows.rows(); ++r) {
      const T* row = gradient.row(b.rows.batch, head, b.rows.first + r) + b.key;
      deltas[b.index(a, r)] += gradient.share(head) * dot(row, weights + r * kBlockKeys, b.count);
    }
  }
};

HWY_INLINE int64_t chunks_of(int64_t target) {
  return (target + kWeightsChunk - 1) / kWeightsChunk;
}

template <typename T, typename Stored>
HWY_INLINE int64_t weights_key_parts(const Attention<T, Stored>& a, int64_t tasks) {
  const auto blocks = (a.source + kBlockKeys - 1) / kBlockKeys;
  return most(1, least((kWeightsTasks + tasks - 1) / tasks, blocks));
}

// B * (H, or 1 of a mean) * chunks of queries, before keys are divided.
template <typename T, typename Stored>
HWY_INLINE int64_t tasks_of_all_keys(const Attention<T, Stored>& a, bool is_mean) {
  return a.batch * (is_mean ? 1 : a.heads) * chunks_of(a.target);
}

template <typename T, typename Stored>
HWY_INLINE WeightsTask weights_task(const Attention<T, Stored>& a, bool is_mean, int64_t part,
                                    int64_t parts, int64_t task) {
  const auto chunk = task % chunks_of(a.target), row = task / chunks_of(a.target);
  const auto blocks = (a.source + kBlockKeys - 1) / kBlockKeys;
  const auto heads = is_mean ? Range{0, a.heads} : Range{row % a.heads, row % a.heads + 1};
  return {
      is_mean ? row : row / a.heads, heads,
      Range{chunk * kWeightsChunk, (chunk + 1) * kWeightsChunk}.within(0, a.target),
      Range{blocks * part / parts * kBlockKeys, blocks * (part + 1) / parts * kBlockKeys}.within(
          0, a.source)};
}

template <typename T, typename Stored>
int64_t weights_tasks(const Attention<T, Stored>& a, const WeightsView<T>& weights) {
  const auto tasks = tasks_of_all_keys(a, weights.shares != nullptr);
  return tasks * weights_key_parts(a, tasks);
}

template <typename T, typename Stored>
void weights(const Attention<T, Stored>& a, const T* sums, const WeightsView<T>& to, int64_t task,
             T* workspace) {
  const bool is_mean = to.shares != nullptr;
  const auto parts = weights_key_parts(a, tasks_of_all_keys(a, is_mean));
  const auto own = weights_task(a, is_mean, task % parts, parts, task / parts);
  for_each_block<Singles<T, Stored>>(a, to, sums, own, workspace, StoreWeights<T>{to});
}

template <typename T, typename Stored>
void weight_deltas(const Attention<T, Stored>& a, const T* sums,
                   const WeightsView<const T>& gradient, T* deltas, int64_t task, T* workspace) {
  const auto own = weights_task(a, /*is_mean=*/false, 0, 1, task);
  for_each_block<Singles<T, Stored>>(a, gradient, sums, own, workspace,
                                     AddToDeltas<T>{gradient, deltas});
}

template <typename T, typename Stored>
int64_t weight_delta_tasks(const Attention<T, Stored>& a) {
  return tasks_of_all_keys(a, /*is_mean=*/false);
}
template <typename T, typename Stored>
int64_t weights_workspace(const Attention<T, Stored>& a) {
  return WeightsWorkspace<Singles<T, Stored>>(a, nullptr).size;
}

template <typename T, typename Stored = T>
WeightsFunctions<T, Stored> weights_functions() {
  return {weights<T, Stored>, weights_tasks<T, Stored>, weight_deltas<T, Stored>,
          weight_delta_tasks<T, Stored>, weights_workspace<T, Stored>};
}
WeightsFunctions<float> weights_float() { return weights_functions<float>(); }
WeightsFunctions<double> weights_double() { return weights_functions<double>(); }
WeightsFunctions<float, BFloat16> weights_bfloat16() {
  return weights_functions<float, BFloat16>();
}

}  // namespace
}  // namespace attend::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attend::kernels {
namespace {

HWY_EXPORT(weights_float);
HWY_EXPORT(weights_double);
HWY_EXPORT(weights_bfloat16);

WeightsFunctions<float> functions_of(const Attention<float>& /*a*/) {
  return HWY_DYNAMIC_DISPATCH(weights_float)();
}
WeightsFunctions<double> functions_of(const Attention<double>& /*a*/) {
  return HWY_DYNAMIC_DISPATCH(weights_double)();
}
WeightsFunctions<float, BFloat16> functions_of(const Attention<float, BFloat16>& /*a*/) {
  return HWY_DYNAMIC_DISPATCH(weights_bfloat16)();
}

}  // namespace

template <typename T, typename Stored>
void attention_weights(const Attention<T, Stored>& a, const T* sums, const WeightsView<T>& weights,
                       int64_t task, T* workspace) {
  functions_of(a).run(a, sums, weights, task, workspace);
}
template <typename T, typename Stored>
int64_t attention_weights_tasks(const Attention<T, Stored>& a, const WeightsView<T>& weights) {
  return functions_of(a).tasks(a, weights);
}
template <typename T, typename Stored>
int64_t attention_weights_workspace(const Attention<T, Stored>& a) {
  return functions_of(a).workspace(a);
}
template <typename T, typename Stored>
void attention_weight_deltas(const Attention<T, Stored>& a, const T* sums,
                             const WeightsView<const T>& gradient, T* deltas, int64_t task,
                             T* workspace) {
  functions_of(a).deltas(a, sums, gradient, deltas, task, workspace);
}
template <typename T, typename Stored>
int64_t attention_weight_deltas_tasks(const Attention<T, Stored>& a) {
  return functions_of(a).delta_tasks(a);
}

// NOLINTBEGIN(bugprone-macro-parentheses): of types
#define ATTEND_INSTANTIATE(T, Stored)                                                           \
  template void attention_weights(const Attention<T, Stored>&, const T*, const WeightsView<T>&, \
                                  int64_t, T*);                                                 \
  template int64_t attention_weights_tasks(const Attention<T, Stored>&, const WeightsView<T>&); \
  template int64_t attention_weights_workspace(const Attention<T, Stored>&);                    \
  template void attention_weight_deltas(const Attention<T, Stored>&, const T*,                  \
                                        const WeightsView<const T>&, T*, int64_t, T*);          \
  template int64_t attention_weight_deltas_tasks(const Attention<T, Stored>&);
// NOLINTEND(bugprone-macro-parentheses)
ATTEND_INSTANTIATE(float, float)
ATTEND_INSTANTIATE(double, double)
ATTEND_INSTANTIATE(float, BFloat16)
#undef ATTEND_INSTANTIATE

}  // namespace attend::kernels
#endif  // HWY_ONCE
