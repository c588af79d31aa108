#pragma once

#include <cstdint>

namespace attend::kernels {

/// A [B, H, L, D] tensor by its strides, in elements; the last axis is contiguous.
template <typename Element>
struct HeadRows {
  Element* data;
  int64_t batch_stride, head_stride, row_stride;

  Element* at(int64_t batch, int64_t head) const {
    return data + batch * batch_stride + head * head_stride;
  }
};

/// A mask that broadcasts to [B, H, T, S], by its strides in elements (0 along a broadcast axis).
template <typename Element>
struct MaskView {
  const Element* data = nullptr;  // null: no mask
  int64_t batch_stride = 0, head_stride = 0, target_stride = 0, source_stride = 0;
};

/// One attention, output = softmax(scale * query key^T + bias) value.
template <typename T>
struct Attention {
  int64_t heads, target, source, head_dim, value_dim;
  int64_t group;  // query heads that share a head of keys and values; divides heads
  HeadRows<const T> query, key, value;
  MaskView<T> bias;               // added to the scores
  MaskView<bool> allowed;         // false: the score counts as -infinity
  int64_t band_left, band_right;  // i + S - T - left <= j <= i + S - T + right, besides the mask
  T scale;
};

/// The heads [first, last) of all B * H of them, batch by batch: output [B, H, T, Dv], and the
/// weights, [B, H, T, S] contiguous; null where they are not wanted.
///
/// The scores of a head are held as a whole, [T, S], so this is for short sequences: there, what
/// general matrix products spend on packing and calls is more than the products themselves. A row
/// that may attend to nothing gets zero weights and a zero output. A score that is NaN or infinity
/// makes all weights of its row NaN.
template <typename T>
void attention_forward(const Attention<T>& attention, HeadRows<T> output, T* weights, int64_t first,
                       int64_t last);

/// The gradients for the heads [first, last) of all B * H / group ones of keys and values, from
/// those of the output and, if not null, of the weights. `weights` are the ones that the forward
/// pass wrote. What `gradients` point to is overwritten.
template <typename T>
struct AttentionGradients {
  HeadRows<T> query, key, value;
};
template <typename T>
void attention_backward(const Attention<T>& attention, const T* weights,
                        HeadRows<const T> output_gradient, const T* weights_gradient,
                        const AttentionGradients<T>& gradients, int64_t first, int64_t last);

}  // namespace attend::kernels
