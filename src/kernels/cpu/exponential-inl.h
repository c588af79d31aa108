// exp, as a softmax needs it. Included once for each instruction set that Highway compiles for,
// hence this guard.
#if defined(ATTEND_KERNELS_CPU_EXPONENTIAL_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef ATTEND_KERNELS_CPU_EXPONENTIAL_INL_H
#undef ATTEND_KERNELS_CPU_EXPONENTIAL_INL_H
#else
#define ATTEND_KERNELS_CPU_EXPONENTIAL_INL_H
#endif

#include <hwy/highway.h>

#include <cstdint>

HWY_BEFORE_NAMESPACE();
namespace attend::kernels::HWY_NAMESPACE {
namespace {

// exp(x) = 2^n exp(r) with |r| <= ln(2) / 2, and exp(r) = 1 + r q(r), q of the least relative error
// (Remez): 2.6e-9 for float, 1.8e-17 for double.
template <typename T>
struct ExponentialConstants;
template <>
struct ExponentialConstants<float> {
  using Bits = uint32_t;
  static constexpr int kMantissa = 23;
  static constexpr float kRound = 12582912.0F + 127.0F;  // 1.5 * 2^23 + the exponent's bias
  static constexpr float kLn2High = 0.693145751953125F, kLn2Low = 1.42860677e-6F;
  static constexpr float kLowest = -87.336F;  // from here on numbers are denormal
  static constexpr float kQ[] = {1.0000000496406682F,    0.50000004343796659F,
                                 0.16666365440108084F,   0.041664777281619289F,
                                 0.0083790112519003689F, 0.0014061241289936537F};
};
template <>
struct ExponentialConstants<double> {
  using Bits = uint64_t;
  static constexpr int kMantissa = 52;
  static constexpr double kRound = 6755399441055744.0 + 1023.0;
  static constexpr double kLn2High = 0.693147180369123816490, kLn2Low = 1.90821492927058770002e-10;
  static constexpr double kLowest = -708.396;
  static constexpr double kQ[] = {
      1.0000000000000005588,    0.50000000000000055725,   0.16666666666657302303,
      0.041666666666573635121,  0.0083333333377154854032, 0.001388888893234104522,
      0.00019841261491361820,   0.000024801504510721327,  2.7564254942741234141e-6,
      2.7626296685818641824e-7, 2.298131157187549447e-8};
};

// exp(x) for x of at most about 88 (float) or 709 (double). From where numbers would be denormal,
// zero, -infinity included; NaN and +infinity become NaN.
template <class D, class V = hwy::HWY_NAMESPACE::Vec<D>>
HWY_INLINE V exponential(D d, V x) {
  namespace hn = hwy::HWY_NAMESPACE;
  using T = hn::TFromD<D>;
  using Constants = ExponentialConstants<T>;
  const hn::Rebind<typename Constants::Bits, D> bits;
  constexpr int kDegree = sizeof(Constants::kQ) / sizeof(T);
  const auto round = hn::Set(d, Constants::kRound);
  const auto shifted = hn::MulAdd(x, hn::Set(d, static_cast<T>(1.4426950408889634074)), round);
  const auto n = hn::Sub(shifted, round);
  auto r = hn::NegMulAdd(n, hn::Set(d, Constants::kLn2High), x);
  r = hn::NegMulAdd(n, hn::Set(d, Constants::kLn2Low), r);
  auto q = hn::Set(d, Constants::kQ[kDegree - 1]);
  for (int i = kDegree - 2; i >= 0; --i) q = hn::MulAdd(q, r, hn::Set(d, Constants::kQ[i]));
  const auto power =
      hn::BitCast(d, hn::ShiftLeft<Constants::kMantissa>(hn::BitCast(bits, shifted)));
  const auto result = hn::Mul(hn::MulAdd(q, r, hn::Set(d, T{1})), power);
  return hn::IfThenZeroElse(hn::Lt(x, hn::Set(d, Constants::kLowest)), result);
}

}  // namespace
}  // namespace attend::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // once for each instruction set
