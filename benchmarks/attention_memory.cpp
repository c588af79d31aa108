// The most memory of a causal self-attention, forward and backward, beside torch::nn's: bytes that
// tensors take at a time, parameters not counted. Float32, 1 sentence, 8 heads of 64.
#include <fmt/format.h>
#include <torch/torch.h>

#include "attend/modules/multi_head_self_attention.h"
#include "support/peak_memory.h"

namespace {

constexpr int64_t kEmbed = 512, kHeads = 8;
constexpr double kMebibyte = 1024.0 * 1024.0;

template <typename Forward>
double peak_mebibytes(const Forward& forward) {
  const attend::testing_support::PeakMemory memory;
  forward().sum().backward();
  return static_cast<double>(memory.peak()) / kMebibyte;
}

}  // namespace

int main() {
  fmt::print(
      "| T = S | attend, MiB | torch::nn::MultiheadAttention, MiB | ratio |\n"
      "| --- | --- | --- | --- |\n");
  for (const int64_t length : {1024, 2048, 4096, 8192}) {
    attend::MultiHeadSelfAttention ours(kEmbed, kHeads);
    torch::nn::MultiheadAttention theirs(kEmbed, kHeads);
    const auto x = torch::randn({1, length, kEmbed});
    const double own =
        peak_mebibytes([&] { return ours(x, attend::AttentionMask::causal()).output; });
    const double torchs = peak_mebibytes([&] {
      const auto sequence_first = x.transpose(0, 1);
      const auto mask = torch::ones({length, length}, torch::kBool).triu(1);
      const auto bias = torch::zeros({length, length})
                            .masked_fill_(mask, -std::numeric_limits<float>::infinity());
      return std::get<0>(theirs(sequence_first, sequence_first,
                                sequence_first, /*key_padding_mask=*/
                                torch::Tensor(), /*need_weights=*/false, bias));
    });
    fmt::print("| {} | {:.0f} | {:.0f} | {:.0f} |\n", length, own, torchs, torchs / own);
  }
}
