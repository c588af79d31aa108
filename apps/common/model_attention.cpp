#include "common/model_attention.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "attend/checkpoint/generation_config.h"
#include "attend/checkpoint/model_folder.h"
#include "attend/decoding/beam_search.h"
#include "attend/file_error.h"
#include "attend/text/subword_tokenizer.h"
#include "attend/translation/tokenizer_fit.h"

namespace attend::app {
namespace {

constexpr auto kSource = "source", kTarget = "target", kRead = "target read";

std::vector<std::string> pieces(const std::vector<Subword>& subwords) {
  std::vector<std::string> result;
  for (const auto& subword : subwords) result.push_back(subword.piece);
  return result;
}

std::vector<int64_t> ids(const std::vector<Subword>& subwords) {
  std::vector<int64_t> result;
  for (const auto& subword : subwords) result.push_back(subword.id);
  return result;
}

torch::Tensor row_of(const std::vector<int64_t>& values, torch::Device device) {
  return torch::tensor(values, torch::kLong).unsqueeze(0).to(device);
}

void check_length(const char* what, size_t tokens, int64_t most) {
  TORCH_CHECK_VALUE(static_cast<int64_t>(tokens) <= most, "expected a ", what,
                    " of at most the model's ", most, " positions, got ", tokens, " tokens");
}

// Stacks the layers' weights of a batch of one sentence: [layers, H, T, S].
torch::Tensor stacked(const std::vector<torch::Tensor>& layers) {
  std::vector<torch::Tensor> sentence;
  for (const auto& layer : layers) sentence.push_back(layer.select(0, 0));
  return torch::stack(sentence).to(torch::kCPU, torch::kFloat);
}

// Converts the search steps' tokens to text.
std::vector<std::vector<BeamHypothesis>> spelled(const std::vector<BeamStep>& steps,
                                                 const SubwordTokenizer& tokenizer) {
  std::vector<std::vector<BeamHypothesis>> result;
  std::vector<std::vector<std::string>> kept{{}};
  for (const auto& step : steps) {
    std::vector<BeamHypothesis> hypotheses;
    std::vector<std::vector<std::string>> next;
    for (const auto& candidate : step.candidates) {
      auto tokens = kept.at(candidate.parent);
      tokens.push_back(tokenizer.decoded_subwords({candidate.token}).front().piece);
      if (candidate.fate == BeamCandidate::kKept) next.push_back(tokens);
      hypotheses.push_back({.tokens = std::move(tokens),
                            .score = candidate.log_probability,
                            .parent = candidate.parent,
                            .kept = candidate.fate == BeamCandidate::kKept,
                            .finished = candidate.fate == BeamCandidate::kFinished});
    }
    kept = std::move(next);
    result.push_back(std::move(hypotheses));
  }
  return result;
}

// The tokenizer may not have the start token.
std::string start_piece(const TranslationModel& model, const SubwordTokenizer& tokenizer) {
  const auto id = model.special_tokens().start_id;
  const auto& vocabulary = tokenizer.target_vocabulary();
  return vocabulary.contains(id) ? vocabulary.piece(id) : "<start>";
}

AttentionPage of_translator(const AttentionRequest& request, AttentionPage page) {
  const auto model = load_translation_model(request.model_dir);
  const auto tokenizer = load_tokenizer_of(*model, request.model_dir);
  model->module().to(request.device);
  const auto source = tokenizer.source_subwords(request.text);
  check_length("text", source.size(), model->max_target_length());
  const auto source_row = row_of(ids(source), request.device);

  std::vector<Subword> target;
  if (request.target) {
    target = tokenizer.target_subwords(*request.target);
  } else {
    std::vector<BeamStep> steps;
    auto options = load_search_options(request.model_dir, model->special_tokens());
    options.beam_size = request.beam_size;
    const auto spare = spare_tokens(*model, tokenizer);
    auto& never = options.rules.suppress_tokens;
    never.insert(never.end(), spare.begin(), spare.end());
    options.on_step = [&](const BeamStep& step) { steps.push_back(step); };
    auto best = beam_search(*model, source_row, options).front().front();
    if (best.ended) best.tokens.push_back(model->special_tokens().eos_id);
    target = tokenizer.decoded_subwords(best.tokens);
    page.beams = spelled(steps, tokenizer);
  }
  check_length("translation", target.size(), model->max_target_length());
  auto read = ids(target);
  read.insert(read.begin(), model->special_tokens().start_id);
  read.pop_back();
  auto read_pieces = pieces(target);
  read_pieces.insert(read_pieces.begin(), start_piece(*model, tokenizer));
  read_pieces.pop_back();
  page.tokens = {{kSource, pieces(source)}, {kTarget, pieces(target)}, {kRead, read_pieces}};

  const auto read_row = row_of(read, request.device);
  if (auto* recurrent = dynamic_cast<RecurrentSeq2SeqImpl*>(model.get())) {
    page.views = {{"cross", "Attention of the decoder to the source", kTarget, kSource,
                   stacked({recurrent->attention_weights(source_row, read_row).unsqueeze(1)})}};
    return page;
  }
  auto& transformer = dynamic_cast<Seq2SeqImpl&>(*model);
  const auto output =
      transformer.run(source_row, read_row, {}, {}, WeightsRequest(WeightsRequest::kPerHead));
  if (!output.encoder_weights.empty()) {
    page.views.push_back(
        {"encoder", "Encoder self-attention", kSource, kSource, stacked(output.encoder_weights)});
  }
  if (!output.decoder_weights.empty()) {
    page.views.push_back(
        {"decoder", "Decoder self-attention", kRead, kRead, stacked(output.decoder_weights)});
    page.views.push_back(
        {"cross", "Cross-attention", kTarget, kSource, stacked(output.cross_weights)});
  }
  return page;
}

AttentionPage of_causal_model(const AttentionRequest& request, AttentionPage page) {
  TORCH_CHECK_VALUE(!request.target,
                    "expected a target for a translator alone, got one for a "
                    "causal language model");
  auto model = load_causal_lm(request.model_dir);
  const auto tokenizer = load_tokenizer_of(*model, request.model_dir);
  model->to(request.device);
  auto subwords = tokenizer.target_subwords(request.text);
  subwords.pop_back();  // the end token: nothing has been read after it
  check_length("text", subwords.size(), model->max_target_length());
  const auto output =
      model->run(row_of(ids(subwords), request.device), {}, WeightsRequest::kPerHead);
  page.tokens = {{kSource, pieces(subwords)}};
  page.views = {{"self", "Causal self-attention", kSource, kSource, stacked(output.weights)}};
  return page;
}

}  // namespace

AttentionPage model_attention(const AttentionRequest& request) {
  TORCH_CHECK_VALUE(request.text.find_first_not_of(" \t\r\n") != std::string::npos,
                    "expected a text, got an empty one");
  const torch::InferenceMode inference;
  const auto type = model_type(request.model_dir);
  AttentionPage page{.title = request.text, .model = type};
  if (type == "vit") {
    throw FileError(request.model_dir / "config.json",
                    "expected a model that reads text, got a vision transformer (vit)");
  }
  return is_causal_lm(type) ? of_causal_model(request, std::move(page))
                            : of_translator(request, std::move(page));
}

Heatmap attention_heatmap(const torch::Tensor& weights, std::vector<std::string> rows,
                          std::vector<std::string> columns, const std::string& title) {
  Heatmap heatmap;
  heatmap.values = weights;
  heatmap.row_labels = std::move(rows);
  heatmap.column_labels = std::move(columns);
  heatmap.options.title = title;
  heatmap.options.value_label = "attention";
  heatmap.options.minimum = 0.0;
  heatmap.options.maximum = 1.0;
  return heatmap;
}

Heatmap view_heatmap(const AttentionPage& page, const AttentionView& view,
                     const torch::Tensor& weights, const std::string& title) {
  auto heatmap =
      attention_heatmap(weights, page.tokens.at(view.rows), page.tokens.at(view.columns), title);
  heatmap.options.x_label = view.columns;
  heatmap.options.y_label = view.rows;
  return heatmap;
}

HeatmapGrid heads_of_layer(const AttentionPage& page, const AttentionView& view, int64_t layer) {
  HeatmapGrid grid;
  grid.title = fmt::format("{}, layer {}", view.label, layer);
  for (int64_t h = 0; h < view.weights.size(1); ++h) {
    grid.panels.push_back(
        view_heatmap(page, view, view.weights[layer][h], fmt::format("head {}", h)));
  }
  return grid;
}

}  // namespace attend::app
