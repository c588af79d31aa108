#include "kernels/cpu/additive_attention.h"

#include <cmath>
#include <limits>

#include "kernels/cpu/additive_work.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/additive_forward.cpp"
#include "kernels/cpu/targets-inl.h"
// After it, since they are compiled once for each set too.
#include <hwy/contrib/math/math-inl.h>

#include "kernels/cpu/additive-inl.h"

HWY_BEFORE_NAMESPACE();
namespace attend::kernels::HWY_NAMESPACE {
namespace {

template <class Score, int64_t kRows, typename T>
HWY_INLINE void score_rows(const AdditiveAttention<T>& a, const AdditiveWork<T>& work, int64_t r,
                           int64_t i) {
  T* to[kRows];
  for (int64_t row = 0; row < kRows; ++row) to[row] = work.scores + (r + row) * work.stride + i;
  if (sees_tile(work, r, kRows, i)) {
    score_tile<Score, kRows, false, T>(work.query_rows + r, work.key_rows + i, work.vector,
                                       a.hidden_dim, to, nullptr);
    return;
  }
  for (int64_t row = 0; row < kRows; ++row) fill(to[row], kTileKeys, kHidden<T>);
}

// Scores become exponentials of their differences from the greatest one, in place. Of a score that
// is NaN or +infinity the total is NaN: Max and Exp hide it, sums do not.
template <typename T>
void exponentials(T* scores, int64_t count, T& greatest, T& total) {
  const Vectors<T> d;
  const auto lanes = lanes_of<T>();
  fill(scores + count, lanes, kHidden<T>);
  auto highest = hn::Set(d, kHidden<T>);
  for (int64_t i = 0; i < count; i += lanes) highest = hn::Max(highest, hn::LoadU(d, scores + i));
  HWY_ALIGN T each[64 / sizeof(T)];
  hn::Store(highest, d, each);
  greatest = each[0];
  for (int64_t i = 1; i < lanes; ++i) greatest = each[i] > greatest ? each[i] : greatest;
  bool is_empty = true;
  if (!(greatest > kHidden<T>)) {  // nothing, or NaN
    for (int64_t i = 0; i < count; ++i) is_empty = is_empty && scores[i] == kHidden<T>;
    greatest = kHidden<T>;
    total = is_empty ? T{0} : std::numeric_limits<T>::quiet_NaN();
    fill(scores, count, total);
    return;
  }
  const auto shift = hn::Set(d, greatest);
  auto sum = hn::Zero(d), differences = hn::Zero(d);
  for (int64_t i = 0; i < count; i += lanes) {
    const auto difference = hn::Sub(hn::LoadU(d, scores + i), shift);
    const auto value = hn::Exp(d, difference);
    differences = hn::Add(differences, difference);
    sum = hn::Add(sum, value);
    hn::StoreU(value, d, scores + i);
  }
  const T difference = hn::GetLane(hn::SumOfLanes(d, differences));
  total = std::isnan(difference) ? difference : hn::GetLane(hn::SumOfLanes(d, sum));
}

// The sums over a of all pairs.
template <class Score, typename T>
void score_pairs(const AdditiveAttention<T>& a, const AdditiveWork<T>& work) {
  for (int64_t i = 0; i < work.count; i += kTileKeys) {
    int64_t r = 0;
    for (; r + 2 <= work.rows; r += 2) score_rows<Score, 2>(a, work, r, i);
    if (r < work.rows) score_rows<Score, 1>(a, work, r, i);
  }
}

// One task, as places in the attention.
struct ForwardTask {
  int64_t index, batch, head;  // of B * H
  int64_t first, last;         // queries
  int64_t part, parts;
  Range keys;
};
template <typename T>
ForwardTask forward_task(const AdditiveAttention<T>& a, int64_t task) {
  const auto parts = additive_parts(a), blocks = a.row_blocks();
  const auto part = task % parts, block = task / parts % blocks, index = task / parts / blocks;
  const auto first = block * kAdditiveRows;
  return {index,
          index / a.heads,
          index % a.heads,
          first,
          least(first + kAdditiveRows, a.target),
          part,
          parts,
          {part * a.source / parts, (part + 1) * a.source / parts}};
}

// Where task i of [first, last) stands. Half of them stand at the front and half at the back: threads
// then have as much work as others where it grows or falls along the queries, the keys or the batch.
template <typename T>
int64_t place_of(const AdditiveAttention<T>& a, int64_t i, int64_t first, int64_t last) {
  const auto front = (first + 1) / 2 + i - first, front_end = (last + 1) / 2;
  const auto tasks = a.batch * a.heads * a.row_blocks() * additive_parts(a);
  return front < front_end ? front : tasks - last / 2 + front - front_end;
}

template <typename T>
void prepare_forward(const AdditiveAttention<T>& a, const ForwardTask& task,
                     AdditiveWork<T>& work) {
  prepare_vector(a, task.head, work);
  list_visible(a, task.batch, task.head, task.first, task.last, task.keys, work);
  prepare_terms(a, task.batch, task.head, work);
}

// From the sums over a to the output of a block.
template <typename T>
void finish_forward(const AdditiveAttention<T>& a, const AdditiveResult<T>& result,
                    const ForwardTask& task, AdditiveWork<T>& work) {
  const auto found_dim = a.value_dim + 2;
  // What is written for a query: its output, or what this part has found.
  const auto output_of = [&](int64_t t) {
    return task.parts == 1
               ? result.output.at(task.batch, task.head) + t * result.output.row_stride
               : result.parts + ((task.index * a.target + t) * task.parts + task.part) * found_dim +
                     2;
  };
  for (int64_t t = task.first; t < task.last; ++t) {
    T* output = output_of(t);
    fill(output, a.value_dim, T{0});
    if (task.parts > 1) {
      output[-2] = kHidden<T>;
      output[-1] = T{0};
    } else {
      fill(result.sums + 2 * (task.index * a.target + t), 2, T{0});
    }
    if (result.scores != nullptr) {
      fill(result.scores + (task.index * a.target + t) * a.source + task.keys.begin,
           task.keys.end - task.keys.begin, kHidden<T>);
    }
  }
  T* outputs[kAdditiveRows];
  T factors[kAdditiveRows];
  int64_t drawn = -1;
  for (int64_t r = 0; r < work.rows; ++r) {
    const auto row = task.index * a.target + work.queries[r];
    T* scores = work.scores + r * work.stride;
    finish_scores<T>(a, task.batch, task.head, work, r, 0, work.count, scores, nullptr);
    if (result.scores != nullptr) {
      T* to = result.scores + row * a.source;
      for (int64_t i = 0; i < work.count; ++i) to[work.keys[i]] = scores[i];
    }
    T greatest{0}, total{0};
    exponentials(scores, work.count, greatest, total);
    outputs[r] = output_of(work.queries[r]);
    if (task.parts > 1) {
      outputs[r][-2] = greatest;
      outputs[r][-1] = total;
    } else {
      factors[r] = total == T{0} ? T{0} : T{1} / total;
      result.sums[2 * row] = total == T{0} ? T{0} : greatest;
      result.sums[2 * row + 1] = factors[r];
    }
    if (a.threshold == 0) continue;
    T* kept = work.products;  // one row of it
    draw_dropout(a, row, work.keys, work.count, work.numbers, drawn, kept);
    for (int64_t i = 0; i < work.count; ++i) scores[i] *= kept[i];
  }
  add_products(outputs, work.rows, work.scores, work.stride, int64_t{1}, work.value_rows,
               work.count, a.value_dim);
  for (int64_t r = 0; r < work.rows && task.parts == 1; ++r) {
    for (int64_t j = 0; j < a.value_dim; ++j) outputs[r][j] *= factors[r];
  }
}

template <typename T>
void join_row(const AdditiveAttention<T>& a, const AdditiveResult<T>& result, int64_t row) {
  const auto parts = additive_parts(a);
  const auto index = row / a.target, t = row % a.target;
  const T* found = result.parts + row * parts * (a.value_dim + 2);
  T* output = result.output.at(index / a.heads, index % a.heads) + t * result.output.row_stride;
  T greatest = kHidden<T>;
  bool is_nan = false;
  for (int64_t part = 0; part < parts; ++part) {
    const T* of_part = found + part * (a.value_dim + 2);
    greatest = of_part[0] > greatest ? of_part[0] : greatest;
    is_nan = is_nan || std::isnan(of_part[1]);
  }
  fill(output, a.value_dim, T{0});
  T total = is_nan ? std::numeric_limits<T>::quiet_NaN() : T{0};
  for (int64_t part = 0; part < parts; ++part) {
    const T* of_part = found + part * (a.value_dim + 2);
    if (of_part[1] == T{0}) continue;
    const T factor = std::exp(of_part[0] - greatest);
    total += factor * of_part[1];
    for (int64_t j = 0; j < a.value_dim; ++j) output[j] += factor * of_part[2 + j];
  }
  const T factor = total == T{0} ? T{0} : T{1} / total;
  result.sums[2 * row] = total == T{0} ? T{0} : greatest;
  result.sums[2 * row + 1] = factor;
  for (int64_t j = 0; j < a.value_dim; ++j) output[j] *= factor;
}

template <typename T>
void score_pairs_by_score(const AdditiveAttention<T>& a, const AdditiveWork<T>& work) {
  switch (a.score) {
    case AdditiveScore::kTanh:
      return score_pairs<TanhScore>(a, work);
    case AdditiveScore::kLeakyRelu:
      return score_pairs<ReluScore>(a, work);
    case AdditiveScore::kSilu:
      return score_pairs<SiluScore>(a, work);
    case AdditiveScore::kGelu:
      return score_pairs<GeluScore>(a, work);
  }
}

// Highway's tables hold functions, not templates. A type cannot be put in parentheses.
// NOLINTBEGIN(bugprone-macro-parentheses)
#define ATTEND_ADDITIVE(T)                                                                        \
  void forward_##T(const AdditiveAttention<T>& a, const AdditiveResult<T>& result, int64_t first, \
                   int64_t last, AdditiveWork<T>& work) {                                         \
    for (int64_t i = first; i < last; ++i) {                                                      \
      const auto task = forward_task(a, place_of(a, i, first, last));                             \
      prepare_forward(a, task, work);                                                             \
      score_pairs_by_score(a, work);                                                              \
      finish_forward(a, result, task, work);                                                      \
    }                                                                                             \
  }                                                                                               \
  void join_##T(const AdditiveAttention<T>& a, const AdditiveResult<T>& result, int64_t first,    \
                int64_t last) {                                                                   \
    for (int64_t row = first; row < last; ++row) join_row(a, result, row);                        \
  }
ATTEND_ADDITIVE(float)
ATTEND_ADDITIVE(double)
#undef ATTEND_ADDITIVE
// NOLINTEND(bugprone-macro-parentheses)

}  // namespace
}  // namespace attend::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attend::kernels {

// NOLINTBEGIN(bugprone-macro-parentheses)
#define ATTEND_ADDITIVE(T)                                                              \
  HWY_EXPORT(forward_##T);                                                              \
  HWY_EXPORT(join_##T);                                                                 \
  template <>                                                                           \
  void additive_forward(const AdditiveAttention<T>& a, const AdditiveResult<T>& result, \
                        int64_t first, int64_t last) {                                  \
    AdditiveMemory<T> memory(a, a.source / additive_parts(a) + 1);                      \
    HWY_DYNAMIC_DISPATCH(forward_##T)(a, result, first, last, memory.work());           \
  }                                                                                     \
  template <>                                                                           \
  void additive_join(const AdditiveAttention<T>& a, const AdditiveResult<T>& result,    \
                     int64_t first, int64_t last) {                                     \
    HWY_DYNAMIC_DISPATCH(join_##T)(a, result, first, last);                             \
  }
ATTEND_ADDITIVE(float)
ATTEND_ADDITIVE(double)
#undef ATTEND_ADDITIVE
// NOLINTEND(bugprone-macro-parentheses)

}  // namespace attend::kernels
#endif  // HWY_ONCE
