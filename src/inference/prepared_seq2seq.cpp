#include <algorithm>
#include <bit>
#include <cmath>
#include <iterator>
#include <limits>
#include <span>
#include <utility>

#include "detail/check.h"
#include "detail/ids.h"
#include "inference/prepared_layer.h"
#include "inference/prepared_models.h"
#include "inference/prepared_rows.h"
#include "inference/prepared_state.h"
#include "inference/selected_outputs.h"
#include "models/shared_vocabulary.h"
#include "models/source_mask.h"
#include "models/vocabulary_ids.h"

namespace attend::detail {
namespace {

// The tokens of a batch of sources without padding, one after another.
struct SourceTokens {
  std::vector<int64_t> ids;
  std::vector<int32_t> positions;  // also the column in [B, S]
  Sentences sentences;
};

// source: [B, S]; mask: [B, 1, 1, S], bool, or undefined.
SourceTokens without_padding(const torch::Tensor& source, const torch::Tensor& mask) {
  const auto batch = source.size(0), columns = source.size(1);
  const auto ids = values_of(source);
  const auto kept = mask.defined() ? mask.to(torch::kBool).contiguous() : torch::Tensor();
  const auto* keeps = kept.defined() ? kept.const_data_ptr<bool>() : nullptr;
  SourceTokens tokens;
  for (int64_t b = 0; b < batch; ++b) {
    tokens.sentences.first.push_back(static_cast<int32_t>(tokens.ids.size()));
    for (int64_t s = 0; s < columns; ++s) {
      const auto at = b * columns + s;
      if (keeps != nullptr && !keeps[at]) continue;
      tokens.ids.push_back(ids[static_cast<size_t>(at)]);
      tokens.positions.push_back(static_cast<int32_t>(s));
    }
    tokens.sentences.length.push_back(static_cast<int32_t>(tokens.ids.size()) -
                                      tokens.sentences.first.back());
  }
  return tokens;
}

// What the decoder reads of sources that were encoded together.
struct EncodedSources {
  std::vector<torch::Tensor> key_values;  // of each layer: [tokens, 2 Hkv D]
  std::vector<int32_t> columns;           // of each token in [B, S]
  int64_t source_length = 0;              // S
};

// Which tokens of which memory a row attends to.
struct MemoryRow {
  size_t memory;
  int32_t first, count;
};

class PreparedSeq2SeqState final : public PreparedState {
 public:
  using PreparedState::PreparedState;

  void reorder(const torch::Tensor& rows, const torch::Tensor& /*sentences*/) override {
    const auto from = values_of(rows);
    reorder_rows(from);
    memory_rows = selected(memory_rows, from);
    drop_unread();
    list_blocks();
    if (shortlists.empty()) return;
    shortlists = selected(shortlists, from);
    outputs.remove_unused();
  }

  void admit(std::unique_ptr<DecoderState> other) override {
    auto& joining = state_of<PreparedSeq2SeqState>(*owner, *other);
    append_rows(joining);
    for (auto row : joining.memory_rows) {
      row.memory += memories.size();
      memory_rows.push_back(row);
    }
    std::ranges::move(joining.memories, std::back_inserter(memories));
    list_blocks();
    std::ranges::move(outputs.admit(joining.shortlists), std::back_inserter(shortlists));
  }

  // Tells the kernel where the memories lie: one is one block.
  void list_blocks() {
    size_t tokens = 1;
    source_length = 0;
    for (const auto& memory : memories) {
      tokens = std::max(tokens, memory.columns.size());
      source_length = std::max(source_length, memory.source_length);
    }
    block = static_cast<int64_t>(std::bit_ceil(tokens));
    TORCH_CHECK(
        static_cast<int64_t>(memories.size()) * block <= std::numeric_limits<int32_t>::max(),
        kPreparedModel, ": expected sources of fewer tokens, got ", memories.size(),
        " groups of up to ", tokens);
    if (!memories.empty()) blocks.resize(memories.front().key_values.size());
    for (size_t i = 0; i < blocks.size(); ++i) {
      blocks[i].clear();
      for (const auto& memory : memories) {
        blocks[i].push_back(memory.key_values[i].const_data_ptr<float>());
      }
    }
    first.clear();
    counts.clear();
    for (const auto& row : memory_rows) {
      first.push_back(static_cast<int32_t>(static_cast<int64_t>(row.memory) * block + row.first));
      counts.push_back(row.count);
    }
  }

  std::vector<EncodedSources> memories;
  std::vector<MemoryRow> memory_rows;  // [N]
  int64_t source_length = 0;           // the longest S

  std::vector<std::vector<const float*>> blocks;  // [layers][memories]
  int64_t block = 1;                              // a power of two, not below any memory's tokens
  std::vector<int32_t> first, counts;             // [N], numbered through all blocks

  SelectedOutputs outputs;                                    // with a shortlist
  std::vector<SelectedOutputs::SelectionPointer> shortlists;  // [N], each row's; or empty

 private:
  // Frees memories that no row reads, those of sentences that have all left.
  void drop_unread() {
    std::vector<size_t> place(memories.size(), 0);
    for (const auto& row : memory_rows) place[row.memory] = 1;
    if (std::ranges::find(place, 0U) == place.end()) return;
    std::vector<EncodedSources> read;
    for (size_t m = 0; m < memories.size(); ++m) {
      if (place[m] == 0) continue;
      place[m] = read.size();
      read.push_back(std::move(memories[m]));
    }
    for (auto& row : memory_rows) row.memory = place[row.memory];
    memories = std::move(read);
  }
};

class PreparedSeq2Seq final : public PreparedModel {
 public:
  PreparedSeq2Seq(const Seq2SeqImpl& model, const Packing& packing, TargetShortlist shortlist);

  SpecialTokenIds special_tokens() const override { return special_; }
  VocabularySizes vocabulary_sizes() const override { return sizes_; }
  int64_t max_target_length() const override { return max_length_; }
  std::unique_ptr<DecoderState> start(const torch::Tensor& source,
                                      const AttentionMask& source_mask) override;
  StepOutput step(const torch::Tensor& tokens, DecoderState& state, bool want_alignment) override {
    return advance(tokens, state, nullptr, want_alignment);
  }
  StepOutput step_best(const torch::Tensor& tokens, DecoderState& state,
                       const BestTokensRequest& request, bool want_alignment) override {
    return advance(tokens, state, &request, want_alignment);
  }
  size_t weight_bytes() const override;

 private:
  std::vector<int64_t> shortlist_of(std::span<const int64_t> source) const;
  StepOutput advance(const torch::Tensor& tokens, DecoderState& state,
                     const BestTokensRequest* request, bool want_alignment) const;
  const float* decode(const std::vector<int64_t>& tokens, PreparedSeq2SeqState& state,
                      float* alignment) const;
  void predict(const float* x, PreparedSeq2SeqState& state) const;

  Seq2SeqOptions options_;
  SpecialTokenIds special_;
  VocabularySizes sizes_;
  int64_t max_length_;
  TokenTables source_, target_;
  std::vector<PreparedLayer> encoder_, decoder_;
  std::optional<PreparedNorm> encoder_norm_, decoder_norm_;
  PreparedLinear output_;
  TargetShortlist shortlist_;
};

PreparedSeq2Seq::PreparedSeq2Seq(const Seq2SeqImpl& model, const Packing& packing,
                                 TargetShortlist shortlist)
    : options_(model.options),
      special_(model.special_tokens()),
      sizes_(model.vocabulary_sizes()),
      max_length_(model.options.max_length()),
      shortlist_(std::move(shortlist)) {
  const auto& o = model.options;
  const auto& body = *model.model;
  const double scale = o.scale_embedding() ? std::sqrt(static_cast<double>(o.embed_dim())) : 1.0;
  const auto table = [&](const auto& side) {
    return o.share_embeddings() ? body.shared->weight : side.embed_tokens->weight;
  };
  source_ = TokenTables(table(*body.encoder), *body.encoder->embed_positions, scale);
  target_ = TokenTables(table(*body.decoder), *body.decoder->embed_positions, scale);
  for (const auto& layer : *body.encoder->stack->layers) {
    encoder_.emplace_back(*layer->as<TransformerEncoderLayer>(), max_length_, packing);
  }
  for (const auto& layer : *body.decoder->stack->layers) {
    decoder_.emplace_back(*layer->as<TransformerDecoderLayer>(), max_length_, packing);
  }
  if (body.encoder->stack->layer_norm) encoder_norm_.emplace(*body.encoder->stack->layer_norm);
  if (body.decoder->stack->layer_norm) decoder_norm_.emplace(*body.decoder->stack->layer_norm);
  output_ = PreparedLinear(
      model.lm_head ? model.lm_head->weight : first_rows(table(*body.decoder), o.tgt_vocab()),
      model.final_logits_bias.squeeze(0), packing);
}

size_t PreparedSeq2Seq::weight_bytes() const {
  auto bytes = output_.bytes();
  for (const auto& layer : encoder_) bytes += layer.bytes();
  for (const auto& layer : decoder_) bytes += layer.bytes();
  return bytes;
}

// The ids that a source's translations may have: in ascending order, each once.
std::vector<int64_t> PreparedSeq2Seq::shortlist_of(std::span<const int64_t> source) const {
  auto ids = shortlist_(source);
  ids.push_back(special_.eos_id);
  std::ranges::sort(ids);
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  TORCH_CHECK_INDEX(ids.front() >= 0 && ids.back() < sizes_.target, kPreparedModel,
                    ": expected a shortlist in [0, ", sizes_.target, "), got ids from ",
                    ids.front(), " to ", ids.back());
  return ids;
}

std::unique_ptr<DecoderState> PreparedSeq2Seq::start(const torch::Tensor& source,
                                                     const AttentionMask& source_mask) {
  check_ids(kPreparedModel, "source", source);
  check_shape(kPreparedModel, "source", source, {-1, -1});
  TORCH_CHECK_VALUE(source.size(1) <= max_length_, kPreparedModel,
                    ": expected a source of at most max_length ", max_length_, " tokens, got ",
                    source.size(1));
  check_vocabulary(kPreparedModel, "source", source, sizes_.source);
  const torch::InferenceMode inference;
  const auto mask =
      memory_mask_row(kPreparedModel, mask_or_padding(source_mask, source, special_.pad_id),
                      torch::empty({source.size(0), source.size(1), 0}, on_cpu(torch::kFloat)));
  TORCH_CHECK(!mask.defined() || mask.scalar_type() == torch::kBool, kPreparedModel,
              ": expected a source mask of padding, got one with a bias");
  auto tokens = without_padding(source, mask);

  const auto key_width = decoder_.empty() ? 0 : decoder_.front().self().key_width();
  auto state = std::make_unique<PreparedSeq2SeqState>(
      *this, source.size(0), static_cast<int64_t>(decoder_.size()), key_width);
  const StepRows rows{.count = static_cast<int64_t>(tokens.ids.size()),
                      .positions = tokens.positions.data()};
  auto& scratch = state->scratch;
  auto* x = scratch.x.of(rows.count * source_.embed_dim());
  for (int64_t r = 0; r < rows.count; ++r) {
    source_.embed(tokens.ids[static_cast<size_t>(r)], rows.positions[r],
                  x + r * source_.embed_dim());
  }
  for (const auto& layer : encoder_) layer.run_encoder(x, rows, tokens.sentences, scratch);
  if (encoder_norm_) encoder_norm_->run(x, rows.count, x);
  auto& memory = state->memories.emplace_back();
  for (const auto& layer : decoder_) {
    // At least a row, so that there is an address where all is padding.
    auto& key_values = memory.key_values.emplace_back(torch::empty(
        {std::max<int64_t>(rows.count, 1), 2 * layer.cross().key_width()}, on_cpu(torch::kFloat)));
    layer.cross().project_memory(x, rows.count, key_values.mutable_data_ptr<float>(), scratch);
  }
  if (shortlist_) state->outputs = SelectedOutputs(output_);
  for (size_t b = 0; b < tokens.sentences.first.size(); ++b) {
    const auto first = tokens.sentences.first[b], length = tokens.sentences.length[b];
    state->memory_rows.push_back({0, first, length});
    if (!shortlist_) continue;
    const auto ids = std::span<const int64_t>(tokens.ids)
                         .subspan(static_cast<size_t>(first), static_cast<size_t>(length));
    state->shortlists.push_back(state->outputs.add(shortlist_of(ids)));
  }
  memory.columns = std::move(tokens.positions);
  memory.source_length = source.size(1);
  state->list_blocks();
  return state;
}

// Returns the decoder's output [N, E].
const float* PreparedSeq2Seq::decode(const std::vector<int64_t>& tokens,
                                     PreparedSeq2SeqState& state, float* alignment) const {
  const auto count = static_cast<int64_t>(tokens.size()), dim = target_.embed_dim();
  const std::vector<int32_t> positions(state.slots.counts(), state.slots.counts() + count);
  const StepRows rows{.count = count, .positions = positions.data()};
  auto* x = state.scratch.x.of(count * dim);
  for (int64_t r = 0; r < count; ++r) {
    target_.embed(tokens[static_cast<size_t>(r)], rows.positions[r], x + r * dim);
  }
  state.slots.append(state.cache.take(count, state.slots));
  for (size_t i = 0; i < decoder_.size(); ++i) {
    const bool is_last = i + 1 == decoder_.size();
    decoder_[i].run_decoder(x, rows,
                            {.cache = &state.cache,
                             .layer = static_cast<int64_t>(i),
                             .slots = state.slots.data(),
                             .slots_stride = state.slots.stride(),
                             .first = nullptr,
                             .counts = state.slots.counts()},
                            {.blocks = state.blocks[i].data(),
                             .block = state.block,
                             .first = state.first.data(),
                             .counts = state.counts.data(),
                             .mean_weights = is_last ? alignment : nullptr,
                             .mean_stride = state.source_length},
                            state.scratch);
  }
  if (decoder_norm_) decoder_norm_->run(x, count, x);
  return x;
}

// The logits of the next tokens, from the decoder's output.
void PreparedSeq2Seq::predict(const float* x, PreparedSeq2SeqState& state) const {
  const auto rows = state.slots.rows();
  if (state.shortlists.empty()) {
    return output_.run(x, rows, state.logits_of(rows, sizes_.target), state.scratch);
  }
  const auto width = SelectedOutputs::width_of(state.shortlists);
  state.outputs.run(x, state.shortlists, state.logits_of(rows, width), state.scratch);
}

// Moves each row's weights of its tokens to the tokens' columns.
void spread(torch::Tensor& alignment, const PreparedSeq2SeqState& state) {
  float* weights = alignment.mutable_data_ptr<float>();
  for (const auto& row : state.memory_rows) {
    const auto& columns = state.memories[row.memory].columns;
    for (auto j = row.count; j-- > 0;) {
      const auto column = columns[static_cast<size_t>(row.first) + static_cast<size_t>(j)];
      if (column != j) weights[column] = std::exchange(weights[j], 0.0F);
    }
    weights += alignment.size(1);
  }
}

StepOutput PreparedSeq2Seq::advance(const torch::Tensor& tokens, DecoderState& state,
                                    const BestTokensRequest* request, bool want_alignment) const {
  auto& own = state_for_step<PreparedSeq2SeqState>(*this, state, tokens);
  // The start token may be one that is never predicted.
  check_target_ids(kPreparedModel, options_, tokens);
  check_vocabulary(kPreparedModel, "tokens", tokens, target_.size());
  const torch::InferenceMode inference;
  const auto rows = tokens.size(0);
  StepOutput output;
  auto& alignment = output.alignment;
  if (want_alignment && !decoder_.empty())
    alignment = torch::zeros({rows, own.source_length}, on_cpu(torch::kFloat));
  const auto* x = decode(values_of(tokens), own,
                         alignment.defined() ? alignment.mutable_data_ptr<float>() : nullptr);
  if (alignment.defined()) spread(alignment, own);
  if (request != nullptr && own.shortlists.empty()) {
    output.best = output_.best(x, rows, *request, own.scratch);
    return output;
  }
  predict(x, own);
  output.logits = own.logits;
  for (const auto& shortlist : own.shortlists) {
    output.tokens.emplace_back(shortlist, &shortlist->outputs);
  }
  return output;
}

}  // namespace

std::unique_ptr<PreparedModel> prepare(const Seq2SeqImpl& model, const InferenceOptions& options) {
  WeightMemory memory;
  return std::make_unique<PreparedSeq2Seq>(model, Packing{options.precision, memory},
                                           options.shortlist);
}

}  // namespace attend::detail
