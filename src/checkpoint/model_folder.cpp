#include "attend/checkpoint/model_folder.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "attend/checkpoint/safetensors.h"
#include "checkpoint/enum_names.h"
#include "checkpoint/folder.h"
#include "checkpoint/layout.h"
#include "checkpoint/weights.h"
#include "detail/excerpt.h"
#include "models/shared_vocabulary.h"

namespace attend {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

constexpr auto kMarian = "marian";
constexpr auto kAttendSeq2Seq = "attend_seq2seq";
constexpr auto kAttendRecurrent = "attend_recurrent_seq2seq";

// Marian's shared embeddings are of one vocabulary, and so is its output layer. A target of fewer
// tokens is said by a key of attend's own, and to Marian by a bias with which no other is predicted.
constexpr auto kTargetVocab = "attend_target_vocab_size";
constexpr auto kLogitsBias = "final_logits_bias";
constexpr double kNeverPredicted = -1e9, kNeverInHalf = -6e4, kHardlyEver = -1e4;

bool is_marian(const Seq2SeqOptions& options) {
  return options.norm_order() == NormOrder::kPost &&
         options.positions() == PositionKind::kSinusoidalHalves && options.tie_output();
}

// Whether a Marian folder holds more outputs than the model has.
bool has_padded_output(const Seq2SeqOptions& options) {
  return is_marian(options) && options.share_embeddings() &&
         options.tgt_vocab() < options.src_vocab();
}

// The bias of Marian's outputs, from and to that of the first `target_vocab` of them.
torch::Tensor padded_bias(const torch::Tensor& bias, int64_t vocab) {
  const auto never = bias.scalar_type() == torch::kHalf ? kNeverInHalf : kNeverPredicted;
  return torch::constant_pad_nd(bias, {0, vocab - bias.size(1)}, never);
}

torch::Tensor without_padding(const fs::path& weights, const torch::Tensor& bias,
                              int64_t target_vocab) {
  const auto rest = bias.narrow(1, target_vocab, bias.size(1) - target_vocab);
  if (!rest.lt(kHardlyEver).all().item<bool>()) {
    throw FileError(weights,
                    fmt::format("expected {} below {} from output {} on, got {}", kLogitsBias,
                                kHardlyEver, target_vocab, rest.max().item<double>()));
  }
  return bias.narrow(1, 0, target_vocab);
}

// With which HF's generate answers as Translator does. Decoding here reads the ids from config.json.
json generation_config(int64_t start, int64_t eos, int64_t pad, int64_t max_length) {
  auto never_chosen = json::array({json::array({pad})});
  if (start != pad && start != eos) never_chosen.push_back(json::array({start}));
  return {{"bad_words_ids", never_chosen},
          {"bos_token_id", eos},
          {"decoder_start_token_id", start},
          {"early_stopping", false},
          {"eos_token_id", eos},
          {"forced_eos_token_id", eos},
          {"length_penalty", 1.0},
          {"max_length", max_length},
          {"num_beams", 5},
          {"pad_token_id", pad}};
}

json config_of(const Seq2SeqOptions& o) {
  json config{{"activation_dropout", o.activation_dropout()},
              {"activation_function", detail::name_of(detail::activation_names(), o.activation())},
              {"architectures", json::array({is_marian(o) ? "MarianMTModel" : "AttendSeq2Seq"})},
              {"attention_dropout", o.attention_dropout()},
              {"bos_token_id", o.eos_id()},
              {"d_model", o.embed_dim()},
              {"decoder_attention_heads", o.decoder_heads()},
              {"decoder_ffn_dim", o.decoder_feed_forward_dim()},
              {"decoder_layerdrop", 0.0},
              {"decoder_layers", o.decoder_layers()},
              {"decoder_start_token_id", o.start_id()},
              {"decoder_vocab_size", has_padded_output(o) ? o.src_vocab() : o.tgt_vocab()},
              {"dropout", o.dropout()},
              {"encoder_attention_heads", o.encoder_heads()},
              {"encoder_ffn_dim", o.encoder_feed_forward_dim()},
              {"encoder_layerdrop", 0.0},
              {"encoder_layers", o.encoder_layers()},
              {"eos_token_id", o.eos_id()},
              {"forced_eos_token_id", o.eos_id()},
              {"init_std", 0.02},
              {"is_encoder_decoder", true},
              {"max_position_embeddings", o.max_length()},
              {"model_type", is_marian(o) ? kMarian : kAttendSeq2Seq},
              {"normalize_before", o.norm_order() == NormOrder::kPre},
              {"normalize_embedding", false},
              {"num_hidden_layers", o.encoder_layers()},
              {"pad_token_id", o.pad_id()},
              {"scale_embedding", o.scale_embedding()},
              {"share_encoder_decoder_embeddings", o.share_embeddings()},
              {"static_position_embeddings", o.positions() != PositionKind::kLearned},
              {"tie_word_embeddings", o.tie_output()},
              {"torch_dtype", "float32"},
              {"use_cache", true},
              {"vocab_size", o.src_vocab()}};
  if (!is_marian(o))
    config["position_embedding_type"] = detail::name_of(detail::position_names(), o.positions());
  if (has_padded_output(o)) config[kTargetVocab] = o.tgt_vocab();
  return config;
}

Seq2SeqOptions seq2seq_options(const detail::JsonFile& config) {
  const bool marian = config.get<std::string>("model_type") == kMarian;
  const auto vocab = config.size("vocab_size");
  // Every Marian model adds its sinusoids and normalises after; its other switches must agree.
  if (marian) {
    config.expect("static_position_embeddings", true);
    config.expect("normalize_before", false);
  }
  config.expect("normalize_embedding", false);
  const auto eos = config.get<int64_t>("eos_token_id");
  const auto pad = config.get<int64_t>("pad_token_id");
  const bool shares = config.get_or<bool>("share_encoder_decoder_embeddings", true);
  // transformers ignores the decoder's vocabulary where embeddings are shared.
  const auto* target_key = marian && shares ? kTargetVocab : "decoder_vocab_size";
  auto options =
      Seq2SeqOptions(vocab, config.size_or(target_key, vocab), config.size("d_model"),
                     config.size("encoder_attention_heads"), config.size("encoder_layers", 0))
          .decoder_heads(config.size("decoder_attention_heads"))
          .decoder_layers(config.size("decoder_layers", 0))
          .encoder_feed_forward_dim(config.size("encoder_ffn_dim"))
          .decoder_feed_forward_dim(config.size("decoder_ffn_dim"))
          .dropout(config.get_or<double>("dropout", 0.1))
          .attention_dropout(config.get_or<double>("attention_dropout", 0.0))
          .activation_dropout(config.get_or<double>("activation_dropout", 0.0))
          .activation(detail::value_of(config, "activation_function", detail::activation_names()))
          .max_length(config.size_or("max_position_embeddings", 512))
          .share_embeddings(shares)
          .tie_output(config.get_or<bool>("tie_word_embeddings", true))
          .scale_embedding(config.get_or<bool>("scale_embedding", false))
          .eos_id(eos)
          .pad_id(pad)
          .start_id(config.get_or<int64_t>("decoder_start_token_id", pad));
  detail::check_options(config.path(), [&] {
    detail::check_shared_vocabulary("Seq2Seq", shares, options.src_vocab(), options.tgt_vocab());
  });
  if (!marian) {
    options.norm_order(config.get<bool>("normalize_before") ? NormOrder::kPre : NormOrder::kPost)
        .positions(detail::value_of(config, "position_embedding_type", detail::position_names()));
  }
  return options;
}

json config_of(const RecurrentSeq2SeqOptions& o) {
  return {{"architectures", json::array({"AttendRecurrentSeq2Seq"})},
          {"attention_dim", o.attention_dim()},
          {"d_model", o.embed_dim()},
          {"decoder_start_token_id", o.start_id()},
          {"decoder_vocab_size", o.tgt_vocab()},
          {"dropout", o.dropout()},
          {"eos_token_id", o.eos_id()},
          {"is_encoder_decoder", true},
          {"max_position_embeddings", o.max_length()},
          {"model_type", kAttendRecurrent},
          {"pad_token_id", o.pad_id()},
          {"share_encoder_decoder_embeddings", o.share_embeddings()},
          {"tie_word_embeddings", o.tie_output()},
          {"torch_dtype", "float32"},
          {"vocab_size", o.src_vocab()}};
}

RecurrentSeq2SeqOptions recurrent_options(const detail::JsonFile& config) {
  return RecurrentSeq2SeqOptions(config.size("vocab_size"), config.size("decoder_vocab_size"),
                                 config.size("d_model"))
      .attention_dim(config.size("attention_dim"))
      .dropout(config.get<double>("dropout"))
      .max_length(config.size("max_position_embeddings"))
      .share_embeddings(config.get<bool>("share_encoder_decoder_embeddings"))
      .tie_output(config.get<bool>("tie_word_embeddings"))
      .eos_id(config.get<int64_t>("eos_token_id"))
      .pad_id(config.get<int64_t>("pad_token_id"))
      .start_id(config.get<int64_t>("decoder_start_token_id"));
}

void save(const fs::path& folder, const json& config, const SpecialTokenIds& tokens,
          int64_t max_length, const detail::NamedTensors& weights) {
  detail::write_folder(folder,
                       {{"config.json", config},
                        {"generation_config.json", generation_config(tokens.start_id, tokens.eos_id,
                                                                     tokens.pad_id, max_length)}},
                       weights);
}

std::vector<std::vector<std::string>> tied_names(const Seq2SeqOptions& options) {
  const std::string encoder = "model.encoder.embed_tokens.weight",
                    decoder = "model.decoder.embed_tokens.weight", head = "lm_head.weight";
  std::vector<std::vector<std::string>> tied;
  if (options.share_embeddings()) {
    tied.push_back({"model.shared.weight", encoder, decoder});
    if (options.tie_output()) tied.back().push_back(head);
  } else if (options.tie_output()) {
    tied.push_back({decoder, head});
  }
  return tied;
}

// The tables of positions that a file may hold although they are worked out.
detail::NamedTensors derived_positions(const Seq2SeqImpl& model) {
  if (!detail::derives_positions(model.options.positions())) return {};
  return {{"model.encoder.embed_positions.weight", model.model->encoder->embed_positions->weight},
          {"model.decoder.embed_positions.weight", model.model->decoder->embed_positions->weight}};
}

detail::WeightsPlan plan_of(const Seq2SeqOptions& options, const detail::WeightsFile& file) {
  detail::WeightsPlan plan{.wanted = detail::layout_of(options),
                           .tied = tied_names(options),
                           .derived = {},
                           .may_exclude = {kLogitsBias}};
  if (detail::derives_positions(options.positions())) {
    for (const auto* side : {"encoder", "decoder"}) {
      plan.derived[fmt::format("model.{}.embed_positions.weight", side)] = {options.max_length(),
                                                                            options.embed_dim()};
    }
  }
  if (const auto bias = file.tensors().find(kLogitsBias);
      has_padded_output(options) && bias != file.tensors().end() &&
      bias->second.shape == std::vector<int64_t>{1, options.src_vocab()}) {
    plan.wanted[kLogitsBias] = bias->second.shape;
  }
  return plan;
}

Seq2Seq read_seq2seq(const fs::path& folder, const detail::JsonFile& config) {
  const auto options = seq2seq_options(config);
  const detail::WeightsFile file(folder);
  detail::check_layer_count(config, "encoder_layers", options.encoder_layers(), file,
                            "model.encoder.layers.");
  detail::check_layer_count(config, "decoder_layers", options.decoder_layers(), file,
                            "model.decoder.layers.");
  const auto plan = plan_of(options, file);
  detail::check_header(file, plan);
  detail::check_derived_positions(config, options.positions(), options.max_length(),
                                  options.embed_dim(), file);
  auto model = detail::build<Seq2Seq>(config.path(), options);
  auto weights = detail::read_weights(file, plan, derived_positions(*model));
  if (auto& bias = weights.at(kLogitsBias); bias.size(1) != options.tgt_vocab()) {
    bias = without_padding(file.path(), bias, options.tgt_vocab());
  }
  detail::fill(*model, weights);
  model->eval();
  return model;
}

RecurrentSeq2Seq read_recurrent(const fs::path& folder, const detail::JsonFile& config) {
  const auto options = recurrent_options(config);
  const detail::WeightsFile file(folder);
  const detail::WeightsPlan plan{.wanted = detail::layout_of(options),
                                 .tied = {},
                                 .derived = {},
                                 .may_exclude = {kLogitsBias}};
  detail::check_header(file, plan);
  auto model = detail::build<RecurrentSeq2Seq>(config.path(), options);
  detail::fill(*model, detail::read_weights(file, plan));
  model->eval();
  return model;
}

detail::JsonFile read_config(const fs::path& folder) {
  return detail::JsonFile(folder / "config.json");
}

bool is_seq2seq(const detail::JsonFile& config) {
  const auto type = config.get<std::string>("model_type");
  return type == kMarian || type == kAttendSeq2Seq;
}

bool is_recurrent(const detail::JsonFile& config) {
  return config.get<std::string>("model_type") == kAttendRecurrent;
}

}  // namespace

void save_model(const fs::path& folder, Seq2SeqImpl& model) {
  const auto& options = model.options;
  auto weights = detail::named_weights(model);
  if (has_padded_output(options)) {
    auto& bias = weights.at(kLogitsBias);
    bias = padded_bias(bias, options.src_vocab());
  }
  if (options.max_length() > detail::kUnprovenTable / options.embed_dim()) {
    weights.merge(derived_positions(model));
  }
  save(folder, config_of(options), model.special_tokens(), model.max_target_length(), weights);
}

void save_model(const fs::path& folder, RecurrentSeq2SeqImpl& model) {
  save(folder, config_of(model.options), model.special_tokens(), model.max_target_length(),
       detail::named_weights(model));
}

void save_model(const fs::path& folder, TranslationModel& model) {
  if (auto* transformer = dynamic_cast<Seq2SeqImpl*>(&model)) {
    save_model(folder, *transformer);
  } else if (auto* recurrent = dynamic_cast<RecurrentSeq2SeqImpl*>(&model)) {
    save_model(folder, *recurrent);
  } else {
    TORCH_CHECK(false, "save_model: expected a Seq2Seq or a RecurrentSeq2Seq, got another class");
  }
}

std::string model_type(const fs::path& folder) {
  return read_config(folder).get<std::string>("model_type");
}

std::shared_ptr<TranslationModel> load_translation_model(const fs::path& folder) {
  const auto config = read_config(folder);
  if (is_seq2seq(config)) return read_seq2seq(folder, config).ptr();
  if (is_recurrent(config)) return read_recurrent(folder, config).ptr();
  detail::refuse_model_type(config,
                            fmt::format("{}, {} or {}", kMarian, kAttendSeq2Seq, kAttendRecurrent));
}

Seq2Seq load_seq2seq(const fs::path& folder) {
  const auto config = read_config(folder);
  if (!is_seq2seq(config))
    detail::refuse_model_type(config, fmt::format("{} or {}", kMarian, kAttendSeq2Seq));
  return read_seq2seq(folder, config);
}

RecurrentSeq2Seq load_recurrent_seq2seq(const fs::path& folder) {
  const auto config = read_config(folder);
  if (!is_recurrent(config)) detail::refuse_model_type(config, kAttendRecurrent);
  return read_recurrent(folder, config);
}

}  // namespace attend
