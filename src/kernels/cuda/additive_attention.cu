#include "kernels/cuda/additive_attention.h"

#include <cuda_runtime.h>

#include "kernels/cuda/additive_attention-inl.h"

namespace attend::kernels::cuda {
namespace {

// A thread's view of its block.
struct DeviceBlock {
  ATTEND_DEVICE int thread() const { return static_cast<int>(threadIdx.x); }
  ATTEND_DEVICE int64_t index() const { return blockIdx.x; }
  ATTEND_DEVICE void sync() const { __syncthreads(); }
  ATTEND_DEVICE bool any(bool vote) const { return __syncthreads_or(vote ? 1 : 0) != 0; }
  template <typename T>
  ATTEND_DEVICE T shuffle_xor(T x, int mask) const {
    return __shfl_xor_sync(0xFFFFFFFFU, x, mask);
  }
};

// Registers for at least so many blocks on a processor: 96 for a thread. Where it may take more, the compiler
// does so, and keeps numbers in memory all the same. scripts/check_cuda_kernels bounds both.
constexpr int kLeastBlocks = 5;

template <class Shape, class Score, typename T>
__global__ void __launch_bounds__(kThreads, kLeastBlocks)
    forward_kernel(const AdditiveGrid grid, const AdditiveAttention<T> attention,
                   const AdditiveResult<T> result) {
  __shared__ ForwardMemory<Shape, T> memory;
  forward_block<Shape, Score>(DeviceBlock(), memory, grid, attention, result);
}

template <typename T>
__global__ void __launch_bounds__(kThreads, kLeastBlocks)
    join_kernel(const AdditiveGrid grid, const AdditiveAttention<T> attention,
                const AdditiveResult<T> result) {
  join_block(DeviceBlock(), grid, attention, result);
}

template <typename T>
__global__ void __launch_bounds__(kThreads, kLeastBlocks)
    delta_kernel(const AdditiveAttention<T> attention, const AdditiveUpstream<T> upstream) {
  delta_block(DeviceBlock(), attention, upstream);
}

template <class Shape, class Score, typename T>
__global__ void __launch_bounds__(kThreads, kLeastBlocks)
    query_gradient_kernel(const AdditiveGrid grid, const AdditiveAttention<T> attention,
                          const AdditiveUpstream<T> upstream, const AdditiveQueryGradients<T> to) {
  __shared__ BackwardMemory<Shape, T> memory;
  query_gradient_block<Shape, Score>(DeviceBlock(), memory, grid, attention, upstream, to);
}

template <class Shape, class Score, typename T>
__global__ void __launch_bounds__(kThreads, kLeastBlocks)
    key_gradient_kernel(const AdditiveGrid grid, const AdditiveAttention<T> attention,
                        const AdditiveUpstream<T> upstream, const AdditiveKeyGradients<T> to) {
  __shared__ BackwardMemory<Shape, T> memory;
  key_gradient_block<Shape, Score>(DeviceBlock(), memory, grid, attention, upstream, to);
}

// body.operator()<Shape, Score>(): of rows by kSquare or kFew.
template <AdditiveShape kFew, typename T, class Body>
void with_kernel(AdditiveShape shape, const AdditiveAttention<T>& a, bool is_approximate,
                 const Body& body) {
  with_score_function<T>(a.score, a.slope, is_approximate, [&]<class Score>() {
    if (shape == AdditiveShape::kSquare) {
      body.template operator()<ShapeOf<AdditiveShape::kSquare>, Score>();
    } else {
      body.template operator()<ShapeOf<kFew>, Score>();
    }
  });
}

// What a launch takes.
bool fits(int64_t blocks) { return blocks < int64_t{1} << 31; }
constexpr auto kTooMany = "expected fewer than 2^31 blocks of threads, got more";

const char* last_error() {
  const auto error = cudaGetLastError();
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}

const char* forward(const AdditiveAttention<float>& a, const AdditiveResult<float>& result,
                    bool is_approximate, void* on) {
  auto* stream = static_cast<cudaStream_t>(on);
  const auto grid = query_grid(a);
  const auto rows = a.batch * a.heads * a.target;
  if (!fits(grid.blocks()) || !fits(rows)) return kTooMany;
  with_kernel<AdditiveShape::kFewOwn>(
      grid.shape, a, is_approximate, [&]<class Shape, class Score>() {
        forward_kernel<Shape, Score, float>
            <<<static_cast<unsigned>(grid.blocks()), kThreads, 0, stream>>>(grid, a, result);
      });
  if (grid.parts > 1) {
    join_kernel<float><<<static_cast<unsigned>(rows), kThreads, 0, stream>>>(grid, a, result);
  }
  return last_error();
}

const char* backward(const AdditiveAttention<float>& a, const AdditiveUpstream<float>& upstream,
                     const AdditiveQueryGradients<float>& of_queries,
                     const AdditiveKeyGradients<float>& of_keys, bool is_approximate, void* on) {
  auto* stream = static_cast<cudaStream_t>(on);
  const auto queries = query_grid(a), keys = key_grid(a);
  if (!fits(queries.blocks()) || !fits(keys.blocks())) return kTooMany;
  if (upstream.output_gradient.data != nullptr) {
    const auto blocks = (a.batch * a.heads * a.target + delta_rows() - 1) / delta_rows();
    if (!fits(blocks)) return kTooMany;
    delta_kernel<float><<<static_cast<unsigned>(blocks), kThreads, 0, stream>>>(a, upstream);
  }
  with_kernel<AdditiveShape::kFewOwn>(
      queries.shape, a, is_approximate, [&]<class Shape, class Score>() {
        query_gradient_kernel<Shape, Score, float>
            <<<static_cast<unsigned>(queries.blocks()), kThreads, 0, stream>>>(queries, a, upstream,
                                                                               of_queries);
      });
  with_kernel<AdditiveShape::kFewOthers>(
      keys.shape, a, is_approximate, [&]<class Shape, class Score>() {
        key_gradient_kernel<Shape, Score, float>
            <<<static_cast<unsigned>(keys.blocks()), kThreads, 0, stream>>>(keys, a, upstream,
                                                                            of_keys);
      });
  return last_error();
}

bool is_captured(void* stream) {
  auto status = cudaStreamCaptureStatusNone;
  return cudaStreamIsCapturing(static_cast<cudaStream_t>(stream), &status) == cudaSuccess &&
         status != cudaStreamCaptureStatusNone;
}

}  // namespace

extern "C" __attribute__((visibility("default"))) AdditiveKernels attend_additive_kernels() {
  return {&forward, &backward, &is_captured};
}

}  // namespace attend::kernels::cuda
