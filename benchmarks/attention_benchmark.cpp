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
