#include "attend/models/seq2seq.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "attend/functional/loss.h"
#include "detail/check.h"
#include "detail/print.h"
#include "functional/named_linear.h"
#include "models/fixed_state.h"
#include "models/padded_embedding.h"
#include "models/shared_vocabulary.h"
#include "models/source_mask.h"
#include "models/vocabulary_ids.h"
#include "modules/enum_names.h"
#include "modules/initial_weights.h"

namespace attend {
namespace {

constexpr auto kSeq2Seq = "Seq2Seq";

// Overloads by stack type, for what differs between encoder and decoder.
TransformerEncoderOptions stack_options(const Seq2SeqOptions& options, TransformerEncoder*) {
  return {options.encoder_layer(), options.encoder_layers()};
}

TransformerDecoderOptions stack_options(const Seq2SeqOptions& options, TransformerDecoder*) {
  return {options.decoder_layer(), options.decoder_layers()};
}

const char* side_name(TransformerEncoder*) { return "Seq2SeqEncoder"; }

const char* side_name(TransformerDecoder*) { return "Seq2SeqDecoder"; }

int64_t vocabulary(const Seq2SeqOptions& options, TransformerEncoder*) {
  return options.src_vocab();
}

int64_t vocabulary(const Seq2SeqOptions& options, TransformerDecoder*) {
  return options.tgt_vocab();
}

// The encoder's output size must fit the decoder's cross-attention.
void check_sides(const Seq2SeqOptions& options) {
  const auto dim = options.embed_dim();
  TORCH_CHECK_VALUE(options.decoder_layer().embed_dim() == dim, kSeq2Seq,
                    ": expected decoder_layer with the encoder's embed_dim ", dim, ", got ",
                    options.decoder_layer().embed_dim());
  const auto memory = options.decoder_layer().effective_cross_attention();
  TORCH_CHECK_VALUE(memory.key_dim() == dim && memory.value_dim() == dim, kSeq2Seq,
                    ": expected cross_attention with key_dim and value_dim ", dim,
                    ", the encoder's embed_dim, got ", memory.key_dim(), " and ",
                    memory.value_dim());
}

torch::nn::Embedding make_embedding(const Seq2SeqOptions& options, int64_t vocab) {
  // Multiplied by sqrt(E), the entries have variance 1.
  return detail::padded_embedding(vocab, options.embed_dim(), options.pad_id(),
                                  1.0 / std::sqrt(static_cast<double>(options.embed_dim())));
}

// Becomes a tensor [B, H, length, D] at the first call, and is written to at all others, from sentence
// `first` on. from: [B', H, S, D].
void assign_memory(torch::Tensor& held, const torch::Tensor& from, const torch::Tensor& sentences,
                   int64_t first, int64_t length) {
  if (!held.defined()) {
    held = torch::empty({sentences.size(0), from.size(1), length, from.size(3)}, from.options());
  }
  const auto count = std::min(from.size(2), length);
  const auto place = held.narrow(0, first, sentences.size(0));
  place.narrow(2, 0, count).copy_(from.narrow(2, 0, count).index_select(0, sentences));
  place.narrow(2, count, length - count).zero_();
}

class Seq2SeqState final : public detail::FixableState {
 public:
  Seq2SeqState(DecoderCache cache, torch::Tensor source_mask)
      : cache_(std::move(cache)), source_mask_(std::move(source_mask)) {}

  int64_t position() const override { return position_; }
  void check_fixable() const override {
    TORCH_CHECK_VALUE(!cache_.empty(), kSeq2Seq,
                      ": expected a decoder layer or more for a step of fixed sizes, got none");
    TORCH_CHECK(!source_mask_.defined() || source_mask_.scalar_type() == torch::kBool, kSeq2Seq,
                ": expected a source mask of padding for a step of fixed sizes, got a bias");
  }

  int64_t source_length() const override {
    return is_fixed() ? fixed_source_ : cache_.back().memory.key.size(2);
  }

  std::unique_ptr<FixableState> make_fixed(const detail::FixedSizes& sizes) const override {
    DecoderCache cache(cache_.size());
    for (auto& layer : cache) layer.self = KeyValueCache::fixed(sizes.positions);
    auto made = std::make_unique<Seq2SeqState>(std::move(cache), torch::Tensor());
    made->fixed_source_ = sizes.source;
    return made;
  }

  void assign(const FixableState& other, const torch::Tensor& rows, const torch::Tensor& sentences,
              const detail::Place& to) override {
    const auto& from = dynamic_cast<const Seq2SeqState&>(other);
    for (size_t i = 0; i < cache_.size(); ++i) {
      const auto& [self, memory] = from.cache_[i];
      cache_[i].self.assign(self, rows, to.row);
      if (!sentences.defined()) continue;
      auto& [key, value, first, positions] = cache_[i].memory;
      assign_memory(key, memory.key, sentences, to.sentence, fixed_source_);
      assign_memory(value, memory.value, sentences, to.sentence, fixed_source_);
    }
    if (sentences.defined()) assign_sources(from, sentences, to.sentence);
  }

  detail::Extent extent(const torch::Tensor& rows, const torch::Tensor& sentences) const override {
    const auto position = cache_.front().self.lengths().index_select(0, rows).max();
    const auto source = source_lengths_.index_select(0, sentences).max();
    const auto both = torch::stack({position, source}).cpu();
    return {both[0].item<int64_t>(), both[1].item<int64_t>()};
  }

  void set_position(int64_t position) override {
    for (auto& layer : cache_) layer.self.set_length(position);
  }

  bool is_fixed() const { return fixed_source_ > 0; }

  // The position of each row's next token, of a fixed state: [N, 1].
  torch::Tensor next_positions(const torch::Tensor& tokens) const {
    return cache_.front().self.next_positions(1, tokens.device()).expand({tokens.size(0), 1});
  }

  void reorder(const torch::Tensor& rows, const torch::Tensor& sentences) override {
    for (auto& layer : cache_) {
      layer.self.reorder(rows);
      if (sentences.defined()) {
        layer.memory = {layer.memory.key.index_select(0, sentences),
                        layer.memory.value.index_select(0, sentences)};
      }
    }
    if (sentences.defined() && source_mask_.defined()) {
      source_mask_ = source_mask_.index_select(0, sentences);
    }
  }

  DecoderCache cache_;         // one per decoder layer
  torch::Tensor source_mask_;  // [B, 1, 1, S], or undefined where there is no padding
  int64_t position_ = 0;       // not that of a fixed state, whose steps a graph replays

 private:
  // Which keys are real, and how many there are with padding.
  void assign_sources(const Seq2SeqState& from, const torch::Tensor& sentences, int64_t first) {
    const auto& mask = from.source_mask_;
    if (!source_mask_.defined()) {
      source_mask_ = torch::empty({sentences.size(0), 1, 1, fixed_source_},
                                  sentences.options().dtype(torch::kBool));
      source_lengths_ = torch::empty_like(sentences);
    }
    const auto lengths = source_lengths_.narrow(0, first, sentences.size(0));
    if (from.is_fixed()) {
      lengths.copy_(from.source_lengths_.index_select(0, sentences));
    } else {
      lengths.fill_(from.source_length());
    }
    const auto length = std::min(from.source_length(), fixed_source_);
    const auto place = source_mask_.narrow(0, first, sentences.size(0));
    const auto real = place.narrow(3, 0, length);
    if (mask.defined()) {
      real.copy_(mask.narrow(3, 0, length).index_select(0, sentences));
    } else {
      real.fill_(true);
    }
    place.narrow(3, length, fixed_source_ - length).fill_(false);
  }

  int64_t fixed_source_ = 0;      // S of a fixed state
  torch::Tensor source_lengths_;  // [B], of a fixed state
};

}  // namespace

Seq2SeqOptions::Seq2SeqOptions(int64_t src_vocab, int64_t tgt_vocab, int64_t embed_dim,
                               int64_t num_heads, int64_t num_layers)
    : Seq2SeqOptions(src_vocab, tgt_vocab, TransformerLayerOptions(embed_dim, num_heads),
                     num_layers) {}

Seq2SeqOptions::Seq2SeqOptions(int64_t src_vocab, int64_t tgt_vocab,
                               const TransformerLayerOptions& layer, int64_t num_layers)
    : src_vocab_(src_vocab),
      tgt_vocab_(tgt_vocab),
      encoder_layer_(TransformerLayerOptions(layer).cross_attention(std::nullopt)),
      decoder_layer_(layer),
      encoder_layers_(num_layers),
      decoder_layers_(num_layers),
      share_embeddings_(src_vocab == tgt_vocab),
      pad_id_(std::min(src_vocab, tgt_vocab) - 1),
      start_id_(pad_id_) {}

Seq2SeqOptions& Seq2SeqOptions::feed_forward_dim(int64_t value) {
  encoder_layer_.feed_forward_dim(value);
  decoder_layer_.feed_forward_dim(value);
  return *this;
}

Seq2SeqOptions& Seq2SeqOptions::activation(Activation value) {
  encoder_layer_.activation(value);
  decoder_layer_.activation(value);
  return *this;
}

Seq2SeqOptions& Seq2SeqOptions::norm_order(NormOrder value) {
  encoder_layer_.norm_order(value);
  decoder_layer_.norm_order(value);
  return *this;
}

Seq2SeqOptions& Seq2SeqOptions::dropout(double value) {
  encoder_layer_.dropout(value);
  decoder_layer_.dropout(value);
  return embedding_dropout(value);
}

Seq2SeqOptions& Seq2SeqOptions::attention_dropout(double value) {
  encoder_layer_.attention_dropout(value);
  decoder_layer_.attention_dropout(value);
  return *this;
}

Seq2SeqOptions& Seq2SeqOptions::activation_dropout(double value) {
  encoder_layer_.activation_dropout(value);
  decoder_layer_.activation_dropout(value);
  return *this;
}

template <typename Stack>
Seq2SeqSideImpl<Stack>::Seq2SeqSideImpl(const Seq2SeqOptions& options_) : options(options_) {
  Seq2SeqSideImpl::reset();
}

template <typename Stack>
void Seq2SeqSideImpl<Stack>::reset() {
  constexpr Stack* kSide = nullptr;
  if (!options.share_embeddings()) {
    embed_tokens =
        this->register_module("embed_tokens", make_embedding(options, vocabulary(options, kSide)));
  }
  embed_positions = this->register_module(
      "embed_positions",
      PositionalEncoding(PositionalEncodingOptions(options.embed_dim(), options.max_length())
                             .kind(options.positions())
                             .dropout(options.embedding_dropout())));
  stack = Stack(stack_options(options, kSide));
  this->register_module("layers", stack->layers);
  if (stack->layer_norm) this->register_module("layer_norm", stack->layer_norm);
}

template <typename Stack>
void Seq2SeqSideImpl<Stack>::pretty_print(std::ostream& stream) const {
  constexpr Stack* kSide = nullptr;
  detail::Printer(stream, side_name(kSide)).value("num_layers", stack->layers->size()).end();
}

template class Seq2SeqSideImpl<TransformerEncoder>;
template class Seq2SeqSideImpl<TransformerDecoder>;

Seq2SeqBodyImpl::Seq2SeqBodyImpl(const Seq2SeqOptions& options_) : options(options_) {
  Seq2SeqBodyImpl::reset();
}

void Seq2SeqBodyImpl::reset() {
  if (options.share_embeddings()) {
    shared = register_module("shared", make_embedding(options, options.src_vocab()));
  }
  encoder =
      register_module("encoder", std::make_shared<Seq2SeqSideImpl<TransformerEncoder>>(options));
  decoder =
      register_module("decoder", std::make_shared<Seq2SeqSideImpl<TransformerDecoder>>(options));
}

void Seq2SeqBodyImpl::pretty_print(std::ostream& stream) const {
  detail::Printer(stream, "Seq2SeqBody").value("embed_dim", options.embed_dim()).end();
}

Seq2SeqImpl::Seq2SeqImpl(const Seq2SeqOptions& options_) : options(options_) {
  Seq2SeqImpl::reset();
}

void Seq2SeqImpl::reset() {
  detail::check_positive(kSeq2Seq, "src_vocab", options.src_vocab());
  detail::check_positive(kSeq2Seq, "tgt_vocab", options.tgt_vocab());
  detail::check_shared_vocabulary(kSeq2Seq, options.share_embeddings(), options.src_vocab(),
                                  options.tgt_vocab());
  detail::check_special_ids(kSeq2Seq, options);
  detail::check_probability(kSeq2Seq, "embedding_dropout", options.embedding_dropout());
  check_sides(options);
  model = register_module("model", Seq2SeqBody(options));
  final_logits_bias =
      register_parameter("final_logits_bias", torch::zeros({1, options.tgt_vocab()}));
  if (!options.tie_output()) {
    lm_head = register_module(
        "lm_head",
        detail::make_plain_linear(options.embed_dim(), options.tgt_vocab(), /*bias=*/false));
    detail::initialize_normal(lm_head->weight,
                              1.0 / std::sqrt(static_cast<double>(options.embed_dim())));
  }
}

void Seq2SeqImpl::pretty_print(std::ostream& stream) const {
  const auto& o = options;
  const Seq2SeqOptions usual(o.src_vocab(), o.tgt_vocab(), o.encoder_layer(), o.encoder_layers());
  detail::Printer(stream, kSeq2Seq)
      .value("src_vocab", o.src_vocab())
      .value("tgt_vocab", o.tgt_vocab())
      .value("embed_dim", o.embed_dim())
      .value("layers", fmt::format("{}+{}", o.encoder_layers(), o.decoder_layers()))
      .changed("positions", detail::name_of(o.positions()), detail::name_of(usual.positions()))
      .changed("max_length", o.max_length(), usual.max_length())
      .changed("embedding_dropout", o.embedding_dropout(), usual.embedding_dropout())
      .changed("share_embeddings", o.share_embeddings(), usual.share_embeddings())
      .changed("tie_output", o.tie_output(), usual.tie_output())
      .changed("scale_embedding", o.scale_embedding(), usual.scale_embedding())
      .changed("eos_id", o.eos_id(), usual.eos_id())
      .changed("pad_id", o.pad_id(), usual.pad_id())
      .changed("start_id", o.start_id(), o.pad_id())
      .end();
}

const torch::Tensor& Seq2SeqImpl::source_table() const {
  return options.share_embeddings() ? model->shared->weight : model->encoder->embed_tokens->weight;
}

const torch::Tensor& Seq2SeqImpl::target_table() const {
  return options.share_embeddings() ? model->shared->weight : model->decoder->embed_tokens->weight;
}

torch::Tensor Seq2SeqImpl::embed(const torch::Tensor& ids, const torch::Tensor& table,
                                 PositionalEncoding& positions, int64_t offset,
                                 const torch::Tensor& at) const {
  auto x = torch::embedding(table, ids);  // [B, T, E]
  if (options.scale_embedding()) x = x * std::sqrt(static_cast<double>(options.embed_dim()));
  return at.defined() ? positions->at_positions(x, at) : positions->forward(x, offset);
}

torch::Tensor Seq2SeqImpl::embed_source(const torch::Tensor& source) {
  return detail::look_up_ids(kSeq2Seq, "source", source, options.src_vocab(), [&] {
    return embed(source, source_table(), model->encoder->embed_positions, 0);
  });
}

torch::Tensor Seq2SeqImpl::embed_target(const torch::Tensor& target, int64_t offset,
                                        const torch::Tensor& at) {
  return embed(target, target_table(), model->decoder->embed_positions, offset, at);
}

torch::Tensor Seq2SeqImpl::output_table() const {
  return lm_head ? lm_head->weight : detail::first_rows(target_table(), options.tgt_vocab());
}

torch::Tensor Seq2SeqImpl::project(const torch::Tensor& hidden) const {
  return functional::linear(hidden, output_table(), final_logits_bias.squeeze(0), kSeq2Seq);
}

torch::Tensor Seq2SeqImpl::forward(const torch::Tensor& source, const torch::Tensor& target,
                                   const AttentionMask& source_mask,
                                   const AttentionMask& target_mask) {
  return run(source, target, source_mask, target_mask).logits;
}

torch::Tensor Seq2SeqImpl::loss_sum(const torch::Tensor& source, const torch::Tensor& target,
                                    const torch::Tensor& labels, double label_smoothing) {
  const auto decoded = hidden(source, target, {}, {}, WeightsRequest::kNone);
  return functional::linear_cross_entropy_sum(decoded.logits, output_table(),
                                              final_logits_bias.squeeze(0), labels,
                                              options.pad_id(), label_smoothing);
}

Seq2SeqOutput Seq2SeqImpl::run(const torch::Tensor& source, const torch::Tensor& target,
                               const AttentionMask& source_mask, const AttentionMask& target_mask,
                               const WeightsRequest& weights) {
  auto result = hidden(source, target, source_mask, target_mask, weights);
  result.logits = project(result.logits);
  return result;
}

Seq2SeqOutput Seq2SeqImpl::hidden(const torch::Tensor& source, const torch::Tensor& target,
                                  const AttentionMask& source_mask,
                                  const AttentionMask& target_mask, const WeightsRequest& weights) {
  detail::check_ids(kSeq2Seq, "source", source);
  detail::check_ids(kSeq2Seq, "target", target);
  detail::check_shape(kSeq2Seq, "source", source, {-1, -1});
  detail::check_shape(kSeq2Seq, "target", target, {source.size(0), -1});

  const auto memory_mask = detail::mask_or_padding(source_mask, source, options.pad_id());
  auto memory = model->encoder->stack(embed_source(source), memory_mask, weights);
  // The target needs no padding mask: padding is at the end, so causality hides it from real
  // tokens, and the outputs at padding positions are ignored.
  detail::check_target_ids(kSeq2Seq, options, target);
  const auto embedded = detail::look_up_ids(kSeq2Seq, "target", target, options.tgt_vocab(),
                                            [&] { return embed_target(target, 0); });
  auto decoded = model->decoder->stack(embedded, memory.output, target_mask, memory_mask, weights);
  return {std::move(decoded.output), std::move(memory.weights), std::move(decoded.self_weights),
          std::move(decoded.cross_weights)};
}

SpecialTokenIds Seq2SeqImpl::special_tokens() const {
  return {options.start_id(), options.eos_id(), options.pad_id()};
}

std::unique_ptr<DecoderState> Seq2SeqImpl::start(const torch::Tensor& source,
                                                 const AttentionMask& source_mask) {
  detail::check_ids(kSeq2Seq, "source", source);
  detail::check_shape(kSeq2Seq, "source", source, {-1, -1});
  const auto mask = detail::mask_or_padding(source_mask, source, options.pad_id());
  const auto memory = model->encoder->stack(embed_source(source), mask).output;
  return std::make_unique<Seq2SeqState>(model->decoder->stack->start(memory),
                                        detail::memory_mask_row(kSeq2Seq, mask, memory));
}

StepOutput Seq2SeqImpl::step(const torch::Tensor& tokens, DecoderState& state,
                             bool want_alignment) {
  auto* own = dynamic_cast<Seq2SeqState*>(&state);
  TORCH_CHECK(own != nullptr,
              "Seq2Seq::step: expected a state made by this model's start, got another");
  detail::check_ids("Seq2Seq::step", "tokens", tokens);
  detail::check_rank("Seq2Seq::step", "tokens", tokens, 1, 1);
  auto request =
      WeightsRequest(want_alignment && options.decoder_layers() > 0 ? WeightsRequest::kMean
                                                                    : WeightsRequest::kNone);
  const auto embedded =
      detail::look_up_ids("Seq2Seq::step", "tokens", tokens, options.tgt_vocab(), [&] {
        detail::check_target_ids("Seq2Seq::step", options, tokens);
        return embed_target(tokens.unsqueeze(1), own->position_,
                            own->is_fixed() ? own->next_positions(tokens) : torch::Tensor());
      });
  auto decoded = model->decoder->stack->step(
      embedded, own->cache_, AttentionMask(own->source_mask_), request.layers({-1}));
  ++own->position_;
  StepOutput result{project(decoded.output.squeeze(1)), {}};
  if (want_alignment && !decoded.cross_weights.empty()) {
    // Without the keys that bias_kv and zero_attn append.
    result.alignment =
        decoded.cross_weights.back().squeeze(1).narrow(1, 0, own->source_length());  // [N, S]
  }
  return result;
}

}  // namespace attend
