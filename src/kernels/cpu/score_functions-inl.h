// The functions f of additive scores, a vector at a time. Included once for each instruction set
// that Highway compiles for, hence this guard.
#if defined(ATTEND_KERNELS_CPU_SCORE_FUNCTIONS_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef ATTEND_KERNELS_CPU_SCORE_FUNCTIONS_INL_H
#undef ATTEND_KERNELS_CPU_SCORE_FUNCTIONS_INL_H
#else
#define ATTEND_KERNELS_CPU_SCORE_FUNCTIONS_INL_H
#endif

#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>

#include "kernels/tanh_quotient.h"

HWY_BEFORE_NAMESPACE();
namespace attend::kernels::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

// x within [-bound, bound], and NaN where it is NaN, which Min and Max may hide.
template <class D, class V>
HWY_INLINE V clamped(D d, V x, hn::TFromD<D> bound) {
  const auto upper = hn::Set(d, bound), lower = hn::Set(d, -bound);
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_SSSE3
  return hn::Min(upper, hn::Max(lower, x));  // of NaN the second one, on x86
#else
  return hn::IfThenElse(hn::Gt(x, upper), upper, hn::IfThenElse(hn::Lt(x, lower), lower, x));
#endif
}

template <class D, class V>
HWY_INLINE V tanh_of(D d, V x, float /*tag*/) {
  const auto bounded = clamped(d, x, kTanhBound);
  const auto u = hn::Mul(bounded, bounded);
  auto p = hn::MulAdd(u, hn::Set(d, kTanhP4), hn::Set(d, kTanhP3));
  auto q = hn::MulAdd(u, hn::Set(d, kTanhQ4), hn::Set(d, kTanhQ3));
  p = hn::MulAdd(u, p, hn::Set(d, kTanhP2));
  q = hn::MulAdd(u, q, hn::Set(d, kTanhQ2));
  p = hn::MulAdd(u, p, hn::Set(d, kTanhP1));
  q = hn::MulAdd(u, q, hn::Set(d, kTanhQ1));
  p = hn::MulAdd(u, p, hn::Set(d, kTanhP0));
  q = hn::MulAdd(u, q, hn::Set(d, kTanhQ0));
  return hn::Div(hn::Mul(bounded, p), q);
}
template <class D, class V>
HWY_INLINE V tanh_of(D d, V x, double /*tag*/) {
  return hn::Tanh(d, clamped(d, x, 40.0));
}
template <class D, class V>
HWY_INLINE V tanh_of(D d, V x) {
  return tanh_of(d, x, hn::TFromD<D>());
}

// 1 / (1 + e^-x).
template <class D, class V>
HWY_INLINE V sigmoid(D d, V x) {
  constexpr bool kIsFloat = sizeof(hn::TFromD<D>) == 4;
  using T = hn::TFromD<D>;
  const auto one = hn::Set(d, T{1}), bound = hn::Set(d, T{kIsFloat ? 87 : 708});
  const auto value = hn::Div(one, hn::Add(one, hn::Exp(d, hn::Neg(hn::Max(hn::Neg(bound), x)))));
  return hn::IfThenZeroElse(hn::Lt(x, hn::Neg(bound)), value);
}

template <class D, class V>
HWY_INLINE V polynomial(D d, V x, const hn::TFromD<D>* coefficients, int count) {
  auto sum = hn::Set(d, coefficients[0]);
  for (int i = 1; i < count; ++i) sum = hn::MulAdd(sum, x, hn::Set(d, coefficients[i]));
  return sum;
}

// Phi(-x) / e^(-x^2 / 2) for x >= 0, with t = 1 / (1 + c x): t times a polynomial in t.
template <class D, class V>
HWY_INLINE V mills_ratio(D d, V x, float /*tag*/) {
  static constexpr float kCoefficients[] = {
      0.0316667242721F,  -0.1739981933468F, 0.3760647716379F, -0.3662197377517F, 0.1134136438601F,
      -0.0238040063271F, 0.0903613984416F,  0.1333323054831F, 0.1596062073781F,  0.1595768924498F};
  const auto one = hn::Set(d, 1.0F);
  const auto t = hn::Div(one, hn::MulAdd(x, hn::Set(d, 0.4F), one));
  return hn::Mul(t, polynomial(d, t, kCoefficients, 10));
}
template <class D, class V>
HWY_INLINE V mills_ratio(D d, V x, double /*tag*/) {
  static constexpr double kCoefficients[] = {
      -0.0022378773477937271,  0.032049911730550037, -0.21263270730931109,  0.86670160088057359,
      -2.4247603919925584,     4.9232603611528205,   -7.4785221592827753,   8.6439055772948654,
      -7.6889186119007399,     5.339252606792498,    -2.9632208171702406,   1.335219801231744,
      -0.47040755873843073,    0.13526957931849921,  -0.046975426462710441, -0.0077030403092641082,
      -0.00049609254027523833, 0.026616793324432418, 0.057952902242995224,  0.087368964194078456,
      0.10891121594467536,     0.11968268483473298,  0.1196826841116343};
  const auto one = hn::Set(d, 1.0);
  const auto t = hn::Div(one, hn::MulAdd(x, hn::Set(d, 0.3), one));
  return hn::Mul(t, polynomial(d, t, kCoefficients, 23));
}

// e^(-x^2 / 2).
template <class D, class V>
HWY_INLINE V bell(D d, V x) {
  constexpr bool kIsFloat = sizeof(hn::TFromD<D>) == 4;
  using T = hn::TFromD<D>;
  const auto exponent = hn::Mul(hn::Set(d, T{-0.5}), hn::Mul(x, x));
  return hn::Exp(d, hn::Max(exponent, hn::Set(d, T{kIsFloat ? -87 : -708})));
}

// A score function has
//   value:    f(x), and in `kept` what a gradient takes less time with than without; kKeeps: whether
//             there is such a thing
//   gradient: g f'(x); g f(x) is added to `of_vector`
struct TanhScore {
  static constexpr bool kKeeps = true;
  template <class D, class V>
  static HWY_INLINE V value(D d, V x, V& kept) {
    return kept = tanh_of(d, x);
  }
  template <class D, class V>
  static HWY_INLINE V gradient(D /*d*/, V g, V /*x*/, V kept, V& of_vector) {
    const auto product = hn::Mul(g, kept);
    of_vector = hn::Add(of_vector, product);
    return hn::NegMulAdd(product, kept, g);
  }
};

// max(x, 0). A leaky ReLU is slope x + (1 - slope) max(x, 0).
struct ReluScore {
  static constexpr bool kKeeps = false;
  template <class D, class V>
  static HWY_INLINE V value(D d, V x, V& /*kept*/) {
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_SSSE3
    return hn::Max(hn::Zero(d), x);  // of NaN the second one, on x86
#else
    return hn::IfThenZeroElse(hn::Lt(x, hn::Zero(d)), x);
#endif
  }
  template <class D, class V>
  static HWY_INLINE V gradient(D d, V g, V x, V /*kept*/, V& of_vector) {
    const auto of_sum = hn::IfThenElseZero(hn::Gt(x, hn::Zero(d)), g);
    of_vector = hn::MulAdd(of_sum, x, of_vector);
    return of_sum;
  }
};

struct SiluScore {
  static constexpr bool kKeeps = true;
  template <class D, class V>
  static HWY_INLINE V value(D d, V x, V& kept) {
    kept = sigmoid(d, x);
    return hn::Mul(x, kept);
  }
  template <class D, class V>
  static HWY_INLINE V gradient(D /*d*/, V g, V x, V kept, V& of_vector) {
    const auto f = hn::Mul(x, kept);
    of_vector = hn::MulAdd(g, f, of_vector);
    return hn::Mul(g, hn::Add(kept, hn::NegMulAdd(f, kept, f)));
  }
};

struct GeluScore {
  static constexpr bool kKeeps = true;
  template <class D, class V>
  static HWY_INLINE V value(D d, V x, V& kept) {
    const auto tail = hn::Mul(bell(d, x), mills_ratio(d, hn::Abs(x), hn::TFromD<D>()));
    kept =
        hn::IfThenElse(hn::Lt(x, hn::Zero(d)), tail, hn::Sub(hn::Set(d, hn::TFromD<D>{1}), tail));
    return hn::Mul(x, kept);
  }
  template <class D, class V>
  static HWY_INLINE V gradient(D d, V g, V x, V kept, V& of_vector) {
    constexpr auto kInverseRoot = static_cast<hn::TFromD<D>>(0.3989422804014327);  // 1 / sqrt(2 pi)
    of_vector = hn::MulAdd(g, hn::Mul(x, kept), of_vector);
    const auto density = hn::Mul(hn::Set(d, kInverseRoot), bell(d, x));
    return hn::Mul(g, hn::MulAdd(x, density, kept));
  }
};

}  // namespace
}  // namespace attend::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // once for each instruction set
