// Writes docs/masks.md: which path each mask takes, as the library itself and LibTorch's dispatcher
// say. A device that is not there is left out. Of the CPU it writes the same on every processor; CTest compares.
//
//   mask_paths > docs/masks.md
#include <torch/torch.h>

#include <iostream>
#include <string>
#include <vector>

#include "attend/functional/attention.h"

namespace {

constexpr int64_t kBatch = 2, kHeads = 4, kHeadDim = 64;

struct NamedMask {
  std::string name;
  attend::AttentionMask mask;
};

std::vector<NamedMask> masks(int64_t target, int64_t source, torch::Device device) {
  using attend::AttentionMask;
  const auto ids = [&](int64_t length) {
    return torch::arange(length, device).div(5, "floor").expand({kBatch, length}).contiguous();
  };
  const auto causal = AttentionMask::causal();
  const auto lengths = AttentionMask::key_lengths(torch::tensor({source, source / 2}).to(device));
  const auto segments = AttentionMask::segments(ids(target), ids(source));
  const auto alibi = AttentionMask::alibi(attend::functional::alibi_slopes(kHeads, device));
  const auto by_distance =
      AttentionMask::relative_bias(torch::zeros({kHeads, target + source - 1}, device));
  const auto shared = AttentionMask(torch::ones({target, source}, device).to(torch::kBool));
  const auto for_each = AttentionMask(torch::zeros({kBatch, kHeads, target, source}, device));
  return {{"none", {}},
          {"causal", causal},
          {"key lengths", lengths},
          {"causal & key lengths", causal & lengths},
          {"window(16, 0)", AttentionMask::window(16, 0)},
          {"window(16, 0) & key lengths", AttentionMask::window(16, 0) & lengths},
          {"segments", segments},
          {"causal & segments", causal & segments},
          {"ALiBi", alibi},
          {"causal & ALiBi", causal & alibi},
          {"relative bias", by_distance},
          {"causal & relative bias", causal & by_distance},
          {"bool [T, S]", shared},
          {"bias [B, H, T, S]", for_each},
          {"causal & bias [B, H, T, S]", causal & for_each}};
}

void table(torch::Device device, torch::Dtype dtype, int64_t target, int64_t source) {
  std::cout << "\n### " << device.str() << ", " << torch::toString(dtype) << ", T " << target
            << ", S " << source << "\n\n";
  const auto make = [&](int64_t length) {
    return torch::zeros({kBatch, kHeads, length, kHeadDim},
                        torch::TensorOptions().device(device).dtype(dtype));
  };
  const auto query = make(target), key = make(source);
  std::cout << "| mask | path |\n| --- | --- |\n";
  for (const auto& [name, mask] : masks(target, source, device)) {
    std::cout << "| " << name << " | "
              << attend::functional::explain_attention(query, key, key, mask) << " |\n";
  }
}

}  // namespace

int main() {
  std::cout
      << "# Which path a mask takes\n\nMade by `benchmarks/mask_paths.cpp`, which asks "
         "[`attend::functional::explain_attention`]"
         "(../build/doc/html/namespaceattend_1_1functional.html)\nand, through it, LibTorch's "
         "dispatcher. B "
      << kBatch << ", H " << kHeads << ", D " << kHeadDim
      << ". A size of 1 is broadcast.\nWhere weights are requested, the output takes the "
         "same path.\n";
  std::vector<torch::Device> devices{torch::kCPU};
  if (torch::cuda::is_available()) devices.emplace_back(torch::kCUDA);
  for (const auto device : devices) {
    for (const auto dtype : {torch::kFloat, torch::kBFloat16}) {
      table(device, dtype, 32, 32);
      table(device, dtype, 1, 1024);
      table(device, dtype, 1024, 1024);
    }
  }
}
