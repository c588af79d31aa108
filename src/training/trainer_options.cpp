#include "attend/training/trainer_options.h"

#include <algorithm>

#include "detail/check.h"
#include "training/scorer.h"

namespace attend {

void TrainerOptions::validate() const {
  constexpr auto kName = "TrainerOptions";
  TrainingOptions::validate();
  filter.validate();
  detail::check_positive(kName, "batch_tokens", batch_tokens);
  detail::check_positive(kName, "shuffle_pairs", shuffle_pairs);
  detail::check_positive(kName, "valid_beam_size", valid_beam_size);
  detail::check_probability(kName, "label_smoothing", label_smoothing);
  detail::check_probability(kName, "bpe_dropout", bpe_dropout);
  for (const auto& metric : valid_metrics) {
    TORCH_CHECK_VALUE(detail::is_metric(metric), kName, ": expected valid_metrics of ",
                      detail::metric_names(), ", got ", metric);
  }
}

PairFilter filter_for(const TranslationModel& model, const TrainerOptions& options) {
  auto filter = options.filter;
  // A target is read with its start token and without `</s>`, a source with `</s>`.
  filter.max_length = std::min(filter.max_length, model.max_target_length() - 1);
  return filter;
}

}  // namespace attend
