// Runs a model folder on given ids, for tests/python/check_transformers.py to compare.
//
//   model_dump make FOLDER marian|recurrent|prenorm|separate|restricted|gpt2|llama|vit SEED
//                                                                         a small random model
//   model_dump run|run-causal-lm|run-vit|search|search-prepared|search-causal-lm FOLDER < INPUT
//                                                                         JSON Lines on stdout
//
// A line of INPUT is {"source": [[ids]], "target": [[ids]]}, {"ids": [[ids]]} or {"shape": [sizes],
// "images": [numbers]}; a line of the result holds the logits, and for the first two the greedy
// continuation of each row. For a search it is {"ids": [[ids]], "generation": {}}, what is to be
// written as the folder's generation_config.json, or "ids" alone for what the folder says itself, and
// perhaps "prefixes": [[ids]]; the result holds all hypotheses of each row.
#include <fmt/format.h>

#include <cstdio>
#include <fstream>
#include <iostream>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "attend/checkpoint/generation_config.h"
#include "attend/checkpoint/model_folder.h"
#include "attend/decoding/beam_search.h"
#include "attend/inference/prepared_model.h"

namespace {

torch::Tensor ids(const nlohmann::json& rows) {
  std::vector<torch::Tensor> tensors;
  for (const auto& row : rows) {
    tensors.push_back(torch::tensor(row.get<std::vector<int64_t>>(), torch::kLong));
  }
  return torch::stack(tensors);
}

void make(const std::string& folder, const std::string& kind, int64_t seed) {
  torch::manual_seed(static_cast<uint64_t>(seed));
  if (kind == "recurrent") {
    attend::save_model(folder, attend::RecurrentSeq2Seq(23, 23, 12));
    return;
  }
  if (kind == "gpt2") {
    attend::save_model(
        folder, attend::CausalLM(
                    attend::CausalLMOptions(23, 12, 3, 2).feed_forward_dim(20).max_length(40)));
    return;
  }
  if (kind == "llama") {
    const auto attention = attend::MultiHeadAttentionOptions(24, 4).num_kv_heads(2).rotary(
        attend::RotaryOptions{.base = 500,
                              .scaling = {.kind = attend::RotaryScalingKind::kLlama3,
                                          .factor = 8,
                                          .original_max_length = 16}});
    const auto layer = attend::TransformerLayerOptions(attention)
                           .feed_forward(attend::FeedForwardOptions(24, 20).gated(true).activation(
                               attend::Activation::kSwish))
                           .norm(attend::NormKind::kRms)
                           .norm_order(attend::NormOrder::kPre)
                           .bias(false)
                           .dropout(0.0);
    attend::save_model(folder, attend::CausalLM(attend::CausalLMOptions(23, layer, 2)
                                                    .positions(attend::PositionKind::kNone)
                                                    .embedding_dropout(0.0)
                                                    .tie_output(false)
                                                    .max_length(40)));
    return;
  }
  if (kind == "vit") {
    attend::save_model(
        folder, attend::VisionTransformer(attend::VisionTransformerOptions(12, 4, 5, 12, 3, 2)
                                              .feed_forward_dim(20)
                                              .num_channels(2)));
    return;
  }
  attend::Seq2SeqOptions options(23, 23, 12, 3, 2);
  options.decoder_layers(1);
  options.encoder_layer().feed_forward_dim(20);
  options.decoder_layer().feed_forward_dim(28);
  options.activation(attend::Activation::kSwish).max_length(40);
  if (kind == "prenorm") options.norm_order(attend::NormOrder::kPre);
  if (kind == "separate") options.tgt_vocab(31).share_embeddings(false);
  if (kind == "restricted") options.src_vocab(31).pad_id(30).start_id(30).share_embeddings(true);
  attend::Seq2Seq model(options);
  const torch::NoGradGuard no_grad;
  model->final_logits_bias.normal_();
  attend::save_model(folder, model);
}

nlohmann::json described(const torch::Tensor& tensor) {
  const auto logits = tensor.contiguous();
  const auto* values = logits.const_data_ptr<float>();
  return {{"shape", logits.sizes().vec()},
          {"logits", std::vector<float>(values, values + logits.numel())}};
}

void run_causal_lm(const std::string& folder) {
  auto model = attend::load_causal_lm(folder);
  const torch::NoGradGuard no_grad;
  for (std::string line; std::getline(std::cin, line);) {
    const auto input = ids(nlohmann::json::parse(line).at("ids"));
    auto result = described(model(input));
    for (const auto& hypotheses :
         attend::beam_search(*model, input, {.max_length_factor = 0.0, .max_length_extra = 11})) {
      result["greedy"].push_back(hypotheses.front().tokens);
    }
    fmt::print("{}\n", result.dump());
  }
}

void run_vit(const std::string& folder) {
  auto model = attend::load_vision_transformer(folder);
  const torch::NoGradGuard no_grad;
  for (std::string line; std::getline(std::cin, line);) {
    const auto input = nlohmann::json::parse(line);
    const auto images = torch::tensor(input.at("images").get<std::vector<float>>())
                            .view(input.at("shape").get<std::vector<int64_t>>());
    fmt::print("{}\n", described(model(images)).dump());
  }
}

void run(const std::string& folder) {
  const auto model = attend::load_translation_model(folder);
  const torch::NoGradGuard no_grad;
  for (std::string line; std::getline(std::cin, line);) {
    const auto input = nlohmann::json::parse(line);
    const auto source = ids(input.at("source"));
    auto result = described(model->forward(source, ids(input.at("target"))));
    for (const auto& hypotheses :
         attend::beam_search(*model, source, {.max_length_extra = 20, .forced_eos = true})) {
      result["greedy"].push_back(hypotheses.front().tokens);
    }
    fmt::print("{}\n", result.dump());
  }
}

void search(const std::string& folder, attend::IncrementalModel& model) {
  for (std::string line; std::getline(std::cin, line);) {
    const auto input = nlohmann::json::parse(line);
    if (input.contains("generation")) {
      std::ofstream(folder + "/generation_config.json") << input.at("generation");
    }
    auto options = attend::load_search_options(folder, model.special_tokens());
    options.n_best = options.beam_size;
    options.max_length_factor = std::numeric_limits<double>::infinity();
    nlohmann::json result;
    const auto prefixes = input.value("prefixes", std::vector<std::vector<int64_t>>());
    for (const auto& hypotheses :
         attend::beam_search(model, ids(input.at("ids")), options, {}, prefixes)) {
      auto all = nlohmann::json::array();
      for (const auto& one : hypotheses) {
        all.push_back({{"tokens", one.tokens}, {"ended", one.ended}, {"score", one.score}});
      }
      result["found"].push_back(all);
    }
    fmt::print("{}\n", result.dump());
  }
}

}  // namespace

int main(int argc, char** argv) try {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  if (arguments.size() == 4 && arguments[0] == "make") {
    make(arguments[1], arguments[2], std::stoll(arguments[3]));
  } else if (arguments.size() == 2 && arguments[0] == "run") {
    run(arguments[1]);
  } else if (arguments.size() == 2 && arguments[0] == "run-causal-lm") {
    run_causal_lm(arguments[1]);
  } else if (arguments.size() == 2 && arguments[0] == "search") {
    search(arguments[1], *attend::load_translation_model(arguments[1]));
  } else if (arguments.size() == 2 && arguments[0] == "search-prepared") {
    const auto model = attend::load_translation_model(arguments[1]);
    search(arguments[1], *attend::prepare_for_inference(*model));
  } else if (arguments.size() == 2 && arguments[0] == "search-causal-lm") {
    auto model = attend::load_causal_lm(arguments[1]);
    search(arguments[1], *model);
  } else if (arguments.size() == 2 && arguments[0] == "run-vit") {
    run_vit(arguments[1]);
  } else {
    fmt::print(stderr, "usage: see the top of model_dump.cpp\n");
    return 2;
  }
  return 0;
} catch (const std::exception& error) {
  fmt::print(stderr, "model_dump: {}\n", error.what());
  return 1;
}
