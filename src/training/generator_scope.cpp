#include "training/generator_scope.h"

#include <ATen/Context.h>

#include <mutex>

namespace attend::detail {

GeneratorScope::GeneratorScope(uint64_t seed, torch::Device device) {
  std::vector<torch::Device> devices{torch::kCPU};
  if (!device.is_cpu()) devices.push_back(device);
  for (const auto& each : devices) {
    auto generator = at::globalContext().defaultGenerator(each);
    const std::scoped_lock lock(generator.mutex());
    kept_.push_back({generator, generator.get_state()});
    generator.set_current_seed(seed);
  }
}

GeneratorScope::~GeneratorScope() {
  for (auto& [generator, state] : kept_) {
    const std::scoped_lock lock(generator.mutex());
    generator.set_state(state);
  }
}

uint64_t seed_of_update(uint64_t seed, int64_t update, int64_t worker) {
  uint64_t z = seed;
  for (const auto value : {static_cast<uint64_t>(update), static_cast<uint64_t>(worker)}) {
    z += value + 0x9E3779B97F4A7C15ULL;
    z = (z ^ (z >> 30U)) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ (z >> 27U)) * 0x94D049BB133111EBULL;
    z ^= z >> 31U;
  }
  return z;
}

}  // namespace attend::detail
