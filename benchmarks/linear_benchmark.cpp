// Linear layers by all that LibTorch has for them, beside attend's: rows x inputs x outputs, in
// float32, with what the machine could do at most. To compare, let them take turns:
//
//   linear_benchmark --benchmark_enable_random_interleaving=true --benchmark_repetitions=7
//     --benchmark_report_aggregates_only=true
//
// The number of threads is OMP_NUM_THREADS.
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/native/CPUBlas.h>
#include <benchmark/benchmark.h>
#include <dlfcn.h>
#include <torch/torch.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <optional>
#include <thread>
#include <vector>

#include "attend/functional/linear.h"
#include "machine.h"

namespace {

struct Layer {
  explicit Layer(const benchmark::State& state)
      : rows(state.range(0)), in(state.range(1)), out(state.range(2)) {}
  int64_t rows, in, out;
  torch::Tensor x = torch::randn({rows, in}), weight = torch::randn({out, in}),
                bias = torch::randn({out}), gradient = torch::randn({rows, out});
};

void sizes(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"rows", "in", "out"})
      ->Unit(benchmark::kMicrosecond)
      ->UseRealTime()
      ->ComputeStatistics("least", [](const std::vector<double>& all) {
        return *std::min_element(all.begin(), all.end());
      });
  constexpr std::array<std::array<int64_t, 2>, 7> kLayers{
      {{512, 512}, {512, 1536}, {512, 2048}, {2048, 512}, {512, 32000}, {128, 128}, {128, 512}}};
  for (const auto& [in, out] : kLayers) {
    for (const int64_t rows : {1, 8, 32, 64, 256, 1024, 4096}) benchmark->Args({rows, in, out});
  }
}

void count(benchmark::State& state, const Layer& layer, double products = 1.0) {
  const auto each = static_cast<double>(layer.rows * layer.in * layer.out) * products;
  state.counters["FLOP/s"] = benchmark::Counter(
      2.0 * each, benchmark::Counter::kIsIterationInvariantRate, benchmark::Counter::kIs1000);
  state.counters["weight B/s"] = benchmark::Counter(
      static_cast<double>(layer.in * layer.out) * sizeof(float) * products,
      benchmark::Counter::kIsIterationInvariantRate, benchmark::Counter::kIs1000);
}

torch::Tensor by_attend(const Layer& l) {
  return attend::functional::linear(l.x, l.weight, l.bias);
}

torch::Tensor by_libtorch(const Layer& l) { return at::linear(l.x, l.weight, l.bias); }

// x w^T + b of a weight that lies as it does, which oneDNN copies itself where that is faster.
torch::Tensor onednn(const torch::Tensor& x, const torch::Tensor& weight,
                     const std::optional<torch::Tensor>& bias) {
  using Scalars = c10::List<std::optional<at::Scalar>>;
  using Linear =
      torch::Tensor(const torch::Tensor&, const torch::Tensor&, const std::optional<torch::Tensor>&,
                    c10::string_view, Scalars, std::optional<c10::string_view>);
  static const auto linear = c10::Dispatcher::singleton()
                                 .findSchemaOrThrow("mkldnn::_linear_pointwise", "")
                                 .typed<Linear>();
  return linear.call(x, weight, bias, "none", Scalars(), std::nullopt);
}

torch::Tensor by_onednn(const Layer& l) { return onednn(l.x, l.weight, l.bias); }

template <torch::Tensor (*kBy)(const Layer&)>
void forward(benchmark::State& state) {
  const torch::NoGradGuard no_grad;
  const Layer layer(state);
  for (auto _ : state) benchmark::DoNotOptimize(kBy(layer));
  count(state, layer);
}
BENCHMARK_TEMPLATE(forward, by_attend)->Apply(sizes);
BENCHMARK_TEMPLATE(forward, by_libtorch)->Apply(sizes);
BENCHMARK_TEMPLATE(forward, by_onednn)->Apply(sizes);

// MKL's packed product: the weight is copied once, beforehand, which a layer that learns cannot have.
// Its functions are in LibTorch, but in no header of it.
void forward_by_packed_mkl(benchmark::State& state) {
  using Size = size_t (*)(int, int, int, int);
  using Pack = void (*)(int, int, int, int, int, int, float, const float*, int, float*);
  using Compute = void (*)(int, int, int, int, int, int, const float*, int, const float*, int,
                           float, float*, int);
  // NOLINTBEGIN(cppcoreguidelines-pro-type-reinterpret-cast): what dlsym is for.
  const auto size = reinterpret_cast<Size>(dlsym(RTLD_DEFAULT, "cblas_sgemm_pack_get_size"));
  const auto pack = reinterpret_cast<Pack>(dlsym(RTLD_DEFAULT, "cblas_sgemm_pack"));
  const auto compute = reinterpret_cast<Compute>(dlsym(RTLD_DEFAULT, "cblas_sgemm_compute"));
  // NOLINTEND(cppcoreguidelines-pro-type-reinterpret-cast)
  if (size == nullptr || pack == nullptr || compute == nullptr) {
    state.SkipWithError("this LibTorch has no MKL");
    return;
  }
  constexpr int kByRows = 101, kPlain = 111, kTransposed = 112, kPacked = 151, kB = 162;
  const Layer layer(state);
  const auto rows = static_cast<int>(layer.rows), in = static_cast<int>(layer.in),
             out = static_cast<int>(layer.out);
  const auto packed =
      torch::empty({static_cast<int64_t>(size(kB, rows, out, in) / sizeof(float) + 16)});
  pack(kByRows, kB, kTransposed, rows, out, in, 1.0F, layer.weight.const_data_ptr<float>(), in,
       packed.mutable_data_ptr<float>());
  for (auto _ : state) {
    const auto y = layer.bias.expand({rows, out}).contiguous();
    compute(kByRows, kPlain, kPacked, rows, out, in, layer.x.const_data_ptr<float>(), in,
            packed.const_data_ptr<float>(), out, 1.0F, y.mutable_data_ptr<float>(), out);
  }
  count(state, layer);
}
BENCHMARK(forward_by_packed_mkl)->Apply(sizes);

#ifdef CPUBLAS_BRGEMM_F32F32F32
// oneDNN's small product, of the weight transposed in every call: it takes no other layout. On one
// thread, in blocks of 64 columns.
void forward_by_brgemm(benchmark::State& state) {
  constexpr int64_t kRows = 64, kColumns = 64;
  const torch::NoGradGuard no_grad;
  const Layer l(state);
  const auto panel = torch::empty({l.in, kColumns});
  for (auto _ : state) {
    const auto y = l.bias.expand({l.rows, l.out}).contiguous();
    for (int64_t column = 0; column < l.out; column += kColumns) {
      panel.copy_(l.weight.narrow(0, column, kColumns).t());
      for (int64_t row = 0; row < l.rows; row += kRows) {
        at::native::cpublas::brgemm(std::min(kRows, l.rows - row), kColumns, l.in, l.in, kColumns,
                                    l.out, /*add_C=*/true, l.x.const_data_ptr<float>() + row * l.in,
                                    panel.const_data_ptr<float>(),
                                    y.mutable_data_ptr<float>() + row * l.out + column,
                                    /*is_vnni=*/false);
      }
    }
  }
  at::native::cpublas::brgemm_release(/*is_vnni=*/false);
  count(state, l);
}
BENCHMARK(forward_by_brgemm)->Apply(sizes);
#endif

// Both gradients, of the input and of the weight, by a call of autograd, without the forward pass.
struct OneDnnLinear : torch::autograd::Function<OneDnnLinear> {
  static torch::Tensor forward(torch::autograd::AutogradContext* context, const torch::Tensor& x,
                               const torch::Tensor& weight) {
    context->save_for_backward({x, weight});
    return onednn(x, weight, std::nullopt);
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& gradients) {
    const auto saved = context->get_saved_variables();
    return {onednn(gradients[0], saved[1].t(), std::nullopt),
            onednn(gradients[0].t(), saved[0].t(), std::nullopt)};
  }
};

torch::Tensor product_by_attend(const Layer& l) {
  return attend::functional::linear(l.x, l.weight);
}
torch::Tensor product_by_libtorch(const Layer& l) { return at::linear(l.x, l.weight); }
torch::Tensor product_by_onednn(const Layer& l) { return OneDnnLinear::apply(l.x, l.weight); }

template <torch::Tensor (*kBy)(const Layer&)>
void gradients(benchmark::State& state) {
  Layer layer(state);
  layer.x.requires_grad_();
  layer.weight.requires_grad_();
  const auto y = kBy(layer);
  for (auto _ : state) {
    benchmark::DoNotOptimize(torch::autograd::grad({y}, {layer.x, layer.weight}, {layer.gradient},
                                                   /*retain_graph=*/true));
  }
  count(state, layer, 2.0);
}
BENCHMARK_TEMPLATE(gradients, product_by_attend)->Apply(sizes);
BENCHMARK_TEMPLATE(gradients, product_by_libtorch)->Apply(sizes);
BENCHMARK_TEMPLATE(gradients, product_by_onednn)->Apply(sizes);

// What the machine can do at most, on as many threads.
template <typename F>
void on_each_thread(const F& f) {
  std::vector<std::thread> others;
  const int64_t threads = at::get_num_threads();
  for (int64_t thread = 1; thread < threads; ++thread) others.emplace_back(f, thread, threads);
  f(int64_t{0}, threads);
  for (auto& other : others) other.join();
}

void peak(benchmark::State& state) {
  constexpr int64_t kRounds = 20'000'000;
  std::atomic<int64_t> multiplied = 0;
  for (auto _ : state) {
    on_each_thread([&](int64_t /*thread*/, int64_t /*threads*/) {
      multiplied += attend::benchmarks::multiply_add(kRounds);
    });
  }
  state.counters["FLOP/s"] =
      benchmark::Counter(2.0 * static_cast<double>(multiplied), benchmark::Counter::kIsRate,
                         benchmark::Counter::kIs1000);
}
void memory(benchmark::State& state) {
  const auto x = torch::randn({int64_t{32000} * 512});
  for (auto _ : state) {
    on_each_thread([&](int64_t thread, int64_t threads) {
      const auto part = x.numel() / threads;
      benchmark::DoNotOptimize(
          attend::benchmarks::read_memory(x.const_data_ptr<float>() + thread * part, part));
    });
  }
  state.counters["B/s"] = benchmark::Counter(static_cast<double>(x.nbytes()),
                                             benchmark::Counter::kIsIterationInvariantRate,
                                             benchmark::Counter::kIs1000);
}
BENCHMARK(peak)->Unit(benchmark::kMicrosecond)->UseRealTime();
BENCHMARK(memory)->Unit(benchmark::kMicrosecond)->UseRealTime();

}  // namespace

int main(int argc, char** argv) {
  attend::benchmarks::prepare();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
