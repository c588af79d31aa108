#include "kernels/cpu/cross_entropy.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/cross_entropy.cpp"
#include "kernels/cpu/targets-inl.h"
// After it, since they are compiled once for each set too.
#include <hwy/contrib/math/math-inl.h>

#include <cmath>
#include <limits>

#include "kernels/cpu/partial-inl.h"

HWY_BEFORE_NAMESPACE();
namespace attend::kernels::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

template <typename T>
struct MaxAndSum {
  T most, sum;
};

// Of x + bias, which x becomes if `kBias`. Two vectors at a time, so that no addition waits for the
// one before.
template <bool kBias, typename T>
HWY_INLINE MaxAndSum<T> max_and_sum(T* HWY_RESTRICT x, const T* HWY_RESTRICT bias, int64_t size) {
  const hn::ScalableTag<T> d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  auto most0 = hn::Set(d, -std::numeric_limits<T>::infinity()), most1 = most0;
  auto sum0 = hn::Zero(d), sum1 = sum0;
  int64_t i = 0;
  for (; i + 2 * lanes <= size; i += 2 * lanes) {
    auto x0 = hn::LoadU(d, x + i), x1 = hn::LoadU(d, x + i + lanes);
    if (kBias) {
      x0 = hn::Add(x0, hn::LoadU(d, bias + i));
      x1 = hn::Add(x1, hn::LoadU(d, bias + i + lanes));
      hn::StoreU(x0, d, x + i);
      hn::StoreU(x1, d, x + i + lanes);
    }
    most0 = hn::Max(most0, x0);
    most1 = hn::Max(most1, x1);
    sum0 = hn::Add(sum0, x0);
    sum1 = hn::Add(sum1, x1);
  }
  auto most = hn::GetLane(hn::MaxOfLanes(d, hn::Max(most0, most1)));
  auto sum = hn::GetLane(hn::SumOfLanes(d, hn::Add(sum0, sum1)));
  for (; i < size; ++i) {
    if (kBias) x[i] += bias[i];
    most = x[i] > most ? x[i] : most;
    sum += x[i];
  }
  return {most, sum};
}

// x becomes exp(x - most) if `store`; returns its sum, NaN if an x is none or infinity: Exp and Max
// hide NaN, sums do not, and no differences that are 0 or less cancel each other.
template <bool kStore, typename T>
HWY_INLINE T exponentials(T* HWY_RESTRICT x, int64_t size, T most) {
  const hn::ScalableTag<T> d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const auto shift = hn::Set(d, most);
  auto sum0 = hn::Zero(d), sum1 = sum0, differences = sum0;
  int64_t i = 0;
  for (; i + 2 * lanes <= size; i += 2 * lanes) {
    const auto x0 = hn::Sub(hn::LoadU(d, x + i), shift);
    const auto x1 = hn::Sub(hn::LoadU(d, x + i + lanes), shift);
    const auto e0 = hn::Exp(d, x0), e1 = hn::Exp(d, x1);
    differences = hn::Add(differences, hn::Add(x0, x1));
    if (kStore) {
      hn::StoreU(e0, d, x + i);
      hn::StoreU(e1, d, x + i + lanes);
    }
    sum0 = hn::Add(sum0, e0);
    sum1 = hn::Add(sum1, e1);
  }
  auto sum = hn::Add(sum0, sum1);
  for (; i < size; i += lanes) {
    const auto mask = hn::FirstN(d, static_cast<size_t>(size - i));
    const auto rest = hn::Sub(load_first(d, x + i, size - i), shift);
    const auto e = hn::Exp(d, rest);
    if (kStore) hn::BlendedStore(e, mask, d, x + i);
    sum = hn::Add(sum, hn::IfThenElseZero(mask, e));
    differences = hn::Add(differences, hn::IfThenElseZero(mask, rest));
  }
  const T difference = hn::GetLane(hn::SumOfLanes(d, differences));
  return std::isnan(difference) ? difference : hn::GetLane(hn::SumOfLanes(d, sum));
}

template <typename T>
HWY_INLINE void scale_and_subtract(T* HWY_RESTRICT x, int64_t size, T factor, T part) {
  const hn::ScalableTag<T> d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const auto factors = hn::Set(d, factor), parts = hn::Set(d, part);
  int64_t i = 0;
  for (; i + lanes <= size; i += lanes) {
    hn::StoreU(hn::MulSub(hn::LoadU(d, x + i), factors, parts), d, x + i);
  }
  for (; i < size; ++i) x[i] = x[i] * factor - part;
}

template <typename T>
HWY_INLINE void rows(T* logits, const T* bias, const int64_t* target, T* losses, int64_t classes,
                     int64_t ignore_id, T label_smoothing, bool gradient, int64_t first,
                     int64_t last) {
  const T part = label_smoothing / static_cast<T>(classes), share = 1 - label_smoothing;
  for (int64_t row = first; row < last; ++row) {
    T* x = logits + row * classes;
    const auto y = target[row];
    if (y == ignore_id) {
      losses[row] = 0;
      for (int64_t v = 0; gradient && v < classes; ++v) x[v] = 0;
      continue;
    }
    const auto [most, sum] = bias == nullptr ? max_and_sum<false>(x, bias, classes)
                                             : max_and_sum<true>(x, bias, classes);
    const T chosen = x[y];
    const T total =
        gradient ? exponentials<true>(x, classes, most) : exponentials<false>(x, classes, most);
    // Without smoothing a class of logit -infinity costs nothing, not 0 * infinity.
    losses[row] = std::log(total) + most - share * chosen - (part > 0 ? part * sum : 0);
    if (!gradient) continue;
    scale_and_subtract(x, classes, 1 / total, part);
    x[y] -= share;
  }
}

// Highway's tables hold functions, not templates.
void rows_float(float* logits, const float* bias, const int64_t* target, float* losses,
                int64_t classes, int64_t ignore_id, float label_smoothing, bool gradient,
                int64_t first, int64_t last) {
  rows(logits, bias, target, losses, classes, ignore_id, label_smoothing, gradient, first, last);
}
void rows_double(double* logits, const double* bias, const int64_t* target, double* losses,
                 int64_t classes, int64_t ignore_id, double label_smoothing, bool gradient,
                 int64_t first, int64_t last) {
  rows(logits, bias, target, losses, classes, ignore_id, label_smoothing, gradient, first, last);
}

}  // namespace
}  // namespace attend::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attend::kernels {
namespace {

HWY_EXPORT(rows_float);
HWY_EXPORT(rows_double);

}  // namespace

template <>
void cross_entropy(float* logits, const float* bias, const int64_t* target, float* losses,
                   int64_t classes, int64_t ignore_id, float label_smoothing, bool gradient,
                   int64_t first, int64_t last) {
  HWY_DYNAMIC_DISPATCH(rows_float)
  (logits, bias, target, losses, classes, ignore_id, label_smoothing, gradient, first, last);
}
template <>
void cross_entropy(double* logits, const double* bias, const int64_t* target, double* losses,
                   int64_t classes, int64_t ignore_id, double label_smoothing, bool gradient,
                   int64_t first, int64_t last) {
  HWY_DYNAMIC_DISPATCH(rows_double)
  (logits, bias, target, losses, classes, ignore_id, label_smoothing, gradient, first, last);
}

}  // namespace attend::kernels
#endif  // HWY_ONCE
