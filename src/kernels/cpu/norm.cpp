#include "kernels/cpu/norm.h"

#include <cmath>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/norm.cpp"
#include "kernels/cpu/targets-inl.h"
// After it, since they are compiled once for each set too.
#include "kernels/cpu/vectors-inl.h"

HWY_BEFORE_NAMESPACE();
namespace attend::kernels::HWY_NAMESPACE {
namespace {

// The sum of f(x[i]), x[i] a vector or a single number.
template <typename F>
HWY_INLINE float sum_of(const float* HWY_RESTRICT x, int64_t size, const F& f) {
  const Vectors<float> d;
  const auto lanes = lanes_of<float>(), whole = rounded_down<float>(size);
  auto sums = hn::Zero(d);
  for (int64_t i = 0; i < whole; i += lanes) sums = hn::Add(sums, f(hn::LoadU(d, x + i)));
  float sum = hn::GetLane(hn::SumOfLanes(d, sums));
  for (auto i = whole; i < size; ++i) sum += hn::GetLane(f(hn::Set(d, x[i])));
  return sum;
}

void normalize(const RowNorm& norm, const float* input, float* output, int64_t first,
               int64_t last) {
  const Vectors<float> d;
  const auto lanes = lanes_of<float>(), whole = rounded_down<float>(norm.size);
  const auto count = static_cast<float>(norm.size);
  for (auto row = first; row < last; ++row) {
    const float* HWY_RESTRICT x = input + row * norm.size;
    float* y = output + row * norm.size;
    const auto mean = norm.subtracts_mean
                          ? sum_of(x, norm.size, [](auto v) HWY_ATTR { return v; }) / count
                          : 0.0F;
    const auto center = hn::Set(d, mean);
    const auto square = sum_of(x, norm.size, [&](auto v) HWY_ATTR {
      const auto distance = hn::Sub(v, center);
      return hn::Mul(distance, distance);
    });
    const float scale = 1.0F / std::sqrt(square / count + norm.eps);
    const auto scales = hn::Set(d, scale);
    for (int64_t i = 0; i < whole; i += lanes) {
      const auto normal = hn::Mul(hn::Sub(hn::LoadU(d, x + i), center), scales);
      const auto weight = hn::LoadU(d, norm.weight + i);
      hn::StoreU(norm.bias != nullptr ? hn::MulAdd(normal, weight, hn::LoadU(d, norm.bias + i))
                                      : hn::Mul(normal, weight),
                 d, y + i);
    }
    for (auto i = whole; i < norm.size; ++i) {
      y[i] = (x[i] - mean) * scale * norm.weight[i] + (norm.bias != nullptr ? norm.bias[i] : 0.0F);
    }
  }
}

}  // namespace
}  // namespace attend::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attend::kernels {
namespace {

HWY_EXPORT(normalize);

}  // namespace

void normalize_rows(const RowNorm& norm, const float* input, float* output, int64_t first,
                    int64_t last) {
  HWY_DYNAMIC_DISPATCH(normalize)(norm, input, output, first, last);
}

}  // namespace attend::kernels
#endif  // HWY_ONCE
