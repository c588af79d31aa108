// The form of Hugging Face's ViTForImageClassification.
#include "attend/checkpoint/model_folder.h"
#include "attend/checkpoint/safetensors.h"
#include "checkpoint/folder.h"

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

VisionTransformerOptions vit_options(const detail::JsonFile& config) {
  config.expect("qkv_bias", true);
  if (const auto name = config.get_or<std::string>("hidden_act", "gelu"); name != "gelu") {
    throw FileError(config.path(), fmt::format("expected hidden_act to be gelu, got {}", name));
  }
  const auto labels = config.value().find("id2label");
  const auto classes = labels == config.value().end() ? config.get_or<int64_t>("num_labels", 2)
                                                      : static_cast<int64_t>(labels->size());
  return VisionTransformerOptions(
             config.get<int64_t>("image_size"), config.get<int64_t>("patch_size"), classes,
             config.get<int64_t>("hidden_size"), config.get<int64_t>("num_attention_heads"),
             config.get<int64_t>("num_hidden_layers"))
      .feed_forward_dim(config.get<int64_t>("intermediate_size"))
      .num_channels(config.get_or<int64_t>("num_channels", 3))
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
  auto model = detail::build<VisionTransformer>(config.path(), options);
  const auto path = folder / "model.safetensors";
  auto theirs = read_safetensors(path).tensors;
  detail::NamedTensors ours;
  for (const auto& [own, name] : vit_names(options.num_layers())) {
    if (auto found = theirs.extract(name)) ours[own] = found.mapped();
  }
  ours.insert(theirs.begin(), theirs.end());  // unused ones, by their own names
  detail::load_weights(path, ours, *model, {}, {});
  model->eval();
  return model;
}

}  // namespace attend
