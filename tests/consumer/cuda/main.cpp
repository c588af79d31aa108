// Says whether the CUDA half of LibTorch is there. Arguments, in their order: `ask` asks LibTorch
// about CUDA, `load` calls load_cuda().
#include <ATen/detail/CUDAHooksInterface.h>
#include <attend/cuda.h>
#include <c10/util/Exception.h>

#include <iostream>
#include <string_view>

int main(int argc, char** argv) try {
  for (int i = 1; i < argc; ++i) {
    if (std::string_view(argv[i]) == "ask") (void)at::detail::getCUDAHooks();
    if (std::string_view(argv[i]) == "load") attend::load_cuda();
  }
  try {
    std::cout << "CUDA " << at::detail::getCUDAHooks().versionCUDART() << '\n';
  } catch (const c10::Error&) {
    std::cout << "no CUDA\n";
  }
} catch (const c10::Error& error) {
  std::cout << error.what_without_backtrace() << '\n';
  return 1;
}
