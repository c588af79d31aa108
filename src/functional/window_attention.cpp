// A narrow window over a long sequence by LibTorch's kernel, a block of queries at a time: each
// block reads only the keys that some query of it may see.
#include <algorithm>
#include <vector>

#include "functional/attention_backend.h"
#include "functional/attention_formula.h"

namespace attend::functional {
namespace {

constexpr int64_t kQueriesOfBlock = 256;

bool takes_window(const AttentionInputs& in) {
  constexpr auto kAll = AttentionMask::Band::kAll;
  const auto& band = in.mask.band;
  const auto shape = in.shape();
  if (band.left == kAll || shape.target <= kQueriesOfBlock) return false;
  const auto right = band.right == kAll ? shape.source : band.right;
  return 2 * (band.left + right + kQueriesOfBlock) <= shape.source;
}

torch::Tensor output_of_block(const AttentionInputs& block) {
  if (block.key.size(2) == 0) return kAttentionToNothing.run(block);
  const auto& backend = kLibTorchAttention.takes(block) ? kLibTorchAttention : kFormula;
  return backend.run(block);
}

torch::Tensor run_window(const AttentionInputs& in) {
  const auto shape = in.shape();
  const auto offset = shape.source - shape.target;
  const auto& band = in.mask.band;
  std::vector<torch::Tensor> outputs;
  for (int64_t begin = 0; begin < shape.target; begin += kQueriesOfBlock) {
    const auto end = std::min(begin + kQueriesOfBlock, shape.target);
    const auto first = std::clamp<int64_t>(begin + offset - band.left, 0, shape.source);
    const auto last = std::clamp<int64_t>(end + offset + band.right, first, shape.source);
    auto block = in;
    block.query = in.query.narrow(2, begin, end - begin);
    block.key = in.key.narrow(2, first, last - first);
    block.value = in.value.narrow(2, first, last - first);
    if (first < last) {
      block.mask = in.mask.part(shape, begin, end - begin, first, last - first, in.query.device());
    }
    outputs.push_back(output_of_block(block));
  }
  return torch::cat(outputs, 2);
}

std::string describe_window(const AttentionInputs& in) {
  return described_part("mask", in.mask.allowed) + described_part("bias", in.mask.bias);
}

}  // namespace

const AttentionBackend kWindowAttention{
    .name = "LibTorch's kernel by blocks of queries, a mask for each block",
    .extras = kDropout | kLearnedBias,
    .takes = takes_window,
    .run = run_window,
    .describe = describe_window};

}  // namespace attend::functional
