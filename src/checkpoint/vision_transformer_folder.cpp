// Folders of a VisionTransformer: the format of Hugging Face's ViTForImageClassification, and
// attend's own for options that it lacks.
#include "attend/checkpoint/model_folder.h"
#include "checkpoint/enum_json.h"
#include "checkpoint/folder.h"
#include "checkpoint/layer_json.h"
#include "checkpoint/layout.h"
#include "checkpoint/weight_mapping.h"
#include "detail/excerpt.h"

namespace attend {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

constexpr auto kVit = "vit";
constexpr auto kOwnVit = "attend_vision_transformer";

bool is_vit(const VisionTransformerOptions& o) {
  const auto plain = TransformerLayerOptions(o.embed_dim(), o.num_heads())
                         .feed_forward_dim(o.feed_forward_dim())
                         .activation(Activation::kGelu)
                         .attention_dropout(o.layer().attention_dropout())
                         .norm_order(NormOrder::kPre)
                         .norm_eps(o.layer().norm_eps())
                         .dropout(o.embedding_dropout());
  return o.positions() == PositionKind::kLearned &&
         detail::layer_json(o.layer()) == detail::layer_json(plain);
}

json vit_config(const VisionTransformerOptions& o) {
  json labels = json::object(), ids = json::object();
  for (int64_t i = 0; i < o.num_classes(); ++i) {
    labels[std::to_string(i)] = fmt::format("LABEL_{}", i);
    ids[fmt::format("LABEL_{}", i)] = i;
  }
  return {{"architectures", json::array({"ViTForImageClassification"})},
          {"attention_probs_dropout_prob", o.layer().attention_dropout()},
          {"hidden_act", "gelu"},
          {"hidden_dropout_prob", o.embedding_dropout()},
          {"hidden_size", o.embed_dim()},
          {"id2label", labels},
          {"image_size", o.image_size()},
          {"intermediate_size", o.feed_forward_dim()},
          {"label2id", ids},
          {"layer_norm_eps", o.layer().norm_eps()},
          {"model_type", kVit},
          {"num_attention_heads", o.num_heads()},
          {"num_channels", o.num_channels()},
          {"num_hidden_layers", o.num_layers()},
          {"patch_size", o.patch_size()},
          {"qkv_bias", true},
          {"torch_dtype", "float32"}};
}

json own_vit_config(const VisionTransformerOptions& o) {
  return {{"architectures", json::array({"AttendVisionTransformer"})},
          {"embedding_dropout", o.embedding_dropout()},
          {"image_size", o.image_size()},
          {"layer", detail::layer_json(o.layer())},
          {"model_type", kOwnVit},
          {"num_channels", o.num_channels()},
          {"num_hidden_layers", o.num_layers()},
          {"num_labels", o.num_classes()},
          {"patch_size", o.patch_size()},
          {"position_embedding_type", detail::name_of(o.positions())},
          {"torch_dtype", "float32"}};
}

VisionTransformerOptions own_vit_options(const detail::JsonFile& config) {
  return VisionTransformerOptions(
             config.size("image_size"), config.size("patch_size"), config.size("num_labels"),
             detail::layer_options(config.object("layer")), config.size("num_hidden_layers", 0))
      .positions(detail::value_of<PositionKind>(config, "position_embedding_type"))
      .num_channels(config.size("num_channels"))
      .embedding_dropout(config.get<double>("embedding_dropout"));
}

int64_t vit_classes(const detail::JsonFile& config) {
  return config.has("id2label") ? static_cast<int64_t>(config.object("id2label").value().size())
                                : config.size_or("num_labels", 2);
}

VisionTransformerOptions vit_options(const detail::JsonFile& config) {
  config.expect("qkv_bias", true);
  if (const auto name = config.get_or<std::string>("hidden_act", "gelu"); name != "gelu") {
    throw FileError(config.path(),
                    fmt::format("expected hidden_act to be gelu, got {}", detail::in_quotes(name)));
  }
  return VisionTransformerOptions(config.size("image_size"), config.size("patch_size"),
                                  vit_classes(config), config.size("hidden_size"),
                                  config.size("num_attention_heads"),
                                  config.size("num_hidden_layers", 0))
      .feed_forward_dim(config.size("intermediate_size"))
      .num_channels(config.size_or("num_channels", 3))
      .dropout(config.get_or<double>("hidden_dropout_prob", 0.0))
      .attention_dropout(config.get_or<double>("attention_probs_dropout_prob", 0.0))
      .norm_eps(config.get_or<double>("layer_norm_eps", 1e-12));
}

std::vector<detail::WeightMapping> vit_mappings(int64_t layers) {
  std::vector<detail::WeightMapping> all{
      {"vit.embeddings.cls_token", {"cls_token"}},
      {"vit.embeddings.position_embeddings", {"position_embeddings"}}};
  const auto add = [&](const std::string& ours, const std::string& theirs) {
    for (const std::string kind : {".weight", ".bias"})
      all.push_back({theirs + kind, {ours + kind}});
  };
  add("patch_projection", "vit.embeddings.patch_embeddings.projection");
  add("encoder.layer_norm", "vit.layernorm");
  add("classifier", "classifier");
  for (int64_t i = 0; i < layers; ++i) {
    const auto ours = fmt::format("encoder.layers.{}.", i);
    const auto theirs = fmt::format("vit.encoder.layer.{}.", i);
    add(ours + "self_attn.q_proj", theirs + "attention.attention.query");
    add(ours + "self_attn.k_proj", theirs + "attention.attention.key");
    add(ours + "self_attn.v_proj", theirs + "attention.attention.value");
    add(ours + "self_attn.out_proj", theirs + "attention.output.dense");
    add(ours + "self_attn_layer_norm", theirs + "layernorm_before");
    add(ours + "fc1", theirs + "intermediate.dense");
    add(ours + "fc2", theirs + "output.dense");
    add(ours + "final_layer_norm", theirs + "layernorm_after");
  }
  return all;
}

}  // namespace

void save_model(const fs::path& folder, VisionTransformerImpl& model) {
  const auto& options = model.options;
  const auto ours = detail::named_weights(model);
  if (is_vit(options)) {
    detail::write_folder(folder, {{"config.json", vit_config(options)}},
                         detail::to_theirs(ours, vit_mappings(options.num_layers())));
  } else {
    detail::write_folder(folder, {{"config.json", own_vit_config(options)}}, ours);
  }
}

VisionTransformer load_vision_transformer(const fs::path& folder) {
  const detail::JsonFile config(folder / "config.json");
  const auto type = config.get<std::string>("model_type");
  if (type != kVit && type != kOwnVit) {
    detail::refuse_model_type(config, fmt::format("{} or {}", kVit, kOwnVit));
  }
  const bool is_own = type == kOwnVit;
  const auto options = is_own ? own_vit_options(config) : vit_options(config);
  const detail::WeightsFile file(folder);
  detail::check_layer_count(config, "num_hidden_layers", options.num_layers(), file,
                            is_own ? "encoder.layers." : "vit.encoder.layer.");
  const auto layout = detail::layout_of(options);
  const auto mappings =
      is_own ? detail::unchanged_names(layout) : vit_mappings(options.num_layers());
  const detail::WeightsPlan plan{
      .wanted = detail::to_theirs(layout, mappings), .tied = {}, .derived = {}, .may_exclude = {}};
  detail::check_header(file, plan);
  auto model = detail::build<VisionTransformer>(config.path(), options);
  detail::fill(*model, detail::to_ours(detail::read_weights(file, plan), mappings));
  model->eval();
  return model;
}

}  // namespace attend
