#include "attend/checkpoint/model_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "attend/checkpoint/safetensors.h"
#include "support/temporary_folder.h"
#include "support/tensor_assert.h"

namespace attend::model_folder_test {
namespace {

using testing_support::TemporaryFolder;

torch::Tensor source() { return torch::tensor({{2, 3, 4, 0}}, torch::kLong); }
torch::Tensor target() { return torch::tensor({{10, 5, 6}}, torch::kLong); }

Seq2SeqOptions small() {
  return Seq2SeqOptions(11, 11, 12, 3, 2)
      .decoder_layers(1)
      .decoder_heads(4)
      .encoder_feed_forward_dim(20)
      .decoder_feed_forward_dim(28)
      .max_length(30)
      .activation(Activation::kGelu);
}

nlohmann::json config_of(const TemporaryFolder& folder) {
  return nlohmann::json::parse(TemporaryFolder::read(folder.path() / "config.json"));
}

void change_config(const TemporaryFolder& folder, const char* key, const nlohmann::json& value) {
  auto config = config_of(folder);
  config[key] = value;
  folder.write("config.json", config.dump());
}

// The message of the FileError that loading throws, without the folder's own path.
std::string load_error(const TemporaryFolder& folder) {
  try {
    load_translation_model(folder.path());
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
    EXPECT_EQ(loaded->options.dropout(), options.dropout());
    EXPECT_EQ(loaded->options.attention_dropout(), options.attention_dropout());
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
  EXPECT_EQ(load_error(folder),
            "model.safetensors: model.decoder.embed_positions.weight is not what the configuration "
            "derives; model.encoder.embed_tokens.weight differs from the tensor it is tied to");
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
            "model.safetensors: model.decoder.layers.1.fc1.bias is not used by the model; "
            "model.encoder.layers.0.fc1.bias expected shape [20], got [7]; "
            "final_logits_bias is missing; model.decoder.layers.0.fc1.bias is missing; "
            "model.encoder.layers.0.fc1.bias is missing");
}

TEST(ModelFolder, BadConfigurationsNameTheKey) {
  const TemporaryFolder folder;
  const auto fresh = [&] { save_model(folder.path(), *Seq2Seq(small())); };
  fresh();
  change_config(folder, "model_type", "bert");
  EXPECT_EQ(load_error(folder),
            "config.json: expected model_type marian, attend_seq2seq or attend_recurrent_seq2seq, "
            "got bert");
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
            "config.json: expected activation_function to be one of relu, gelu, gelu_new, swish, "
            "silu, got "
            "tanh");
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

}  // namespace
}  // namespace attend::model_folder_test
