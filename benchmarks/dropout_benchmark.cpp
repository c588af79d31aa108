// Dropout, forward and backward, beside torch::dropout.
#include <benchmark/benchmark.h>
#include <torch/torch.h>

#include "attend/functional/dropout.h"

namespace {

template <typename Dropout>
void run(benchmark::State& state, const Dropout& dropout) {
  const auto x = torch::randn({1536, state.range(0)}).requires_grad_();
  const auto gradient = torch::randn_like(x);
  for (auto _ : state) {
    benchmark::DoNotOptimize(torch::autograd::grad({dropout(x)}, {x}, {gradient}));
  }
  state.SetItemsProcessed(state.iterations() * x.numel());
}

void attend_dropout(benchmark::State& state) {
  run(state, [](const torch::Tensor& x) { return attend::functional::dropout(x, 0.1); });
}
void torch_dropout(benchmark::State& state) {
  run(state, [](const torch::Tensor& x) { return torch::dropout(x, 0.1, /*train=*/true); });
}
BENCHMARK(attend_dropout)->Arg(128)->Arg(512)->Unit(benchmark::kMicrosecond)->UseRealTime();
BENCHMARK(torch_dropout)->Arg(128)->Arg(512)->Unit(benchmark::kMicrosecond)->UseRealTime();

}  // namespace
