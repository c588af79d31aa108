// Multi-head self-attention beside torch::nn::MultiheadAttention, and the kernel for short sequences
// beside at::scaled_dot_product_attention. To see medians and their spread:
//
//   attention_benchmark --benchmark_repetitions=7 --benchmark_report_aggregates_only=true
#include <benchmark/benchmark.h>
#include <torch/torch.h>

#include "attend/functional/attention.h"
#include "attend/modules/multi_head_self_attention.h"

namespace {

constexpr int64_t kTokens = 1536;  // a batch, whatever the length of its sentences

struct Sizes {
  explicit Sizes(const benchmark::State& state)
      : length(state.range(0)), heads(state.range(1)), head_dim(state.range(2)) {}
  int64_t length, heads, head_dim;
  int64_t batch() const { return std::max<int64_t>(1, kTokens / length); }
  int64_t embed_dim() const { return heads * head_dim; }
};

void sizes(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"length", "heads", "head_dim"})
      ->Unit(benchmark::kMicrosecond)
      ->UseRealTime();
  for (const int64_t length : {8, 16, 32, 64, 128, 256, 512}) {
    benchmark->Args({length, 4, 32});
    benchmark->Args({length, 8, 64});
  }
}

// [B, L, H, D] in memory, seen as [B, H, L, D]: as heads are split.
torch::Tensor heads_of(const Sizes& s) {
  return torch::randn({s.batch(), s.length, s.heads, s.head_dim}).transpose(1, 2);
}

template <typename Attend>
void scaled_dot_product(benchmark::State& state, bool backward, const Attend& attend) {
  const Sizes s(state);
  auto query = heads_of(s), key = heads_of(s), value = heads_of(s);
  for (auto* x : {&query, &key, &value}) x->requires_grad_(backward);
  const auto gradient = heads_of(s);
  for (auto _ : state) {
    const auto output = attend(query, key, value);
    if (backward) {
      benchmark::DoNotOptimize(torch::autograd::grad({output}, {query, key, value}, {gradient}));
    }
  }
}

void with_attend(benchmark::State& state, bool backward) {
  scaled_dot_product(state, backward, [](const auto& q, const auto& k, const auto& v) {
    return attend::functional::scaled_dot_product_attention(q, k, v).output;
  });
}
void with_torch(benchmark::State& state, bool backward) {
  scaled_dot_product(state, backward, [](const auto& q, const auto& k, const auto& v) {
    return at::scaled_dot_product_attention(q, k, v);
  });
}
BENCHMARK_CAPTURE(with_attend, forward, false)->Apply(sizes);
BENCHMARK_CAPTURE(with_torch, forward, false)->Apply(sizes);
BENCHMARK_CAPTURE(with_attend, forward_and_backward, true)->Apply(sizes);
BENCHMARK_CAPTURE(with_torch, forward_and_backward, true)->Apply(sizes);

void causal_sizes(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"length", "heads", "head_dim"})
      ->Unit(benchmark::kMillisecond)
      ->UseRealTime();
  for (const int64_t length : {256, 512, 1024, 2048}) benchmark->Args({length, 8, 64});
}

// Of a causal batch: none are given, all are those of the longest sentence, or each is shorter than the one before.
enum class Lengths { kNone, kEven, kUneven };

void causal(benchmark::State& state, Lengths given, bool backward) {
  constexpr int64_t kSentences = 4;
  const Sizes s(state);
  const auto make = [&] {
    return torch::randn({kSentences, s.length, s.heads, s.head_dim}).transpose(1, 2);
  };
  auto query = make(), key = make(), value = make();
  for (auto* x : {&query, &key, &value}) x->requires_grad_(backward);
  auto mask = attend::AttentionMask::causal();
  if (given != Lengths::kNone) {
    auto lengths = torch::full({kSentences}, s.length, torch::kLong);
    if (given == Lengths::kUneven) {
      lengths -= torch::arange(kSentences) * (s.length / (2 * kSentences));
    }
    mask = mask & attend::AttentionMask::key_lengths(lengths);
  }
  const auto gradient = make();
  for (auto _ : state) {
    const auto output =
        attend::functional::scaled_dot_product_attention(query, key, value, mask).output;
    if (backward) {
      benchmark::DoNotOptimize(torch::autograd::grad({output}, {query, key, value}, {gradient}));
    }
  }
}
BENCHMARK_CAPTURE(causal, forward, Lengths::kNone, false)->Apply(causal_sizes);
BENCHMARK_CAPTURE(causal, even_lengths_forward, Lengths::kEven, false)->Apply(causal_sizes);
BENCHMARK_CAPTURE(causal, uneven_lengths_forward, Lengths::kUneven, false)->Apply(causal_sizes);
BENCHMARK_CAPTURE(causal, forward_and_backward, Lengths::kNone, true)->Apply(causal_sizes);
BENCHMARK_CAPTURE(causal, even_lengths_forward_and_backward, Lengths::kEven, true)
    ->Apply(causal_sizes);
BENCHMARK_CAPTURE(causal, uneven_lengths_forward_and_backward, Lengths::kUneven, true)
    ->Apply(causal_sizes);

void attend_module(benchmark::State& state) {
  const Sizes s(state);
  attend::MultiHeadSelfAttention attention(s.embed_dim(), s.heads);
  const auto x = torch::randn({s.batch(), s.length, s.embed_dim()});
  for (auto _ : state) {
    attention->zero_grad();
    attention(x).output.sum().backward();
  }
}
void torch_module(benchmark::State& state) {
  const Sizes s(state);
  torch::nn::MultiheadAttention attention(s.embed_dim(), s.heads);
  const auto x = torch::randn({s.length, s.batch(), s.embed_dim()});
  for (auto _ : state) {
    attention->zero_grad();
    std::get<0>(attention(x, x, x, torch::Tensor(), /*need_weights=*/false)).sum().backward();
  }
}
BENCHMARK(attend_module)->Apply(sizes);
BENCHMARK(torch_module)->Apply(sizes);

}  // namespace
