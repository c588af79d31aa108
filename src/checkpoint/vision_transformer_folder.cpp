// The form of Hugging Face's ViTForImageClassification.
#include "attend/checkpoint/model_folder.h"
#include "checkpoint/folder.h"
#include "checkpoint/layout.h"
#include "detail/excerpt.h"

namespace attend {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

constexpr auto kVit = "vit";

json vit_config(const VisionTransformerOptions& o) {
  json labels = json::object(), ids = json::object();
  for (int64_t i = 0; i < o.num_classes(); ++i) {
    labels[std::to_string(i)] = fmt::format("LABEL_{}", i);
    ids[fmt::format("LABEL_{}", i)] = i;
  }
  return {{"architectures", json::array({"ViTForImageClassification"})},
          {"attention_probs_dropout_prob", o.attention_dropout()},
          {"hidden_act", "gelu"},
          {"hidden_dropout_prob", o.dropout()},
          {"hidden_size", o.embed_dim()},
          {"id2label", labels},
          {"image_size", o.image_size()},
          {"intermediate_size", o.feed_forward_dim()},
          {"label2id", ids},
          {"layer_norm_eps", o.norm_eps()},
          {"model_type", kVit},
          {"num_attention_heads", o.num_heads()},
          {"num_channels", o.num_channels()},
          {"num_hidden_layers", o.num_layers()},
          {"patch_size", o.patch_size()},
          {"qkv_bias", true},
          {"torch_dtype", "float32"}};
}

int64_t vit_classes(const detail::JsonFile& config) {
  const auto labels = config.value().find("id2label");
  if (labels == config.value().end() || labels->is_null()) return config.size_or("num_labels", 2);
  if (!labels->is_object()) {
    throw FileError(config.path(), fmt::format("expected id2label to be an object, got {}",
                                               detail::brief(*labels)));
  }
  return static_cast<int64_t>(labels->size());
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

// Ours and theirs, name by name.
std::vector<std::pair<std::string, std::string>> vit_names(int64_t layers) {
  std::vector<std::pair<std::string, std::string>> all{
      {"cls_token", "vit.embeddings.cls_token"},
      {"position_embeddings", "vit.embeddings.position_embeddings"}};
  const auto add = [&](const std::string& ours, const std::string& theirs) {
    for (const std::string kind : {".weight", ".bias"})
      all.emplace_back(ours + kind, theirs + kind);
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
  const auto ours = detail::named_weights(model);
  detail::NamedTensors theirs;
  for (const auto& [own, name] : vit_names(model.options.num_layers())) theirs[name] = ours.at(own);
  detail::write_folder(folder, {{"config.json", vit_config(model.options)}}, theirs);
}

VisionTransformer load_vision_transformer(const fs::path& folder) {
  const detail::JsonFile config(folder / "config.json");
  if (config.get<std::string>("model_type") != kVit) detail::refuse_model_type(config, kVit);
  const auto options = vit_options(config);
  const detail::WeightsFile file(folder);
  detail::check_layer_count(config, "num_hidden_layers", options.num_layers(), file,
                            "vit.encoder.layer.");
  const auto names = vit_names(options.num_layers());
  const auto layout = detail::layout_of(options);
  detail::WeightsPlan plan;
  for (const auto& [own, name] : names) plan.wanted[name] = layout.at(own);
  detail::check_header(file, plan);
  auto model = detail::build<VisionTransformer>(config.path(), options);
  auto theirs = detail::read_weights(file, plan);
  detail::NamedTensors ours;
  for (const auto& [own, name] : names) ours[own] = theirs.at(name);
  detail::fill(*model, ours);
  model->eval();
  return model;
}

}  // namespace attend
