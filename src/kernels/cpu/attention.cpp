#include "kernels/cpu/attention.h"

#include <cmath>
#include <limits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/attention.cpp"
#include "kernels/cpu/targets-inl.h"
// After it, since they are compiled once for each set too.
#include <hwy/contrib/math/math-inl.h>

#include "kernels/cpu/partial-inl.h"

HWY_BEFORE_NAMESPACE();
namespace attend::kernels::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

// A matrix whose elements are read one by one.
template <typename T>
struct Scalars {
  const T* data;
  int64_t row_stride, column_stride;
};

// A matrix of contiguous rows.
template <typename Element>
struct Rows {
  Element* data;
  int64_t stride;
};

constexpr int kRowsAtOnce = 4;

template <typename T>
constexpr T kMinusInfinity = -std::numeric_limits<T>::infinity();

// kRows rows of c = alpha * a b, columns [column, column + kVectors vectors), the last one partial
// if kPartial. As many sums stay in registers as the two multiply-add units need to be kept busy.
template <int kRows, int kVectors, bool kPartial, class D, typename T = hn::TFromD<D>>
HWY_INLINE void product_block(D d, const Scalars<T> a, const Rows<const T> b, const Rows<T> c,
                              int64_t row, int64_t column, int64_t inner, int64_t rest, T alpha,
                              bool add) {
  using Vector = hn::Vec<D>;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const auto mask = hn::FirstN(d, static_cast<size_t>(rest));
  Vector sums[kRows][kVectors];
  for (auto& sums_of_row : sums) {
    for (auto& sum : sums_of_row) sum = hn::Zero(d);
  }
  const T* from = a.data + row * a.row_stride;
  for (int64_t k = 0; k < inner; ++k) {
    Vector values[kVectors];
    const T* line = b.data + k * b.stride + column;
    for (int v = 0; v < kVectors; ++v) {
      values[v] = kPartial && v == kVectors - 1 ? load_first(d, line + v * lanes, rest)
                                                : hn::LoadU(d, line + v * lanes);
    }
    for (int r = 0; r < kRows; ++r) {
      const auto factor = hn::Set(d, from[r * a.row_stride + k * a.column_stride]);
      for (int v = 0; v < kVectors; ++v) sums[r][v] = hn::MulAdd(factor, values[v], sums[r][v]);
    }
  }
  const auto factor = hn::Set(d, alpha);
  for (int r = 0; r < kRows; ++r) {
    T* line = c.data + (row + r) * c.stride + column;
    for (int v = 0; v < kVectors; ++v) {
      auto value = hn::Mul(factor, sums[r][v]);
      if (kPartial && v == kVectors - 1) {
        if (add) value = hn::Add(value, load_first(d, line + v * lanes, rest));
        hn::BlendedStore(value, mask, d, line + v * lanes);
      } else {
        if (add) value = hn::Add(value, hn::LoadU(d, line + v * lanes));
        hn::StoreU(value, d, line + v * lanes);
      }
    }
  }
}

template <int kVectors, bool kPartial, class D, typename T = hn::TFromD<D>>
HWY_INLINE void product_columns(D d, const Scalars<T> a, const Rows<const T> b, const Rows<T> c,
                                int64_t rows, int64_t column, int64_t inner, int64_t rest, T alpha,
                                bool add) {
  int64_t row = 0;
  for (; row + kRowsAtOnce <= rows; row += kRowsAtOnce) {
    product_block<kRowsAtOnce, kVectors, kPartial>(d, a, b, c, row, column, inner, rest, alpha,
                                                   add);
  }
  for (; row < rows; ++row) {
    product_block<1, kVectors, kPartial>(d, a, b, c, row, column, inner, rest, alpha, add);
  }
}

// c [rows, columns] = alpha * a [rows, inner] b [inner, columns], added to c if `add`.
template <typename T>
HWY_INLINE void product(const Scalars<T> a, const Rows<const T> b, const Rows<T> c, int64_t rows,
                        int64_t inner, int64_t columns, T alpha, bool add = false) {
  const hn::ScalableTag<T> d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t column = 0;
  for (; column + 2 * lanes <= columns; column += 2 * lanes) {
    product_columns<2, false>(d, a, b, c, rows, column, inner, lanes, alpha, add);
  }
  const auto rest = columns - column;
  if (rest > lanes) {
    product_columns<2, true>(d, a, b, c, rows, column, inner, rest - lanes, alpha, add);
  } else if (rest > 0) {
    product_columns<1, true>(d, a, b, c, rows, column, inner, rest, alpha, add);
  }
}

// Not std::fill: a template of the standard library, instantiated here, would be compiled for this
// instruction set and might be the copy that the linker keeps for the whole program.
template <typename T>
HWY_INLINE void set_zero(T* begin, const T* end) {
  for (; begin != end; ++begin) *begin = T{0};
}

template <typename T>
HWY_INLINE void transpose(const Rows<const T> from, int64_t rows, int64_t columns, T* to) {
  for (int64_t i = 0; i < rows; ++i) {
    const T* line = from.data + i * from.stride;
    for (int64_t j = 0; j < columns; ++j) to[j * rows + i] = line[j];
  }
}

// Scores become weights, in place; scores of -infinity alone become zeros. Of a score that is NaN
// or infinity all become NaN: Max and Exp hide it, sums do not, and no differences from the largest
// score, which are 0 or less, cancel each other.
template <typename T>
HWY_INLINE void softmax(T* scores, int64_t count) {
  const hn::ScalableTag<T> d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const auto forbidden = hn::Set(d, kMinusInfinity<T>);
  const auto tail = hn::FirstN(d, static_cast<size_t>(count % lanes));
  const auto whole = count - count % lanes;
  auto most = forbidden;
  for (int64_t s = 0; s < whole; s += lanes) most = hn::Max(most, hn::LoadU(d, scores + s));
  if (whole < count) {
    most = hn::Max(most,
                   hn::IfThenElse(tail, load_first(d, scores + whole, count - whole), forbidden));
  }
  T largest = hn::GetLane(hn::MaxOfLanes(d, most));
  if (largest <= std::numeric_limits<T>::lowest()) {  // from where the portable MaxOfLanes starts
    largest = kMinusInfinity<T>;
    T filling{0};
    for (int64_t s = 0; s < count; ++s) {
      if (scores[s] > largest) largest = scores[s];
      if (scores[s] != kMinusInfinity<T>) filling = scores[s];
    }
    if (largest == kMinusInfinity<T>) {  // nothing to attend to, or NaN, which Max hides
      for (int64_t s = 0; s < count; ++s) scores[s] = filling;
      return;
    }
  }
  const auto shift = hn::Set(d, largest);
  auto sums = hn::Zero(d), differences = hn::Zero(d);
  for (int64_t s = 0; s < whole; s += lanes) {
    const auto difference = hn::Sub(hn::LoadU(d, scores + s), shift);
    const auto value = hn::Exp(d, difference);
    differences = hn::Add(differences, difference);
    sums = hn::Add(sums, value);
    hn::StoreU(value, d, scores + s);
  }
  if (whole < count) {
    const auto difference =
        hn::IfThenElseZero(tail, hn::Sub(load_first(d, scores + whole, count - whole), shift));
    const auto value = hn::IfThenElseZero(tail, hn::Exp(d, difference));
    differences = hn::Add(differences, difference);
    sums = hn::Add(sums, value);
    hn::BlendedStore(value, tail, d, scores + whole);
  }
  const T difference = hn::GetLane(hn::SumOfLanes(d, differences));
  const T sum = hn::GetLane(hn::SumOfLanes(d, sums));
  const auto inverse = hn::Set(d, T{1} / (std::isnan(difference) ? difference : sum));
  for (int64_t s = 0; s < whole; s += lanes) {
    hn::StoreU(hn::Mul(hn::LoadU(d, scores + s), inverse), d, scores + s);
  }
  if (whole < count) {
    hn::BlendedStore(hn::Mul(load_first(d, scores + whole, count - whole), inverse), tail, d,
                     scores + whole);
  }
}

// Adds the mask of row t, then makes the scores weights in place.
template <typename T>
HWY_INLINE void softmax_row(const Attention<T>& a, int64_t batch, int64_t head, int64_t t,
                            T* scores) {
  if (a.bias.data != nullptr) {
    const T* bias = a.bias.data + batch * a.bias.batch_stride + head * a.bias.head_stride +
                    t * a.bias.target_stride;
    for (int64_t s = 0; s < a.source; ++s) scores[s] += bias[s * a.bias.source_stride];
  }
  if (a.allowed.data != nullptr) {
    const bool* allowed = a.allowed.data + batch * a.allowed.batch_stride +
                          head * a.allowed.head_stride + t * a.allowed.target_stride;
    for (int64_t s = 0; s < a.source; ++s) {
      if (!allowed[s * a.allowed.source_stride]) scores[s] = kMinusInfinity<T>;
    }
  }
  // Keys outside the band are zeros, and nobody looks at them.
  const auto diagonal = t + a.source - a.target;
  const auto begin = a.band_left < diagonal ? diagonal - a.band_left : 0;
  const auto end = a.band_right < a.source - 1 - diagonal ? diagonal + a.band_right + 1 : a.source;
  if (begin >= end) {
    set_zero(scores, scores + a.source);
    return;
  }
  set_zero(scores, scores + begin);
  set_zero(scores + end, scores + a.source);
  softmax(scores + begin, end - begin);
}

// The gradient of a row's scores, from that of its weights, in place: w (g - sum of w g) scale.
template <typename T>
HWY_INLINE void softmax_row_backward(const T* weights, T* gradient, int64_t source, T scale) {
  const hn::ScalableTag<T> d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const auto tail = hn::FirstN(d, static_cast<size_t>(source % lanes));
  const auto whole = source - source % lanes;
  auto sums = hn::Zero(d);
  for (int64_t s = 0; s < whole; s += lanes) {
    sums = hn::MulAdd(hn::LoadU(d, weights + s), hn::LoadU(d, gradient + s), sums);
  }
  if (whole < source) {
    sums = hn::MulAdd(load_first(d, weights + whole, source - whole),
                      load_first(d, gradient + whole, source - whole), sums);
  }
  const auto sum = hn::Set(d, hn::GetLane(hn::SumOfLanes(d, sums)));
  const auto factor = hn::Set(d, scale);
  for (int64_t s = 0; s < whole; s += lanes) {
    const auto centred = hn::Sub(hn::LoadU(d, gradient + s), sum);
    hn::StoreU(hn::Mul(hn::Mul(hn::LoadU(d, weights + s), factor), centred), d, gradient + s);
  }
  if (whole < source) {
    const auto centred = hn::Sub(load_first(d, gradient + whole, source - whole), sum);
    hn::BlendedStore(
        hn::Mul(hn::Mul(load_first(d, weights + whole, source - whole), factor), centred), tail, d,
        gradient + whole);
  }
}

template <typename T>
void forward(const Attention<T>& a, HeadRows<T> output, T* weights, int64_t first, int64_t last,
             T* scratch) {
  T* const transposed = scratch;  // [D, S]
  for (int64_t task = first; task < last; ++task) {
    const auto batch = task / a.heads, head = task % a.heads;
    T* const scores = weights == nullptr ? scratch + a.head_dim * a.source
                                         : weights + task * a.target * a.source;  // [T, S]
    const auto shared = head / a.group;
    transpose<T>({a.key.at(batch, shared), a.key.row_stride}, a.source, a.head_dim, transposed);
    product<T>({a.query.at(batch, head), a.query.row_stride, 1}, {transposed, a.source},
               {scores, a.source}, a.target, a.head_dim, a.source, a.scale);
    for (int64_t t = 0; t < a.target; ++t) softmax_row(a, batch, head, t, scores + t * a.source);
    product<T>({scores, a.source, 1}, {a.value.at(batch, shared), a.value.row_stride},
               {output.at(batch, head), output.row_stride}, a.target, a.source, a.value_dim, T{1});
  }
}

template <typename T>
void backward(const Attention<T>& a, const T* weights, HeadRows<const T> output_gradient,
              const T* weights_gradient, const AttentionGradients<T>& gradients, int64_t first,
              int64_t last, T* scratch) {
  T* const transposed = scratch;                       // [Dv, S]
  T* const scores = scratch + a.value_dim * a.source;  // [T, S]
  const auto kv_heads = a.heads / a.group;
  for (int64_t task = first; task < last; ++task) {
    const auto batch = task / kv_heads, shared = task % kv_heads;
    transpose<T>({a.value.at(batch, shared), a.value.row_stride}, a.source, a.value_dim,
                 transposed);
    for (int64_t member = 0; member < a.group; ++member) {
      const auto head = shared * a.group + member;
      const auto begin = (batch * a.heads + head) * a.target * a.source;
      const T* w = weights + begin;
      const T* out = output_gradient.at(batch, head);
      product<T>({out, output_gradient.row_stride, 1}, {transposed, a.source}, {scores, a.source},
                 a.target, a.value_dim, a.source, T{1});
      if (weights_gradient != nullptr) {
        const T* more = weights_gradient + begin;
        for (int64_t i = 0; i < a.target * a.source; ++i) scores[i] += more[i];
      }
      for (int64_t t = 0; t < a.target; ++t) {
        softmax_row_backward(w + t * a.source, scores + t * a.source, a.source, a.scale);
      }
      product<T>({w, 1, a.source}, {out, output_gradient.row_stride},
                 {gradients.value.at(batch, shared), gradients.value.row_stride}, a.source,
                 a.target, a.value_dim, T{1}, member > 0);
      product<T>({scores, a.source, 1}, {a.key.at(batch, shared), a.key.row_stride},
                 {gradients.query.at(batch, head), gradients.query.row_stride}, a.target, a.source,
                 a.head_dim, T{1});
      product<T>({scores, 1, a.source}, {a.query.at(batch, head), a.query.row_stride},
                 {gradients.key.at(batch, shared), gradients.key.row_stride}, a.source, a.target,
                 a.head_dim, T{1}, member > 0);
    }
  }
}

// Highway's tables hold functions, not templates.
void forward_float(const Attention<float>& a, HeadRows<float> output, float* weights, int64_t first,
                   int64_t last, float* scratch) {
  forward(a, output, weights, first, last, scratch);
}
void forward_double(const Attention<double>& a, HeadRows<double> output, double* weights,
                    int64_t first, int64_t last, double* scratch) {
  forward(a, output, weights, first, last, scratch);
}
void backward_float(const Attention<float>& a, const float* weights,
                    HeadRows<const float> output_gradient, const float* weights_gradient,
                    const AttentionGradients<float>& gradients, int64_t first, int64_t last,
                    float* scratch) {
  backward(a, weights, output_gradient, weights_gradient, gradients, first, last, scratch);
}
void backward_double(const Attention<double>& a, const double* weights,
                     HeadRows<const double> output_gradient, const double* weights_gradient,
                     const AttentionGradients<double>& gradients, int64_t first, int64_t last,
                     double* scratch) {
  backward(a, weights, output_gradient, weights_gradient, gradients, first, last, scratch);
}

}  // namespace
}  // namespace attend::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <vector>

namespace attend::kernels {
namespace {

HWY_EXPORT(forward_float);
HWY_EXPORT(forward_double);
HWY_EXPORT(backward_float);
HWY_EXPORT(backward_double);

// One head's transposed keys or values and its scores, made once for all heads of a call.
template <typename T>
std::vector<T> scratch_of(const Attention<T>& a, int64_t transposed_dim) {
  return std::vector<T>(static_cast<size_t>((transposed_dim + a.target) * a.source));
}

}  // namespace

template <>
void attention_forward(const Attention<float>& attention, HeadRows<float> output, float* weights,
                       int64_t first, int64_t last) {
  auto scratch = scratch_of(attention, attention.head_dim);
  HWY_DYNAMIC_DISPATCH(forward_float)(attention, output, weights, first, last, scratch.data());
}
template <>
void attention_forward(const Attention<double>& attention, HeadRows<double> output, double* weights,
                       int64_t first, int64_t last) {
  auto scratch = scratch_of(attention, attention.head_dim);
  HWY_DYNAMIC_DISPATCH(forward_double)(attention, output, weights, first, last, scratch.data());
}
template <>
void attention_backward(const Attention<float>& attention, const float* weights,
                        HeadRows<const float> output_gradient, const float* weights_gradient,
                        const AttentionGradients<float>& gradients, int64_t first, int64_t last) {
  auto scratch = scratch_of(attention, attention.value_dim);
  HWY_DYNAMIC_DISPATCH(backward_float)
  (attention, weights, output_gradient, weights_gradient, gradients, first, last, scratch.data());
}
template <>
void attention_backward(const Attention<double>& attention, const double* weights,
                        HeadRows<const double> output_gradient, const double* weights_gradient,
                        const AttentionGradients<double>& gradients, int64_t first, int64_t last) {
  auto scratch = scratch_of(attention, attention.value_dim);
  HWY_DYNAMIC_DISPATCH(backward_double)
  (attention, weights, output_gradient, weights_gradient, gradients, first, last, scratch.data());
}

}  // namespace attend::kernels
#endif  // HWY_ONCE
