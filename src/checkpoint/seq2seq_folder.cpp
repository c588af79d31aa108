// Folders of a Seq2Seq: Marian's format, and attend's own for options that Marian lacks.
#include <fmt/format.h>

#include <utility>

#include "attend/checkpoint/model_folder.h"
#include "checkpoint/enum_json.h"
#include "checkpoint/folder.h"
#include "checkpoint/layer_json.h"
#include "checkpoint/layout.h"
#include "checkpoint/translation_folders.h"
#include "models/shared_vocabulary.h"

namespace attend {
namespace {

using detail::kLogitsBias;
using nlohmann::json;
namespace fs = std::filesystem;

// Marian's shared embeddings and output layer cover one vocabulary. If the target has fewer tokens,
// a key of attend's own stores their number, and for Marian a large negative bias keeps all other
// outputs from being predicted.
constexpr auto kTargetVocab = "attend_target_vocab_size";
constexpr double kNeverPredicted = -1e9, kNeverInHalf = -6e4, kHardlyEver = -1e4;

// Whether Marian's config keys can express all layer options: no variants, and both sides have the
// same dropout rates, activation and norm order.
bool has_plain_layers(const Seq2SeqOptions& o) {
  const auto& encoder = o.encoder_layer();
  auto decoder = o.decoder_layer();
  decoder.cross_attention(decoder.effective_cross_attention());
  const auto plain = [&](const TransformerLayerOptions& own) {
    return TransformerLayerOptions(o.embed_dim(), own.num_heads())
        .feed_forward_dim(own.feed_forward_dim())
        .activation(encoder.activation())
        .activation_dropout(encoder.activation_dropout())
        .attention_dropout(encoder.attention_dropout())
        .norm_order(encoder.norm_order())
        .dropout(o.embedding_dropout());
  };
  auto plain_decoder = plain(decoder);
  plain_decoder.cross_attention(plain_decoder.effective_cross_attention());
  return detail::layer_json(encoder) == detail::layer_json(plain(encoder)) &&
         detail::layer_json(decoder) == detail::layer_json(plain_decoder);
}

bool is_marian(const Seq2SeqOptions& o) {
  return has_plain_layers(o) && o.encoder_layer().norm_order() == NormOrder::kPost &&
         o.positions() == PositionKind::kSinusoidalHalves && o.tie_output();
}

// Whether the Marian folder has more outputs than the model.
bool has_padded_output(const Seq2SeqOptions& options) {
  return is_marian(options) && options.share_embeddings() &&
         options.tgt_vocab() < options.src_vocab();
}

// Pads the output bias to Marian's `vocab` outputs. `without_padding` is the inverse.
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

// Layer options under Marian's config keys.
json plain_layers_config(const Seq2SeqOptions& o) {
  const auto& encoder = o.encoder_layer();
  return {{"activation_dropout", encoder.activation_dropout()},
          {"activation_function", detail::name_of(encoder.activation())},
          {"attention_dropout", encoder.attention_dropout()},
          {"d_model", o.embed_dim()},
          {"decoder_attention_heads", o.decoder_layer().num_heads()},
          {"decoder_ffn_dim", o.decoder_layer().feed_forward_dim()},
          {"decoder_layerdrop", 0.0},
          {"dropout", o.embedding_dropout()},
          {"encoder_attention_heads", encoder.num_heads()},
          {"encoder_ffn_dim", encoder.feed_forward_dim()},
          {"encoder_layerdrop", 0.0},
          {"init_std", 0.02},
          {"normalize_before", encoder.norm_order() == NormOrder::kPre},
          {"normalize_embedding", false}};
}

// Layer options under attend's own config keys, which can express every variant.
json layers_config(const Seq2SeqOptions& o) {
  return {{"decoder_layer", detail::layer_json(o.decoder_layer())},
          {"embedding_dropout", o.embedding_dropout()},
          {"encoder_layer", detail::layer_json(o.encoder_layer())}};
}

json seq2seq_config(const Seq2SeqOptions& o) {
  const bool marian = is_marian(o);
  json config{{"architectures", json::array({marian ? "MarianMTModel" : "AttendSeq2Seq"})},
              {"bos_token_id", o.eos_id()},
              {"decoder_layers", o.decoder_layers()},
              {"decoder_start_token_id", o.start_id()},
              {"decoder_vocab_size", has_padded_output(o) ? o.src_vocab() : o.tgt_vocab()},
              {"encoder_layers", o.encoder_layers()},
              {"eos_token_id", o.eos_id()},
              {"forced_eos_token_id", o.eos_id()},
              {"is_encoder_decoder", true},
              {"max_position_embeddings", o.max_length()},
              {"model_type", marian ? detail::kMarian : detail::kAttendSeq2Seq},
              {"num_hidden_layers", o.encoder_layers()},
              {"pad_token_id", o.pad_id()},
              {"scale_embedding", o.scale_embedding()},
              {"share_encoder_decoder_embeddings", o.share_embeddings()},
              {"static_position_embeddings", detail::derives_positions(o.positions())},
              {"tie_word_embeddings", o.tie_output()},
              {"torch_dtype", "float32"},
              {"use_cache", true},
              {"vocab_size", o.src_vocab()}};
  config.update(has_plain_layers(o) ? plain_layers_config(o) : layers_config(o));
  if (!marian) config["position_embedding_type"] = detail::name_of(o.positions());
  if (has_padded_output(o)) config[kTargetVocab] = o.tgt_vocab();
  return config;
}

// Reads what `plain_layers_config` or `layers_config` wrote.
Seq2SeqOptions options_of_layers(const detail::JsonFile& config, int64_t src_vocab,
                                 int64_t tgt_vocab) {
  const auto encoder_layers = config.size("encoder_layers", 0);
  if (config.has("encoder_layer")) {
    return Seq2SeqOptions(src_vocab, tgt_vocab,
                          detail::layer_options(config.object("encoder_layer")), encoder_layers)
        .decoder_layer(detail::layer_options(config.object("decoder_layer")))
        .embedding_dropout(config.get<double>("embedding_dropout"));
  }
  config.expect("normalize_embedding", false);
  const bool is_pre_norm = config.get<std::string>("model_type") != detail::kMarian &&
                           config.get<bool>("normalize_before");
  const auto dim = config.size("d_model");
  const auto layer = [&](const char* heads, const char* feed_forward_dim) {
    return TransformerLayerOptions(dim, config.size(heads))
        .feed_forward_dim(config.size(feed_forward_dim));
  };
  return Seq2SeqOptions(src_vocab, tgt_vocab, layer("encoder_attention_heads", "encoder_ffn_dim"),
                        encoder_layers)
      .decoder_layer(layer("decoder_attention_heads", "decoder_ffn_dim"))
      .dropout(config.get_or<double>("dropout", 0.1))
      .attention_dropout(config.get_or<double>("attention_dropout", 0.0))
      .activation_dropout(config.get_or<double>("activation_dropout", 0.0))
      .activation(detail::value_of<Activation>(config, "activation_function"))
      .norm_order(is_pre_norm ? NormOrder::kPre : NormOrder::kPost);
}

Seq2SeqOptions seq2seq_options(const detail::JsonFile& config) {
  const bool marian = config.get<std::string>("model_type") == detail::kMarian;
  const auto vocab = config.size("vocab_size");
  // Every Marian model has sinusoidal positions and post-norm; flags that say otherwise are errors.
  if (marian) {
    config.expect("static_position_embeddings", true);
    config.expect("normalize_before", false);
  }
  const auto eos = config.get<int64_t>("eos_token_id");
  const auto pad = config.get<int64_t>("pad_token_id");
  const bool shares = config.get_or<bool>("share_encoder_decoder_embeddings", true);
  // transformers ignores decoder_vocab_size if embeddings are shared.
  const auto* target_key = marian && shares ? kTargetVocab : "decoder_vocab_size";
  auto options = options_of_layers(config, vocab, config.size_or(target_key, vocab))
                     .decoder_layers(config.size("decoder_layers", 0))
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
    options.positions(detail::value_of<PositionKind>(config, "position_embedding_type"));
  }
  return options;
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

// The position tables that a file may contain although they are computed.
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
  detail::write_translation_folder(folder, seq2seq_config(options), model, weights);
}

Seq2Seq load_seq2seq(const fs::path& folder) {
  const detail::JsonFile config(folder / "config.json");
  if (!detail::is_seq2seq(config.get<std::string>("model_type"))) {
    detail::refuse_model_type(config,
                              fmt::format("{} or {}", detail::kMarian, detail::kAttendSeq2Seq));
  }
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
  detail::fill(*model, std::move(weights));
  model->eval();
  return model;
}

}  // namespace attend
