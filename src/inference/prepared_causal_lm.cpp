#include <algorithm>
#include <utility>

#include "detail/check.h"
#include "detail/ids.h"
#include "inference/prepared_layer.h"
#include "inference/prepared_models.h"
#include "inference/prepared_rows.h"
#include "inference/prepared_state.h"
#include "models/prompt_padding.h"
#include "models/vocabulary_ids.h"

namespace attend::detail {
namespace {

class PreparedCausalLMState final : public PreparedState {
 public:
  using PreparedState::PreparedState;

  torch::Tensor first_tokens() const override { return first; }

  void reorder(const torch::Tensor& rows, const torch::Tensor& /*sentences*/) override {
    reorder_rows(values_of(rows));
    first = first.index_select(0, rows);
  }

  void admit(std::unique_ptr<DecoderState> other) override {
    auto& joining = state_of<PreparedCausalLMState>(*owner, *other);
    const torch::InferenceMode inference;
    const auto both = torch::cat({first, joining.first});
    append_rows(joining);
    first = both;
  }

  torch::Tensor first;  // [N], the prompts' last tokens
};

class PreparedCausalLM final : public PreparedModel {
 public:
  PreparedCausalLM(const CausalLMImpl& model, const Packing& packing);

  SpecialTokenIds special_tokens() const override { return special_; }
  VocabularySizes vocabulary_sizes() const override { return sizes_; }
  int64_t max_target_length() const override { return max_length_; }
  std::unique_ptr<DecoderState> start(const torch::Tensor& prompt,
                                      const AttentionMask& mask) override;
  StepOutput step(const torch::Tensor& tokens, DecoderState& state, bool want_alignment) override {
    return advance(tokens, state, nullptr, want_alignment);
  }
  StepOutput step_best(const torch::Tensor& tokens, DecoderState& state,
                       const BestTokensRequest& request, bool want_alignment) override {
    return advance(tokens, state, &request, want_alignment);
  }
  size_t weight_bytes() const override;

 private:
  StepOutput advance(const torch::Tensor& tokens, DecoderState& state,
                     const BestTokensRequest* request, bool want_alignment) const;
  struct Prompts;
  void read_prompts(const Prompts& prompts, PreparedCausalLMState& state) const;

  SpecialTokenIds special_;
  VocabularySizes sizes_;
  int64_t max_length_;
  TokenTables tokens_;
  std::vector<PreparedLayer> layers_;
  std::optional<PreparedNorm> norm_;
  PreparedLinear output_;
};

PreparedCausalLM::PreparedCausalLM(const CausalLMImpl& model, const Packing& packing)
    : special_(model.special_tokens()),
      sizes_(model.vocabulary_sizes()),
      max_length_(model.options.max_length()),
      tokens_(model.embed_tokens->weight, *model.embed_positions, 1.0),
      output_(model.lm_head ? model.lm_head->weight : model.embed_tokens->weight, {}, packing) {
  for (const auto& layer : *model.decoder->layers) {
    layers_.emplace_back(*layer->as<TransformerEncoderLayer>(), max_length_, packing);
  }
  if (model.decoder->layer_norm) norm_.emplace(*model.decoder->layer_norm);
}

size_t PreparedCausalLM::weight_bytes() const {
  auto bytes = output_.bytes();
  for (const auto& layer : layers_) bytes += layer.bytes();
  return bytes;
}

// Tokens of prompts that go through the layers together: a bound on memory.
constexpr int64_t kPromptTokens = 1024;

// The tokens of all prompts but each one's last, one after another.
struct PreparedCausalLM::Prompts {
  std::vector<int64_t> ids;
  std::vector<int32_t> positions, first, counts;  // first: the slot of the prompt's first token
};

// The tokens attend to those before them in their prompt, which lie in the slots before theirs.
void PreparedCausalLM::read_prompts(const Prompts& prompts, PreparedCausalLMState& state) const {
  const auto count = static_cast<int64_t>(prompts.ids.size()), dim = tokens_.embed_dim();
  for (int64_t begin = 0; begin < count; begin += kPromptTokens) {
    const StepRows rows{.count = std::min(kPromptTokens, count - begin),
                        .positions = prompts.positions.data() + begin};
    auto* x = state.scratch.x.of(rows.count * dim);
    for (int64_t r = 0; r < rows.count; ++r) {
      tokens_.embed(prompts.ids[static_cast<size_t>(begin + r)], rows.positions[r], x + r * dim);
    }
    for (size_t i = 0; i < layers_.size(); ++i) {
      layers_[i].run_causal(x, rows,
                            {.cache = &state.cache,
                             .layer = static_cast<int64_t>(i),
                             .slots = nullptr,
                             .slots_stride = 0,
                             .first = prompts.first.data() + begin,
                             .counts = prompts.counts.data() + begin},
                            nullptr, 0, state.scratch);
    }
  }
}

std::unique_ptr<DecoderState> PreparedCausalLM::start(const torch::Tensor& prompt,
                                                      const AttentionMask& mask) {
  check_ids(kPreparedModel, "prompt", prompt);
  check_shape(kPreparedModel, "prompt", prompt, {-1, -1});
  const auto batch = prompt.size(0), columns = prompt.size(1);
  TORCH_CHECK_VALUE(columns >= 1, kPreparedModel, ": expected a prompt of at least 1 token, got 0");
  TORCH_CHECK_VALUE(columns <= max_length_, kPreparedModel,
                    ": expected a prompt of at most max_length ", max_length_, " tokens, got ",
                    columns);
  check_vocabulary(kPreparedModel, "prompt", prompt, sizes_.source);
  const torch::InferenceMode inference;
  auto state = std::make_unique<PreparedCausalLMState>(
      *this, batch, static_cast<int64_t>(layers_.size()), layers_.front().self().key_width());
  const auto padding = left_padding(kPreparedModel, mask, prompt);
  if (padding.defined()) std::ranges::copy(values_of(padding), state->padding.begin());
  state->first = prompt.select(1, columns - 1).clone();
  const auto ids = values_of(prompt);
  Prompts prompts;
  for (int64_t b = 0; b < batch; ++b) {
    const auto first_slot = static_cast<int32_t>(prompts.ids.size());
    const auto before = state->padding[static_cast<size_t>(b)];
    for (int64_t p = 0; p < columns - 1 - before; ++p) {
      state->slots.append_to(b, static_cast<int64_t>(prompts.ids.size()));
      prompts.ids.push_back(ids[static_cast<size_t>(b * columns + before + p)]);
      prompts.positions.push_back(static_cast<int32_t>(p));
      prompts.first.push_back(first_slot);
      prompts.counts.push_back(static_cast<int32_t>(p + 1));
    }
  }
  // In a new cache slots are taken in their order.
  state->cache.take(static_cast<int64_t>(prompts.ids.size()), SlotTable(0));
  read_prompts(prompts, *state);
  return state;
}

StepOutput PreparedCausalLM::advance(const torch::Tensor& tokens, DecoderState& state,
                                     const BestTokensRequest* request, bool want_alignment) const {
  auto& own = state_for_step<PreparedCausalLMState>(*this, state, tokens);
  check_vocabulary(kPreparedModel, "tokens", tokens, sizes_.target);
  const torch::InferenceMode inference;
  const auto count = tokens.size(0), dim = tokens_.embed_dim();
  const auto ids = values_of(tokens);
  const std::vector<int32_t> positions(own.slots.counts(), own.slots.counts() + count);
  const auto width = own.position() + 1;
  own.slots.append(own.cache.take(count, own.slots));
  auto* x = own.scratch.x.of(count * dim);
  for (int64_t r = 0; r < count; ++r) {
    tokens_.embed(ids[static_cast<size_t>(r)], positions[static_cast<size_t>(r)], x + r * dim);
  }
  const auto alignment =
      want_alignment ? torch::zeros({count, width}, on_cpu(torch::kFloat)) : torch::Tensor();
  for (size_t i = 0; i < layers_.size(); ++i) {
    const bool is_last = i + 1 == layers_.size();
    layers_[i].run_causal(x, {.count = count, .positions = positions.data()},
                          {.cache = &own.cache,
                           .layer = static_cast<int64_t>(i),
                           .slots = own.slots.data(),
                           .slots_stride = own.slots.stride(),
                           .first = nullptr,
                           .counts = own.slots.counts()},
                          want_alignment && is_last ? alignment.mutable_data_ptr<float>() : nullptr,
                          width, own.scratch);
  }
  if (norm_) norm_->run(x, count, x);
  for (int64_t r = 0; want_alignment && r < count; ++r) {  // behind the row's padding
    float* const weights = alignment.mutable_data_ptr<float>() + r * width;
    const auto before = own.padding[static_cast<size_t>(r)];
    std::rotate(weights, weights + own.slots.count(r), weights + own.slots.count(r) + before);
  }
  StepOutput output{.logits = {}, .alignment = alignment};
  if (request != nullptr) {
    output.best = output_.best(x, count, *request, own.scratch);
  } else {
    output_.run(x, count, own.logits_of(count, sizes_.target), own.scratch);
    output.logits = own.logits;
  }
  return output;
}

}  // namespace

std::unique_ptr<PreparedModel> prepare(const CausalLMImpl& model, WeightPrecision precision) {
  WeightMemory memory;
  return std::make_unique<PreparedCausalLM>(model, Packing{precision, memory});
}

}  // namespace attend::detail
