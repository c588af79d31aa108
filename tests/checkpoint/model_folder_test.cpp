#include "attend/checkpoint/model_folder.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sys/stat.h>

#include <cmath>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>
#include <sstream>

#include "attend/checkpoint/safetensors.h"
#include "support/module_checks.h"
#include "support/peak_memory.h"
#include "support/temporary_folder.h"
#include "support/tensor_assert.h"

namespace attend::model_folder_test {
namespace {

using testing_support::TemporaryFolder;

torch::Tensor source() { return torch::tensor({{2, 3, 4, 0}}, torch::kLong); }
torch::Tensor target() { return torch::tensor({{10, 5, 6}}, torch::kLong); }

Seq2SeqOptions small() {
  return Seq2SeqOptions(11, 11, 12, 3, 2)
      .encoder_layer(TransformerLayerOptions(12, 3).feed_forward_dim(20))
      .decoder_layer(TransformerLayerOptions(12, 4).feed_forward_dim(28))
      .decoder_layers(1)
      .max_length(30)
      .activation(Activation::kGelu);
}

nlohmann::json config_of(const TemporaryFolder& folder) {
  return nlohmann::json::parse(TemporaryFolder::read(folder.path() / "config.json"));
}

void save_recurrent(const TemporaryFolder& folder) {
  save_model(folder.path(), *RecurrentSeq2Seq(11, 13, 6));
}

void save_gpt2(const TemporaryFolder& folder) {
  save_model(folder.path(), *CausalLM(CausalLMOptions(11, 12, 3, 2).max_length(9)));
}

void save_vit(const TemporaryFolder& folder) {
  save_model(folder.path(), *VisionTransformer(VisionTransformerOptions(12, 4, 5, 6, 3, 2)));
}

// Changes the tensors of a folder that holds one file of weights.
template <typename Change>
void change_weights(const TemporaryFolder& folder, const Change& change) {
  const auto path = folder.path() / "model.safetensors";
  auto file = read_safetensors(path);
  change(file.tensors);
  write_safetensors(path, file);
}

void change_config(const TemporaryFolder& folder, const char* key, const nlohmann::json& value) {
  auto config = config_of(folder);
  config[key] = value;
  folder.write("config.json", config.dump());
}

void load_any(const std::filesystem::path& folder) {
  const auto type = model_type(folder);
  if (is_causal_lm(type)) {
    load_causal_lm(folder);
  } else if (type == "vit") {
    load_vision_transformer(folder);
  } else {
    load_translation_model(folder);
  }
}

// The message of the FileError that loading throws, without the folder's own path.
std::string load_error(const TemporaryFolder& folder) {
  try {
    load_any(folder.path());
  } catch (const FileError& error) {
    std::string text = error.what();
    const auto prefix = folder.path().string() + "/";
    EXPECT_TRUE(text.starts_with(prefix)) << text;
    return text.substr(std::min(prefix.size(), text.size()));
  }
  return "no error";
}

TEST(ModelFolder, RoundTripKeepsEveryOptionAndEveryBit) {
  const torch::NoGradGuard no_grad;
  const TemporaryFolder folder;
  for (const auto& options :
       {small(), small().norm_order(NormOrder::kPre), small().positions(PositionKind::kLearned),
        small().tgt_vocab(13).share_embeddings(false), small().tie_output(false),
        small().src_vocab(15), small().src_vocab(15).tie_output(false),
        small().src_vocab(15).pad_id(14).start_id(14),
        small().scale_embedding(false).dropout(0.25).attention_dropout(0.125)}) {
    Seq2Seq model(options);
    model->final_logits_bias.normal_();
    model->eval();
    save_model(folder.path(), *model);
    auto loaded = load_seq2seq(folder.path());
    EXPECT_TENSOR_EQUAL(loaded(source(), target()), model(source(), target()));
    EXPECT_FALSE(loaded->is_training());
    EXPECT_EQ(loaded->options.embedding_dropout(), options.embedding_dropout());
    EXPECT_EQ(loaded->options.encoder_layer().dropout(), options.encoder_layer().dropout());
    EXPECT_EQ(loaded->options.decoder_layer().attention_dropout(),
              options.decoder_layer().attention_dropout());
    EXPECT_EQ(loaded->options.max_length(), options.max_length());
  }
  for (const auto& options : {RecurrentSeq2SeqOptions(11, 13, 6).attention_dim(5),
                              RecurrentSeq2SeqOptions(15, 11, 6).share_embeddings(true)}) {
    RecurrentSeq2Seq recurrent(options);
    recurrent->eval();
    save_model(folder.path(), *recurrent);
    auto loaded = load_recurrent_seq2seq(folder.path());
    EXPECT_TENSOR_EQUAL(loaded(source(), target()), recurrent(source(), target()));
  }
}

// Layers that no Hugging Face class has.
TransformerLayerOptions llama_layer() {
  return TransformerLayerOptions(
             MultiHeadAttentionOptions(12, 3).num_kv_heads(1).rotary(RotaryOptions{.base = 500}))
      .feed_forward(FeedForwardOptions(12, 7).gated(true).activation(Activation::kSwish))
      .norm(NormKind::kRms)
      .norm_order(NormOrder::kPre)
      .norm_eps(1e-6)
      .bias(false);
}

std::vector<Seq2SeqOptions> seq2seqs_that_marian_has_not() {
  using Attention = MultiHeadAttentionOptions;
  return {Seq2SeqOptions(11, 13, llama_layer(), 2)
              .decoder_layers(1)
              .positions(PositionKind::kNone)
              .embedding_dropout(0.0)
              .max_length(30),
          Seq2SeqOptions(15, 11, TransformerLayerOptions(Attention(12, 3).alibi(true)), 2)
              .share_embeddings(true)
              .positions(PositionKind::kNone),
          small().decoder_layer(
              TransformerLayerOptions(Attention(12, 4)
                                          .relative_bias(RelativeBiasOptions{4, 9, false})
                                          .window(AttentionWindow{3, 0}))),
          small().decoder_layer(TransformerLayerOptions(12, 4).cross_attention(
              Attention(12, 6).num_kv_heads(2).qk_norm(true).sinks(true).add_bias_kv(true))),
          small().embedding_dropout(0.25),
          small().encoder_layer(TransformerLayerOptions(12, 3).norm_eps(1e-6))};
}

std::vector<std::shared_ptr<torch::nn::Module>> models_of_large_folders() {
  const auto llama = CausalLMOptions(11, llama_layer(), 2).positions(PositionKind::kNone);
  return {Seq2Seq(small()).ptr(),
          Seq2Seq(small().positions(PositionKind::kLearned).tie_output(false)).ptr(),
          CausalLM(CausalLMOptions(11, 12, 3, 2).max_length(9)).ptr(),
          CausalLM(CausalLMOptions(llama).tie_output(false)).ptr()};
}

std::shared_ptr<torch::nn::Module> saved_and_loaded(const TemporaryFolder& folder,
                                                    torch::nn::Module& model) {
  if (auto* causal = model.as<CausalLM>()) {
    save_model(folder.path(), *causal);
    return load_causal_lm(folder.path()).ptr();
  }
  save_model(folder.path(), *model.as<Seq2Seq>());
  return load_seq2seq(folder.path()).ptr();
}

TEST(ModelFolder, LoadingDrawsNoRandomNumbers) {
  for (const auto& model : models_of_large_folders()) {
    const TemporaryFolder folder;
    torch::manual_seed(3);
    const auto expected = torch::rand({5});
    torch::manual_seed(3);
    saved_and_loaded(folder, *model);
    EXPECT_TENSOR_EQUAL(torch::rand({5}), expected) << model->name();
  }
}

TEST(ModelFolder, WhatIsMadeAfterALoadHasInitialWeights) {
  const auto made = [] {
    torch::manual_seed(4);
    return Seq2Seq(small().tie_output(false))->parameters();
  };
  const auto before = made();
  const TemporaryFolder folder;
  save_gpt2(folder);
  load_any(folder.path());
  change_weights(folder, [](auto& tensors) { tensors.begin()->second.fill_(NAN); });
  EXPECT_NE(load_error(folder), "no error");
  const auto after = made();
  ASSERT_EQ(after.size(), before.size());
  for (size_t i = 0; i < after.size(); ++i) EXPECT_TENSOR_EQUAL(after[i], before[i]);
}

TEST(ModelFolder, ACloneOfALoadedModelHasWeightsOfItsOwn) {
  const torch::NoGradGuard no_grad;
  for (const auto& model : models_of_large_folders()) {
    const TemporaryFolder folder;
    const auto loaded = saved_and_loaded(folder, *model);
    const auto clone = loaded->clone();
    for (auto& item : clone->named_parameters()) {
      EXPECT_TENSOR_EQUAL(item.value(), loaded->named_parameters()[item.key()]) << item.key();
      item.value().add_(1.0);
    }
    for (auto& item : loaded->named_parameters()) {
      EXPECT_TENSOR_EQUAL(item.value(), model->named_parameters()[item.key()]) << item.key();
    }
  }
}

TEST(ModelFolder, ASeq2SeqOfAnyLayersComesBackBitForBit) {
  const torch::NoGradGuard no_grad;
  const TemporaryFolder folder;
  for (const auto& options : seq2seqs_that_marian_has_not()) {
    Seq2Seq model(options);
    testing_support::randomise(*model);
    model->eval();
    save_model(folder.path(), model);
    EXPECT_EQ(model_type(folder.path()), "attend_seq2seq");
    auto loaded = load_seq2seq(folder.path());
    EXPECT_TENSOR_EQUAL(loaded(source(), target()), model(source(), target()));
    std::ostringstream before, after;
    before << model;
    after << loaded;
    EXPECT_EQ(after.str(), before.str());
  }
  change_config(folder, "encoder_layer", {{"dropout", 0.0}});
  EXPECT_EQ(load_error(folder),
            "config.json: expected encoder_layer.self_attention to be an object, got none");
}

TEST(ModelFolder, ACrossAttentionThatIsTheUsualOneIsStillMarians) {
  const TemporaryFolder folder;
  save_model(
      folder.path(),
      Seq2Seq(small().decoder_layer(TransformerLayerOptions(12, 4)
                                        .activation(Activation::kGelu)
                                        .cross_attention(MultiHeadAttentionOptions(12, 4)))));
  EXPECT_EQ(model_type(folder.path()), "marian");
}

TEST(ModelFolder, AVisionTransformerOfAnyLayersComesBackBitForBit) {
  const torch::NoGradGuard no_grad;
  const TemporaryFolder folder;
  const std::vector<std::pair<std::string, VisionTransformerOptions>> all{
      {"vit", VisionTransformerOptions(12, 4, 5, 12, 3, 2).feed_forward_dim(7).num_channels(2)},
      {"attend_vision_transformer", VisionTransformerOptions(12, 4, 5, llama_layer(), 2)
                                        .positions(PositionKind::kNone)
                                        .num_channels(2)},
      {"attend_vision_transformer",
       VisionTransformerOptions(12, 4, 5, TransformerLayerOptions(12, 3), 2).num_channels(2)}};
  for (const auto& [type, options] : all) {
    VisionTransformer model(options);
    testing_support::randomise(*model);
    model->eval();
    save_model(folder.path(), model);
    EXPECT_EQ(model_type(folder.path()), type);
    auto loaded = load_vision_transformer(folder.path());
    const auto images = torch::randn({2, 2, 12, 12});
    EXPECT_TENSOR_EQUAL(loaded(images), model(images));
    std::ostringstream before, after;
    before << model;
    after << loaded;
    EXPECT_EQ(after.str(), before.str());
  }
}

// Decoder-only models of every architecture, by the type of their folder.
std::vector<std::pair<std::string, CausalLMOptions>> causal_lms() {
  using Attention = MultiHeadAttentionOptions;
  const auto of = [](const TransformerLayerOptions& layer) {
    return CausalLMOptions(11, layer, 2).max_length(9).embedding_dropout(0.0);
  };
  const auto llama = [](const Attention& attention) {
    return TransformerLayerOptions(attention)
        .feed_forward(FeedForwardOptions(12, 7).gated(true).activation(Activation::kSwish))
        .norm(NormKind::kRms)
        .norm_order(NormOrder::kPre)
        .norm_eps(1e-6)
        .bias(false)
        .dropout(0.0);
  };
  const auto rotary = Attention(12, 3).num_kv_heads(1).rotary(RotaryOptions{.base = 500});
  const auto everything =
      TransformerLayerOptions(
          Attention(12, 3)
              .rotary(RotaryOptions{.dim = 4,
                                    .pairing = RotaryPairing::kInterleaved,
                                    .scaling = {.kind = RotaryScalingKind::kNtk, .factor = 2}})
              .relative_bias(RelativeBiasOptions{4, 9, false})
              .window(AttentionWindow{3, 0})
              .qk_norm(true)
              .soft_cap(2.5)
              .scale(0.3)
              .sinks(true)
              .add_bias_kv(true)
              .add_zero_attn(true))
          .feed_forward(FeedForwardOptions(12, 7).activation(Activation::kGelu).bias(false));
  return {
      {"gpt2", CausalLMOptions(11, 12, 3, 2).max_length(9)},
      {"llama", of(llama(rotary)).positions(PositionKind::kNone).tie_output(false)},
      {"llama", of(llama(rotary)).positions(PositionKind::kNone)},
      {"attend_causal_lm", of(llama(rotary)).positions(PositionKind::kSinusoidal)},
      {"attend_causal_lm", of(llama(Attention(12, 3).alibi(true))).positions(PositionKind::kNone)},
      {"attend_causal_lm", of(TransformerLayerOptions(12, 3))},
      {"attend_causal_lm", CausalLMOptions(11, 12, 3, 2).max_length(9).tie_output(false)},
      {"attend_causal_lm", of(everything).positions(PositionKind::kNone)}};
}

TEST(ModelFolder, ADecoderOnlyModelOfAnyKindComesBackBitForBit) {
  const TemporaryFolder folder;
  for (const auto& [type, options] : causal_lms()) {
    CausalLM model(options);
    testing_support::randomise(*model);
    model->eval();
    save_model(folder.path(), *model);
    EXPECT_EQ(model_type(folder.path()), type);
    auto loaded = load_causal_lm(folder.path());
    const auto ids = torch::tensor({{1, 2, 3, 4, 5}, {6, 7, 8, 9, 10}});
    EXPECT_TENSOR_EQUAL(loaded(ids), model(ids));
    EXPECT_FALSE(loaded->is_training());
    std::ostringstream before, after;
    before << *model;
    after << *loaded;
    EXPECT_EQ(after.str(), before.str());
  }
}

TEST(ModelFolder, WhatALlamaFolderSaysAndAttendHasNotIsRefused) {
  const TemporaryFolder folder;
  save_model(folder.path(), *CausalLM(causal_lms()[1].second));
  const auto config = config_of(folder);
  const auto error_with = [&](const char* key, const nlohmann::json& value) {
    change_config(folder, key, value);
    const auto message = load_error(folder);
    folder.write("config.json", config.dump());
    return message;
  };
  EXPECT_EQ(error_with("rope_parameters", {{"rope_type", "dynamic"}, {"factor", 2.0}}),
            "config.json: expected rope_type to be one of default, linear, llama3, yarn, got "
            "\"dynamic\"");
  EXPECT_EQ(
      error_with("rope_parameters", {{"rope_type", "yarn"}, {"factor", 2.0}, {"mscale", 0.5}}),
      "config.json: expected rope_parameters without mscale, got 0.5");
  EXPECT_EQ(error_with("rope_parameters", {{"rope_type", "linear"}}),
            "config.json: expected the key rope_parameters.factor, got none");
  EXPECT_EQ(error_with("rope_parameters", 3),
            "config.json: expected rope_parameters to be an object, got 3");
  EXPECT_EQ(error_with("head_dim", 5),
            "config.json: expected head_dim to be hidden_size / num_attention_heads 4, got 5");
  EXPECT_EQ(error_with("eos_token_id", {1, 2}),
            "config.json: expected eos_token_id to be one id, got [1,2]");
  EXPECT_EQ(load_error(folder), "no error");
}

// Marian has one output for each row of the shared table.
TEST(ModelFolder, FewerTargetTokensAreAMarianThatNeverPredictsTheOthers) {
  const TemporaryFolder folder;
  Seq2Seq model(small().src_vocab(15).pad_id(2).start_id(2));
  torch::nn::init::normal_(model->final_logits_bias);
  save_model(folder.path(), *model);
  const auto config = config_of(folder);
  EXPECT_EQ(config["model_type"], "marian");
  EXPECT_EQ(config["vocab_size"], 15);
  EXPECT_EQ(config["decoder_vocab_size"], 15);
  const auto bias =
      read_safetensors(folder.path() / "model.safetensors").tensors.at("final_logits_bias");
  EXPECT_TENSOR_EQUAL(bias.narrow(1, 0, 11), model->final_logits_bias);
  EXPECT_TENSOR_EQUAL(bias.narrow(1, 11, 4), torch::full({1, 4}, -1e9));
  EXPECT_EQ(load_seq2seq(folder.path())->options.tgt_vocab(), 11);

  change_config(folder, "attend_target_vocab_size", 8);  // real outputs beyond it
  EXPECT_THAT(load_error(folder),
              testing::StartsWith("model.safetensors: expected final_logits_bias below -10000 from "
                                  "output 8 on, got "));
  change_config(folder, "attend_target_vocab_size", 16);
  EXPECT_EQ(load_error(folder),
            "config.json: Seq2Seq: expected tgt_vocab <= src_vocab for share_embeddings, got "
            "tgt_vocab 16 and src_vocab 15");
}

// What CTranslate2 wants of a Marian folder: its converter leaves out the last row of the table.
TEST(ModelFolder, APaddingBeyondTheTargetsTokensIsTheLastRowOfMarians) {
  const TemporaryFolder folder;
  Seq2Seq model(small().src_vocab(15).pad_id(14).start_id(14));
  save_model(folder.path(), *model);
  EXPECT_EQ(config_of(folder)["pad_token_id"], 14);
  EXPECT_EQ(config_of(folder)["decoder_start_token_id"], 14);
  const auto tensors = read_safetensors(folder.path() / "model.safetensors").tensors;
  EXPECT_TENSOR_EQUAL(tensors.at("model.shared.weight").select(0, 14), torch::zeros({12}));
  EXPECT_LT(tensors.at("final_logits_bias").select(1, 14).item<double>(), -1e8);
  const auto loaded = load_seq2seq(folder.path());
  EXPECT_EQ(loaded->options.tgt_vocab(), 11);
  EXPECT_EQ(loaded->options.pad_id(), 14);
}

// Folders of attend 0.1 have a row that learnt, and may have it among the target's tokens.
TEST(ModelFolder, APaddingRowThatLearntIsReadAsItIsAndLearnsOn) {
  for (const bool recurrent : {false, true}) {
    const TemporaryFolder folder;
    std::shared_ptr<TranslationModel> model;
    if (recurrent) {
      model = RecurrentSeq2Seq(
                  RecurrentSeq2SeqOptions(15, 11, 6).share_embeddings(true).pad_id(2).start_id(2))
                  .ptr();
    } else {
      model = Seq2Seq(small().src_vocab(15).pad_id(2).start_id(2)).ptr();
    }
    const auto* table = recurrent ? "shared.weight" : "model.shared.weight";
    torch::nn::init::normal_(model->module().named_parameters()[table]);
    save_model(folder.path(), *model);
    model->module().eval();
    const auto loaded = load_translation_model(folder.path());
    const auto ids = torch::tensor({{2, 5, 6}}, torch::kLong);
    EXPECT_TENSOR_EQUAL(loaded->forward(source(), ids), model->forward(source(), ids));
    auto own = loaded->module().named_parameters()[table];
    EXPECT_TENSOR_EQUAL(own, model->module().named_parameters()[table]);
    loaded->loss_sum(source(), ids, torch::tensor({{5, 6, 0}}, torch::kLong)).backward();
    EXPECT_GT(own.grad().select(0, 2).abs().max().item<double>(), 0.0);
  }
}

TEST(ModelFolder, FewerTargetTokensAreSavedInHalfPrecisionToo) {
  const TemporaryFolder folder;
  Seq2Seq model(small().src_vocab(15));
  model->to(torch::kHalf);
  save_model(folder.path(), *model);
  EXPECT_EQ(load_error(folder), "no error");
}

// As transformers does.
TEST(ModelFolder, TheDecodersVocabularyIsNotReadWhereEmbeddingsAreShared) {
  const TemporaryFolder folder;
  save_model(folder.path(), *Seq2Seq(small()));
  change_config(folder, "decoder_vocab_size", 9);
  EXPECT_EQ(load_seq2seq(folder.path())->options.tgt_vocab(), 11);
}

TEST(ModelFolder, OnlyWhatMarianCanReadIsCalledMarian) {
  const TemporaryFolder folder;
  save_model(folder.path(), *Seq2Seq(small()));
  EXPECT_EQ(config_of(folder)["model_type"], "marian");
  save_model(folder.path(), *Seq2Seq(small().norm_order(NormOrder::kPre)));
  EXPECT_EQ(config_of(folder)["model_type"], "attend_seq2seq");
  save_model(folder.path(), *Seq2Seq(small().positions(PositionKind::kSinusoidal)));
  EXPECT_EQ(config_of(folder)["model_type"], "attend_seq2seq");
  save_model(folder.path(), *RecurrentSeq2Seq(11, 11, 6));
  EXPECT_EQ(config_of(folder)["model_type"], "attend_recurrent_seq2seq");
  EXPECT_EQ(load_error(folder), "no error");
}

TEST(ModelFolder, TiedAndDerivedTensorsAreAcceptedIfEqual) {
  const TemporaryFolder folder;
  Seq2Seq model(small());
  save_model(folder.path(), *model);
  const auto weights = folder.path() / "model.safetensors";
  auto file = read_safetensors(weights);
  const auto shared = file.tensors.at("model.shared.weight");
  file.tensors["model.encoder.embed_tokens.weight"] = shared;
  file.tensors["lm_head.weight"] = shared;
  file.tensors["model.decoder.embed_positions.weight"] =
      functional::sinusoidal_positions(30, 12, SinusoidLayout::kHalves);
  file.tensors.erase("model.shared.weight");  // its twins stand for it
  write_safetensors(weights, file);
  EXPECT_EQ(load_error(folder), "no error");

  file.tensors["lm_head.weight"] = shared + 1;
  file.tensors["model.decoder.embed_positions.weight"] =
      functional::sinusoidal_positions(30, 12, SinusoidLayout::kInterleaved);
  write_safetensors(weights, file);
  EXPECT_EQ(
      load_error(folder),
      "model.safetensors: \"model.decoder.embed_positions.weight\" is not what the configuration "
      "derives; \"model.encoder.embed_tokens.weight\" differs from the tensor it is tied to");
}

TEST(ModelFolder, EveryMissingAndUnusedTensorIsNamed) {
  const TemporaryFolder folder;
  save_model(folder.path(), *Seq2Seq(small()));
  const auto weights = folder.path() / "model.safetensors";
  auto file = read_safetensors(weights);
  file.tensors.erase("final_logits_bias");
  file.tensors.erase("model.decoder.layers.0.fc1.bias");
  file.tensors["model.decoder.layers.1.fc1.bias"] = torch::zeros({28});
  file.tensors["model.encoder.layers.0.fc1.bias"] = torch::zeros({7});
  write_safetensors(weights, file);
  EXPECT_EQ(load_error(folder),
            "model.safetensors: \"model.decoder.layers.1.fc1.bias\" is not used by the model; "
            "\"model.encoder.layers.0.fc1.bias\" expected shape [20], got [7]; "
            "\"final_logits_bias\" is missing; \"model.decoder.layers.0.fc1.bias\" is missing");
}

TEST(ModelFolder, BadConfigurationsNameTheKey) {
  const TemporaryFolder folder;
  const auto fresh = [&] { save_model(folder.path(), *Seq2Seq(small())); };
  fresh();
  change_config(folder, "model_type", "bert");
  EXPECT_EQ(load_error(folder),
            "config.json: expected model_type marian, attend_seq2seq or attend_recurrent_seq2seq, "
            "got \"bert\"");
  fresh();
  change_config(folder, "d_model", "twelve");
  EXPECT_EQ(load_error(folder), "config.json: expected d_model to be an integer, got \"twelve\"");
  fresh();
  change_config(folder, "encoder_attention_heads", 5);
  EXPECT_EQ(load_error(folder),
            "config.json: TransformerEncoderLayer: expected embed_dim divisible by num_heads, got "
            "embed_dim 12 and num_heads 5");
  fresh();
  change_config(folder, "activation_function", "tanh");
  EXPECT_EQ(load_error(folder),
            "config.json: expected activation_function to be one of relu, gelu, gelu_new, "
            "gelu_pytorch_tanh, swish, silu, got "
            "\"tanh\"");
  fresh();
  change_config(folder, "normalize_before", true);
  EXPECT_EQ(load_error(folder), "config.json: expected normalize_before to be false, got true");
  folder.write("config.json", "[1, 2]");
  EXPECT_EQ(load_error(folder), "config.json: expected a JSON object, got array");
  folder.write("config.json", "{\"model_type\": ");
  EXPECT_TRUE(load_error(folder).starts_with("config.json: expected JSON, got "));
  std::filesystem::remove(folder.path() / "config.json");
  EXPECT_EQ(load_error(folder), "config.json: cannot open: expected a model folder's JSON file");
}

TEST(ModelFolder, ATruncatedWeightsFileIsAnErrorAtEveryLength) {
  const TemporaryFolder folder;
  save_model(folder.path(), *Seq2Seq(small().encoder_layers(0).decoder_layers(0)));
  const auto whole = TemporaryFolder::read(folder.path() / "model.safetensors");
  for (size_t length = 0; length < whole.size(); length += 1 + whole.size() / 97) {
    folder.write("model.safetensors", whole.substr(0, length));
    EXPECT_TRUE(load_error(folder).starts_with("model.safetensors: ")) << length;
  }
}

struct WrongSize {
  std::function<void(const TemporaryFolder&)> save;
  const char* key;
  int64_t value;
  std::string message;
};

TEST(ModelFolder, SizesBeyondTheWeightsAreRefusedBeforeMemoryIsGiven) {
  const auto save_marian = [](const TemporaryFolder& folder) {
    save_model(folder.path(), *Seq2Seq(small()));
  };
  const auto save_learned = [](const TemporaryFolder& folder) {
    save_model(folder.path(), *Seq2Seq(small().positions(PositionKind::kLearned)));
  };
  const std::string weights = "model.safetensors: ";
  const std::vector<WrongSize> cases{
      {save_marian, "encoder_layers", 100'000,
       "config.json: expected encoder_layers of at most 2, the layers in model.safetensors, got "
       "100000"},
      {save_marian, "decoder_layers", 2'000'000'000,
       "config.json: expected decoder_layers of at most 1, the layers in model.safetensors, got "
       "2000000000"},
      {save_marian, "vocab_size", 8'000'000,
       weights + "\"final_logits_bias\" expected shape [1, 8000000], got [1, 11]; "
                 "\"model.shared.weight\" expected shape [8000000, 12], got [11, 12]"},
      {save_marian, "encoder_ffn_dim", 10'000'000,
       weights + "\"model.encoder.layers.0.fc1.bias\" expected shape [10000000], got [20]"},
      {save_marian, "decoder_ffn_dim", 10'000'000,
       weights + "\"model.decoder.layers.0.fc1.bias\" expected shape [10000000], got [28]"},
      {save_marian, "d_model", 120'000,
       weights + "\"model.decoder.layers.0.encoder_attn.k_proj.bias\" expected shape [120000]"},
      {save_marian, "max_position_embeddings", 2'147'483'647,
       "config.json: expected max_position_embeddings of at most 1398101 for a model of this "
       "size, got 2147483647"},
      {save_marian, "max_position_embeddings", 1'000'000'000'000,
       "config.json: expected max_position_embeddings in [1, 2147483647], got 1000000000000"},
      {save_learned, "max_position_embeddings", 2'000'000'000,
       weights + "\"model.decoder.embed_positions.weight\" expected shape [2000000000, 12], got "
                 "[30, 12]"},
      {save_recurrent, "vocab_size", 8'000'000,
       weights + "\"embed_source.weight\" expected shape [8000000, 6], got [11, 6]"},
      {save_recurrent, "decoder_vocab_size", 8'000'000,
       weights + "\"embed_target.weight\" expected shape [8000000, 6], got [13, 6]"},
      {save_recurrent, "attention_dim", 1'000'000'000,
       weights + "\"attention.k_proj.weight\" expected shape [1000000000, 12], got [6, 12]"},
      {save_recurrent, "d_model", 1'000'000'000, weights + "\"attention.k_proj.weight\" expected"},
      {save_gpt2, "n_layer", 100'000,
       "config.json: expected n_layer of at most 2, the layers in model.safetensors, got 100000"},
      {save_gpt2, "vocab_size", 8'000'000,
       weights + "\"transformer.wte.weight\" expected shape [8000000, 12], got [11, 12]"},
      {save_gpt2, "n_positions", 2'000'000'000,
       weights + "\"transformer.wpe.weight\" expected shape [2000000000, 12], got [9, 12]"},
      {save_gpt2, "n_inner", 10'000'000,
       weights + "\"transformer.h.0.mlp.c_fc.bias\" expected shape [10000000], got [48]; "
                 "\"transformer.h.0.mlp.c_fc.weight\" expected shape [12, 10000000], got [12, 48]"},
      {save_gpt2, "n_embd", 2'000'000'000,
       weights + "\"transformer.h.0.attn.c_attn.bias\" expected shape [6000000000], got [36]"},
      {save_vit, "num_hidden_layers", 100'000,
       "config.json: expected num_hidden_layers of at most 2, the layers in model.safetensors, "
       "got 100000"},
      {save_vit, "image_size", 2'000'000'000,
       weights + "\"vit.embeddings.position_embeddings\" expected shape [1, 250000000000000001, "
                 "6], got [1, 10, 6]"},
      {save_vit, "intermediate_size", 10'000'000,
       weights + "\"vit.encoder.layer.0.intermediate.dense.bias\" expected shape [10000000]"},
      {save_vit, "num_channels", 10'000'000,
       weights + "\"vit.embeddings.patch_embeddings.projection.weight\" expected shape [6, "
                 "10000000, 4, 4], got [6, 3, 4, 4]"},
  };
  for (const auto& test : cases) {
    SCOPED_TRACE(test.key);
    const TemporaryFolder folder;
    test.save(folder);
    change_config(folder, test.key, test.value);
    const testing_support::PeakMemory memory;
    EXPECT_THAT(load_error(folder), testing::StartsWith(test.message));
    EXPECT_EQ(memory.peak(), 0);
  }
}

TEST(ModelFolder, SizesMustBePositiveIntegers) {
  const TemporaryFolder folder;
  const auto error_with = [&](const char* key, const nlohmann::json& value) {
    save_model(folder.path(), *Seq2Seq(small()));
    change_config(folder, key, value);
    return load_error(folder);
  };
  const std::string range = " in [1, 2147483647], got ";
  EXPECT_EQ(error_with("d_model", -12), "config.json: expected d_model" + range + "-12");
  EXPECT_EQ(error_with("d_model", 0), "config.json: expected d_model" + range + "0");
  EXPECT_EQ(error_with("vocab_size", std::numeric_limits<int64_t>::max()),
            "config.json: expected vocab_size" + range + "9223372036854775807");
  EXPECT_EQ(error_with("max_position_embeddings", -1),
            "config.json: expected max_position_embeddings" + range + "-1");
  EXPECT_EQ(error_with("encoder_layers", -1),
            "config.json: expected encoder_layers in [0, 2147483647], got -1");
  EXPECT_EQ(error_with("d_model", std::numeric_limits<uint64_t>::max()),
            "config.json: expected d_model to be an integer, got 18446744073709551615");
  EXPECT_EQ(error_with("d_model", 12.0),
            "config.json: expected d_model to be an integer, got 12.0");
  EXPECT_EQ(error_with("d_model", nullptr),
            "config.json: expected d_model to be an integer, got null");
  EXPECT_EQ(error_with("tie_word_embeddings", 1),
            "config.json: expected tie_word_embeddings to be true or false, got 1");
  EXPECT_EQ(error_with("eos_token_id", {0}),
            "config.json: expected eos_token_id to be an integer, got [0]");

  save_vit(folder);
  change_config(folder, "id2label", {"a", "b"});
  EXPECT_EQ(load_error(folder), "config.json: expected id2label to be an object, got array");
  change_config(folder, "id2label", nlohmann::json::object());
  EXPECT_THAT(load_error(folder), testing::HasSubstr("\"classifier.bias\" expected shape [0]"));
}

TEST(ModelFolder, TokenIdsOutsideTheVocabularyAreRefused) {
  const TemporaryFolder folder;
  const std::vector<std::pair<const char*, std::string>> keys{
      {"eos_token_id", "eos_id in [0, 11)"},
      {"pad_token_id", "pad_id in [0, 11)"},
      {"decoder_start_token_id", "start_id in [0, 13)"}};
  for (const auto& [key, expected] : keys) {
    for (const int64_t id : {int64_t{-1}, int64_t{13}, std::numeric_limits<int64_t>::max()}) {
      save_recurrent(folder);
      change_config(folder, key, id);
      EXPECT_EQ(load_error(folder),
                fmt::format("config.json: RecurrentSeq2Seq: expected {}, got {}", expected, id));
    }
  }
}

// Text from a file can hold anything, and a million levels are more than a recursion can follow.
TEST(ModelFolder, MessagesAboutAFileAreShortAndPrintable) {
  const TemporaryFolder folder;
  const auto expect_short = [&](const std::string& what) {
    const auto message = load_error(folder);
    EXPECT_LT(message.size(), 600U) << what;
    EXPECT_TRUE(std::ranges::none_of(message, [](unsigned char c) {
      return c < 0x20 || c == 0x7f;
    })) << what;
    return message;
  };
  const std::string evil = "a\n\x1b[31m\x7f" + std::string(5000, 'x');
  save_model(folder.path(), *Seq2Seq(small()));
  change_config(folder, "activation_function", evil);
  EXPECT_THAT(expect_short("activation"), testing::HasSubstr("got \"a\\n\\u001b[31m"));
  change_config(folder, "model_type", evil);
  expect_short("model type");
  change_config(folder, "model_type", nlohmann::json::array({evil}));
  EXPECT_EQ(expect_short("array"), "config.json: expected model_type to be a string, got array");
  folder.write("config.json", "{\"model_type\": " + std::string(1'000'000, '[') +
                                  std::string(1'000'000, ']') + "}");
  EXPECT_EQ(expect_short("levels"), "config.json: expected model_type to be a string, got array");
  folder.write("config.json", "{\"model_type\": \"" + evil);
  expect_short("no JSON");
}

TEST(ModelFolder, TenTensorsAtFaultAreNamedAndTheOthersCounted) {
  const TemporaryFolder folder;
  save_model(folder.path(), *Seq2Seq(small()));
  change_weights(folder, [](auto& tensors) {
    for (int i = 0; i < 5000; ++i) {
      tensors[fmt::format("evil\n\x1b[31m{:04}", i)] = torch::zeros({1});
    }
    tensors.erase("final_logits_bias");
  });
  const auto message = load_error(folder);
  EXPECT_THAT(message, testing::StartsWith("model.safetensors: \"evil\\n\\u001b[31m0000\" is not "
                                           "used by the model; \"evil"));
  EXPECT_THAT(message, testing::EndsWith("0009\" is not used by the model; and 4991 more"));
  EXPECT_EQ(message.find('\n'), std::string::npos);
}

TEST(ModelFolder, AConfigurationThatIsNoRegularFileIsNamed) {
  const TemporaryFolder folder;
  std::filesystem::create_directories(folder.path() / "config.json");
  const auto* const expected =
      "config.json: expected a regular file, got a folder or a special file";
  EXPECT_EQ(load_error(folder), expected);
  std::filesystem::remove(folder.path() / "config.json");
  ASSERT_EQ(::mkfifo((folder.path() / "config.json").c_str(), 0600), 0);
  EXPECT_EQ(load_error(folder), expected);
}

TEST(ModelFolder, HalfPrecisionFoldersMayHoldTheirSinusoids) {
  const TemporaryFolder folder;
  for (const auto dtype : {torch::kHalf, torch::kBFloat16, torch::kFloat, torch::kDouble}) {
    SCOPED_TRACE(c10::toString(dtype));
    Seq2Seq model(small().max_length(600));
    save_model(folder.path(), *model);
    const auto table = functional::sinusoidal_positions(600, 12, SinusoidLayout::kHalves);
    const auto write = [&](const torch::Tensor& positions) {
      change_weights(folder, [&](auto& tensors) {
        tensors["model.encoder.embed_positions.weight"] = positions.to(torch::kFloat);
        tensors["model.decoder.embed_positions.weight"] = positions.to(torch::kFloat);
        for (auto& [name, tensor] : tensors) tensor = tensor.to(dtype);
      });
    };
    write(table);
    EXPECT_EQ(load_error(folder), "no error");
    // From the paper's formula in Python's float64, which may fall to the other side.
    write(functional::sinusoidal_positions(600, 12, SinusoidLayout::kHalves, torch::kDouble));
    EXPECT_EQ(load_error(folder), "no error");

    const auto refused = testing::HasSubstr("embed_positions.weight\" is not what the");
    auto shifted = table.clone();
    shifted.narrow(0, 599, 1).add_(0.02);
    write(shifted);
    EXPECT_THAT(load_error(folder), refused);
    write(functional::sinusoidal_positions(600, 12, SinusoidLayout::kInterleaved));
    EXPECT_THAT(load_error(folder), refused);
    write(table * std::numeric_limits<double>::quiet_NaN());
    EXPECT_THAT(load_error(folder), refused);
  }
}

TEST(ModelFolder, DerivedTensorsOfAnotherShapeAreNamedByIt) {
  const TemporaryFolder folder;
  save_model(folder.path(), *Seq2Seq(small()));
  change_weights(folder, [](auto& tensors) {
    tensors["model.encoder.embed_positions.weight"] =
        functional::sinusoidal_positions(29, 12, SinusoidLayout::kHalves);
  });
  EXPECT_EQ(load_error(folder),
            "model.safetensors: \"model.encoder.embed_positions.weight\" expected shape [30, 12], "
            "got [29, 12]");
}

TEST(ModelFolder, WeightsThatAreNotFiniteAreNamed) {
  const TemporaryFolder folder;
  const double nan = std::numeric_limits<double>::quiet_NaN(), infinity = HUGE_VAL;
  const auto error_with = [&](const char* name, double value, torch::Dtype dtype = torch::kFloat) {
    change_weights(folder, [&](auto& tensors) {
      auto tensor = tensors.at(name).to(dtype);
      tensor.view(-1)[-1] = value;
      tensors[name] = tensor;
    });
    return load_error(folder);
  };
  const auto message = [](const std::string& name, const std::string& value) {
    return fmt::format("model.safetensors: \"{}\" expected finite numbers, got {}", name, value);
  };
  const auto* const shared = "model.shared.weight";
  save_model(folder.path(), *Seq2Seq(small()));
  EXPECT_EQ(error_with(shared, nan), message(shared, "NaN"));
  EXPECT_EQ(error_with(shared, infinity), message(shared, "infinity"));
  EXPECT_EQ(error_with(shared, -infinity), message(shared, "-infinity"));
  EXPECT_EQ(error_with(shared, 1e300, torch::kDouble), message(shared, "infinity"));
  EXPECT_EQ(error_with(shared, nan, torch::kHalf), message(shared, "NaN"));
  EXPECT_EQ(error_with(shared, nan, torch::kBFloat16), message(shared, "NaN"));
  EXPECT_EQ(error_with("final_logits_bias", nan),
            "model.safetensors: \"final_logits_bias\" expected finite numbers, got NaN; "
            "\"model.shared.weight\" expected finite numbers, got NaN");

  save_recurrent(folder);
  EXPECT_EQ(error_with("attention.v", nan), message("attention.v", "NaN"));
  save_gpt2(folder);
  EXPECT_EQ(error_with("transformer.h.1.attn.c_attn.weight", nan),
            message("transformer.h.1.attn.c_attn.weight", "NaN"));
  save_vit(folder);
  EXPECT_EQ(error_with("vit.embeddings.cls_token", nan),
            message("vit.embeddings.cls_token", "NaN"));
}

// Such outputs are never predicted.
TEST(ModelFolder, TheBiasOfTheOutputsMayHoldMinusInfinityButNotAlone) {
  const TemporaryFolder folder;
  save_model(folder.path(), *Seq2Seq(small()));
  change_weights(folder, [](auto& tensors) {
    tensors.at("final_logits_bias").narrow(1, 3, 8).fill_(-HUGE_VAL);
  });
  EXPECT_EQ(load_error(folder), "no error");
  change_weights(folder, [](auto& tensors) { tensors.at("final_logits_bias").fill_(-HUGE_VAL); });
  EXPECT_EQ(
      load_error(folder),
      "model.safetensors: \"final_logits_bias\" expected finite numbers, got -infinity alone");
}

TEST(ModelFolder, WeightsMustBeNumbersOfFloatingPoint) {
  const TemporaryFolder folder;
  save_model(folder.path(), *Seq2Seq(small()));
  change_weights(folder, [](auto& tensors) {
    auto& shared = tensors.at("model.shared.weight");
    shared = (shared * 100).to(torch::kChar);
  });
  EXPECT_EQ(
      load_error(folder),
      "model.safetensors: \"model.shared.weight\" expected numbers of floating point, got Char");
}

TEST(ModelFolder, TwinsOfTwoPrecisionsAreCompared) {
  const TemporaryFolder folder;
  save_model(folder.path(), *Seq2Seq(small()));
  change_weights(folder, [](auto& tensors) {
    auto& shared = tensors.at("model.shared.weight");
    shared = shared.to(torch::kHalf).to(torch::kFloat);
    tensors["lm_head.weight"] = shared.to(torch::kHalf);
  });
  EXPECT_EQ(load_error(folder), "no error");
  change_weights(folder, [](auto& tensors) { tensors.at("model.shared.weight").add_(1e-3); });
  EXPECT_EQ(load_error(folder),
            "model.safetensors: \"model.shared.weight\" differs from the tensor it is tied to");
}

TEST(ModelFolder, Gpt2TensorsWithAndWithoutPrefixAreOne) {
  const TemporaryFolder folder;
  save_gpt2(folder);
  change_weights(folder, [](auto& tensors) {
    tensors["wte.weight"] = tensors.at("transformer.wte.weight");
    tensors["transformer.h.0.attn.bias"] = torch::ones({1, 1, 9, 9}).tril();  // old folders' mask
  });
  EXPECT_EQ(load_error(folder),
            "model.safetensors: expected one of \"transformer.wte.weight\" and \"wte.weight\", got "
            "both");
  change_weights(folder, [](auto& tensors) { tensors.erase("transformer.wte.weight"); });
  EXPECT_EQ(load_error(folder), "no error");
}

// Nothing else says that so many sinusoids were meant.
TEST(ModelFolderSlow, ManySinusoidsAreSavedAndLoaded) {
  const TemporaryFolder folder;
  const int64_t length = (int64_t{1} << 23) + 1;
  save_model(folder.path(), *Seq2Seq(Seq2SeqOptions(11, 11, 2, 1, 0).max_length(length)));
  EXPECT_EQ(load_seq2seq(folder.path())->options.max_length(), length);
}

// ---- Weights in several files -------------------------------------------------------------------

constexpr auto kIndex = "model.safetensors.index.json";

// Cuts a folder's weights into `count` files, as save_pretrained does, and returns the index.
nlohmann::json cut_into_shards(const TemporaryFolder& folder, int count) {
  const auto whole = folder.path() / "model.safetensors";
  const auto file = read_safetensors(whole);
  std::vector<TensorFile> shards(static_cast<size_t>(count));
  nlohmann::json index{{"metadata", {{"total_size", 0}}}, {"weight_map", nlohmann::json::object()}};
  size_t next = 0;
  for (const auto& [name, tensor] : file.tensors) {
    const auto shard = next++ % shards.size();
    shards[shard].tensors[name] = tensor;
    index["weight_map"][name] =
        fmt::format("model-{:05}-of-{:05}.safetensors", shard + 1, shards.size());
  }
  for (size_t i = 0; i < shards.size(); ++i) {
    write_safetensors(
        folder.path() / fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, shards.size()),
        shards[i]);
  }
  std::filesystem::remove(whole);
  folder.write(kIndex, index.dump());
  return index;
}

TEST(ShardedModelFolder, IsReadLikeOneFile) {
  const torch::NoGradGuard no_grad;
  const TemporaryFolder folder;
  Seq2Seq model(small());
  model->eval();
  save_model(folder.path(), *model);
  cut_into_shards(folder, 3);
  EXPECT_TENSOR_EQUAL(load_seq2seq(folder.path())(source(), target()), model(source(), target()));

  save_model(folder.path(), *Seq2Seq(small()));  // one file goes before an index
  EXPECT_GT((load_seq2seq(folder.path())(source(), target()) - model(source(), target()))
                .abs()
                .max()
                .item<double>(),
            0.0);
  for (const auto& save : {save_recurrent, save_gpt2, save_vit}) {
    save(folder);
    cut_into_shards(folder, 4);
    EXPECT_EQ(load_error(folder), "no error");
  }
}

TEST(ShardedModelFolder, FaultsOfTensorsNameTheIndex) {
  const TemporaryFolder folder;
  save_model(folder.path(), *Seq2Seq(small()));
  change_weights(folder, [](auto& tensors) { tensors.erase("final_logits_bias"); });
  cut_into_shards(folder, 3);
  EXPECT_EQ(load_error(folder), "model.safetensors.index.json: \"final_logits_bias\" is missing");
}

TEST(ShardedModelFolder, ShardsLieInTheFolderItself) {
  const TemporaryFolder folder;
  save_model(folder.path(), *Seq2Seq(small()));
  auto index = cut_into_shards(folder, 3);
  for (const nlohmann::json& name :
       {nlohmann::json("../model-00001-of-00003.safetensors"), nlohmann::json("/x.safetensors"),
        nlohmann::json("a/b.safetensors"), nlohmann::json("a\\b.safetensors"),
        nlohmann::json(std::string("a\0.safetensors", 14)), nlohmann::json(".safetensors"),
        nlohmann::json(".."), nlohmann::json(""), nlohmann::json("pytorch_model.bin"),
        nlohmann::json(3)}) {
    index["weight_map"]["final_logits_bias"] = name;
    folder.write(kIndex, index.dump());
    EXPECT_THAT(load_error(folder),
                testing::StartsWith("model.safetensors.index.json: expected the name of a "
                                    ".safetensors file in the same folder for "
                                    "\"final_logits_bias\", got "))
        << name;
  }
}

TEST(ShardedModelFolder, MissingShardsAreNamed) {
  const TemporaryFolder folder;
  save_model(folder.path(), *Seq2Seq(small()));
  cut_into_shards(folder, 13);
  std::filesystem::remove(folder.path() / "model-00002-of-00013.safetensors");
  std::filesystem::remove(folder.path() / "model-00013-of-00013.safetensors");
  EXPECT_EQ(load_error(folder),
            "model.safetensors.index.json: \"model-00002-of-00013.safetensors\" is missing; "
            "\"model-00013-of-00013.safetensors\" is missing");
  for (int i = 1; i <= 13; ++i) {
    std::filesystem::remove(folder.path() / fmt::format("model-{:05}-of-00013.safetensors", i));
  }
  EXPECT_THAT(load_error(folder), testing::EndsWith("is missing; and 3 more"));
}

TEST(ShardedModelFolder, IndexAndShardsMustAgree) {
  const TemporaryFolder folder;
  save_model(folder.path(), *Seq2Seq(small()));
  const auto index = cut_into_shards(folder, 3);
  const std::string first = "model-00001-of-00003.safetensors",
                    second = "model-00002-of-00003.safetensors";
  ASSERT_EQ(index["weight_map"]["final_logits_bias"], first);
  auto changed = index;
  changed["weight_map"]["final_logits_bias"] = second;
  folder.write(kIndex, changed.dump());
  EXPECT_EQ(load_error(folder), "model.safetensors.index.json: \"final_logits_bias\" is in \"" +
                                    first +
                                    "\", where the index does not have it; "
                                    "\"final_logits_bias\" is not in \"" +
                                    second + "\"");
  changed = index;
  changed["weight_map"].erase("final_logits_bias");
  folder.write(kIndex, changed.dump());
  EXPECT_EQ(load_error(folder), "model.safetensors.index.json: \"final_logits_bias\" is in \"" +
                                    first + "\", where the index does not have it");
  folder.write(first, "broken");
  EXPECT_THAT(load_error(folder), testing::StartsWith(first + ": expected 8 bytes of header"));

  folder.write(kIndex, "{}");
  EXPECT_EQ(load_error(folder),
            "model.safetensors.index.json: expected weight_map to be an object, got none");
  folder.write(kIndex, R"({"weight_map": []})");
  EXPECT_EQ(load_error(folder),
            "model.safetensors.index.json: expected weight_map to be an object, got array");
}

TEST(ModelFolder, WithoutSafetensorsSaysWhatToDo) {
  const TemporaryFolder folder;
  save_model(folder.path(), *Seq2Seq(small()));
  std::filesystem::remove(folder.path() / "model.safetensors");
  EXPECT_EQ(load_error(folder),
            "model.safetensors: cannot open: expected it or model.safetensors.index.json, got "
            "neither");
  folder.write("pytorch_model.bin", "PK");
  EXPECT_EQ(load_error(folder),
            "model.safetensors: cannot open: the folder has pytorch_model.bin, and pickles can run "
            "code and are never read; load the folder with transformers and save it there again "
            "(save_pretrained), which writes model.safetensors");
}

}  // namespace
}  // namespace attend::model_folder_test
