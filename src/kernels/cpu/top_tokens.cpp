#include "kernels/cpu/top_tokens.h"

#include <algorithm>
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

HWY_INLINE float largest_of(const float* HWY_RESTRICT x, int64_t size) {
  const Vectors<float> d;
  const auto lanes = lanes_of<float>(), whole = rounded_down<float>(size);
  auto largest = hn::Set(d, kLowest);
  for (int64_t i = 0; i < whole; i += lanes) largest = hn::Max(largest, hn::LoadU(d, x + i));
  float result = hn::GetLane(hn::MaxOfLanes(d, largest));
  for (auto i = whole; i < size; ++i) result = x[i] > result ? x[i] : result;
  return result;
}

// log sum exp(x - largest); NaN where an x is NaN. The same bits as with any number of x = -infinity
// after the last one.
HWY_INLINE float log_sum(const float* HWY_RESTRICT x, int64_t size, float largest) {
  const Vectors<float> d;
  const auto lanes = lanes_of<float>();
  const auto shift = hn::Set(d, largest);
  auto sums = hn::Zero(d), others = hn::Zero(d);
  int64_t i = 0;
  for (; i + 2 * lanes <= size; i += 2 * lanes) {
    sums = hn::Add(sums, exponential(d, hn::Sub(hn::LoadU(d, x + i), shift)));
    others = hn::Add(others, exponential(d, hn::Sub(hn::LoadU(d, x + i + lanes), shift)));
  }
  const auto of_first = [&](int64_t first, int64_t count) HWY_ATTR {
    const auto values = exponential(d, hn::Sub(load_first(d, x + first, count), shift));
    return hn::IfThenElseZero(hn::FirstN(d, static_cast<size_t>(count)), values);
  };
  if (i < size) sums = hn::Add(sums, of_first(i, least(lanes, size - i)));
  if (i + lanes < size) others = hn::Add(others, of_first(i + lanes, size - i - lanes));
  return largest + std::log(hn::GetLane(hn::SumOfLanes(d, hn::Add(sums, others))));
}

// The largest numbers so far, in descending order.
struct Best {
  float* values;
  int32_t* tokens;
  int64_t count, held;

  // What a number has to exceed to be among them.
  float bound() const { return held < count ? kLowest : values[count - 1]; }

  void add(float value, int64_t token) {
    if (held == count && !(value > values[count - 1])) return;
    auto place = held < count ? held++ : count - 1;
    for (; place > 0 && value > values[place - 1]; --place) {
      values[place] = values[place - 1];
      tokens[place] = tokens[place - 1];
    }
    values[place] = value;
    tokens[place] = static_cast<int32_t>(token);
  }
};

void one_row(const TopTokens& top, int64_t row, float* HWY_RESTRICT largest,
             float* HWY_RESTRICT ordered) {
  const Vectors<float> d;
  const auto lanes = lanes_of<float>();
  const float* HWY_RESTRICT logits = top.logits + row * top.size;
  const auto blocks = (top.size + kTopBlock - 1) / kTopBlock;
  float greatest = kLowest;
  for (int64_t b = 0; b < blocks; ++b) {
    largest[b] = largest_of(logits + b * kTopBlock, least(kTopBlock, top.size - b * kTopBlock));
    greatest = largest[b] > greatest ? largest[b] : greatest;
  }
  top.log_sums[row] = log_sum(logits, top.size, greatest);
  // At least `count` logits are no smaller than the count-th largest block.
  float enough = kLowest;
  if (blocks >= top.count) {
    for (int64_t b = 0; b < blocks; ++b) ordered[b] = largest[b];
    std::nth_element(ordered, ordered + top.count - 1, ordered + blocks,
                     [](float x, float y) { return x > y; });
    enough = ordered[top.count - 1];
  }
  Best best{top.values + row * top.count, top.tokens + row * top.count, top.count, 0};
  for (int64_t b = 0; b < blocks; ++b) {
    if (largest[b] < enough || (best.held == top.count && !(largest[b] > best.bound()))) continue;
    const auto first = b * kTopBlock, last = least(first + kTopBlock, top.size);
    for (auto i = first; i < last; i += lanes) {
      const auto values =
          i + lanes <= last ? hn::LoadU(d, logits + i) : load_first(d, logits + i, last - i);
      if (hn::AllTrue(d, hn::Lt(values, hn::Set(d, enough)))) continue;
      for (auto j = i; j < least(i + lanes, last); ++j) {
        if (logits[j] >= enough) best.add(logits[j], j);
      }
    }
  }
  // Only where there is NaN: what is missing.
  while (best.held < top.count) {
    best.values[best.held] = std::numeric_limits<float>::quiet_NaN();
    best.tokens[best.held++] = 0;
  }
}

void all_rows(const TopTokens& top, int64_t first, int64_t last, float* workspace) {
  for (auto row = first; row < last; ++row) {
    one_row(top, row, workspace, workspace + top.size / kTopBlock + 1);
  }
}

}  // namespace
}  // namespace attend::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attend::kernels {
namespace {

HWY_EXPORT(all_rows);

}  // namespace

void top_tokens(const TopTokens& top, int64_t first, int64_t last, float* workspace) {
  HWY_DYNAMIC_DISPATCH(all_rows)(top, first, last, workspace);
}

}  // namespace attend::kernels
#endif  // HWY_ONCE
