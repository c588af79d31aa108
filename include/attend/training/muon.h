#pragma once

// For those who write training loops of their own.

#include <torch/torch.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "attend/toolkit_export.h"
#include "attend/training/adam.h"
#include "attend/training/optimizer.h"

namespace attend {

/// The constants of `Muon`.
struct MuonOptions {
  double momentum = 0.95;  // decay of the mean of gradients; [0, 1)
  int64_t iterations = 5;  // of Newton and Schulz; > 0
  double scale = 0.2;  // the root mean square of an update of learning rate 1; > 0. 0.2 is about
                       // Adam's, so that one learning rate serves both: Liu et al., 2.2
};

/// Muon: a matrix is updated by its orthogonalised momentum, so that all directions are learnt at
/// the same speed and not only the steepest.
///
///   M <- mu M + (1 - mu) G,   U = (1 - mu) G + mu M,   W <- W - rate scale sqrt(max(rows, columns)) O
///   with O = U V^T of the singular vectors of U, nearly, by Newton and Schulz's iteration
///
/// It updates the matrices between layers. Adam updates all other parameters, as the authors
/// advise: vectors, also those with an additional axis of 1; embeddings of tokens and positions,
/// whose rows get different gradients (torch::nn::Embedding, PositionalEncoding); and the output
/// layer, `lm_head.weight`.
///
/// Source: Jordan et al., 2024, https://kellerjordan.github.io/posts/muon; the scale: Liu et al., 2025,
///         arXiv:2502.16982, section 2.2.
/// Shapes: matrices of one shape are iterated on as one batch [N, rows, columns], rows <= columns.
/// Throws: c10::ValueError for options out of range.
/// Note:   torch.optim.Muon iterates in bfloat16, this one in the matrices' dtype. Processes that
///         train together stay bit-identical where their machines round products in the same way.
class ATTEND_TOOLKIT_API Muon : public Optimizer {
 public:
  /// weight_decay of `adam` is that of the matrices too.
  explicit Muon(const torch::nn::Module& module, const MuonOptions& options = {},
                const AdamOptions& adam = {});

  void step(double learning_rate, const torch::Tensor& skip = {}) override;

  /// "momentum.<name>" for the matrices, and the state of Adam for the others.
  std::map<std::string, torch::Tensor> state() const override;

 private:
  MuonOptions options_;
  double weight_decay_;
  std::vector<NamedParameter> matrices_;
  std::vector<torch::Tensor> means_;
  Adam adam_;
};

}  // namespace attend
