#pragma once

#include <cstdint>

#include "kernels/cpu/additive_attention.h"

/// Additive attention on CUDA devices: the attention of kernels/cpu/additive_attention.h, whose
/// description it takes, with all pointers into the device's memory. Neither f of all pairs nor their
/// scores are in memory. Nothing is added up across blocks: what several blocks find of one sum is
/// in parts, which the caller adds up, so that results are the same bits each time.
namespace attend::kernels::cuda {

/// Threads of a block.
constexpr int kThreads = 128;

/// How a block's threads share the pairs of its own rows and of the other rows that it goes through.
enum class AdditiveShape {
  kSquare,     // 16 own rows, 64 others at a time
  kFewOwn,     // a single row, 128 others: queries of a step of decoding
  kFewOthers,  // 128 own rows, a single other: keys beside few queries
};
constexpr int64_t own_rows(AdditiveShape shape) {
  return shape == AdditiveShape::kSquare ? 16 : shape == AdditiveShape::kFewOwn ? 1 : 128;
}

/// Where a block's own rows are queries, and where they are keys.
constexpr AdditiveShape query_shape(int64_t target) {
  return target <= 4 ? AdditiveShape::kFewOwn : AdditiveShape::kSquare;
}
constexpr AdditiveShape key_shape(int64_t target) {
  return target <= 4 ? AdditiveShape::kFewOthers : AdditiveShape::kSquare;
}

/// The blocks of one kernel: B * H * row_blocks * parts, each with some rows of a head and a part of
/// the others. A function of the sizes alone, and so are all results.
struct AdditiveGrid {
  AdditiveShape shape;
  int64_t heads;       // B * H
  int64_t rows;        // T or S: a block's own
  int64_t row_blocks;  // of them
  int64_t others;      // S or T
  int64_t parts;       // of them

  int64_t blocks() const { return heads * row_blocks * parts; }
};

/// With parts enough to give work to a large GPU, if there are so many others.
constexpr AdditiveGrid additive_grid(AdditiveShape shape, int64_t heads, int64_t rows,
                                     int64_t others) {
  constexpr int64_t kBlocks = 264, kLeast = 128;  // two blocks for each processor of an H100
  const auto row_blocks = (rows + own_rows(shape) - 1) / own_rows(shape);
  const auto tasks = heads * row_blocks;
  const auto wanted = tasks > 0 && tasks < kBlocks ? (kBlocks + tasks - 1) / tasks : 1;
  const auto most = others / kLeast;
  const auto parts = most < 1 ? 1 : most < wanted ? most : wanted;
  return {shape, heads, rows, row_blocks, others, parts};
}
template <typename T>
AdditiveGrid query_grid(const AdditiveAttention<T>& a) {
  return additive_grid(query_shape(a.target), a.batch * a.heads, a.target, a.source);
}
template <typename T>
AdditiveGrid key_grid(const AdditiveAttention<T>& a) {
  return additive_grid(key_shape(a.target), a.batch * a.heads, a.source, a.target);
}

/// What the backward pass takes.
template <typename T>
struct AdditiveUpstream {
  HeadRows<const T> output_gradient;  // [B, H, T, Dv]; null data: there is none
  HeadRows<const T> output;           // of the forward pass, as are `sums`
  const T* sums;                      // [B, H, T, 2]
  const T* score_gradient;            // [B, H, T, S]; null: there is none
  T* deltas;                          // [B, H, T]: output_gradient . output, made first
};

/// The gradients that blocks of queries make, by parts of the keys: their sum over the first axis is the
/// gradient. But for that of the bias they need not be initialised.
template <typename T>
struct AdditiveQueryGradients {
  T* query;   // [parts, B, H, T, A]
  T* vector;  // [B, H, row_blocks * parts * vector_sums(shape), A]: summed over all but H and A
  T* bias;    // [B, H, T, S], filled with zeros; null: it is not wanted
};
/// Threads of a block that have a sum of their own for one hidden unit of the vector.
constexpr int64_t vector_sums(AdditiveShape shape) {
  return shape == AdditiveShape::kSquare ? 2 : 1;
}

/// The gradients that blocks of keys make, by parts of the queries.
template <typename T>
struct AdditiveKeyGradients {
  T* key;       // [parts, B, H, S, A]
  T* value;     // [parts, B, H, S, Dv]; null: it is not wanted
  T* key_term;  // [parts, B, H, S]
};

/// Starts the kernels on a stream (a cudaStream_t) of the current device, with tanh by the GPU's own
/// instruction if `is_approximate`. The first two return what went wrong, or null.
struct AdditiveKernels {
  const char* (*forward)(const AdditiveAttention<float>& attention,
                         const AdditiveResult<float>& result, bool is_approximate, void* stream);
  const char* (*backward)(const AdditiveAttention<float>& attention,
                          const AdditiveUpstream<float>& upstream,
                          const AdditiveQueryGradients<float>& of_queries,
                          const AdditiveKeyGradients<float>& of_keys, bool is_approximate,
                          void* stream);
  // Whether the stream is being captured into a graph.
  bool (*is_captured)(void* stream);
};

/// The one function of libattend_cuda.so, by its name there. What nvcc compiles is a library of its own,
/// since the others run without CUDA's.
using GetAdditiveKernels = AdditiveKernels (*)();
constexpr auto kCudaLibrary = "libattend_cuda.so";
constexpr auto kGetAdditiveKernels = "attend_additive_kernels";

}  // namespace attend::kernels::cuda
