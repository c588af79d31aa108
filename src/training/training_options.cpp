#include "attend/training/training_options.h"

#include "detail/check.h"

namespace attend {

void TrainingOptions::validate() const {
  constexpr auto kName = "TrainingOptions";
  for (const auto& duration : {after, valid_freq, disp_freq}) {
    TORCH_CHECK_VALUE(duration.amount > 0, kName, ": expected durations > 0, got ",
                      duration.amount);
  }
  detail::check_positive(kName, "max_bad_updates", max_bad_updates);
  detail::check_probability(kName, "exponential_smoothing", exponential_smoothing);
  TORCH_CHECK_VALUE(clip_norm >= 0, kName, ": expected clip_norm >= 0, got ", clip_norm);
  TORCH_CHECK_VALUE(early_stopping >= 0, kName, ": expected early_stopping >= 0, got ",
                    early_stopping);
  TORCH_CHECK_VALUE(average_checkpoints >= 0, kName, ": expected average_checkpoints >= 0, got ",
                    average_checkpoints);
  TORCH_CHECK_VALUE(batch_shares >= 0, kName, ": expected batch_shares >= 0, got ", batch_shares);
  schedule.validate();
}

}  // namespace attend
