#include "support/variant_oracle.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "support/default_device.h"

namespace attend::oracle {
namespace {

using Row = std::vector<double>;

Row row_of(const torch::Tensor& x) {
  const auto flat = x.contiguous();
  return Row(flat.data_ptr<double>(), flat.data_ptr<double>() + flat.numel());
}

void normalise(Row& x, const torch::Tensor& weight) {
  double mean = 0;
  for (const double v : x) mean += v * v / static_cast<double>(x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    x[i] *= weight[static_cast<int64_t>(i)].item<double>() / std::sqrt(mean + 1e-6);
  }
}

void rotate(Row& x, const VariantForm& form, int64_t position) {
  const auto dim = form.rotary_dim == 0 ? x.size() : static_cast<size_t>(form.rotary_dim);
  for (size_t i = 0; i < dim / 2; ++i) {
    const double angle =
        static_cast<double>(position) /
        std::pow(form.rotary_base, 2.0 * static_cast<double>(i) / static_cast<double>(dim));
    const size_t first = form.interleaved ? 2 * i : i;
    const size_t second = form.interleaved ? 2 * i + 1 : i + dim / 2;
    const double a = x[first], b = x[second];
    x[first] = a * std::cos(angle) - b * std::sin(angle);
    x[second] = a * std::sin(angle) + b * std::cos(angle);
  }
}

double dot(const Row& a, const Row& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

torch::Tensor in_heads(const torch::Tensor& x, int64_t heads) {  // [B, L, h D] -> [B, L, h, D]
  return x.unflatten(-1, {heads, -1}).contiguous();
}

}  // namespace

int64_t relative_bucket(int64_t ahead, int64_t buckets, int64_t max_distance, bool bidirectional) {
  int64_t first = 0;
  if (bidirectional) {
    buckets /= 2;
    if (ahead > 0) first = buckets;
  } else {
    ahead = std::min<int64_t>(ahead, 0);
  }
  const auto distance = std::abs(ahead);
  const auto exact = buckets / 2;
  if (distance < exact) return first + distance;
  // Float32, as T5's own code.
  const auto ratio = std::log(static_cast<float>(distance) / static_cast<float>(exact)) /
                     std::log(static_cast<double>(max_distance) / static_cast<double>(exact));
  const auto far = exact + static_cast<int64_t>(ratio * static_cast<double>(buckets - exact));
  return first + std::min(far, buckets - 1);
}

Result variant_attention(const torch::Tensor& query, const torch::Tensor& key,
                         const torch::Tensor& value, const Weights& weights,
                         const VariantForm& form, const Mask& mask) {
  const testing_support::TensorsOnCpu here;
  const auto q = in_heads(linear(query, weights, "q_proj"), form.num_heads);
  const auto k = in_heads(linear(key, weights, "k_proj"), form.num_kv_heads);
  const auto v = in_heads(linear(value, weights, "v_proj"), form.num_kv_heads);
  const auto batch = q.size(0), target = q.size(1), source = k.size(1), dim = q.size(3);
  const auto own = int64_t{form.bias_kv} + int64_t{form.zero_attn};
  const auto group = form.num_heads / form.num_kv_heads;
  const double scale = form.scale.value_or(1.0 / std::sqrt(static_cast<double>(dim)));
  const auto full = [&](const torch::Tensor& x) {
    return x.to(torch::kCPU).expand({batch, form.num_heads, target, source});
  };
  const auto allowed =
      full(mask.allowed.defined() ? mask.allowed : torch::ones({1, 1, 1, 1}, torch::kBool));
  const auto bias = full(mask.bias.defined() ? mask.bias.detach().to(torch::kDouble)
                                             : torch::zeros({1, 1, 1, 1}, torch::kDouble));
  const auto may = allowed.accessor<bool, 4>();
  const auto add = bias.accessor<double, 4>();

  auto all_weights = torch::zeros({batch, form.num_heads, target, source + own}, torch::kDouble);
  auto joined = torch::zeros({batch, target, form.num_heads * dim}, torch::kDouble);
  auto weight_at = all_weights.accessor<double, 4>();
  auto joined_at = joined.accessor<double, 3>();
  for (int64_t b = 0; b < batch; ++b) {
    for (int64_t h = 0; h < form.num_heads; ++h) {
      std::vector<Row> keys, values;
      for (int64_t s = 0; s < source; ++s) {
        keys.push_back(row_of(k[b][s][h / group]));
        if (form.qk_norm) normalise(keys.back(), weights.at("k_norm.weight"));
        if (form.rotary) rotate(keys.back(), form, s);
        values.push_back(row_of(v[b][s][h / group]));
      }
      if (form.bias_kv) {
        const auto of = [&](const char* name) {
          return row_of(in_heads(weights.at(name), form.num_kv_heads)[0][0][h / group]);
        };
        keys.push_back(of("bias_k"));
        values.push_back(of("bias_v"));
      }
      if (form.zero_attn) {
        keys.emplace_back(static_cast<size_t>(dim), 0.0);
        values.emplace_back(static_cast<size_t>(dim), 0.0);
      }
      for (int64_t t = 0; t < target; ++t) {
        auto x = row_of(q[b][t][h]);
        const auto position = t + source - target;
        if (form.qk_norm) normalise(x, weights.at("q_norm.weight"));
        if (form.rotary) rotate(x, form, position);
        Row scores;
        for (int64_t s = 0; s < source + own; ++s) {
          double score = dot(x, keys[static_cast<size_t>(s)]) * scale;
          if (form.soft_cap > 0) score = form.soft_cap * std::tanh(score / form.soft_cap);
          if (s < source) {
            if (form.alibi) {
              const double slope = std::pow(
                  2.0, -8.0 * static_cast<double>(h + 1) / static_cast<double>(form.num_heads));
              score -= slope * static_cast<double>(std::abs(position - s));
            }
            if (form.relative_buckets > 0) {
              const auto bucket =
                  relative_bucket(s - position, form.relative_buckets, form.relative_max_distance,
                                  form.relative_bidirectional);
              score += weights.at("relative_attention_bias.weight")[bucket][h].item<double>();
            }
            score += add[b][h][t][s];
            const bool outside = (form.window_left && s < position - *form.window_left) ||
                                 (form.window_right && s > position + *form.window_right);
            if (outside || !may[b][h][t][s]) score = -INFINITY;
          }
          scores.push_back(score);
        }
        double sum = 0;
        const double sink = form.sinks ? weights.at("sinks")[h].item<double>() : -INFINITY;
        const double most = std::max(*std::max_element(scores.begin(), scores.end()), sink);
        if (most == -INFINITY) continue;
        for (auto& score : scores) sum += score = std::exp(score - most);
        sum += std::exp(sink - most);
        for (int64_t s = 0; s < source + own; ++s) {
          const double weight = scores[static_cast<size_t>(s)] / sum;
          weight_at[b][h][t][s] = weight;
          for (int64_t d = 0; d < dim; ++d) {
            joined_at[b][t][h * dim + d] +=
                weight * values[static_cast<size_t>(s)][static_cast<size_t>(d)];
          }
        }
      }
    }
  }
  return {linear(joined, weights, "out_proj"), all_weights};
}

}  // namespace attend::oracle
