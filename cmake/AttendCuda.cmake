# Decides whether attend is built with the CUDA toolkit: by default where there is both a toolkit and a
# LibTorch that was built with the same major version of CUDA. Without it everything still runs on
# CUDA devices through LibTorch's operations; left out is what needs CUDA's own headers or compiler: NCCL
# between GPUs, attend's own kernels, and the tests that capture CUDA graphs.

# Why the CUDA toolkit cannot be used; empty where it can.
function(_attend_cuda_obstacle out)
  set(${out} "" PARENT_SCOPE)
  if(NOT ATTEND_TORCH_HAS_CUDA)
    set(${out} "a LibTorch with its CUDA half, got ${ATTEND_TORCH_PREFIX}/lib without libtorch_cuda.so"
      PARENT_SCOPE)
    return()
  endif()
  find_package(CUDAToolkit QUIET)
  if(NOT CUDAToolkit_FOUND)
    set(${out} "the CUDA toolkit, got none" PARENT_SCOPE)
  elseif(ATTEND_TORCH_CUDA_VERSION MATCHES "^([0-9]+)"
      AND NOT CMAKE_MATCH_1 EQUAL CUDAToolkit_VERSION_MAJOR)
    set(${out} "CUDA ${CMAKE_MATCH_1} as LibTorch has it, got CUDA ${CUDAToolkit_VERSION_MAJOR} in \
${CUDAToolkit_BIN_DIR}" PARENT_SCOPE)
  endif()
endfunction()

if(NOT DEFINED ATTEND_CUDA OR ATTEND_CUDA)
  _attend_cuda_obstacle(_attend_obstacle)
  if(ATTEND_CUDA AND _attend_obstacle)
    message(FATAL_ERROR "attend: ATTEND_CUDA=ON expected ${_attend_obstacle}")
  endif()
endif()
if(_attend_obstacle)
  option(ATTEND_CUDA "Build with the CUDA toolkit: NCCL, kernels, tests of CUDA graphs" OFF)
  message(STATUS "attend: CUDA toolkit: OFF (expected ${_attend_obstacle})")
else()
  option(ATTEND_CUDA "Build with the CUDA toolkit: NCCL, kernels, tests of CUDA graphs" ON)
  message(STATUS "attend: CUDA toolkit: ${ATTEND_CUDA}")
endif()

# The kernels are compiled where nvcc is, for the data centre's GPUs of 2020 and 2022, and as PTX, which later
# ones compile for themselves.
set(ATTEND_WITH_CUDA_KERNELS OFF)
if(ATTEND_CUDA)
  find_package(CUDAToolkit REQUIRED)
  if(NOT DEFINED CMAKE_CUDA_COMPILER AND EXISTS "${CUDAToolkit_NVCC_EXECUTABLE}")
    set(CMAKE_CUDA_COMPILER "${CUDAToolkit_NVCC_EXECUTABLE}")
  endif()
  if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
    set(CMAKE_CUDA_ARCHITECTURES 80-real 90)
  endif()
  include(CheckLanguage)
  check_language(CUDA)
  if(CMAKE_CUDA_COMPILER)
    enable_language(CUDA)
    set(ATTEND_WITH_CUDA_KERNELS ON)
  endif()
  message(STATUS "attend: CUDA kernels: ${ATTEND_WITH_CUDA_KERNELS}")
endif()
