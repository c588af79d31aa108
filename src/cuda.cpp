#include "attend/cuda.h"

#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/util/Exception.h>
#include <dlfcn.h>

#include <filesystem>
#include <typeinfo>

namespace attend {
namespace {

// The file of the libtorch_cpu.so that this process uses.
std::filesystem::path cpu_half() {
  Dl_info info{};
  const auto* symbol = reinterpret_cast<const void*>(&at::detail::getCUDAHooks);
  TORCH_INTERNAL_ASSERT(dladdr(symbol, &info) != 0);
  return info.dli_fname;
}

// LibTorch looks for the implementation once, and keeps the base class where it finds none.
bool has_cuda_hooks() {
  const at::CUDAHooksInterface& hooks = at::detail::getCUDAHooks();
  return typeid(hooks) != typeid(at::CUDAHooksInterface);
}

}  // namespace

void load_cuda() {
  constexpr auto kName = "libtorch_cuda.so";
  const bool is_loaded = dlopen(kName, RTLD_NOW | RTLD_NOLOAD) != nullptr;
  if (!is_loaded) {
    const auto file = cpu_half().parent_path() / kName;
    // LibTorch's registries hold pointers into it, so it stays until the process ends.
    // NOLINTNEXTLINE(concurrency-mt-unsafe): dlerror is of the calling thread.
    TORCH_CHECK(dlopen(file.c_str(), RTLD_NOW | RTLD_GLOBAL) != nullptr,
                "load_cuda: expected the CUDA half of LibTorch in ", file.string(),
                " (scripts/setup --with-cuda installs it), got: ", dlerror());
  }
  TORCH_CHECK(has_cuda_hooks(),
              "load_cuda: expected to be called before LibTorch is asked about CUDA, ",
              "got a LibTorch that was asked and found none");
}

}  // namespace attend
