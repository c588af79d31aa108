#include "kernels/cpu/top_tokens.h"

#include <cmath>
#include <limits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/top_tokens.cpp"
#include "kernels/cpu/targets-inl.h"
// After it, since they are compiled once for each set too.
#include "kernels/cpu/exponential-inl.h"
#include "kernels/cpu/partial-inl.h"
#include "kernels/cpu/vectors-inl.h"

HWY_BEFORE_NAMESPACE();
namespace attend::kernels::HWY_NAMESPACE {
namespace {

constexpr float kLowest = -std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

// NaN where an x is NaN.
HWY_INLINE float largest_of(const float* HWY_RESTRICT x, int64_t size) {
  const Vectors<float> d;
  const auto lanes = lanes_of<float>(), whole = rounded_down<float>(size);
  auto largest = hn::Set(d, kLowest);
  auto is_nan = hn::IsNaN(largest);
  for (int64_t i = 0; i < whole; i += lanes) {
    const auto numbers = hn::LoadU(d, x + i);
    largest = hn::Max(largest, numbers);
    is_nan = hn::Or(is_nan, hn::IsNaN(numbers));
  }
  float result = hn::AllFalse(d, is_nan) ? hn::GetLane(hn::MaxOfLanes(d, largest)) : kNaN;
  for (auto i = whole; i < size; ++i) result = x[i] > result || std::isnan(x[i]) ? x[i] : result;
  return result;
}

// Where nothing is possible differences from the largest would be NaN.
HWY_INLINE float shift_of(float largest) { return largest == kLowest ? 0.0F : largest; }

// sum exp(x - shift); NaN where an x is NaN. The same bits as with any number of x = -infinity after the
// last one.
HWY_INLINE float exponential_sum(const float* HWY_RESTRICT x, int64_t size, float shift) {
  const Vectors<float> d;
  const auto lanes = lanes_of<float>();
  const auto shifts = hn::Set(d, shift);
  auto sums = hn::Zero(d), others = hn::Zero(d);
  int64_t i = 0;
  for (; i + 2 * lanes <= size; i += 2 * lanes) {
    sums = hn::Add(sums, exponential(d, hn::Sub(hn::LoadU(d, x + i), shifts)));
    others = hn::Add(others, exponential(d, hn::Sub(hn::LoadU(d, x + i + lanes), shifts)));
  }
  const auto of_first = [&](int64_t first, int64_t count) HWY_ATTR {
    const auto values = exponential(d, hn::Sub(load_first(d, x + first, count), shifts));
    return hn::IfThenElseZero(hn::FirstN(d, static_cast<size_t>(count)), values);
  };
  if (i < size) sums = hn::Add(sums, of_first(i, least(lanes, size - i)));
  if (i + lanes < size) others = hn::Add(others, of_first(i + lanes, size - i - lanes));
  return hn::GetLane(hn::SumOfLanes(d, hn::Add(sums, others)));
}

// Puts a number where it belongs among numbers in descending order, if it does; of equal ones the
// first token comes first.
HWY_INLINE void put(float value, int64_t token, int64_t count, float* HWY_RESTRICT values,
                    int64_t* HWY_RESTRICT tokens) {
  const auto precedes = [&](int64_t i) {
    return value > values[i] || (value == values[i] && token < tokens[i]);
  };
  if (!precedes(count - 1)) return;
  auto place = count - 1;
  for (; place > 0 && precedes(place - 1); --place) {
    values[place] = values[place - 1];
    tokens[place] = tokens[place - 1];
  }
  values[place] = value;
  tokens[place] = token;
}

void put_all(const float* HWY_RESTRICT x, int64_t size, int64_t first_token, int64_t count,
             float* HWY_RESTRICT values, int64_t* HWY_RESTRICT tokens) {
  const Vectors<float> d;
  const auto lanes = lanes_of<float>();
  for (int64_t i = 0; i < size; i += lanes) {
    const auto here = least(lanes, size - i);
    const auto numbers = here == lanes ? hn::LoadU(d, x + i) : load_first(d, x + i, here);
    const auto bound = hn::Set(d, values[count - 1]);
    if (here == lanes && hn::AllFalse(d, hn::Gt(numbers, bound))) continue;
    for (auto j = i; j < i + here; ++j) put(x[j], first_token + j, count, values, tokens);
  }
}

void add_part(const TopTokens& top, int64_t rows, int64_t part, float* logits, int64_t stride) {
  const auto first_token = part * kTopPart, size = least(kTopPart, top.size - first_token);
  const auto parts = top_parts(top.size);
  const auto* excluded = top.excluded;
  auto excluded_count = top.excluded_count;
  for (; excluded_count > 0 && *excluded < first_token; ++excluded) --excluded_count;
  while (excluded_count > 0 && excluded[excluded_count - 1] >= first_token + size) --excluded_count;
  for (int64_t row = 0; row < rows; ++row) {
    float* const x = logits + row * stride;
    const auto exclude = [&] {
      for (int64_t i = 0; i < excluded_count; ++i) x[excluded[i] - first_token] = kLowest;
    };
    if (!top.sums_excluded) exclude();
    const auto largest = largest_of(x, size);
    if (top.sums != nullptr) {
      top.largest[row * parts + part] = largest;
      top.sums[row * parts + part] = exponential_sum(x, size, shift_of(largest));
    }
    if (top.sums_excluded) exclude();
    float* const values = top.values + row * top.count;
    if (std::isnan(largest)) values[0] = kNaN;
    if (!(largest > values[top.count - 1])) continue;
    put_all(x, size, first_token, top.count, values, top.tokens + row * top.count);
  }
}

void add_others(const TopTokens& top, int64_t rows, const TopTokens& others) {
  for (int64_t row = 0; row < rows; ++row) {
    const auto at = row * top.count;
    if (std::isnan(others.values[at])) top.values[at] = kNaN;
    for (auto i = at; i < at + top.count; ++i) {
      put(others.values[i], others.tokens[i], top.count, top.values + at, top.tokens + at);
    }
  }
}

float log_sum(const float* HWY_RESTRICT largest, const float* HWY_RESTRICT sums, int64_t parts) {
  const Vectors<float> d;
  const auto lanes = lanes_of<float>();
  const float shift = shift_of(largest_of(largest, parts));
  auto total = hn::Zero(d);
  for (int64_t i = 0; i < parts; i += lanes) {
    const auto here = least(lanes, parts - i);
    const auto factors =
        exponential(d, hn::Sub(load_first(d, largest + i, here), hn::Set(d, shift)));
    total = hn::Add(total, hn::IfThenElseZero(hn::FirstN(d, static_cast<size_t>(here)),
                                              hn::Mul(factors, load_first(d, sums + i, here))));
  }
  return shift + std::log(hn::GetLane(hn::SumOfLanes(d, total)));
}

}  // namespace
}  // namespace attend::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attend::kernels {
namespace {

HWY_EXPORT(add_part);
HWY_EXPORT(add_others);
HWY_EXPORT(log_sum);

}  // namespace

void clear_top_tokens(const TopTokens& top, int64_t rows) {
  for (int64_t i = 0; i < rows * top.count; ++i) {
    top.values[i] = -std::numeric_limits<float>::infinity();
    top.tokens[i] = 0;
  }
}

void add_top_part(const TopTokens& top, int64_t rows, int64_t part, float* logits, int64_t stride) {
  HWY_DYNAMIC_DISPATCH(add_part)(top, rows, part, logits, stride);
}

void add_top_tokens(const TopTokens& top, int64_t rows, const TopTokens& others) {
  HWY_DYNAMIC_DISPATCH(add_others)(top, rows, others);
}

float top_log_sum(const TopTokens& top, int64_t row) {
  const auto parts = top_parts(top.size);
  return HWY_DYNAMIC_DISPATCH(log_sum)(top.largest + row * parts, top.sums + row * parts, parts);
}

}  // namespace attend::kernels
#endif  // HWY_ONCE
