#include "attend/functional/mask.h"

#include "detail/check.h"

namespace attend {
namespace {

void append(std::vector<torch::Tensor>& to, const std::vector<torch::Tensor>& from) {
  to.insert(to.end(), from.begin(), from.end());
}

}  // namespace

AttentionMask::AttentionMask(const torch::Tensor& mask) {
  if (!mask.defined()) return;
  detail::check_rank("AttentionMask", "a mask", mask, 2, 4);
  if (mask.scalar_type() == torch::kBool) {
    allowed_.push_back(mask);
  } else {
    TORCH_CHECK(mask.is_floating_point(),
                "AttentionMask: expected a bool mask (true = may attend) or a floating-point bias, "
                "got dtype ",
                mask.scalar_type());
    biases_.push_back(mask);
  }
}

AttentionMask AttentionMask::causal() {
  AttentionMask mask;
  mask.causal_ = true;
  return mask;
}

AttentionMask AttentionMask::key_lengths(const torch::Tensor& lengths) {
  detail::check_rank("AttentionMask::key_lengths", "lengths", lengths, 1, 1);
  detail::check_ids("AttentionMask::key_lengths", "lengths", lengths);
  AttentionMask mask;
  mask.lengths_.push_back(lengths);
  return mask;
}

AttentionMask AttentionMask::padding(const torch::Tensor& may_attend) {
  detail::check_rank("AttentionMask::padding", "may_attend", may_attend, 2, 2);
  TORCH_CHECK(may_attend.scalar_type() == torch::kBool,
              "AttentionMask::padding: expected may_attend of dtype Bool (true = may attend), got ",
              may_attend.scalar_type());
  AttentionMask mask;
  mask.paddings_.push_back(may_attend);
  return mask;
}

bool AttentionMask::is_none() const {
  return !causal_ && lengths_.empty() && paddings_.empty() && allowed_.empty() && biases_.empty();
}

AttentionMask operator&(const AttentionMask& a, const AttentionMask& b) {
  AttentionMask both = a;
  both.causal_ |= b.causal_;
  append(both.lengths_, b.lengths_);
  append(both.paddings_, b.paddings_);
  append(both.allowed_, b.allowed_);
  append(both.biases_, b.biases_);
  return both;
}

namespace functional {

torch::Tensor causal_mask(int64_t n, torch::Device device) { return causal_mask(n, n, device); }

torch::Tensor causal_mask(int64_t target_length, int64_t source_length, torch::Device device) {
  TORCH_CHECK_VALUE(target_length >= 0 && source_length >= 0,
                    "causal_mask: expected lengths >= 0, got ", target_length, " and ",
                    source_length);
  return torch::ones({target_length, source_length},
                     torch::TensorOptions().dtype(torch::kBool).device(device))
      .tril(source_length - target_length);
}

torch::Tensor padding_mask(const torch::Tensor& tokens, int64_t pad_id) {
  detail::check_ids("padding_mask", "tokens", tokens);
  return tokens.ne(pad_id);
}

AttentionMask mask_from_torch(const torch::Tensor& attn_mask, int64_t num_heads) {
  if (!attn_mask.defined()) return {};
  detail::check_rank("mask_from_torch", "attn_mask", attn_mask, 2, 3);
  auto mask = attn_mask;
  if (mask.dim() == 3) {
    detail::check_positive("mask_from_torch", "num_heads", num_heads);
    TORCH_CHECK(
        mask.size(0) % num_heads == 0,
        "mask_from_torch: expected attn_mask of shape [B * num_heads, T, S] with num_heads ",
        num_heads, ", got ", detail::shape_string(mask.sizes()));
    mask = mask.unflatten(0, {-1, num_heads});  // [B, H, T, S]
  }
  return mask.scalar_type() == torch::kBool ? AttentionMask(mask.logical_not())
                                            : AttentionMask(mask);
}

AttentionMask padding_from_torch(const torch::Tensor& key_padding_mask) {
  if (!key_padding_mask.defined()) return {};
  TORCH_CHECK(key_padding_mask.scalar_type() == torch::kBool,
              "padding_from_torch: expected key_padding_mask of dtype Bool (true = ignore), got ",
              key_padding_mask.scalar_type());
  return AttentionMask::padding(key_padding_mask.logical_not());
}

}  // namespace functional
}  // namespace attend
