#include "functional/cuda_kernels.h"

#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <dlfcn.h>

#include <cstdlib>
#include <filesystem>
#include <string_view>

namespace attend::functional {
namespace {

enum class CudaAdditive { kOff, kExact, kApproximate };

CudaAdditive find_cuda_additive() {
  // NOLINTNEXTLINE(concurrency-mt-unsafe): nobody sets it.
  const char* given = std::getenv("ATTEND_CUDA_ADDITIVE");
  const std::string_view choice(given == nullptr ? "0" : given);
  TORCH_CHECK_VALUE(choice == "0" || choice == "1" || choice == "approximate",
                    "ATTEND_CUDA_ADDITIVE: expected 0, 1 or approximate, got ", choice);
  return choice == "0"   ? CudaAdditive::kOff
         : choice == "1" ? CudaAdditive::kExact
                         : CudaAdditive::kApproximate;
}

CudaAdditive cuda_additive() {
  static const CudaAdditive found = find_cuda_additive();
  return found;
}

// Of libattend_cuda.so, which lies beside this library.
kernels::cuda::AdditiveKernels load_additive_kernels() {
  Dl_info info{};
  TORCH_INTERNAL_ASSERT(dladdr(reinterpret_cast<const void*>(&has_cuda_kernels), &info) != 0);
  const auto file =
      std::filesystem::path(info.dli_fname).parent_path() / kernels::cuda::kCudaLibrary;
  auto* library = dlopen(file.c_str(), RTLD_NOW);
  // NOLINTNEXTLINE(concurrency-mt-unsafe): dlerror is of the calling thread.
  TORCH_CHECK(library != nullptr, "ATTEND_CUDA_ADDITIVE: expected attend's kernels for CUDA in ",
              file.string(), ", got: ", dlerror());
  auto* get = reinterpret_cast<kernels::cuda::GetAdditiveKernels>(
      dlsym(library, kernels::cuda::kGetAdditiveKernels));
  TORCH_INTERNAL_ASSERT(get != nullptr);
  return get();
}

const kernels::cuda::AdditiveKernels& additive_kernels() {
  static const auto found = load_additive_kernels();
  return found;
}

void* current_stream(torch::Device device) {
  return c10::impl::getDeviceGuardImpl(device.type())->getStream(device).native_handle();
}

}  // namespace

bool has_cuda_kernels() {
  if (cuda_additive() == CudaAdditive::kOff) return false;
  additive_kernels();
  return true;
}

CudaKernels cuda_kernels(torch::Device device) {
  return {additive_kernels(), cuda_additive() == CudaAdditive::kApproximate,
          current_stream(device)};
}

bool is_captured(torch::Device device) {
  return additive_kernels().is_captured(current_stream(device));
}

}  // namespace attend::functional
