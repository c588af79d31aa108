#pragma once

#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/Store.hpp>

#include <chrono>

namespace attend {

/// What a group of processes needs to make a backend.
struct NcclArguments {
  c10::intrusive_ptr<c10d::Store> store;
  int rank;
  int size;
  std::chrono::milliseconds timeout;
};

/// The one function of libattend_nccl.so, by its name there. It is a library of its own because
/// c10d::ProcessGroupNCCL lies in LibTorch's CUDA half, which attend does not link.
using MakeNcclBackend = void (*)(const NcclArguments&, c10::intrusive_ptr<c10d::Backend>&);
constexpr auto kNcclLibrary = "libattend_nccl.so";
constexpr auto kMakeNcclBackend = "attend_make_nccl_backend";

}  // namespace attend
