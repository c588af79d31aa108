#include "support/oracle.h"

#include <cmath>
#include <limits>
#include <vector>

#include "support/default_device.h"

namespace attend::oracle {
namespace {

torch::Tensor doubles(const torch::Tensor& x) {
  return x.detach().to(torch::kCPU, torch::kDouble).contiguous();
}

// Weights of scores with what is forbidden left out; all zero where everything is.
std::vector<double> softmax(const std::vector<double>& scores) {
  double largest = -std::numeric_limits<double>::infinity();
  for (const double score : scores) largest = std::max(largest, score);
  std::vector<double> weights(scores.size(), 0.0);
  if (std::isinf(largest)) return weights;
  double sum = 0.0;
  for (size_t s = 0; s < scores.size(); ++s) sum += weights[s] = std::exp(scores[s] - largest);
  for (double& weight : weights) weight /= sum;
  return weights;
}

// One row of scores at a time -> weights and weighted values.
template <typename Score>
Result attend(int64_t batch, int64_t heads, int64_t target, const torch::Tensor& value,
              const Mask& mask, const Score& score) {
  const testing_support::TensorsOnCpu here;
  const auto source = value.size(2), size = value.size(3);
  const auto v = value.accessor<double, 4>();
  const auto allowed = mask.allowed.defined()
                           ? mask.allowed.to(torch::kCPU).expand({batch, heads, target, source})
                           : torch::ones({batch, heads, target, source}, torch::kBool);
  const auto bias = mask.bias.defined()
                        ? doubles(mask.bias).expand({batch, heads, target, source})
                        : torch::zeros({batch, heads, target, source}, torch::kDouble);
  const auto may = allowed.accessor<bool, 4>();
  const auto add = bias.accessor<double, 4>();
  Result result{torch::zeros({batch, heads, target, size}, torch::kDouble),
                torch::zeros({batch, heads, target, source}, torch::kDouble)};
  auto output = result.output.accessor<double, 4>();
  auto weights = result.weights.accessor<double, 4>();
  for (int64_t b = 0; b < batch; ++b) {
    for (int64_t h = 0; h < heads; ++h) {
      for (int64_t t = 0; t < target; ++t) {
        std::vector<double> scores;
        for (int64_t s = 0; s < source; ++s) {
          scores.push_back(may[b][h][t][s] ? score(b, h, t, s) + add[b][h][t][s]
                                           : -std::numeric_limits<double>::infinity());
        }
        const auto row = softmax(scores);
        for (int64_t s = 0; s < source; ++s) {
          weights[b][h][t][s] = row[static_cast<size_t>(s)];
          for (int64_t d = 0; d < size; ++d) {
            output[b][h][t][d] += row[static_cast<size_t>(s)] * v[b][h][s][d];
          }
        }
      }
    }
  }
  return result;
}

double activate(double x, Activation activation) {
  switch (activation) {
    case Activation::kRelu:
      return x > 0.0 ? x : 0.0;
    case Activation::kGelu:
      return 0.5 * x * (1.0 + std::erf(x / std::sqrt(2.0)));
    case Activation::kSwish:
      return x / (1.0 + std::exp(-x));
  }
  return 0.0;
}

// [B, T, H * D] -> [B, H, T, D], element by element.
torch::Tensor heads_of(const torch::Tensor& x, int64_t heads) {
  const auto size = x.size(2) / heads;
  const testing_support::TensorsOnCpu here;
  auto result = torch::empty({x.size(0), heads, x.size(1), size}, torch::kDouble);
  for (int64_t h = 0; h < heads; ++h) {
    result.select(1, h).copy_(x.narrow(2, h * size, size));
  }
  return result;
}

// norm(x + f(x)) or x + f(norm(x)).
template <typename Sublayer>
torch::Tensor residual(const torch::Tensor& x, const Weights& weights, const std::string& norm,
                       const LayerForm& form, const Sublayer& sublayer) {
  const auto normalised = [&](const torch::Tensor& y) {
    return form.rms_norm ? rms_norm(y, weights, norm, form.eps)
                         : layer_norm(y, weights, norm, form.eps);
  };
  return form.pre_norm ? x + sublayer(normalised(x)) : normalised(x + sublayer(x));
}

torch::Tensor attention_of(const LayerAttention& own, const LayerForm& form,
                           const torch::Tensor& query, const torch::Tensor& memory,
                           const Weights& weights, const Mask& mask) {
  if (own) return own(query, memory, weights, mask);
  return multi_head_attention(query, memory, memory, weights, form.num_heads, mask).output;
}

}  // namespace

Weights weights_of(const torch::nn::Module& module, const std::string& prefix) {
  Weights all;
  for (const auto& parameter : module.named_parameters()) {
    all[parameter.key()] = doubles(parameter.value());
  }
  return part(all, prefix);
}

Weights part(const Weights& weights, const std::string& prefix) {
  Weights result;
  for (const auto& [name, tensor] : weights) {
    if (name.starts_with(prefix)) result[name.substr(prefix.size())] = tensor;
  }
  return result;
}

torch::Tensor causal(int64_t target_length, int64_t source_length) {
  const testing_support::TensorsOnCpu here;
  auto mask = torch::zeros({target_length, source_length}, torch::kBool);
  auto may = mask.accessor<bool, 2>();
  for (int64_t i = 0; i < target_length; ++i) {
    for (int64_t j = 0; j < source_length; ++j) may[i][j] = j <= i + source_length - target_length;
  }
  return mask.to(testing_support::test_device());
}

Result attention(const torch::Tensor& query, const torch::Tensor& key, const torch::Tensor& value,
                 const Mask& mask, double scale) {
  const auto query64 = doubles(query), key64 = doubles(key);
  const auto q = query64.accessor<double, 4>(), k = key64.accessor<double, 4>();
  const auto size = query.size(3);
  const double factor = scale != 0.0 ? scale : 1.0 / std::sqrt(static_cast<double>(size));
  return attend(query.size(0), query.size(1), query.size(2), doubles(value), mask,
                [&](int64_t b, int64_t h, int64_t t, int64_t s) {
                  double product = 0.0;
                  for (int64_t d = 0; d < size; ++d) product += q[b][h][t][d] * k[b][h][s][d];
                  return product * factor;
                });
}

Result additive_attention(const torch::Tensor& query, const torch::Tensor& key,
                          const torch::Tensor& scale_vector, const torch::Tensor& value,
                          const Mask& mask) {
  const auto query64 = doubles(query), key64 = doubles(key), vector64 = doubles(scale_vector);
  const auto q = query64.accessor<double, 3>(), k = key64.accessor<double, 3>();
  const auto v = vector64.accessor<double, 1>();
  auto result = attend(query.size(0), 1, query.size(1), doubles(value).unsqueeze(1), mask,
                       [&](int64_t b, int64_t /*h*/, int64_t t, int64_t s) {
                         double sum = 0.0;
                         for (int64_t a = 0; a < v.size(0); ++a) {
                           sum += v[a] * std::tanh(q[b][t][a] + k[b][s][a]);
                         }
                         return sum;
                       });
  return {result.output.squeeze(1), result.weights.squeeze(1)};
}

torch::Tensor linear(const torch::Tensor& x, const Weights& weights, const std::string& name) {
  const auto input = doubles(x);
  auto y = torch::einsum("...i,oi->...o", {input, weights.at(name + ".weight")});
  const auto bias = weights.find(name + ".bias");
  return bias == weights.end() ? y : y + bias->second;
}

torch::Tensor layer_norm(const torch::Tensor& x, const Weights& weights, const std::string& name,
                         double eps) {
  const auto input = doubles(x);
  const auto size = static_cast<double>(x.size(-1));
  const auto centred = input - input.sum(-1, /*keepdim=*/true) / size;
  const auto variance = (centred * centred).sum(-1, /*keepdim=*/true) / size;
  return centred / (variance + eps).sqrt() * weights.at(name + ".weight") +
         weights.at(name + ".bias");
}

torch::Tensor rms_norm(const torch::Tensor& x, const Weights& weights, const std::string& name,
                       double eps) {
  const auto input = doubles(x);
  const auto size = static_cast<double>(x.size(-1));
  const auto mean_square = (input * input).sum(-1, /*keepdim=*/true) / size;
  return input / (mean_square + eps).sqrt() * weights.at(name + ".weight");
}

Result multi_head_attention(const torch::Tensor& query, const torch::Tensor& key,
                            const torch::Tensor& value, const Weights& weights, int64_t num_heads,
                            const Mask& mask) {
  const auto [heads, attention_weights] =
      attention(heads_of(linear(query, weights, "q_proj"), num_heads),
                heads_of(linear(key, weights, "k_proj"), num_heads),
                heads_of(linear(value, weights, "v_proj"), num_heads), mask);
  std::vector<torch::Tensor> joined;
  for (int64_t h = 0; h < num_heads; ++h) joined.push_back(heads.select(1, h));
  return {linear(torch::cat(joined, -1), weights, "out_proj"), attention_weights};
}

torch::Tensor feed_forward(const torch::Tensor& x, const Weights& weights, Activation activation) {
  const bool gated = weights.contains("gate_proj.weight");
  auto hidden = linear(x, weights, gated ? "gate_proj" : "fc1").contiguous();
  auto* values = hidden.data_ptr<double>();
  for (int64_t i = 0; i < hidden.numel(); ++i) values[i] = activate(values[i], activation);
  if (gated) hidden = hidden * linear(x, weights, "fc1");
  return linear(hidden, weights, "fc2");
}

torch::Tensor encoder_layer(const torch::Tensor& x, const Weights& weights, const LayerForm& form,
                            const Mask& mask) {
  const auto attended =
      residual(doubles(x), weights, "self_attn_layer_norm", form, [&](const torch::Tensor& y) {
        return attention_of(form.self_attention, form, y, y, part(weights, "self_attn."), mask);
      });
  return residual(attended, weights, "final_layer_norm", form, [&](const torch::Tensor& y) {
    return feed_forward(y, weights, form.activation);
  });
}

torch::Tensor decoder_layer(const torch::Tensor& target, const torch::Tensor& memory,
                            const Weights& weights, const LayerForm& form, const Mask& target_mask,
                            const Mask& memory_mask) {
  auto self_mask = target_mask;
  const auto past = causal(target.size(1), target.size(1));
  self_mask.allowed = self_mask.allowed.defined() ? self_mask.allowed.logical_and(past) : past;
  auto x =
      residual(doubles(target), weights, "self_attn_layer_norm", form, [&](const torch::Tensor& y) {
        return attention_of(form.self_attention, form, y, y, part(weights, "self_attn."),
                            self_mask);
      });
  x = residual(x, weights, "encoder_attn_layer_norm", form, [&](const torch::Tensor& y) {
    return attention_of(form.cross_attention, form, y, memory, part(weights, "encoder_attn."),
                        memory_mask);
  });
  return residual(x, weights, "final_layer_norm", form, [&](const torch::Tensor& y) {
    return feed_forward(y, weights, form.activation);
  });
}

}  // namespace attend::oracle
