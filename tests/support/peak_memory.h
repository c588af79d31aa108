#pragma once

#include <c10/core/Allocator.h>
#include <c10/util/ThreadLocalDebugInfo.h>

#include <algorithm>
#include <atomic>
#include <memory>

namespace attend::testing_support {

/// The most memory, in bytes, that tensors on the CPU have taken at a time while this object lives,
/// what was there before not counted. It hears of every allocation, as LibTorch's profiler does, so
/// the number is exact and does not depend on the machine.
class PeakMemory {
 public:
  PeakMemory()
      : counter_(std::make_shared<Counter>()),
        guard_(c10::DebugInfoKind::PROFILER_STATE, counter_) {}
  int64_t peak() const { return counter_->peak; }
  /// What they take now.
  int64_t held() const { return counter_->held; }

 private:
  struct Counter : c10::MemoryReportingInfoBase {
    void reportMemoryUsage(void* /*where*/, int64_t bytes, size_t /*allocated*/,
                           size_t /*reserved*/, c10::Device device) override {
      if (!device.is_cpu()) return;
      held += bytes;
      peak = std::max(peak, held);
    }
    bool memoryProfilingEnabled() const override { return true; }
    int64_t held = 0, peak = 0;
  };

  std::shared_ptr<Counter> counter_;
  c10::DebugInfoGuard guard_;
};

}  // namespace attend::testing_support
