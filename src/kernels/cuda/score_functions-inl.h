// The functions f of additive scores, for one number at a time:
//   value(x)     f(x)
//   gradient(x)  f(x) and f'(x)
#pragma once

#include "kernels/cpu/additive_attention.h"
#include "kernels/cuda/device-inl.h"
#include "kernels/tanh_quotient.h"

namespace attend::kernels::cuda {

template <typename T>
struct ValueAndSlope {
  T value, slope;
};

// Without a branch, unlike CUDA's own, of which most threads of a warp would take both sides.
ATTEND_DEVICE float tanh_of(float x) {
  // NaN stays NaN: it is not above, and fmaxf would hide it.
  const float bounded = x > kTanhBound ? kTanhBound : x < -kTanhBound ? -kTanhBound : x;
  const float u = bounded * bounded;
  float p = fmaf(u, kTanhP4, kTanhP3), q = fmaf(u, kTanhQ4, kTanhQ3);
  p = fmaf(u, p, kTanhP2);
  q = fmaf(u, q, kTanhQ2);
  p = fmaf(u, p, kTanhP1);
  q = fmaf(u, q, kTanhQ1);
  p = fmaf(u, p, kTanhP0);
  q = fmaf(u, q, kTanhQ0);
  return quotient(bounded * p, q);
}
ATTEND_DEVICE double tanh_of(double x) { return tanh(x); }

template <typename T>
struct TanhScore {
  ATTEND_DEVICE explicit TanhScore(T /*slope*/) {}
  ATTEND_DEVICE T value(T x) const { return tanh_of(x); }
  ATTEND_DEVICE ValueAndSlope<T> gradient(T x) const {
    const T f = tanh_of(x);
    return {f, multiply_add(-f, f, T{1})};
  }
};

// By the GPU's own instruction: a relative error of 2^-11, and half the time.
template <typename T>
struct ApproximateTanhScore {
  ATTEND_DEVICE explicit ApproximateTanhScore(T /*slope*/) {}
  ATTEND_DEVICE T value(T x) const {
#ifdef __CUDA_ARCH__
    float f;
    asm("tanh.approx.f32 %0, %1;" : "=f"(f) : "f"(static_cast<float>(x)));
    return f;
#else
    return tanh_of(x);
#endif
  }
  ATTEND_DEVICE ValueAndSlope<T> gradient(T x) const {
    const T f = value(x);
    return {f, multiply_add(-f, f, T{1})};
  }
};

// Comparisons with NaN are false: it stays.
template <typename T>
struct ReluScore {
  ATTEND_DEVICE explicit ReluScore(T /*slope*/) {}
  ATTEND_DEVICE T value(T x) const { return x < T{0} ? T{0} : x; }
  ATTEND_DEVICE ValueAndSlope<T> gradient(T x) const { return {value(x), x > T{0} ? T{1} : T{0}}; }
};

template <typename T>
struct LeakyReluScore {
  ATTEND_DEVICE explicit LeakyReluScore(T slope_) : slope(slope_) {}
  ATTEND_DEVICE T value(T x) const { return x > T{0} ? x : slope * x; }
  ATTEND_DEVICE ValueAndSlope<T> gradient(T x) const {
    const T factor = x > T{0} ? T{1} : slope;
    return {factor * x, factor};
  }

  T slope;
};

template <typename T>
struct SiluScore {
  ATTEND_DEVICE explicit SiluScore(T /*slope*/) {}
  ATTEND_DEVICE static T sigmoid(T x) {
    // Below, e^-x would be outside of what `quotient` takes.
    constexpr T kLeast = sizeof(T) == 4 ? T{-87} : T{-700};
    return x < kLeast ? T{0} : quotient(T{1}, T{1} + exp_of(-x));
  }
  ATTEND_DEVICE T value(T x) const { return x * sigmoid(x); }
  ATTEND_DEVICE ValueAndSlope<T> gradient(T x) const {
    const T s = sigmoid(x), f = x * s;
    return {f, s + multiply_add(-f, s, f)};
  }
};

ATTEND_DEVICE float normal_tail(float x) { return 0.5F * erfcf(x * 0.707106781186547524F); }
ATTEND_DEVICE double normal_tail(double x) { return 0.5 * erfc(x * 0.707106781186547524); }

template <typename T>
struct GeluScore {
  ATTEND_DEVICE explicit GeluScore(T /*slope*/) {}
  ATTEND_DEVICE T value(T x) const { return x * normal_tail(-x); }
  ATTEND_DEVICE ValueAndSlope<T> gradient(T x) const {
    constexpr T kInverseRoot = static_cast<T>(0.398942280401432678);  // 1 / sqrt(2 pi)
    const T phi = normal_tail(-x), density = kInverseRoot * exp_of(T{-0.5} * x * x);
    return {x * phi, multiply_add(x, density, phi)};
  }
};

/// Calls body.operator()<Score>() with the function of `score`. On the host.
template <typename T, class Body>
void with_score_function(AdditiveScore score, T slope, bool is_approximate, const Body& body) {
  switch (score) {
    case AdditiveScore::kTanh:
      return is_approximate ? body.template operator()<ApproximateTanhScore<T>>()
                            : body.template operator()<TanhScore<T>>();
    case AdditiveScore::kLeakyRelu:
      return slope == T{0} ? body.template operator()<ReluScore<T>>()
                           : body.template operator()<LeakyReluScore<T>>();
    case AdditiveScore::kSilu:
      return body.template operator()<SiluScore<T>>();
    case AdditiveScore::kGelu:
      return body.template operator()<GeluScore<T>>();
  }
}

}  // namespace attend::kernels::cuda
