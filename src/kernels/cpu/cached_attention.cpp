#include "kernels/cpu/cached_attention.h"

#include <limits>
#include <new>

#include <hwy/aligned_allocator.h>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/cached_attention.cpp"
#include "kernels/cpu/targets-inl.h"
// After it, since they are compiled once for each set too.
#include "kernels/cpu/exponential-inl.h"
#include "kernels/cpu/partial-inl.h"
#include "kernels/cpu/score_functions-inl.h"
#include "kernels/cpu/vectors-inl.h"

HWY_BEFORE_NAMESPACE();
namespace attend::kernels::HWY_NAMESPACE {
namespace {

// Keys whose products are summed side by side.
constexpr int64_t kKeysAtOnce = 4;
constexpr int64_t kMostVectors = 8;  // of an output that is kept in registers

// The work memory of a row: where its keys and values lie, and scores, filled up to whole vectors.
struct RowMemory {
  const float** keys;
  const float** values;
  float* scores;
};

// One row, and one head of it: `count` keys from the first that it sees.
struct OneHead {
  const CachedAttention& a;
  const RowMemory& memory;
  int64_t row, head, count;

  HWY_INLINE int64_t offset() const { return head * a.kv_heads / a.heads * a.head_dim; }
  HWY_INLINE const float* query() const {
    return a.query + row * a.query_stride + head * a.head_dim;
  }
  HWY_INLINE float* output() const { return a.output + (row * a.heads + head) * a.head_dim; }
};

// The sums of the lanes of four vectors.
HWY_INLINE void sum_lanes(hn::Vec<Vectors<float>> a, hn::Vec<Vectors<float>> b,
                          hn::Vec<Vectors<float>> c, hn::Vec<Vectors<float>> e,
                          float* HWY_RESTRICT sums) {
#if HWY_TARGET == HWY_SCALAR
  sums[0] = hn::GetLane(a);
  sums[1] = hn::GetLane(b);
  sums[2] = hn::GetLane(c);
  sums[3] = hn::GetLane(e);
#else
  const Vectors<float> d;
  const hn::RepartitionToWide<Vectors<float>> pairs;
  const auto of_two = [&](auto x, auto y) HWY_ATTR {
    return hn::BitCast(pairs, hn::Add(hn::InterleaveLower(d, x, y), hn::InterleaveUpper(d, x, y)));
  };
  const auto ab = of_two(a, b), ce = of_two(c, e);
  // Each block of 128 bits holds a part of all four sums.
  const auto blocks = hn::Add(hn::BitCast(d, hn::InterleaveLower(pairs, ab, ce)),
                              hn::BitCast(d, hn::InterleaveUpper(pairs, ab, ce)));
  HWY_ALIGN float parts[64 / sizeof(float)];
  hn::Store(blocks, d, parts);
  const hn::CappedTag<float, 4> four;
  auto sum = hn::Load(four, parts);
  for (int64_t i = 4; i < lanes_of<float>(); i += 4) sum = hn::Add(sum, hn::Load(four, parts + i));
  hn::StoreU(sum, four, sums);
#endif
}

template <int64_t kKeys>
HWY_INLINE void dots(const OneHead& of, int64_t j) {
  const Vectors<float> d;
  const auto lanes = lanes_of<float>(), size = of.a.head_dim, whole = rounded_down<float>(size);
  const float* HWY_RESTRICT query = of.query();
  const float* keys[kKeys];
  hn::Vec<Vectors<float>> sums[kKeys];
  HWY_UNROLL(4)
  for (int64_t n = 0; n < kKeys; ++n) {
    keys[n] = of.memory.keys[j + n] + of.offset();
    sums[n] = hn::Zero(d);
  }
  for (int64_t i = 0; i < whole; i += lanes) {
    const auto q = hn::LoadU(d, query + i);
    HWY_UNROLL(4)
    for (int64_t n = 0; n < kKeys; ++n) {
      sums[n] = hn::MulAdd(q, hn::LoadU(d, keys[n] + i), sums[n]);
    }
  }
  if (whole < size) {
    const auto q = load_first(d, query + whole, size - whole);
    HWY_UNROLL(4)
    for (int64_t n = 0; n < kKeys; ++n) {
      sums[n] = hn::MulAdd(q, load_first(d, keys[n] + whole, size - whole), sums[n]);
    }
  }
  if constexpr (kKeys == kKeysAtOnce) {
    sum_lanes(sums[0], sums[1], sums[2], sums[3], of.memory.scores + j);
  } else {
    of.memory.scores[j] = hn::GetLane(hn::SumOfLanes(d, sums[0]));
  }
}

// Scores become exponentials, whose sum is to be divided by; returns its inverse.
HWY_INLINE float softmax(const OneHead& of) {
  const Vectors<float> d;
  const auto& a = of.a;
  const auto lanes = lanes_of<float>();
  float* const scores = of.memory.scores;
  const auto end = rounded_up<float>(of.count);
  fill(scores, of.count, end, -std::numeric_limits<float>::infinity());
  const auto scale = hn::Set(d, a.scale);
  auto largest =
      hn::Set(d, a.sinks != nullptr ? a.sinks[of.head] : -std::numeric_limits<float>::infinity());
  // ALiBi: the last key has distance 0.
  const auto slope = hn::Set(d, a.slopes != nullptr ? a.slopes[of.head] : 0.0F);
  const auto last = hn::Set(d, static_cast<float>(of.count - 1));
  for (int64_t j = 0; j < end; j += lanes) {
    auto score = hn::Mul(hn::LoadU(d, scores + j), scale);
    if (a.soft_cap > 0.0F) {
      const auto capped = tanh_of(d, hn::Mul(score, hn::Set(d, 1.0F / a.soft_cap)));
      const auto real = hn::FirstN(d, static_cast<size_t>(least(of.count - j, lanes)));
      score = hn::IfThenElse(real, hn::Mul(hn::Set(d, a.soft_cap), capped), score);
    }
    if (a.slopes != nullptr) {
      score = hn::NegMulAdd(slope, hn::Sub(last, hn::Iota(d, static_cast<float>(j))), score);
    }
    largest = hn::Max(largest, score);
    hn::StoreU(score, d, scores + j);
  }
  const auto shift = hn::MaxOfLanes(d, largest);
  auto sums = hn::Zero(d);
  for (int64_t j = 0; j < end; j += lanes) {
    const auto weight = exponential(d, hn::Sub(hn::LoadU(d, scores + j), shift));
    hn::StoreU(weight, d, scores + j);
    sums = hn::Add(sums, weight);
  }
  float sum = hn::GetLane(hn::SumOfLanes(d, sums));
  if (a.sinks != nullptr) {
    sum += hn::GetLane(exponential(d, hn::Sub(hn::Set(d, a.sinks[of.head]), shift)));
  }
  return 1.0F / sum;
}

// The output's vectors from `first` on, `size` elements of them.
template <int64_t kVectors>
HWY_INLINE void weighted(const OneHead& of, float inverse, int64_t first, int64_t size) {
  const Vectors<float> d;
  const auto lanes = lanes_of<float>();
  const auto offset = of.offset() + first;
  float* const to = of.output() + first;
  hn::Vec<Vectors<float>> sums[kVectors];
  for (auto& sum : sums) sum = hn::Zero(d);
  if (size == kVectors * lanes) {
    for (int64_t j = 0; j < of.count; ++j) {
      const float* HWY_RESTRICT value = of.memory.values[j] + offset;
      const auto weight = hn::Set(d, of.memory.scores[j]);
      for (int64_t v = 0; v < kVectors; ++v) {
        sums[v] = hn::MulAdd(weight, hn::LoadU(d, value + v * lanes), sums[v]);
      }
    }
    for (int64_t v = 0; v < kVectors; ++v) {
      hn::StoreU(hn::Mul(sums[v], hn::Set(d, inverse)), d, to + v * lanes);
    }
    return;
  }
  for (int64_t j = 0; j < of.count; ++j) {
    const float* value = of.memory.values[j] + offset;
    const auto weight = hn::Set(d, of.memory.scores[j]);
    for (int64_t v = 0; v < kVectors; ++v) {
      const auto here = least(lanes, size - v * lanes);
      if (here > 0) sums[v] = hn::MulAdd(weight, load_first(d, value + v * lanes, here), sums[v]);
    }
  }
  HWY_ALIGN float part[64 / sizeof(float)];
  for (int64_t v = 0; v < kVectors; ++v) {
    hn::Store(hn::Mul(sums[v], hn::Set(d, inverse)), d, part);
    const auto here = least(lanes, size - v * lanes);
    for (int64_t i = 0; i < here; ++i) to[v * lanes + i] = part[i];
  }
}

HWY_INLINE void one_head(const OneHead& of, float* HWY_RESTRICT mean_weights) {
  int64_t j = 0;
  for (; j + kKeysAtOnce <= of.count; j += kKeysAtOnce) dots<kKeysAtOnce>(of, j);
  for (; j < of.count; ++j) dots<1>(of, j);
  const auto inverse = softmax(of);
  const auto step = kMostVectors * lanes_of<float>();
  for (int64_t first = 0; first < of.a.head_dim; first += step) {
    const auto size = least(step, of.a.head_dim - first);
    const auto vectors = (size + lanes_of<float>() - 1) / lanes_of<float>();
    if (vectors == 1) {
      weighted<1>(of, inverse, first, size);
    } else if (vectors == 2) {
      weighted<2>(of, inverse, first, size);
    } else if (vectors <= 4) {
      weighted<4>(of, inverse, first, size);
    } else {
      weighted<kMostVectors>(of, inverse, first, size);
    }
  }
  if (mean_weights == nullptr) return;
  const float share = inverse / static_cast<float>(of.a.heads);
  for (int64_t i = 0; i < of.count; ++i) mean_weights[i] += of.memory.scores[i] * share;
}

void rows(const CachedAttention& a, int64_t first, int64_t last) {
  int64_t longest = 1;
  for (auto row = first; row < last; ++row) longest = most(longest, a.counts[row]);
  const auto scores = hwy::AllocateAligned<float>(static_cast<size_t>(rounded_up<float>(longest)));
  const auto places = hwy::AllocateAligned<const float*>(static_cast<size_t>(2 * longest));
  if (scores == nullptr || places == nullptr) throw std::bad_alloc();
  const RowMemory memory{places.get(), places.get() + longest, scores.get()};
  for (auto row = first; row < last; ++row) {
    const int64_t count = a.counts[row];
    const auto begin = a.window < 0 ? 0 : most(0, count - 1 - a.window);
    float* const mean =
        a.mean_weights == nullptr ? nullptr : a.mean_weights + row * a.weights_stride;
    if (mean != nullptr) fill(mean, 0, count, 0.0F);
    if (begin >= count) {
      fill(a.output + row * a.heads * a.head_dim, 0, a.heads * a.head_dim, 0.0F);
      continue;
    }
    for (auto j = begin; j < count; ++j) {
      const int64_t slot =
          a.slots != nullptr ? a.slots[row * a.slots_stride + j] : a.first[row] + j;
      memory.keys[j - begin] = a.keys.at(slot);
      memory.values[j - begin] = a.values.at(slot);
    }
    for (int64_t head = 0; head < a.heads; ++head) {
      one_head({a, memory, row, head, count - begin}, mean == nullptr ? nullptr : mean + begin);
    }
  }
}

}  // namespace
}  // namespace attend::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attend::kernels {
namespace {

HWY_EXPORT(rows);

}  // namespace

void cached_attention(const CachedAttention& attention, int64_t first, int64_t last) {
  HWY_DYNAMIC_DISPATCH(rows)(attention, first, last);
}

}  // namespace attend::kernels
#endif  // HWY_ONCE
