#include "attend/models/causal_lm.h"

#include <utility>

#include "attend/functional/dropout.h"
#include "attend/functional/linear.h"
#include "detail/check.h"

namespace attend {
namespace {

constexpr auto kCausalLM = "CausalLM";
constexpr double kEmbeddingDeviation = 0.02;  // GPT-2's

class CausalLMState : public DecoderState {
 public:
  CausalLMState(size_t layers, torch::Tensor first) : caches_(layers), first_(std::move(first)) {}

  int64_t position() const override { return position_; }
  torch::Tensor first_tokens() const override { return first_; }

  void reorder(const torch::Tensor& rows, const torch::Tensor& /*sentences*/) override {
    for (auto& cache : caches_) cache.reorder(rows);
    first_ = first_.index_select(0, rows);
  }

  std::vector<KeyValueCache> caches_;  // one a layer
  torch::Tensor first_;                // [N]
  int64_t position_ = 0;
};

TransformerLayerOptions causal_lm_layer(const CausalLMOptions& o) {
  return TransformerLayerOptions(o.embed_dim(), o.num_heads())
      .feed_forward_dim(o.feed_forward_dim())
      .dropout(o.dropout())
      .attention_dropout(o.attention_dropout())
      .activation(o.activation())
      .norm_order(NormOrder::kPre)
      .norm_eps(o.norm_eps());
}

}  // namespace

CausalLMOptions::CausalLMOptions(int64_t vocab_size, int64_t embed_dim, int64_t num_heads,
                                 int64_t num_layers)
    : vocab_size_(vocab_size),
      embed_dim_(embed_dim),
      num_heads_(num_heads),
      num_layers_(num_layers),
      feed_forward_dim_(4 * embed_dim),
      bos_id_(vocab_size - 1),
      eos_id_(vocab_size - 1) {}

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
  embed_tokens = register_module("embed_tokens",
                                 torch::nn::Embedding(options.vocab_size(), options.embed_dim()));
  embed_positions = register_module(
      "embed_positions",
      PositionalEncoding(PositionalEncodingOptions(options.embed_dim(), options.max_length())
                             .kind(PositionKind::kLearned)));
  decoder = register_module("decoder", TransformerEncoder(TransformerEncoderOptions(
                                           causal_lm_layer(options), options.num_layers())));
  torch::nn::init::normal_(embed_tokens->weight, 0.0, kEmbeddingDeviation);
  torch::nn::init::normal_(embed_positions->weight, 0.0, kEmbeddingDeviation);
}

void CausalLMImpl::pretty_print(std::ostream& stream) const {
  stream << "attend::CausalLM(vocab_size=" << options.vocab_size()
         << ", embed_dim=" << options.embed_dim() << ", num_heads=" << options.num_heads()
         << ", num_layers=" << options.num_layers() << ")";
}

torch::Tensor CausalLMImpl::embed(const torch::Tensor& ids, int64_t offset) {
  const auto x = embed_positions(embed_tokens(ids), offset);
  return is_training() ? functional::dropout(x, options.dropout()) : x;
}

torch::Tensor CausalLMImpl::project(const torch::Tensor& hidden) const {
  return functional::linear(hidden, embed_tokens->weight, {}, kCausalLM);
}

torch::Tensor CausalLMImpl::forward(const torch::Tensor& ids, const AttentionMask& mask) {
  return run(ids, mask).logits;
}

CausalLMOutput CausalLMImpl::run(const torch::Tensor& ids, const AttentionMask& mask,
                                 const WeightsRequest& weights) {
  detail::check_ids(kCausalLM, "ids", ids);
  detail::check_shape(kCausalLM, "ids", ids, {-1, -1});
  auto decoded = decoder(embed(ids, 0), AttentionMask::causal() & mask, weights);
  return {project(decoded.output), std::move(decoded.weights)};
}

SpecialTokenIds CausalLMImpl::special_tokens() const {
  return {options.bos_id(), options.eos_id(), /*pad_id=*/-1};
}

std::unique_ptr<DecoderState> CausalLMImpl::start(const torch::Tensor& prompt,
                                                  const AttentionMask& mask) {
  detail::check_ids(kCausalLM, "prompt", prompt);
  detail::check_shape(kCausalLM, "prompt", prompt, {-1, -1});
  TORCH_CHECK(mask.is_none(), kCausalLM, ": expected a prompt without a mask, got a mask");
  TORCH_CHECK_VALUE(prompt.size(1) >= 1, kCausalLM,
                    ": expected a prompt of at least 1 token, got 0");
  const auto last = prompt.size(1) - 1;
  auto state = std::make_unique<CausalLMState>(static_cast<size_t>(options.num_layers()),
                                               prompt.select(1, last));
  if (last > 0) decoder->step(embed(prompt.narrow(1, 0, last), 0), state->caches_);
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
  auto request = WeightsRequest(want_alignment ? WeightsRequest::kMean : WeightsRequest::kNone);
  auto decoded =
      decoder->step(embed(tokens.unsqueeze(1), own->position_), own->caches_, request.layers({-1}));
  ++own->position_;
  StepOutput result{project(decoded.output.squeeze(1)), {}};
  if (want_alignment) result.alignment = decoded.weights.back().squeeze(1);  // [N, S]
  return result;
}

}  // namespace attend
