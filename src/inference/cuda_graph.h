#pragma once

#include <torch/torch.h>

#include <functional>
#include <memory>

namespace attend::detail {

/// Work on a device that was recorded once.
class RecordedWork {
 public:
  virtual ~RecordedWork() = default;
  RecordedWork() = default;
  RecordedWork(const RecordedWork&) = delete;
  RecordedWork& operator=(const RecordedWork&) = delete;
  RecordedWork(RecordedWork&&) = delete;
  RecordedWork& operator=(RecordedWork&&) = delete;

  /// Does the work once more, on the same memory, behind what is queued on the current stream.
  virtual void replay() = 0;
};

/// Records the work as a CUDA graph without doing it; nothing on devices that have no graphs. It must
/// have been done once on this device, since libraries make what they need at first.
/// Throws: c10::Error where attend was built without the CUDA toolkit.
std::unique_ptr<RecordedWork> record(const std::function<void()>& work, torch::Device device);

/// The one function of libattend_graphs.so, by its name there. It is a library of its own because
/// at::cuda::CUDAGraph lies in LibTorch's CUDA half, which attend does not link.
using RecordCudaGraph = void (*)(const std::function<void()>& work, torch::Device device,
                                 std::unique_ptr<RecordedWork>& result);
constexpr auto kGraphsLibrary = "libattend_graphs.so";
constexpr auto kRecordCudaGraph = "attend_record_cuda_graph";

}  // namespace attend::detail
