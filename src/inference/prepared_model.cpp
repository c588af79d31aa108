#include "attend/inference/prepared_model.h"

#include <fmt/format.h>

#include "inference/prepared_layer.h"
#include "inference/prepared_models.h"

namespace attend {
namespace {

std::string tensors_obstacle(const torch::nn::Module& model) {
  for (const auto& parameter : model.named_parameters()) {
    const auto& value = parameter.value();
    if (value.is_cpu() && value.scalar_type() == torch::kFloat) continue;
    return fmt::format("expected float32 parameters on the CPU, got {} with {} on {}",
                       parameter.key(), c10::toString(value.scalar_type()), value.device().str());
  }
  return "";
}

std::string options_obstacle(const TransformerLayerOptions& options) {
  const auto obstacle = detail::layer_obstacle(options);
  return obstacle.empty() ? "" : fmt::format("expected layers without {0}, got {0}", obstacle);
}

}  // namespace

std::string inference_obstacle(const IncrementalModel& model) {
  if (const auto* seq2seq = dynamic_cast<const Seq2SeqImpl*>(&model)) {
    for (const auto& layer : {seq2seq->options.encoder_layer(), seq2seq->options.decoder_layer()}) {
      if (auto obstacle = options_obstacle(layer); !obstacle.empty()) return obstacle;
    }
    return tensors_obstacle(*seq2seq);
  }
  if (const auto* causal = dynamic_cast<const CausalLMImpl*>(&model)) {
    if (auto obstacle = options_obstacle(causal->options.layer()); !obstacle.empty()) {
      return obstacle;
    }
    return tensors_obstacle(*causal);
  }
  return "expected a Seq2Seq or a CausalLM, got another model";
}

std::unique_ptr<PreparedModel> prepare_for_inference(const IncrementalModel& model,
                                                     const InferenceOptions& options) {
  const auto obstacle = inference_obstacle(model);
  TORCH_CHECK_VALUE(obstacle.empty(), "prepare_for_inference: ", obstacle);
  const torch::InferenceMode inference;
  if (const auto* seq2seq = dynamic_cast<const Seq2SeqImpl*>(&model)) {
    return detail::prepare(*seq2seq, options);
  }
  TORCH_CHECK_VALUE(!options.shortlist,
                    "prepare_for_inference: expected a Seq2Seq with a shortlist, got a CausalLM");
  return detail::prepare(dynamic_cast<const CausalLMImpl&>(model), options.precision);
}

}  // namespace attend
