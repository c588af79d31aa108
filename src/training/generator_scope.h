#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <vector>

namespace attend::detail {

/// While it lives, LibTorch's default generators of the CPU and of one device draw from a seed.
/// Afterwards they go on as if nothing had been drawn. Touches these two generators.
class GeneratorScope {
 public:
  GeneratorScope(uint64_t seed, torch::Device device);
  ~GeneratorScope();
  GeneratorScope(const GeneratorScope&) = delete;
  GeneratorScope& operator=(const GeneratorScope&) = delete;
  GeneratorScope(GeneratorScope&&) = delete;
  GeneratorScope& operator=(GeneratorScope&&) = delete;

 private:
  struct Kept {
    at::Generator generator;
    torch::Tensor state;
  };
  std::vector<Kept> kept_;
};

/// A seed for each update of each process or thread, so that nothing else decides its random numbers.
///
/// Source: the finaliser of SplitMix64, Steele et al., 2014, doi:10.1145/2660193.2660195.
uint64_t seed_of_update(uint64_t seed, int64_t update, int64_t worker);

}  // namespace attend::detail
