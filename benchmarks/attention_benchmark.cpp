// Attention beside LibTorch's: the kernel, the module, a step of decoding, and what the machine can do.
// scripts/benchmark runs it and writes the tables of docs/results.md. Names: <case>/<who>/<length>.
#include <benchmark/benchmark.h>
#include <fmt/format.h>
#include <torch/torch.h>

#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "attend/functional/attention.h"
#include "attend/functional/linear.h"
#include "attend/modules/multi_head_self_attention.h"
#include "machine.h"

namespace {

using attend::AttentionMask;
using torch::Tensor;

constexpr int64_t kHeads = 8, kHeadDim = 64, kEmbedDim = kHeads * kHeadDim, kTokens = 1024;

// A batch has as many tokens, whatever the length of its sentences; long ones are alone.
int64_t batch_of(int64_t length) { return std::max<int64_t>(1, kTokens / length); }

void run(const std::string& name, const std::function<void()>& work) {
  benchmark::RegisterBenchmark(name.c_str(),
                               [work](benchmark::State& state) {
                                 for (auto _ : state) work();
                               })
      ->UseRealTime()
      ->Unit(benchmark::kMicrosecond);
}

// [B, L, H, D] in memory, seen as [B, H, L, D]: as heads are split.
Tensor heads_of(int64_t batch, int64_t length, torch::Dtype type = torch::kFloat) {
  return torch::randn({batch, length, kHeads, kHeadDim}).to(type).transpose(1, 2);
}

using Attend = std::function<Tensor(const Tensor&, const Tensor&, const Tensor&)>;

Attend attends(const AttentionMask& mask = {}, double dropout_p = 0.0) {
  return [=](const Tensor& q, const Tensor& k, const Tensor& v) {
    return attend::functional::scaled_dot_product_attention(
               q, k, v, mask, attend::WeightsRequest::kNone, {.dropout_p = dropout_p})
        .output;
  };
}
Attend torchs(bool is_causal = false, const Tensor& mask = {}) {
  return [=](const Tensor& q, const Tensor& k, const Tensor& v) {
    return at::scaled_dot_product_attention(
        q, k, v, mask.defined() ? std::optional(mask) : std::nullopt, 0.0, is_causal);
  };
}

// Forward, and forward with backward.
void kernel(const std::string& name, const char* who, int64_t batch, int64_t length,
            const Attend& attend, torch::Dtype type = torch::kFloat) {
  const auto make = [&] { return heads_of(batch, length, type); };
  const auto q = make(), k = make(), v = make();
  run(fmt::format("{}/{}/{}", name, who, length), [=] {
    const torch::NoGradGuard no_grad;
    benchmark::DoNotOptimize(attend(q, k, v));
  });
  const auto gradient = make();
  torch::autograd::variable_list leaves;
  for (const auto& x : {q, k, v}) leaves.push_back(x.detach().requires_grad_());
  run(fmt::format("{} with backward/{}/{}", name, who, length), [=] {
    const auto output = attend(leaves[0], leaves[1], leaves[2]);
    benchmark::DoNotOptimize(torch::autograd::grad({output}, leaves, {gradient}));
  });
}

void kernels() {
  for (const int64_t length : {32, 64, 128, 256, 512, 2048, 8192}) {
    const auto batch = batch_of(length);
    kernel("full", "attend", batch, length, attends());
    kernel("full", "LibTorch", batch, length, torchs());
    kernel("causal", "attend", batch, length, attends(AttentionMask::causal()));
    kernel("causal", "LibTorch", batch, length, torchs(true));
  }
  for (const int64_t length : {512, 2048}) {
    constexpr int64_t kSentences = 4;
    const auto lengths = torch::full({kSentences}, length, torch::kLong);
    const auto mask = AttentionMask::causal() & AttentionMask::key_lengths(lengths - 1);
    kernel("causal, 4 sentences", "attend", kSentences, length, attends(AttentionMask::causal()));
    kernel("padded causal, 4 sentences", "attend", kSentences, length, attends(mask));
    const auto dense = torch::ones({length, length}, torch::kBool).tril() &
                       torch::arange(length).lt((lengths - 1).view({-1, 1, 1, 1}));
    kernel("padded causal, 4 sentences", "LibTorch", kSentences, length, torchs(false, dense));
  }
  for (const int64_t length : {2048, 4096, 8192}) {
    kernel("window of 256", "attend", 1, length, attends(AttentionMask::window(255, 0)));
  }
  for (const int64_t length : {128, 512, 2048}) {
    kernel("bfloat16", "attend", batch_of(length), length, attends(), torch::kBFloat16);
    kernel("bfloat16", "LibTorch", batch_of(length), length, torchs(), torch::kBFloat16);
  }
  for (const int64_t length : {128, 512}) {
    kernel("dropout 0.1", "attend", batch_of(length), length, attends({}, 0.1));
  }
}

// A bias [1, H, T, S] that learns, as those of relative positions do.
void learned_bias() {
  for (const int64_t length : {128, 512}) {
    const auto batch = batch_of(length);
    torch::autograd::variable_list leaves{torch::randn({1, kHeads, length, length})};
    for (int i = 0; i < 3; ++i) leaves.push_back(heads_of(batch, length));
    for (auto& x : leaves) x.requires_grad_();
    const auto gradient = heads_of(batch, length);
    run(fmt::format("learned bias with backward/attend/{}", length), [=] {
      const auto output = attend::functional::scaled_dot_product_attention(
                              leaves[1], leaves[2], leaves[3], AttentionMask(leaves[0]))
                              .output;
      benchmark::DoNotOptimize(torch::autograd::grad({output}, leaves, {gradient}));
    });
  }
}

// The output and the weights, and with the gradient of both.
void weights() {
  for (const int64_t length : {128, 512, 2048}) {
    const auto batch = batch_of(length);
    const auto q = heads_of(batch, length), k = heads_of(batch, length),
               v = heads_of(batch, length);
    torch::autograd::variable_list leaves;
    for (const auto& x : {q, k, v}) leaves.push_back(x.detach().requires_grad_());
    for (const auto kind : {attend::WeightsRequest::kPerHead, attend::WeightsRequest::kMean}) {
      const auto* const name = kind == attend::WeightsRequest::kMean ? "mean weights" : "weights";
      run(fmt::format("{}/attend/{}", name, length), [=] {
        const torch::NoGradGuard no_grad;
        benchmark::DoNotOptimize(
            attend::functional::scaled_dot_product_attention(q, k, v, {}, kind));
      });
      run(fmt::format("{} with backward/attend/{}", name, length), [=] {
        const auto [output, found] = attend::functional::scaled_dot_product_attention(
            leaves[0], leaves[1], leaves[2], {}, kind);
        benchmark::DoNotOptimize(
            torch::autograd::grad({output.sum() + found.square().sum()}, leaves));
      });
    }
  }
}

// One query of a sequence whose keys lie in a cache.
void decoding() {
  constexpr int64_t kSource = 4096;
  for (const int64_t batch : {1, 32}) {
    for (const auto type : {torch::kFloat, torch::kBFloat16}) {
      const auto query = heads_of(batch, 1, type);
      const auto key = torch::randn({batch, kHeads, kSource, kHeadDim}).to(type),
                 value = torch::randn_like(key);
      const auto* const name = type == torch::kFloat ? "decoding step" : "bfloat16 decoding step";
      for (const auto& [who, attend] :
           {std::pair{"attend", attends()}, std::pair{"LibTorch", torchs()}}) {
        run(fmt::format("{}/{}/{}", name, who, batch), [=, attend = attend] {
          const torch::NoGradGuard no_grad;
          benchmark::DoNotOptimize(attend(query, key, value));
        });
      }
    }
  }
}

// Of a module [B, T, E] -> [B, T, E], forward, and forward with backward.
void module(const char* who, int64_t length, const std::function<Tensor(const Tensor&)>& forward,
            const std::vector<Tensor>& parameters) {
  const auto x = torch::randn({batch_of(length), length, kEmbedDim});
  run(fmt::format("module/{}/{}", who, length), [=] {
    const torch::NoGradGuard no_grad;
    benchmark::DoNotOptimize(forward(x));
  });
  auto leaves = parameters;
  leaves.push_back(x.clone().requires_grad_());
  const auto gradient = torch::randn_like(x);
  run(fmt::format("module with backward/{}/{}", who, length), [=] {
    benchmark::DoNotOptimize(torch::autograd::grad({forward(leaves.back())}, leaves, {gradient}, {},
                                                   false, /*allow_unused=*/true));
  });
}

void modules() {
  for (const int64_t length : {32, 64, 128, 512, 2048, 8192}) {
    attend::MultiHeadSelfAttention ours(kEmbedDim, kHeads);
    module(
        "attend", length, [ours](const Tensor& x) mutable { return ours(x).output; },
        ours->parameters());
    attend::MultiHeadSelfAttention by_distance(attend::MultiHeadAttentionOptions(kEmbedDim, kHeads)
                                                   .relative_bias(attend::RelativeBiasOptions{}));
    module(
        "attend, relative bias", length,
        [by_distance](const Tensor& x) mutable { return by_distance(x).output; },
        by_distance->parameters());
    torch::nn::MultiheadAttention theirs(kEmbedDim, kHeads);
    if (length <= 2048) {  // it holds all scores
      module(
          "torch::nn", length,
          [theirs](const Tensor& x) mutable {
            const auto turned = x.transpose(0, 1);
            return std::get<0>(theirs(turned, turned, turned, Tensor(), /*need_weights=*/false))
                .transpose(0, 1);
          },
          theirs->parameters());
    }
    std::vector<torch::nn::Linear> linears;
    std::vector<Tensor> parameters;
    for (int i = 0; i < 4; ++i) {
      linears.emplace_back(kEmbedDim, kEmbedDim);
      for (const auto& p : linears.back()->parameters()) parameters.push_back(p);
    }
    module(
        "linears and LibTorch's attention", length,
        [linears](const Tensor& x) mutable {
          const auto split = [&](int i) {
            return linears[i](x).view({x.size(0), x.size(1), kHeads, kHeadDim}).transpose(1, 2);
          };
          const auto output = at::scaled_dot_product_attention(split(0), split(1), split(2));
          return linears[3](output.transpose(1, 2).flatten(2));
        },
        parameters);
    module(
        "attend's four products alone", length,
        [linears](const Tensor& x) mutable {
          const auto by = [&](int i, const Tensor& y) {
            return attend::functional::linear(y, linears[i]->weight, linears[i]->bias);
          };
          return by(3, by(0, x) + by(1, x) + by(2, x));
        },
        parameters);
  }
}

// On all threads at once.
void on_threads(const std::function<void(int)>& work) {
  std::vector<std::thread> threads;
  for (int i = 0; i < at::get_num_threads(); ++i) threads.emplace_back(work, i);
  for (auto& thread : threads) thread.join();
}

void machine() {
  benchmark::RegisterBenchmark("machine/GFLOP/s", [](benchmark::State& state) {
    int64_t done = 0;
    for (auto _ : state) {
      std::vector<int64_t> counts(at::get_num_threads());
      on_threads([&](int i) { counts[i] = attend::benchmarks::multiply_add(20'000'000); });
      for (const auto count : counts) done += count;
    }
    state.counters["rate"] =
        benchmark::Counter(2e-9 * static_cast<double>(done), benchmark::Counter::kIsRate);
  })->UseRealTime();
  benchmark::RegisterBenchmark("machine/GB/s", [](benchmark::State& state) {
    const int64_t share = int64_t{1} << 26U;
    const auto numbers = torch::ones({at::get_num_threads(), share});
    double done = 0;
    for (auto _ : state) {
      on_threads([&](int i) {
        benchmark::DoNotOptimize(
            attend::benchmarks::read_memory(numbers[i].const_data_ptr<float>(), share));
      });
      done += 4e-9 * static_cast<double>(numbers.numel());
    }
    state.counters["rate"] = benchmark::Counter(done, benchmark::Counter::kIsRate);
  })->UseRealTime();
}

}  // namespace

int main(int argc, char** argv) {
  attend::benchmarks::prepare();
  torch::manual_seed(1);
  machine();
  kernels();
  learned_bias();
  weights();
  decoding();
  modules();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
}
