#include "attend/training/worker_group.h"

#include <cstdlib>
#include <optional>
#include <string>

#include "training/gradient_reducer.h"

#ifdef ATTEND_DISTRIBUTED
#define USE_C10D_GLOO
#include <torch/csrc/distributed/c10d/ProcessGroup.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#include <torch/csrc/distributed/c10d/reducer.hpp>

#include "training/nccl_backend.h"
#endif
#ifdef ATTEND_NCCL
#include <dlfcn.h>

#include <filesystem>
#endif

namespace attend {
namespace {

constexpr auto kName = "WorkerGroup";

std::optional<std::string> variable(const char* name) {
  const char* value = std::getenv(name);  // NOLINT(concurrency-mt-unsafe): nobody sets it here
  return value == nullptr || *value == '\0' ? std::nullopt : std::optional<std::string>(value);
}

// A number of the environment in [least, most].
int64_t number(const char* name, int64_t least, int64_t most) {
  const auto text = variable(name);
  TORCH_CHECK_VALUE(text, kName, ": expected the variable ", name,
                    ", which torchrun sets, got none");
  int64_t value = 0;
  size_t used = 0;
  try {
    value = std::stoll(*text, &used);
  } catch (const std::exception&) {
    used = 0;
  }
  TORCH_CHECK_VALUE(used == text->size() && value >= least && value <= most, kName, ": expected ",
                    name, " in [", least, ", ", most, "], got ", *text);
  return value;
}

}  // namespace

#ifdef ATTEND_DISTRIBUTED

struct WorkerGroup::State {
  int64_t rank = 0, size = 1, local_rank = 0;
  c10::intrusive_ptr<c10d::ProcessGroup> group;

  // What a lost process makes c10d say, with who and what was expected.
  template <typename Work>
  void finish(const char* what, const Work& start) const {
    try {
      TORCH_CHECK(start()->wait());
    } catch (const std::exception& error) {
      TORCH_CHECK(false, kName, ": expected all ", size, " processes to take part in ", what,
                  ", process ", rank, " got: ", error.what());
    }
  }
};

namespace {

#ifdef ATTEND_NCCL
// Nothing where no CUDA device is in use. libattend_nccl.so lies beside this library.
c10::intrusive_ptr<c10d::Backend> make_nccl(const NcclArguments& arguments) {
  c10::intrusive_ptr<c10d::Backend> backend;
  if (!torch::cuda::is_available()) return backend;
  Dl_info info{};
  TORCH_INTERNAL_ASSERT(dladdr(reinterpret_cast<const void*>(&make_nccl), &info) != 0);
  const auto file = std::filesystem::path(info.dli_fname).parent_path() / kNcclLibrary;
  auto* library = dlopen(file.c_str(), RTLD_NOW);
  // NOLINTNEXTLINE(concurrency-mt-unsafe): dlerror is of the calling thread.
  TORCH_CHECK(library != nullptr, "expected attend's NCCL backend in ", file.string(),
              ", got: ", dlerror());
  auto* make = reinterpret_cast<MakeNcclBackend>(dlsym(library, kMakeNcclBackend));
  TORCH_INTERNAL_ASSERT(make != nullptr);
  make(arguments, backend);
  return backend;
}
#else
c10::intrusive_ptr<c10d::Backend> make_nccl(const NcclArguments& /*arguments*/) { return {}; }
#endif

// Gloo carries CPU tensors; NCCL those of GPUs, where attend was built with it.
c10::intrusive_ptr<c10d::ProcessGroup> make_group(const c10::intrusive_ptr<c10d::Store>& store,
                                                  int rank, int size,
                                                  std::chrono::milliseconds timeout) {
  using c10d::ProcessGroup;
  auto group = c10::make_intrusive<ProcessGroup>(store, rank, size);
  const auto gloo = c10::make_intrusive<c10d::ProcessGroupGloo>(
      store, rank, size, c10d::ProcessGroupGloo::Options::create_default(timeout));
  group->setBackend(torch::kCPU, ProcessGroup::BackendType::GLOO, gloo);
  group->setDefaultBackend(ProcessGroup::BackendType::GLOO);
  if (const auto nccl = make_nccl({store, rank, size, timeout})) {
    group->setBackend(torch::kCUDA, ProcessGroup::BackendType::NCCL, nccl);
    return group;
  }
  group->setBackend(torch::kCUDA, ProcessGroup::BackendType::GLOO, gloo);
  return group;
}

}  // namespace

WorkerGroup WorkerGroup::from_environment(std::chrono::milliseconds timeout) {
  constexpr int64_t kMost = 1 << 20, kPorts = 65535;
  WorkerGroup result;
  if (!variable("WORLD_SIZE")) return result;
  const auto size = number("WORLD_SIZE", 1, kMost);
  if (size == 1) return result;
  const auto rank = number("RANK", 0, size - 1);
  const auto local_rank = variable("LOCAL_RANK") ? number("LOCAL_RANK", 0, size - 1) : rank;
  const auto port = number("MASTER_PORT", 1, kPorts);
  const auto address = variable("MASTER_ADDR");
  TORCH_CHECK_VALUE(address, kName, ": expected the variable MASTER_ADDR, got none");

  auto state = std::make_shared<State>();
  state->rank = rank;
  state->size = size;
  state->local_rank = local_rank;
  try {
    c10d::TCPStoreOptions options;
    options.port = static_cast<uint16_t>(port);
    // Under torchrun its agent is the one that listens.
    options.isServer = rank == 0 && variable("TORCHELASTIC_USE_AGENT_STORE") != "True";
    options.numWorkers = static_cast<size_t>(size);
    options.waitWorkers = false;
    options.timeout = timeout;
    const auto store = c10::make_intrusive<c10d::TCPStore>(*address, options);
    store->setTimeout(timeout);
    state->group = make_group(store, static_cast<int>(rank), static_cast<int>(size), timeout);
  } catch (const std::exception& error) {
    TORCH_CHECK(false, kName, ": expected ", size, " processes to meet at ", *address, ":", port,
                " within ", timeout.count() / 1000, " s, process ", rank, " got: ", error.what());
  }
  result.state_ = std::move(state);
  return result;
}

int64_t WorkerGroup::rank() const { return state_ ? state_->rank : 0; }
int64_t WorkerGroup::size() const { return state_ ? state_->size : 1; }
int64_t WorkerGroup::local_rank() const { return state_ ? state_->local_rank : 0; }

void WorkerGroup::broadcast(const std::vector<torch::Tensor>& tensors) const {
  if (!state_) return;
  for (const auto& tensor : tensors) {
    std::vector<torch::Tensor> one{tensor};
    state_->finish("a broadcast", [&] { return state_->group->broadcast(one); });
  }
}

void WorkerGroup::sum(torch::Tensor& tensor) const {
  if (!state_) return;
  std::vector<torch::Tensor> one{tensor};
  state_->finish("a sum", [&] { return state_->group->allreduce(one); });
}

void WorkerGroup::max(torch::Tensor& tensor) const {
  if (!state_) return;
  std::vector<torch::Tensor> one{tensor};
  c10d::AllreduceOptions options;
  options.reduceOp = c10d::ReduceOp::MAX;
  state_->finish("a maximum", [&] { return state_->group->allreduce(one, options); });
}

void WorkerGroup::barrier() const {
  if (!state_) return;
  state_->finish("a barrier", [&] { return state_->group->barrier(); });
}

namespace detail {

struct GradientReducer::State {
  WorkerGroup workers;
  std::unique_ptr<c10d::Reducer> reducer;
};

GradientReducer::GradientReducer(const WorkerGroup& workers, const torch::nn::Module& module)
    : state_(std::make_unique<State>(State{workers, nullptr})) {
  if (workers.size() == 1) return;
  std::vector<torch::Tensor> parameters;
  for (const auto& parameter : module.parameters()) {
    if (parameter.requires_grad()) parameters.push_back(parameter);
  }
  {
    const torch::NoGradGuard no_grad;
    std::vector<torch::Tensor> values;
    for (const auto& parameter : module.parameters()) values.push_back(parameter.detach());
    workers.broadcast(values);
  }
  // The first bucket is small, so that sending starts early; sizes as in Python's
  // DistributedDataParallel.
  constexpr size_t kFirstBucket = size_t{1} << 20U, kBucket = size_t{25} << 20U;
  auto [buckets, limits] =
      c10d::compute_bucket_assignment_by_size(parameters, {kFirstBucket, kBucket});
  // Gradients become ready from the last layer to the first.
  std::ranges::reverse(buckets);
  state_->reducer = std::make_unique<c10d::Reducer>(
      parameters, std::move(buckets), workers.state_->group,
      std::vector<bool>(parameters.size(), false), static_cast<int64_t>(kBucket),
      /*find_unused_parameters=*/false, /*gradient_as_bucket_view=*/false,
      std::unordered_map<size_t, std::string>(), static_cast<int64_t>(kFirstBucket),
      /*skip_all_reduce_unused_params=*/false, /*use_python_reducer=*/false,
      std::vector<int64_t>());
}

void GradientReducer::backward(const torch::Tensor& loss) {
  if (!state_->reducer) {
    loss.backward();
    return;
  }
  const auto size = state_->workers.size();
  try {
    state_->reducer->prepare_for_forward();
    state_->reducer->prepare_for_backward(std::vector<torch::Tensor>());
    // The reducer takes the mean over the processes.
    (loss * static_cast<double>(size)).backward();
  } catch (const std::exception& error) {
    TORCH_CHECK(false, "GradientReducer: expected all ", size,
                " processes to send their gradients, process ", state_->workers.rank(),
                " got: ", error.what());
  }
}

}  // namespace detail

#else

struct WorkerGroup::State {};

WorkerGroup WorkerGroup::from_environment(std::chrono::milliseconds /*timeout*/) {
  constexpr int64_t kMost = 1 << 20;
  TORCH_CHECK_VALUE(
      !variable("WORLD_SIZE") || number("WORLD_SIZE", 1, kMost) == 1, kName,
      ": expected one process, since this attend was built without ATTEND_DISTRIBUTED",
      " (it needs libgloo-dev), got WORLD_SIZE ", variable("WORLD_SIZE").value_or(""));
  return {};
}

int64_t WorkerGroup::rank() const { return 0; }
int64_t WorkerGroup::size() const { return 1; }
int64_t WorkerGroup::local_rank() const { return 0; }
void WorkerGroup::broadcast(const std::vector<torch::Tensor>& /*tensors*/) const {}
void WorkerGroup::sum(torch::Tensor& /*tensor*/) const {}
void WorkerGroup::max(torch::Tensor& /*tensor*/) const {}
void WorkerGroup::barrier() const {}

namespace detail {

struct GradientReducer::State {};

GradientReducer::GradientReducer(const WorkerGroup& /*workers*/,
                                 const torch::nn::Module& /*module*/) {}

void GradientReducer::backward(const torch::Tensor& loss) { loss.backward(); }

}  // namespace detail

#endif

detail::GradientReducer::~GradientReducer() = default;

}  // namespace attend
