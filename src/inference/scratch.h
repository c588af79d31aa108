#pragma once

#include <torch/torch.h>

#include <cstdint>

#include "kernels/cpu/bfloat16.h"

namespace attend::detail {

/// Where all of a prepared model's tensors are, whatever the default device is.
inline torch::TensorOptions on_cpu(torch::Dtype type) {
  return torch::TensorOptions().dtype(type).device(torch::kCPU);
}

/// Memory that grows and is reused from step to step. What it held is lost when it grows.
template <typename T>
class Buffer {
 public:
  T* of(int64_t count) {
    const auto bytes = count * static_cast<int64_t>(sizeof(T));
    if (!memory_.defined() || memory_.numel() < bytes)
      memory_ = torch::empty({bytes}, on_cpu(torch::kByte));
    return reinterpret_cast<T*>(memory_.mutable_data_ptr<uint8_t>());
  }

 private:
  torch::Tensor memory_;
};

/// The intermediate results of a step, of one thread at a time.
struct Scratch {
  Buffer<float> x;                   // [N, E], what layers add to
  Buffer<float> normal;              // [N, E], its norm
  Buffer<float> projected;           // [N, (H + 2 Hkv) D] queries, keys and values
  Buffer<float> attended;            // [N, H D]
  Buffer<float> hidden;              // [N, F]
  Buffer<float> gate;                // [N, F]
  Buffer<kernels::BFloat16> halves;  // a product's input in bfloat16
  Buffer<int8_t> integers;           // a product's input in 8 bits
  Buffer<float> scales;              // [N], theirs
  Buffer<float> logits;              // a part of the rows' logits for each thread
  Buffer<float> sums;                // of each row and part
  Buffer<float> best;                // of each thread and row
  Buffer<int64_t> best_tokens;
};

}  // namespace attend::detail
