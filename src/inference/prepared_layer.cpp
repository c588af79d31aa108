#include "inference/prepared_layer.h"

#include <algorithm>
#include <cmath>

#include "attend/functional/mask.h"
#include "detail/parallel.h"
#include "kernels/cpu/attention.h"

namespace attend::detail {
namespace {

// Numbers that are worth another thread.
constexpr int64_t kNumbersForAThread = 50'000;

const float* numbers_of(const torch::Tensor& tensor) {
  return tensor.defined() ? tensor.const_data_ptr<float>() : nullptr;
}

torch::Tensor fixed(const torch::Tensor& tensor) {
  return tensor.defined() ? tensor.detach().clone() : tensor;
}

kernels::Ending::Activation ending_of(Activation activation) {
  switch (activation) {
    case Activation::kRelu:
      return kernels::Ending::Activation::kRelu;
    case Activation::kGelu:
      return kernels::Ending::Activation::kGelu;
    case Activation::kGeluTanh:
      return kernels::Ending::Activation::kGeluTanh;
    case Activation::kSwish:
      return kernels::Ending::Activation::kSwish;
  }
  TORCH_INTERNAL_ASSERT(false, "activation");
}

}  // namespace

PreparedNorm::PreparedNorm(const NormImpl& norm)
    : options_(norm.options), weight_(fixed(norm.weight)), bias_(fixed(norm.bias)) {}

void PreparedNorm::run(const float* input, int64_t rows, float* output) const {
  const kernels::RowNorm norm{.subtracts_mean = options_.kind() == NormKind::kLayer,
                              .size = options_.size(),
                              .weight = numbers_of(weight_),
                              .bias = numbers_of(bias_),
                              .eps = static_cast<float>(options_.eps())};
  parallel_for(rows, std::max<int64_t>(kNumbersForAThread / norm.size, 1),
               [&](int64_t first, int64_t last) {
                 kernels::normalize_rows(norm, input, output, first, last);
               });
}

void PreparedAttention::read(const MultiHeadAttentionOptions& options, const torch::Tensor& sinks,
                             const Norm& q_norm, const Norm& k_norm) {
  heads_ = options.num_heads();
  kv_heads_ = options.num_kv_heads();
  head_dim_ = options.embed_dim() / heads_;
  scale_ = options.scale().value_or(1.0 / std::sqrt(static_cast<double>(head_dim_)));
  soft_cap_ = static_cast<float>(options.soft_cap());
  window_ = options.window().value_or(AttentionWindow());
  if (options.alibi()) slopes_ = functional::alibi_slopes(heads_);
  sinks_ = fixed(sinks);
  if (options.qk_norm()) {
    normalises_ = true;
    q_norm_ = PreparedNorm(*q_norm);
    k_norm_ = PreparedNorm(*k_norm);
  }
}

PreparedAttention::PreparedAttention(const MultiHeadSelfAttentionImpl& attention, int64_t positions,
                                     WeightPrecision precision)
    : projection_(PreparedLinear::joined({attention.q_proj, attention.k_proj, attention.v_proj},
                                         precision)),
      out_(PreparedLinear::of(attention.out_proj, precision)) {
  read(attention.options, attention.sinks, attention.q_norm, attention.k_norm);
  if (!attention.options.rotary()) return;
  // Rotated, the pair (1, 0) becomes its cosine and sine.
  const auto& rotary = *attention.options.rotary();
  halves_ = rotary.pairing == RotaryPairing::kHalves;
  const auto pairs = (rotary.dim == 0 ? head_dim_ : rotary.dim) / 2;
  auto units = torch::zeros({positions, head_dim_}, on_cpu(torch::kFloat));
  if (halves_) {
    units.narrow(1, 0, pairs).fill_(1.0);
  } else {
    units.narrow(1, 0, 2 * pairs).unflatten(1, {pairs, 2}).select(2, 0).fill_(1.0);
  }
  const auto rotated = functional::rotary(units, rotary).narrow(1, 0, 2 * pairs);
  const auto parts = halves_ ? rotated.unflatten(1, {2, pairs}).transpose(1, 2)
                             : rotated.unflatten(1, {pairs, 2});  // [positions, pairs, 2]
  cosines_ = parts.select(2, 0).contiguous();
  sines_ = parts.select(2, 1).contiguous();
}

PreparedAttention::PreparedAttention(const MultiHeadCrossAttentionImpl& attention,
                                     WeightPrecision precision)
    : projection_(PreparedLinear::of(attention.q_proj, precision)),
      memory_(PreparedLinear::joined({attention.k_proj, attention.v_proj}, precision)),
      out_(PreparedLinear::of(attention.out_proj, precision)) {
  read(attention.options, attention.sinks, attention.q_norm, attention.k_norm);
}

void PreparedAttention::rotate(float* head, int64_t position) const {
  const auto pairs = cosines_.size(1), step = halves_ ? int64_t{1} : int64_t{2};
  const auto other = halves_ ? pairs : int64_t{1};
  const float* cosines = cosines_.const_data_ptr<float>() + position * pairs;
  const float* sines = sines_.const_data_ptr<float>() + position * pairs;
  for (int64_t i = 0; i < pairs; ++i) {
    float &a = head[i * step], &b = head[i * step + other];
    const float turned = a * cosines[i] - b * sines[i];
    b = b * cosines[i] + a * sines[i];
    a = turned;
  }
}

// The projections of the rows, with norms and positions: [N, projection_.outputs()].
float* PreparedAttention::project(const float* normal, const StepRows& rows,
                                  Scratch& scratch) const {
  auto* projected = scratch.projected.of(rows.count * projection_.outputs());
  projection_.run(normal, rows.count, projected, scratch);
  const bool is_self = projection_.outputs() > query_width();
  if (!normalises_ && !cosines_.defined()) return projected;
  for (int64_t r = 0; r < rows.count; ++r) {
    float* const row = projected + r * projection_.outputs();
    if (normalises_) {
      q_norm_.run(row, heads_, row);
      if (is_self) k_norm_.run(row + query_width(), kv_heads_, row + query_width());
    }
    if (!cosines_.defined()) continue;
    for (int64_t head = 0; head < heads_ + kv_heads_; ++head) {
      rotate(row + head * head_dim_, rows.positions[r]);
    }
  }
  return projected;
}

// All but queries, keys and output.
kernels::CachedAttention PreparedAttention::kernel() const {
  return {.heads = heads_,
          .kv_heads = kv_heads_,
          .head_dim = head_dim_,
          .query = nullptr,
          .query_stride = projection_.outputs(),
          .keys = {},
          .values = {},
          .slots = nullptr,
          .slots_stride = 0,
          .first = nullptr,
          .counts = nullptr,
          .scale = static_cast<float>(scale_),
          .soft_cap = soft_cap_,
          .slopes = numbers_of(slopes_),
          .sinks = numbers_of(sinks_),
          .window = window_.left == AttentionMask::Band::kAll ? -1 : window_.left,
          .output = nullptr};
}

namespace {

void run_kernel(const kernels::CachedAttention& attention, int64_t rows) {
  const int64_t longest = *std::max_element(attention.counts, attention.counts + rows);
  const auto numbers = std::max<int64_t>(2 * longest * attention.heads * attention.head_dim, 1);
  parallel_for(
      rows, std::max<int64_t>(kNumbersForAThread / numbers, 1),
      [&](int64_t first, int64_t last) { kernels::cached_attention(attention, first, last); });
}

}  // namespace

void PreparedAttention::add_cached(const float* normal, const StepRows& rows,
                                   const CachedKeys& keys, float* mean_weights, int64_t mean_stride,
                                   float* x, Scratch& scratch) const {
  if (rows.count == 0) return;
  const auto width = projection_.outputs();
  const auto* projected = project(normal, rows, scratch);
  for (int64_t r = 0; r < rows.count; ++r) {
    const float* key = projected + r * width + query_width();
    const auto before = keys.counts[r] - 1;
    const auto slot =
        keys.slots != nullptr ? keys.slots[r * keys.slots_stride + before] : keys.first[r] + before;
    std::copy_n(key, key_width(), keys.cache->key(keys.layer, slot));
    std::copy_n(key + key_width(), key_width(), keys.cache->value(keys.layer, slot));
  }
  auto attention = kernel();
  attention.query = projected;
  attention.keys = keys.cache->keys(keys.layer);
  attention.values = keys.cache->values(keys.layer);
  attention.slots = keys.slots;
  attention.slots_stride = keys.slots_stride;
  attention.first = keys.first;
  attention.counts = keys.counts;
  attention.mean_weights = mean_weights;
  attention.weights_stride = mean_stride;
  attention.output = scratch.attended.of(rows.count * query_width());
  run_kernel(attention, rows.count);
  out_.run(attention.output, rows.count, x, scratch, {.addend = x});
}

void PreparedAttention::add_memory(const float* normal, int64_t rows, const MemoryKeys& memory,
                                   float* x, Scratch& scratch) const {
  if (rows == 0) return;
  auto attention = kernel();
  attention.query = project(normal, {.count = rows, .positions = nullptr}, scratch);
  const auto stride = 2 * key_width();
  attention.keys = {.blocks = memory.blocks, .block = memory.block, .stride = stride};
  attention.values = {
      .blocks = memory.blocks, .block = memory.block, .stride = stride, .offset = key_width()};
  attention.first = memory.first;
  attention.counts = memory.counts;
  attention.mean_weights = memory.mean_weights;
  attention.weights_stride = memory.mean_stride;
  attention.output = scratch.attended.of(rows * query_width());
  run_kernel(attention, rows);
  out_.run(attention.output, rows, x, scratch, {.addend = x});
}

void PreparedAttention::project_memory(const float* encoded, int64_t rows, float* key_values,
                                       Scratch& scratch) const {
  memory_.run(encoded, rows, key_values, scratch);
  if (!normalises_) return;
  for (int64_t r = 0; r < rows; ++r) {
    float* const row = key_values + r * 2 * key_width();
    k_norm_.run(row, kv_heads_, row);
  }
}

void PreparedAttention::add_within(const float* normal, const StepRows& rows,
                                   const Sentences& sentences, float* x, Scratch& scratch) const {
  if (rows.count == 0) return;
  const auto width = projection_.outputs();
  const auto* projected = project(normal, rows, scratch);
  auto* attended = scratch.attended.of(rows.count * query_width());
  const auto count = static_cast<int64_t>(sentences.first.size());
  const auto numbers =
      std::max<int64_t>(rows.count * rows.count / count * query_width() / count, 1);
  parallel_for(
      count, std::max<int64_t>(kNumbersForAThread / numbers, 1), [&](int64_t first, int64_t last) {
        for (auto b = first; b < last; ++b) {
          const auto index = static_cast<size_t>(b);
          const int64_t length = sentences.length[index];
          if (length == 0) continue;
          const float* query = projected + sentences.first[index] * width;
          const auto rows_at = [&](int64_t offset) {
            return kernels::HeadRows<const float>{query + offset, 0, head_dim_, width};
          };
          const kernels::Attention<float> attention{.batch = 1,
                                                    .heads = heads_,
                                                    .target = length,
                                                    .source = length,
                                                    .head_dim = head_dim_,
                                                    .value_dim = head_dim_,
                                                    .group = heads_ / kv_heads_,
                                                    .query = rows_at(0),
                                                    .key = rows_at(query_width()),
                                                    .value = rows_at(query_width() + key_width()),
                                                    .bias = {},
                                                    .allowed = {},
                                                    .slopes = numbers_of(slopes_),
                                                    .query_segments = nullptr,
                                                    .key_segments = nullptr,
                                                    .band_left = window_.left,
                                                    .band_right = window_.right,
                                                    .scale = static_cast<float>(scale_),
                                                    .soft_cap = soft_cap_,
                                                    .sinks = numbers_of(sinks_),
                                                    .dropout = {}};
          const kernels::HeadRows<float> output{attended + sentences.first[index] * query_width(),
                                                0, head_dim_, query_width()};
          const auto workspace = torch::empty({kernels::attention_forward_workspace(attention)},
                                              on_cpu(torch::kFloat));
          const auto tasks = kernels::attention_forward_tasks(attention);
          for (int64_t task = 0; task < tasks; ++task) {
            kernels::attention_forward<float>(attention, output, nullptr, task,
                                              workspace.mutable_data_ptr<float>());
          }
        }
      });
  out_.run(attended, rows.count, x, scratch, {.addend = x});
}

PreparedFeedForward::PreparedFeedForward(const FeedForwardImpl& block, WeightPrecision precision)
    : activation_(ending_of(block.options.activation())),
      gated_(block.options.gated()),
      fc1_(PreparedLinear::of(block.fc1, precision)),
      fc2_(PreparedLinear::of(block.fc2, precision)) {
  if (gated_) gate_ = PreparedLinear::of(block.gate_proj, precision);
}

void PreparedFeedForward::add(const float* normal, int64_t rows, float* x, Scratch& scratch) const {
  auto* hidden = scratch.hidden.of(rows * fc1_.outputs());
  if (gated_) {
    auto* gate = scratch.gate.of(rows * fc1_.outputs());
    gate_.run(normal, rows, gate, scratch, {.activation = activation_});
    fc1_.run(normal, rows, hidden, scratch, {.factor = gate});
  } else {
    fc1_.run(normal, rows, hidden, scratch, {.activation = activation_});
  }
  fc2_.run(hidden, rows, x, scratch, {.addend = x});
}

PreparedLayer::PreparedLayer(const TransformerEncoderLayerImpl& layer, int64_t positions,
                             WeightPrecision precision)
    : pre_norm_(layer.options.norm_order() == NormOrder::kPre),
      embed_dim_(layer.options.embed_dim()),
      self_(*layer.self_attn, positions, precision),
      feed_forward_(*layer.feed_forward, precision),
      self_norm_(*layer.self_attn_layer_norm),
      final_norm_(*layer.final_layer_norm) {}

PreparedLayer::PreparedLayer(const TransformerDecoderLayerImpl& layer, int64_t positions,
                             WeightPrecision precision)
    : pre_norm_(layer.options.norm_order() == NormOrder::kPre),
      embed_dim_(layer.options.embed_dim()),
      self_(*layer.self_attn, positions, precision),
      cross_(*layer.encoder_attn, precision),
      feed_forward_(*layer.feed_forward, precision),
      self_norm_(*layer.self_attn_layer_norm),
      cross_norm_(*layer.encoder_attn_layer_norm),
      final_norm_(*layer.final_layer_norm) {}

// x = norm(x + f(x)), or x + f(norm(x)); `add` adds f of its input to x.
template <typename Add>
void PreparedLayer::sublayer(const PreparedNorm& norm, float* x, int64_t rows, Scratch& scratch,
                             const Add& add) const {
  if (!pre_norm_) {
    add(x);
    norm.run(x, rows, x);
    return;
  }
  auto* normal = scratch.normal.of(rows * embed_dim_);
  norm.run(x, rows, normal);
  add(normal);
}

void PreparedLayer::run_encoder(float* x, const StepRows& rows, const Sentences& sentences,
                                Scratch& scratch) const {
  sublayer(self_norm_, x, rows.count, scratch,
           [&](const float* y) { self_.add_within(y, rows, sentences, x, scratch); });
  sublayer(final_norm_, x, rows.count, scratch,
           [&](const float* y) { feed_forward_.add(y, rows.count, x, scratch); });
}

void PreparedLayer::run_causal(float* x, const StepRows& rows, const CachedKeys& keys,
                               float* mean_weights, int64_t mean_stride, Scratch& scratch) const {
  sublayer(self_norm_, x, rows.count, scratch, [&](const float* y) {
    self_.add_cached(y, rows, keys, mean_weights, mean_stride, x, scratch);
  });
  sublayer(final_norm_, x, rows.count, scratch,
           [&](const float* y) { feed_forward_.add(y, rows.count, x, scratch); });
}

void PreparedLayer::run_decoder(float* x, const StepRows& rows, const CachedKeys& keys,
                                const MemoryKeys& memory, Scratch& scratch) const {
  sublayer(self_norm_, x, rows.count, scratch,
           [&](const float* y) { self_.add_cached(y, rows, keys, nullptr, 0, x, scratch); });
  sublayer(cross_norm_, x, rows.count, scratch,
           [&](const float* y) { cross_.add_memory(y, rows.count, memory, x, scratch); });
  sublayer(final_norm_, x, rows.count, scratch,
           [&](const float* y) { feed_forward_.add(y, rows.count, x, scratch); });
}

std::string layer_obstacle(const TransformerLayerOptions& options) {
  for (const auto& attention : {options.self_attention(), options.effective_cross_attention()}) {
    if (attention.relative_bias()) return "relative_bias";
    if (attention.add_bias_kv()) return "add_bias_kv";
    if (attention.add_zero_attn()) return "add_zero_attn";
  }
  return "";
}

}  // namespace attend::detail
