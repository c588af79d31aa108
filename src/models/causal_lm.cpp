#include "attend/models/causal_lm.h"

#include <algorithm>
#include <utility>

#include "attend/functional/dropout.h"
#include "attend/functional/loss.h"
#include "detail/check.h"
#include "detail/print.h"
#include "functional/named_linear.h"
#include "models/fixed_state.h"
#include "models/prompt_padding.h"
#include "models/vocabulary_ids.h"
#include "modules/enum_names.h"
#include "modules/initial_weights.h"

namespace attend {
namespace {

constexpr auto kCausalLM = "CausalLM";
constexpr double kEmbeddingDeviation = 0.02;  // GPT-2's

class CausalLMState final : public detail::FixableState {
 public:
  CausalLMState(size_t layers, torch::Tensor first) : caches_(layers), first_(std::move(first)) {}

  int64_t position() const override { return position_; }
  torch::Tensor first_tokens() const override { return first_; }

  void reorder(const torch::Tensor& rows, const torch::Tensor& /*sentences*/) override {
    for (auto& cache : caches_) cache.reorder(rows);
    first_ = first_.index_select(0, rows);
    if (padding_.defined()) padding_ = padding_.index_select(0, rows);
  }

  int64_t source_length() const override { return 0; }

  std::unique_ptr<FixableState> make_fixed(const detail::FixedSizes& sizes) const override {
    auto made = std::make_unique<CausalLMState>(caches_.size(), torch::Tensor());
    for (auto& cache : made->caches_) cache = KeyValueCache::fixed(sizes.positions);
    return made;
  }

  void assign(const FixableState& other, const torch::Tensor& rows,
              const torch::Tensor& /*sentences*/, const detail::Place& to) override {
    const auto& from = dynamic_cast<const CausalLMState&>(other);
    for (size_t i = 0; i < caches_.size(); ++i) caches_[i].assign(from.caches_[i], rows, to.row);
    if (!padding_.defined()) padding_ = torch::zeros_like(rows);
    const auto place = padding_.narrow(0, to.row, rows.size(0));
    if (from.padding_.defined()) {
      place.copy_(from.padding_.index_select(0, rows));
    } else {
      place.zero_();
    }
    position_ = std::max(to.row > 0 ? position_ : 0, from.position_);
  }

  detail::Extent extent(const torch::Tensor& rows,
                        const torch::Tensor& /*sentences*/) const override {
    const auto longest = caches_.front().lengths().index_select(0, rows).max();
    return {longest.item<int64_t>(), 0};
  }

  void set_position(int64_t position) override {
    for (auto& cache : caches_) cache.set_length(position);
    position_ = position;
  }

  bool is_fixed() const { return caches_.front().capacity() > 0; }

  // The keys that the next step attends to.
  int64_t keys() const { return is_fixed() ? caches_.front().capacity() : position_ + 1; }

  std::vector<KeyValueCache> caches_;  // one per layer
  torch::Tensor first_;                // [N]
  torch::Tensor padding_;              // [N], padding tokens before each prompt, or undefined
  int64_t position_ = 0;               // not that of a fixed state, whose steps a graph replays
};

// The mask of the keys [0, length) that are not padding. padding: [N] -> [N, 1, 1, length].
AttentionMask behind_padding(const torch::Tensor& padding, int64_t length) {
  if (!padding.defined()) return {};
  const auto keys = torch::arange(length, padding.options());
  return AttentionMask(keys.ge(padding.unsqueeze(1)).unsqueeze(1).unsqueeze(1));
}

}  // namespace

CausalLMOptions::CausalLMOptions(int64_t vocab_size, int64_t embed_dim, int64_t num_heads,
                                 int64_t num_layers)
    : CausalLMOptions(vocab_size,
                      TransformerLayerOptions(embed_dim, num_heads)
                          .activation(Activation::kGeluTanh)
                          .attention_dropout(0.1)
                          .norm_order(NormOrder::kPre),
                      num_layers) {}

CausalLMOptions::CausalLMOptions(int64_t vocab_size, const TransformerLayerOptions& layer,
                                 int64_t num_layers)
    : vocab_size_(vocab_size),
      layer_(layer),
      num_layers_(num_layers),
      final_norm_(layer_.norm_order() == NormOrder::kPre),
      bos_id_(vocab_size - 1),
      eos_id_(vocab_size - 1) {}

CausalLMOptions& CausalLMOptions::feed_forward_dim(int64_t value) {
  layer_.feed_forward_dim(value);
  return *this;
}

CausalLMOptions& CausalLMOptions::activation(Activation value) {
  layer_.activation(value);
  return *this;
}

CausalLMOptions& CausalLMOptions::norm_eps(double value) {
  layer_.norm_eps(value);
  return *this;
}

CausalLMOptions& CausalLMOptions::dropout(double value) {
  layer_.dropout(value);
  return embedding_dropout(value);
}

CausalLMOptions& CausalLMOptions::attention_dropout(double value) {
  layer_.attention_dropout(value);
  return *this;
}

CausalLMImpl::CausalLMImpl(const CausalLMOptions& options_) : options(options_) {
  CausalLMImpl::reset();
}

void CausalLMImpl::reset() {
  detail::check_positive(kCausalLM, "vocab_size", options.vocab_size());
  detail::check_positive(kCausalLM, "num_layers", options.num_layers());
  for (const auto& [what, id] :
       {std::pair{"bos_id", options.bos_id()}, std::pair{"eos_id", options.eos_id()}}) {
    TORCH_CHECK_VALUE(id >= 0 && id < options.vocab_size(), kCausalLM, ": expected ", what,
                      " in [0, ", options.vocab_size(), "), got ", id);
  }
  detail::check_heads(kCausalLM, options.embed_dim(), options.num_heads());
  detail::check_probability(kCausalLM, "embedding_dropout", options.embedding_dropout());
  embed_tokens = register_module("embed_tokens",
                                 detail::make_embedding(options.vocab_size(), options.embed_dim()));
  embed_positions = register_module(
      "embed_positions",
      PositionalEncoding(PositionalEncodingOptions(options.embed_dim(), options.max_length())
                             .kind(options.positions())));
  decoder = register_module(
      "decoder", TransformerEncoder(TransformerEncoderOptions(options.layer(), options.num_layers())
                                        .final_norm(options.final_norm())));
  detail::initialize_normal(embed_tokens->weight, kEmbeddingDeviation);
  if (options.positions() == PositionKind::kLearned) {
    detail::initialize_normal(embed_positions->weight, kEmbeddingDeviation);
  }
  if (!options.tie_output()) {
    lm_head = register_module(
        "lm_head",
        detail::make_plain_linear(options.embed_dim(), options.vocab_size(), /*bias=*/false));
    detail::initialize_normal(lm_head->weight, kEmbeddingDeviation);
  }
}

void CausalLMImpl::pretty_print(std::ostream& stream) const {
  const auto& o = options;
  const CausalLMOptions usual(o.vocab_size(), o.layer(), o.num_layers());
  detail::Printer(stream, kCausalLM)
      .value("vocab_size", o.vocab_size())
      .value("embed_dim", o.embed_dim())
      .value("num_heads", o.num_heads())
      .value("num_layers", o.num_layers())
      .changed("positions", detail::name_of(o.positions()), detail::name_of(usual.positions()))
      .changed("max_length", o.max_length(), usual.max_length())
      .changed("embedding_dropout", o.embedding_dropout(), usual.embedding_dropout())
      .changed("final_norm", o.final_norm(), usual.final_norm())
      .changed("tie_output", o.tie_output(), usual.tie_output())
      .changed("bos_id", o.bos_id(), usual.bos_id())
      .changed("eos_id", o.eos_id(), usual.eos_id())
      .end();
}

torch::Tensor CausalLMImpl::embed(const torch::Tensor& ids, int64_t offset,
                                  const torch::Tensor& padding, const torch::Tensor& at) {
  auto x = embed_tokens(ids);  // [B, T, E]
  if (padding.defined()) {
    const auto columns =
        at.defined() ? at : torch::arange(offset, offset + ids.size(1), padding.options());
    // Padding tokens get position 0; no query attends to them.
    x = embed_positions->at_positions(x, (columns - padding.unsqueeze(1)).clamp_min(0));
  } else {
    x = embed_positions(x, offset);
  }
  return is_training() ? functional::dropout(x, options.embedding_dropout()) : x;
}

const torch::Tensor& CausalLMImpl::output_table() const {
  return lm_head ? lm_head->weight : embed_tokens->weight;
}

torch::Tensor CausalLMImpl::project(const torch::Tensor& hidden) const {
  return functional::linear(hidden, output_table(), {}, kCausalLM);
}

EncoderOutput CausalLMImpl::decode(const torch::Tensor& ids, const AttentionMask& mask,
                                   const WeightsRequest& weights) {
  detail::check_ids(kCausalLM, "ids", ids);
  detail::check_shape(kCausalLM, "ids", ids, {-1, -1});
  const auto embedded = detail::look_up_ids(kCausalLM, "ids", ids, options.vocab_size(),
                                            [&] { return embed(ids, 0); });
  return decoder(embedded, AttentionMask::causal() & mask, weights);
}

torch::Tensor CausalLMImpl::forward(const torch::Tensor& ids, const AttentionMask& mask) {
  return run(ids, mask).logits;
}

CausalLMOutput CausalLMImpl::run(const torch::Tensor& ids, const AttentionMask& mask,
                                 const WeightsRequest& weights) {
  auto decoded = decode(ids, mask, weights);
  return {project(decoded.output), std::move(decoded.weights)};
}

torch::Tensor CausalLMImpl::loss_sum(const torch::Tensor& ids, const torch::Tensor& labels,
                                     int64_t ignore_id, double label_smoothing,
                                     const AttentionMask& mask) {
  const auto decoded = decode(ids, mask, WeightsRequest::kNone);
  return functional::linear_cross_entropy_sum(decoded.output, output_table(), {}, labels, ignore_id,
                                              label_smoothing);
}

SpecialTokenIds CausalLMImpl::special_tokens() const {
  return {options.bos_id(), options.eos_id(), /*pad_id=*/-1};
}

std::unique_ptr<DecoderState> CausalLMImpl::start(const torch::Tensor& prompt,
                                                  const AttentionMask& mask) {
  detail::check_ids(kCausalLM, "prompt", prompt);
  detail::check_shape(kCausalLM, "prompt", prompt, {-1, -1});
  TORCH_CHECK_VALUE(prompt.size(1) >= 1, kCausalLM,
                    ": expected a prompt of at least 1 token, got 0");
  // The last token is only embedded by the first step, whose error would name `tokens` instead of
  // `prompt`.
  if (prompt.is_cpu()) {
    detail::check_vocabulary(kCausalLM, "prompt", prompt, options.vocab_size());
  }
  const auto last = prompt.size(1) - 1;
  auto state = std::make_unique<CausalLMState>(static_cast<size_t>(options.num_layers()),
                                               prompt.select(1, last));
  state->padding_ = detail::left_padding(kCausalLM, mask, prompt);
  if (last > 0) {
    decoder->step(embed(prompt.narrow(1, 0, last), 0, state->padding_), state->caches_,
                  behind_padding(state->padding_, last));
  }
  state->position_ = last;
  return state;
}

StepOutput CausalLMImpl::step(const torch::Tensor& tokens, DecoderState& state,
                              bool want_alignment) {
  auto* own = dynamic_cast<CausalLMState*>(&state);
  TORCH_CHECK(own != nullptr,
              "CausalLM::step: expected a state made by this model's start, got another");
  detail::check_ids("CausalLM::step", "tokens", tokens);
  detail::check_rank("CausalLM::step", "tokens", tokens, 1, 1);
  TORCH_CHECK_VALUE(own->position_ < options.max_length(),
                    "CausalLM::step: expected a position within max_length ", options.max_length(),
                    ", got ", own->position_, " + 1");
  auto request = WeightsRequest(want_alignment ? WeightsRequest::kMean : WeightsRequest::kNone);
  const auto embedded =
      detail::look_up_ids("CausalLM::step", "tokens", tokens, options.vocab_size(), [&] {
        return embed(tokens.unsqueeze(1), own->position_, own->padding_,
                     own->is_fixed() ? own->caches_.front().next_positions(1, tokens.device())
                                     : torch::Tensor());
      });
  const auto keys = own->keys();
  auto decoded = decoder->step(embedded, own->caches_, behind_padding(own->padding_, keys),
                               request.layers({-1}));
  ++own->position_;
  StepOutput result{project(decoded.output.squeeze(1)), {}};
  if (want_alignment) {  // [N, S], without bias_kv and zero_attn
    result.alignment = decoded.weights.back().squeeze(1).narrow(1, 0, keys);
  }
  return result;
}

}  // namespace attend
