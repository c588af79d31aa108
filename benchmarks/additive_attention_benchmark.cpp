// Additive attention beside its formula, operation by operation, and beside what the values of f alone cost: v . f(q + k)
// of rows in the first cache. To see medians and their spread:
//
//   additive_attention_benchmark --benchmark_repetitions=7 --benchmark_report_aggregates_only=true
//
// items_per_second counts values of f.
#include <benchmark/benchmark.h>
#include <torch/torch.h>

#include "attend/functional/attention.h"

namespace {

using attend::ScoreFunction;

struct Inputs {
  torch::Tensor query, key, vector, value;

  Inputs(int64_t batch, int64_t target, int64_t source, int64_t dim, bool recorded)
      : query(torch::randn({batch, target, dim})),
        key(torch::randn({batch, source, dim})),
        vector(torch::randn({dim}) / std::sqrt(static_cast<double>(dim))),
        value(torch::randn({batch, source, dim})) {
    for (auto* x : {&query, &key, &vector, &value}) x->requires_grad_(recorded);
  }
  int64_t pairs() const { return query.size(0) * query.size(1) * key.size(1); }
};

torch::Tensor formula(const Inputs& in, ScoreFunction function) {
  const auto sums = in.query.unsqueeze(2) + in.key.unsqueeze(1);
  const auto hidden =
      function == ScoreFunction::kTanh ? torch::tanh(sums) : torch::leaky_relu(sums, 0.2);
  return torch::matmul(torch::softmax(torch::matmul(hidden, in.vector), -1), in.value);
}

torch::Tensor fused(const Inputs& in, ScoreFunction function) {
  return attend::functional::additive_attention(in.query, in.key, in.vector, in.value, {},
                                                attend::WeightsRequest::kNone,
                                                {.score_function = function})
      .output;
}

template <typename Attend>
void square(benchmark::State& state, const Attend& attend, ScoreFunction function, bool backward) {
  constexpr int64_t kBatch = 8, kLength = 256;
  const Inputs in(kBatch, kLength, kLength, state.range(0), backward);
  const auto gradient = torch::randn_like(in.query);
  for (auto _ : state) {
    const auto output = attend(in, function);
    if (backward) {
      benchmark::DoNotOptimize(
          torch::autograd::grad({output}, {in.query, in.key, in.vector, in.value}, {gradient}));
    }
  }
  state.SetItemsProcessed(state.iterations() * in.pairs() * state.range(0));
}

void sizes(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgName("dim")->Arg(512)->Arg(64)->Unit(benchmark::kMillisecond)->UseRealTime();
}
BENCHMARK_CAPTURE(square, fused_tanh_forward, fused, ScoreFunction::kTanh, false)->Apply(sizes);
BENCHMARK_CAPTURE(square, fused_leaky_relu_forward, fused, ScoreFunction::kLeakyRelu, false)
    ->Apply(sizes);
BENCHMARK_CAPTURE(square, fused_silu_forward, fused, ScoreFunction::kSilu, false)->Apply(sizes);
BENCHMARK_CAPTURE(square, fused_gelu_forward, fused, ScoreFunction::kGelu, false)->Apply(sizes);
BENCHMARK_CAPTURE(square, eager_tanh_forward, formula, ScoreFunction::kTanh, false)->Apply(sizes);
BENCHMARK_CAPTURE(square, eager_leaky_relu_forward, formula, ScoreFunction::kLeakyRelu, false)
    ->Apply(sizes);
BENCHMARK_CAPTURE(square, fused_tanh_forward_and_backward, fused, ScoreFunction::kTanh, true)
    ->Apply(sizes);
BENCHMARK_CAPTURE(square, fused_leaky_relu_forward_and_backward, fused, ScoreFunction::kLeakyRelu,
                  true)
    ->Apply(sizes);
BENCHMARK_CAPTURE(square, eager_tanh_forward_and_backward, formula, ScoreFunction::kTanh, true)
    ->Apply(sizes);

// 16 queries and 16 keys, which stay in the nearest caches, for every thread.
void limit(benchmark::State& state, ScoreFunction function) {
  const torch::NoGradGuard no_grad;
  constexpr int64_t kBatch = 512;
  Inputs in(kBatch, 16, 16, state.range(0), false);
  in.value = torch::randn({kBatch, 16, 1});
  for (auto _ : state) benchmark::DoNotOptimize(fused(in, function));
  state.SetItemsProcessed(state.iterations() * in.pairs() * state.range(0));
}
BENCHMARK_CAPTURE(limit, tanh, ScoreFunction::kTanh)->Apply(sizes);
BENCHMARK_CAPTURE(limit, leaky_relu, ScoreFunction::kLeakyRelu)->Apply(sizes);

// One query a sentence, as a decoder's step has.
template <typename Attend>
void step(benchmark::State& state, const Attend& attend) {
  const torch::NoGradGuard no_grad;
  constexpr int64_t kSource = 4096, kDim = 512;
  const Inputs in(state.range(0), 1, kSource, kDim, false);
  for (auto _ : state) benchmark::DoNotOptimize(attend(in, ScoreFunction::kTanh));
  state.SetItemsProcessed(state.iterations() * in.pairs() * kDim);
  state.SetBytesProcessed(state.iterations() * 2 * in.key.numel() * 4);
}
BENCHMARK_CAPTURE(step, fused, fused)->ArgName("batch")->Arg(1)->Arg(32)->UseRealTime();
BENCHMARK_CAPTURE(step, eager, formula)->ArgName("batch")->Arg(1)->Arg(32)->UseRealTime();

}  // namespace
