#include <ATen/cuda/CUDAEvent.h>
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include "inference/cuda_graph.h"

namespace attend::detail {
namespace {

// Makes what is queued on `later` wait for what is queued on `earlier`.
void order(const c10::cuda::CUDAStream& earlier, const c10::cuda::CUDAStream& later) {
  at::cuda::CUDAEvent event;
  event.record(earlier);
  event.block(later);
}

class CudaGraph final : public RecordedWork {
 public:
  CudaGraph(const std::function<void()>& work, torch::Device device) : device_(device) {
    const c10::cuda::CUDAGuard on_device(device_);
    // The default stream cannot be captured.
    const auto caller = c10::cuda::getCurrentCUDAStream(), own = c10::cuda::getStreamFromPool();
    order(caller, own);
    {
      const c10::cuda::CUDAStreamGuard on_stream(own);
      // Other threads may go on to allocate meanwhile.
      graph_.capture_begin({0, 0}, cudaStreamCaptureModeThreadLocal);
      try {
        work();
      } catch (...) {
        // The work's error says more than that of a capture that it ended.
        try {
          graph_.capture_end();
        } catch (const c10::Error&) {
        }
        throw;
      }
      graph_.capture_end();
    }
    order(own, caller);
  }

  void replay() override {
    const c10::cuda::CUDAGuard on_device(device_);
    graph_.replay();
  }

 private:
  torch::Device device_;
  at::cuda::CUDAGraph graph_;
};

}  // namespace
}  // namespace attend::detail

extern "C" __attribute__((visibility("default"))) void attend_record_cuda_graph(
    const std::function<void()>& work, torch::Device device,
    std::unique_ptr<attend::detail::RecordedWork>& result) {
  result = std::make_unique<attend::detail::CudaGraph>(work, device);
}
