#pragma once

#include <torch/torch.h>

#include <string>
#include <string_view>

namespace attend::detail {

/// "[2, 3, 5]".
std::string shape_string(at::IntArrayRef sizes);

/// Throws c10::Error unless `tensor` is defined and has the sizes `expected` (-1 = any).
void check_shape(std::string_view who, std::string_view what, const at::Tensor& tensor,
                 at::IntArrayRef expected);

/// Throws c10::Error unless `tensor` is defined and has one of the ranks first..last.
void check_rank(std::string_view who, std::string_view what, const at::Tensor& tensor,
                int64_t first, int64_t last);

/// True if LibTorch casts the inputs of products on the tensor's device by itself.
bool autocast_is_enabled(const at::Tensor& tensor);

/// Throws c10::Error unless `tensor` has the device and, but for autocast, the dtype of `like`.
void check_same_kind(std::string_view who, std::string_view what, const at::Tensor& tensor,
                     std::string_view like_what, const at::Tensor& like);

/// Throws c10::Error unless `tensor` has 2 or 3 dimensions, the last one of the size of the vector
/// `weight`, and its device and dtype.
void check_layer_input(std::string_view who, std::string_view what, const at::Tensor& tensor,
                       const at::Tensor& weight);

/// Throws c10::Error unless `tensor` holds integers.
void check_ids(std::string_view who, std::string_view what, const at::Tensor& tensor);

/// Throws c10::ValueError unless value > 0.
void check_positive(std::string_view who, std::string_view what, int64_t value);

/// Throws c10::ValueError unless 0 <= value < 1.
void check_probability(std::string_view who, std::string_view what, double value);

/// Throws c10::ValueError unless num_heads divides embed_dim; both must be positive.
void check_heads(std::string_view who, int64_t embed_dim, int64_t num_heads);

}  // namespace attend::detail
