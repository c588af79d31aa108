#include "inference/cuda_graph.h"

#include <dlfcn.h>

#include <filesystem>

namespace attend::detail {
namespace {

// Of libattend_graphs.so, which lies beside this library.
RecordCudaGraph load_record_cuda_graph() {
  Dl_info info{};
  TORCH_INTERNAL_ASSERT(dladdr(reinterpret_cast<const void*>(&record), &info) != 0);
  const auto file = std::filesystem::path(info.dli_fname).parent_path() / kGraphsLibrary;
  auto* library = dlopen(file.c_str(), RTLD_NOW);
  // NOLINTNEXTLINE(concurrency-mt-unsafe): dlerror is of the calling thread.
  TORCH_CHECK(library != nullptr,
              "GraphedDecoder: expected an attend built with the CUDA toolkit, with ",
              file.string(), ", got: ", dlerror());
  auto* found = reinterpret_cast<RecordCudaGraph>(dlsym(library, kRecordCudaGraph));
  TORCH_INTERNAL_ASSERT(found != nullptr);
  return found;
}

}  // namespace

std::unique_ptr<RecordedWork> record(const std::function<void()>& work, torch::Device device) {
  if (!device.is_cuda()) return nullptr;
  static const auto record_cuda_graph = load_record_cuda_graph();
  std::unique_ptr<RecordedWork> result;
  record_cuda_graph(work, device, result);
  return result;
}

}  // namespace attend::detail
