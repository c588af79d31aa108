#pragma once

#include <torch/torch.h>

#include <functional>
#include <map>
#include <string>

/// The formulas of attention once more, in float64 and with plain loops, sharing no code with
/// attend and using no attention function of LibTorch. Tensors of any dtype and device are taken;
/// results are float64 on the CPU.
namespace attend::oracle {

/// Weights by name, in float64: "q_proj.weight", ...
using Weights = std::map<std::string, torch::Tensor>;

/// The parameters of a module below `prefix`, with that prefix removed.
Weights weights_of(const torch::nn::Module& module, const std::string& prefix = "");

/// The weights below `prefix`, with that prefix removed.
Weights part(const Weights& weights, const std::string& prefix);

/// What may be attended to and what is added to the scores; undefined means all and nothing. Both
/// of shape [B, H, T, S] or broadcastable to it.
struct Mask {
  torch::Tensor allowed;  // bool
  torch::Tensor bias;
};

/// j <= i + S - T, bool [T, S], element by element; where tests make tensors, to be joined with theirs.
torch::Tensor causal(int64_t target_length, int64_t source_length);

struct Result {
  torch::Tensor output, weights;
};

/// query [B, H, T, D], key [B, H, S, D], value [B, H, S, Dv].
Result attention(const torch::Tensor& query, const torch::Tensor& key, const torch::Tensor& value,
                 const Mask& mask = {}, double scale = 0.0);  // 0: 1 / sqrt(D)

/// query [B, T, A], key [B, S, A], scale_vector [A], value [B, S, Dv].
Result additive_attention(const torch::Tensor& query, const torch::Tensor& key,
                          const torch::Tensor& scale_vector, const torch::Tensor& value,
                          const Mask& mask = {});

/// x [..., in] and the weights name + ".weight" [out, in], name + ".bias" (which may be missing).
torch::Tensor linear(const torch::Tensor& x, const Weights& weights, const std::string& name);

/// x [..., E] and the weights name + ".weight", name + ".bias".
torch::Tensor layer_norm(const torch::Tensor& x, const Weights& weights, const std::string& name,
                         double eps = 1e-5);

/// x [..., E] and the weight name + ".weight": x / sqrt(mean(x^2) + eps) * weight.
torch::Tensor rms_norm(const torch::Tensor& x, const Weights& weights, const std::string& name,
                       double eps);

/// [B, T, E] inputs; the weights q_proj, k_proj, v_proj and out_proj.
Result multi_head_attention(const torch::Tensor& query, const torch::Tensor& key,
                            const torch::Tensor& value, const Weights& weights, int64_t num_heads,
                            const Mask& mask = {});

enum class Activation { kRelu, kGelu, kSwish };

/// x [..., E]; the weights fc1 and fc2, and gate_proj where there is a gate.
torch::Tensor feed_forward(const torch::Tensor& x, const Weights& weights, Activation activation);

/// The output of an attention of query [B, T, E] to memory [B, S, E].
using LayerAttention =
    std::function<torch::Tensor(const torch::Tensor& query, const torch::Tensor& memory,
                                const Weights& weights, const Mask& mask)>;

struct LayerForm {
  int64_t num_heads;
  bool pre_norm = false;
  Activation activation = Activation::kRelu;
  double eps = 1e-5;
  bool rms_norm = false;
  LayerAttention self_attention = {}, cross_attention = {};  // default: multi_head_attention
};

torch::Tensor encoder_layer(const torch::Tensor& x, const Weights& weights, const LayerForm& form,
                            const Mask& mask = {});
torch::Tensor decoder_layer(const torch::Tensor& target, const torch::Tensor& memory,
                            const Weights& weights, const LayerForm& form,
                            const Mask& target_mask = {}, const Mask& memory_mask = {});

}  // namespace attend::oracle
