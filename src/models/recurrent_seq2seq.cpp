#include "attend/models/recurrent_seq2seq.h"

#include <c10/core/impl/LocalDispatchKeySet.h>

#include <algorithm>
#include <tuple>

#include "attend/functional/loss.h"
#include "detail/check.h"
#include "detail/print.h"
#include "functional/named_linear.h"
#include "functional/products.h"
#include "models/padded_embedding.h"
#include "models/shared_vocabulary.h"
#include "models/source_mask.h"
#include "models/vocabulary_ids.h"
#include "modules/transformer_parts.h"

namespace attend {

/// The source after encoding.
struct RecurrentSeq2SeqImpl::Memory {
  torch::Tensor keys;    // [B, S, A], projected once per sentence
  torch::Tensor values;  // [B, S, 2 E]
  torch::Tensor first;   // [1, B, E], the decoder's first state
  torch::Tensor mask;    // [B, 1, 1, S], or undefined where there is no padding
};

/// The target so far.
struct RecurrentSeq2SeqImpl::Decoded {
  torch::Tensor features;  // [B, T, E], the output layer's input
  torch::Tensor hidden;    // [1, B, E]
  torch::Tensor weights;   // [B, T, S], if requested
};

namespace {

constexpr auto kRecurrent = "RecurrentSeq2Seq";

// The number of keys that each row may attend to: [B].
torch::Tensor real_lengths(const torch::Tensor& mask_row) {
  TORCH_CHECK(mask_row.scalar_type() == torch::kBool, kRecurrent,
              ": expected a source mask that describes padding, got a bias");
  return mask_row.squeeze(2).squeeze(1).sum(1);
}

// Reverses the first lengths[b] positions of each row and leaves padding in place. Applied twice,
// it gives x again. x: [B, S, E].
torch::Tensor reverse_sentences(const torch::Tensor& x, const torch::Tensor& lengths) {
  if (!lengths.defined()) return x.flip({1});
  const auto positions = torch::arange(x.size(1), lengths.options()).unsqueeze(0);  // [1, S]
  const auto ends = lengths.unsqueeze(1);                                           // [B, 1]
  const auto index = torch::where(positions < ends, ends - 1 - positions, positions);
  return x.gather(1, index.unsqueeze(2).expand_as(x));
}

// The states [N, T, E] and the last state [1, N, E]. If the CPU has no fast products of the
// autocast dtype, autocast is off here: a GRU does many small products, and rounding each result to
// 16 bits would take too long.
std::tuple<torch::Tensor, torch::Tensor> run(torch::nn::GRU& gru, const torch::Tensor& x,
                                             const torch::Tensor& hidden = {}) {
  if (!functional::lacks_products_of(x)) return gru(x, hidden);
  const c10::impl::ExcludeDispatchKeyGuard no_autocast(c10::autocast_dispatch_keyset);
  const auto type = gru->all_weights().front().scalar_type();
  return gru(x.to(type), hidden.defined() ? hidden.to(type) : hidden);
}

class RecurrentState final : public DecoderState {
 public:
  int64_t position() const override { return position_; }

  void reorder(const torch::Tensor& rows, const torch::Tensor& sentences) override {
    hidden_ = hidden_.index_select(1, rows);
    if (!sentences.defined()) return;
    keys_ = keys_.index_select(0, sentences);
    values_ = values_.index_select(0, sentences);
    if (mask_.defined()) mask_ = mask_.index_select(0, sentences);
  }

  torch::Tensor hidden_;         // [1, N, E]
  torch::Tensor keys_, values_;  // [B, S, ...]
  torch::Tensor mask_;           // [B, 1, 1, S] or undefined
  int64_t position_ = 0;
};

}  // namespace

RecurrentSeq2SeqOptions::RecurrentSeq2SeqOptions(int64_t src_vocab, int64_t tgt_vocab,
                                                 int64_t embed_dim)
    : src_vocab_(src_vocab),
      tgt_vocab_(tgt_vocab),
      embed_dim_(embed_dim),
      attention_dim_(embed_dim),
      share_embeddings_(src_vocab == tgt_vocab),
      pad_id_(std::min(src_vocab, tgt_vocab) - 1),
      start_id_(pad_id_) {}

RecurrentSeq2SeqImpl::RecurrentSeq2SeqImpl(const RecurrentSeq2SeqOptions& options_)
    : options(options_) {
  RecurrentSeq2SeqImpl::reset();
}

void RecurrentSeq2SeqImpl::reset() {
  detail::check_positive(kRecurrent, "src_vocab", options.src_vocab());
  detail::check_positive(kRecurrent, "tgt_vocab", options.tgt_vocab());
  detail::check_positive(kRecurrent, "embed_dim", options.embed_dim());
  detail::check_probability(kRecurrent, "dropout", options.dropout());
  detail::check_shared_vocabulary(kRecurrent, options.share_embeddings(), options.src_vocab(),
                                  options.tgt_vocab());
  detail::check_special_ids(kRecurrent, options);
  detail::check_positive(kRecurrent, "max_length", options.max_length());
  const auto e = options.embed_dim();
  const auto embedding = [&](int64_t vocab) {
    constexpr double kDeviation = 0.05;
    return detail::padded_embedding(vocab, e, options.pad_id(), kDeviation);
  };
  const auto gru = [&] { return torch::nn::GRU(torch::nn::GRUOptions(e, e).batch_first(true)); };
  if (options.share_embeddings()) {
    shared = register_module("shared", embedding(options.src_vocab()));
  } else {
    embed_source = register_module("embed_source", embedding(options.src_vocab()));
    embed_target = register_module("embed_target", embedding(options.tgt_vocab()));
  }
  encoder_forward = register_module("encoder_forward", gru());
  encoder_backward = register_module("encoder_backward", gru());
  bridge = register_module("bridge", detail::make_linear(2 * e, e, true));
  decoder = register_module("decoder", gru());
  attention = register_module(
      "attention", BasicAttention(BasicAttentionOptions(e, 2 * e, options.attention_dim())));
  combine = register_module("combine", detail::make_linear(3 * e, e, true));
  final_logits_bias =
      register_parameter("final_logits_bias", torch::zeros({1, options.tgt_vocab()}));
  if (!options.tie_output()) {
    lm_head = register_module("lm_head", detail::make_linear(e, options.tgt_vocab(), false));
  }
}

void RecurrentSeq2SeqImpl::pretty_print(std::ostream& stream) const {
  const auto& o = options;
  const RecurrentSeq2SeqOptions usual(o.src_vocab(), o.tgt_vocab(), o.embed_dim());
  detail::Printer(stream, kRecurrent)
      .value("src_vocab", o.src_vocab())
      .value("tgt_vocab", o.tgt_vocab())
      .value("embed_dim", o.embed_dim())
      .changed("attention_dim", o.attention_dim(), usual.attention_dim())
      .changed("dropout", o.dropout(), usual.dropout())
      .changed("max_length", o.max_length(), usual.max_length())
      .changed("share_embeddings", o.share_embeddings(), usual.share_embeddings())
      .changed("tie_output", o.tie_output(), usual.tie_output())
      .changed("eos_id", o.eos_id(), usual.eos_id())
      .changed("pad_id", o.pad_id(), usual.pad_id())
      .changed("start_id", o.start_id(), o.pad_id())
      .end();
}

const torch::Tensor& RecurrentSeq2SeqImpl::target_table() const {
  return options.share_embeddings() ? shared->weight : embed_target->weight;
}

torch::Tensor RecurrentSeq2SeqImpl::output_table() const {
  return lm_head ? lm_head->weight : detail::first_rows(target_table(), options.tgt_vocab());
}

torch::Tensor RecurrentSeq2SeqImpl::project(const torch::Tensor& features) const {
  return functional::linear(features, output_table(), final_logits_bias.squeeze(0), kRecurrent);
}

RecurrentSeq2SeqImpl::Memory RecurrentSeq2SeqImpl::encode(const torch::Tensor& source,
                                                          const AttentionMask& source_mask) {
  detail::check_ids(kRecurrent, "source", source);
  detail::check_shape(kRecurrent, "source", source, {-1, -1});
  const auto mask = detail::mask_or_padding(source_mask, source, options.pad_id());
  const auto& table = options.share_embeddings() ? shared->weight : embed_source->weight;
  const auto embedded = detail::look_up_ids(kRecurrent, "source", source, options.src_vocab(),
                                            [&] { return torch::embedding(table, source); });
  const auto x = detail::apply_dropout(embedded, options.dropout(), is_training());  // [B, S, E]

  Memory memory;
  memory.mask = detail::memory_mask_row(kRecurrent, mask, x);
  const auto lengths = memory.mask.defined() ? real_lengths(memory.mask) : torch::Tensor();
  const auto forward_states = std::get<0>(run(encoder_forward, x));
  const auto backward_states =
      reverse_sentences(std::get<0>(run(encoder_backward, reverse_sentences(x, lengths))), lengths);
  memory.values = torch::cat({forward_states, backward_states}, 2);  // [B, S, 2 E]
  memory.keys = attention->project_key(memory.values);

  // The last forward state and the first backward state have read the whole sentence.
  const auto last = lengths.defined() ? forward_states
                                            .gather(1, (lengths - 1)
                                                           .clamp_min(0)
                                                           .view({-1, 1, 1})
                                                           .expand({-1, 1, options.embed_dim()}))
                                            .squeeze(1)
                                      : forward_states.select(1, -1);
  const auto summary = torch::cat({last, backward_states.select(1, 0)}, 1);  // [B, 2 E]
  memory.first = torch::tanh(functional::linear(summary, bridge, kRecurrent)).unsqueeze(0);
  return memory;
}

RecurrentSeq2SeqImpl::Decoded RecurrentSeq2SeqImpl::decode(const torch::Tensor& target,
                                                           const Memory& memory,
                                                           const torch::Tensor& hidden,
                                                           const WeightsRequest& weights) {
  detail::check_target_ids(kRecurrent, options, target);
  const auto embedded = detail::look_up_ids(kRecurrent, "target", target, options.tgt_vocab(), [&] {
    return torch::embedding(target_table(), target);
  });
  const auto y = detail::apply_dropout(embedded, options.dropout(), is_training());
  auto [states, last] = run(decoder, y, hidden);  // [N, T, E]
  // The hypotheses of a sentence become queries of one batch row: [B, K * T, E].
  const auto sentences = memory.values.size(0);
  const auto queries = states.reshape({sentences, -1, options.embed_dim()});
  const auto attended =
      attention->attend(queries, memory.keys, memory.values, AttentionMask(memory.mask), weights);
  const auto context = attended.output.reshape({states.size(0), states.size(1), -1});
  const auto features =
      torch::tanh(functional::linear(torch::cat({states, context}, 2), combine, kRecurrent));
  Decoded decoded{detail::apply_dropout(features, options.dropout(), is_training()), last, {}};
  if (attended.weights.defined()) {
    decoded.weights = attended.weights.reshape({states.size(0), states.size(1), -1});
  }
  return decoded;
}

torch::Tensor RecurrentSeq2SeqImpl::forward(const torch::Tensor& source,
                                            const torch::Tensor& target,
                                            const AttentionMask& source_mask,
                                            const AttentionMask& /*target_mask*/) {
  detail::check_ids(kRecurrent, "target", target);
  detail::check_shape(kRecurrent, "target", target, {source.size(0), -1});
  const auto memory = encode(source, source_mask);
  return project(decode(target, memory, memory.first, WeightsRequest::kNone).features);
}

torch::Tensor RecurrentSeq2SeqImpl::loss_sum(const torch::Tensor& source,
                                             const torch::Tensor& target,
                                             const torch::Tensor& labels, double label_smoothing) {
  detail::check_ids(kRecurrent, "target", target);
  detail::check_shape(kRecurrent, "target", target, {source.size(0), -1});
  const auto memory = encode(source, {});
  const auto decoded = decode(target, memory, memory.first, WeightsRequest::kNone);
  return functional::linear_cross_entropy_sum(decoded.features, output_table(),
                                              final_logits_bias.squeeze(0), labels,
                                              options.pad_id(), label_smoothing);
}

torch::Tensor RecurrentSeq2SeqImpl::attention_weights(const torch::Tensor& source,
                                                      const torch::Tensor& target,
                                                      const AttentionMask& source_mask) {
  detail::check_ids(kRecurrent, "target", target);
  detail::check_shape(kRecurrent, "target", target, {source.size(0), -1});
  const auto memory = encode(source, source_mask);
  return decode(target, memory, memory.first, WeightsRequest::kMean).weights;
}

SpecialTokenIds RecurrentSeq2SeqImpl::special_tokens() const {
  return {options.start_id(), options.eos_id(), options.pad_id()};
}

std::unique_ptr<DecoderState> RecurrentSeq2SeqImpl::start(const torch::Tensor& source,
                                                          const AttentionMask& source_mask) {
  const auto memory = encode(source, source_mask);
  auto state = std::make_unique<RecurrentState>();
  state->hidden_ = memory.first;
  state->keys_ = memory.keys;
  state->values_ = memory.values;
  state->mask_ = memory.mask;
  return state;
}

StepOutput RecurrentSeq2SeqImpl::step(const torch::Tensor& tokens, DecoderState& state,
                                      bool want_alignment) {
  auto* own = dynamic_cast<RecurrentState*>(&state);
  TORCH_CHECK(own != nullptr,
              "RecurrentSeq2Seq::step: expected a state made by this model's start, got another");
  detail::check_ids("RecurrentSeq2Seq::step", "tokens", tokens);
  detail::check_rank("RecurrentSeq2Seq::step", "tokens", tokens, 1, 1);
  const auto decoded =
      detail::look_up_ids("RecurrentSeq2Seq::step", "tokens", tokens, options.tgt_vocab(), [&] {
        return decode(tokens.unsqueeze(1), {own->keys_, own->values_, {}, own->mask_}, own->hidden_,
                      want_alignment ? WeightsRequest::kMean : WeightsRequest::kNone);
      });
  own->hidden_ = decoded.hidden;
  ++own->position_;
  StepOutput result{project(decoded.features.squeeze(1)), {}};
  if (want_alignment) result.alignment = decoded.weights.squeeze(1);
  return result;
}

}  // namespace attend
