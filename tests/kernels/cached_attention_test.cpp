#include "kernels/cpu/cached_attention.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/numbers.h"
#include "support/instruction_sets.h"

namespace attend::kernels_test {
namespace {

struct CacheCase {
  int64_t heads, kv_heads, head_dim;
  std::vector<int32_t> counts;
  bool in_place = false;  // keys follow each other
  float soft_cap = 0;
  bool with_slopes = false, with_sinks = false;
  int64_t window = -1;
};

void check_cached(const CacheCase& z) {
  SCOPED_TRACE(testing::Message() << z.heads << " heads of " << z.head_dim << ", cap " << z.soft_cap
                                  << ", window " << z.window);
  constexpr int64_t kBlock = 8, kBlocks = 9, kStride = 200;
  const auto rows = static_cast<int64_t>(z.counts.size()), width = z.heads * z.head_dim;
  const auto query_stride = width + 3;
  auto query = normal<float>(rows * query_stride, 1);
  std::vector<Numbers<float>> keys, values;
  std::vector<const float*> key_blocks, value_blocks;
  for (unsigned b = 0; b < kBlocks; ++b) {
    keys.push_back(normal<float>(kBlock * kStride, 10 + b));
    values.push_back(normal<float>(kBlock * kStride, 50 + b));
  }
  for (auto& block : keys) key_blocks.push_back(block.data());
  for (auto& block : values) value_blocks.push_back(block.data());
  auto slopes = normal<float>(z.heads, 4), sinks = normal<float>(z.heads, 5);
  constexpr int64_t kSlots = 40;
  std::vector<int32_t> slots, first;
  for (int32_t r = 0; r < rows; ++r) {
    first.push_back(5 + 2 * r);
    for (int32_t j = 0; j < kSlots; ++j) {
      slots.push_back(z.in_place ? first.back() + j : (r * 31 + j * 7) % (kBlock * kBlocks));
    }
  }
  const auto cached = [&](std::vector<Numbers<float>>& blocks, int64_t r, int64_t j, int64_t i) {
    const int64_t slot = slots[static_cast<size_t>(r * kSlots + j)];
    return double{blocks[static_cast<size_t>(slot / kBlock)][slot % kBlock * kStride + i]};
  };

  std::vector<double> expected, expected_weights(static_cast<size_t>(rows * kSlots), -7.0);
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t count = z.counts[static_cast<size_t>(r)];
    const auto begin = z.window < 0 ? 0 : std::max<int64_t>(count - 1 - z.window, 0);
    for (int64_t j = 0; j < count; ++j) expected_weights[static_cast<size_t>(r * kSlots + j)] = 0;
    for (int64_t h = 0; h < z.heads; ++h) {
      const auto offset = h * z.kv_heads / z.heads * z.head_dim;
      std::vector<double> weights;
      double sum = z.with_sinks ? std::exp(double{sinks[h]}) : 0.0;
      for (auto j = begin; j < count; ++j) {
        double score = 0;
        for (int64_t i = 0; i < z.head_dim; ++i) {
          score += query[r * query_stride + h * z.head_dim + i] * cached(keys, r, j, offset + i);
        }
        score *= 0.3F;
        if (z.soft_cap > 0) score = z.soft_cap * std::tanh(score / z.soft_cap);
        if (z.with_slopes) score -= slopes[h] * static_cast<double>(count - 1 - j);
        weights.push_back(std::exp(score));
        sum += weights.back();
      }
      for (int64_t i = 0; i < z.head_dim; ++i) {
        double output = 0;
        for (auto j = begin; j < count; ++j) {
          output +=
              weights[static_cast<size_t>(j - begin)] / sum * cached(values, r, j, offset + i);
        }
        expected.push_back(output);
      }
      for (auto j = begin; j < count; ++j) {
        expected_weights[static_cast<size_t>(r * kSlots + j)] +=
            weights[static_cast<size_t>(j - begin)] / sum / static_cast<double>(z.heads);
      }
    }
  }
  Numbers<float> output(rows * width, -1e9F), weights(rows * kSlots, -7.0F);
  kernels::CachedAttention attention{
      .heads = z.heads,
      .kv_heads = z.kv_heads,
      .head_dim = z.head_dim,
      .query = query.data(),
      .query_stride = query_stride,
      .keys = {.blocks = key_blocks.data(), .block = kBlock, .stride = kStride},
      .values = {.blocks = value_blocks.data(), .block = kBlock, .stride = kStride},
      .slots = z.in_place ? nullptr : slots.data(),
      .slots_stride = kSlots,
      .first = first.data(),
      .counts = z.counts.data(),
      .scale = 0.3F,
      .soft_cap = z.soft_cap,
      .slopes = z.with_slopes ? slopes.data() : nullptr,
      .sinks = z.with_sinks ? sinks.data() : nullptr,
      .window = z.window,
      .output = output.data(),
      .mean_weights = weights.data(),
      .weights_stride = kSlots};
  kernels::cached_attention(attention, 1, rows);
  kernels::cached_attention(attention, 0, 1);
  expect_near(output, expected, 60, "output");
  expect_near(weights, expected_weights, 60, "weights");
}

TEST(CachedAttention, IsItsFormula) {
  testing_support::for_each_instruction_set([] {
    check_cached({.heads = 1, .kv_heads = 1, .head_dim = 1, .counts = {1, 0, 40}});
    check_cached({.heads = 3, .kv_heads = 3, .head_dim = 8, .counts = {7, 3, 0, 18}});
    check_cached({.heads = 4, .kv_heads = 2, .head_dim = 33, .counts = {5, 17}});
    check_cached({.heads = 2, .kv_heads = 1, .head_dim = 100, .counts = {4, 39, 1}});
    check_cached({.heads = 1, .kv_heads = 1, .head_dim = 200, .counts = {9, 2}});
    check_cached({.heads = 5, .kv_heads = 5, .head_dim = 16, .counts = {33, 6}, .in_place = true});
  });
}

TEST(CachedAttention, Variants) {
  testing_support::for_each_instruction_set([] {
    const CacheCase plain{.heads = 6, .kv_heads = 3, .head_dim = 20, .counts = {1, 6, 31, 0}};
    auto z = plain;
    z.soft_cap = 1.5F;
    check_cached(z);
    z.with_slopes = true;
    check_cached(z);
    z.with_sinks = true;
    check_cached(z);
    for (const int64_t window : {0, 4, 30, 100}) {
      z.window = window;
      check_cached(z);
    }
    z = plain;
    z.with_slopes = true;
    z.window = 9;
    check_cached(z);
  });
}

}  // namespace
}  // namespace attend::kernels_test
