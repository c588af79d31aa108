#pragma once

#include <optional>
#include <vector>

#include "attend/functional/mask.h"

namespace attend {

struct AttentionMask::Parts {
  /// Where queries [T] or [B, T] and keys [S] or [B, S] stand.
  struct Positions {
    torch::Tensor query, key;
  };
  /// Two segments that are compared: query [B, T], key [B, S].
  struct Segments {
    torch::Tensor query, key;
  };

  Band band = {};
  std::optional<Positions> positions = {};
  std::vector<Segments> segments = {};
  std::vector<torch::Tensor> slopes = {};           // each [H]
  std::vector<torch::Tensor> relative_biases = {};  // floating point, each [H, T + S - 1]
  std::vector<torch::Tensor> lengths = {};          // each [B]
  std::vector<torch::Tensor> paddings = {};         // each bool [B, S]
  std::vector<torch::Tensor> allowed = {};          // bool, broadcastable to [B, H, T, S]
  std::vector<torch::Tensor> biases = {};           // floating point, broadcastable to [B, H, T, S]

  /// Whether both say the same of the same tensors, or of slopes with the same values on the CPU.
  bool is_same(const Parts& other) const;
};

}  // namespace attend
