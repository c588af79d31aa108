#include "attend/training/trainer.h"

#include <optional>
#include <utility>

#include "attend/translation/tokenizer_fit.h"
#include "training/pair_pools.h"
#include "training/translation_task.h"

namespace attend {
namespace {

constexpr auto kTrainer = "Trainer";

void check_model(const TranslationModel* model, const SubwordTokenizer& tokenizer) {
  TORCH_CHECK_VALUE(model != nullptr, kTrainer, ": expected a model, got none");
  const auto mismatch = tokenizer_mismatch(*model, tokenizer);
  TORCH_CHECK_VALUE(!mismatch, kTrainer, ": ", mismatch.value_or(""));
}

// None where subwords stay as they are.
std::optional<detail::PairCutter> make_cutter(const SubwordTokenizer& tokenizer,
                                              const PairFilter& filter,
                                              const TrainerOptions& options) {
  if (options.bpe_dropout == 0) return std::nullopt;
  return detail::PairCutter{BpeDropout(tokenizer, options.bpe_dropout), filter.max_length};
}

}  // namespace

class Trainer::State {
 public:
  State(std::shared_ptr<TranslationModel> model, SubwordTokenizer tokenizer,
        detail::PairPools train, const FilterCounts& counts, const ParallelText& valid,
        std::filesystem::path folder, const TrainerOptions& options, torch::Device device,
        const WorkerGroup& workers)
      : filter_(filter_for(*model, options)),
        counts_((check_pairs(train, filter_, counts), counts)),
        is_first_(workers.is_first()),
        task_(std::move(model), std::move(tokenizer), std::move(train), valid, options, device),
        loop_(task_, options, std::move(folder), device, workers) {}

  TrainingResult run(const TrainingCallbacks& callbacks) {
    if (counts_.left_out() > 0 && callbacks.note && is_first_) {
      callbacks.note(counts_.left_out_text(filter_));
    }
    return loop_.run(callbacks);
  }

  bool resumed() const { return loop_.resumed(); }

 private:
  static void check_pairs(const detail::PairPools& train, const PairFilter& filter,
                          const FilterCounts& counts) {
    TORCH_CHECK(train.size() > 0, kTrainer, ": expected training pairs of 1 to ", filter.max_length,
                " tokens a side, got none (", counts.left_out(), " left out)");
  }

  PairFilter filter_;
  FilterCounts counts_;
  bool is_first_;
  detail::TranslationTask task_;
  TrainingLoop loop_;
};

Trainer::Trainer(std::shared_ptr<TranslationModel> model, SubwordTokenizer tokenizer,
                 const ParallelText& train, const ParallelText& valid, std::filesystem::path folder,
                 const TrainerOptions& options, torch::Device device, const WorkerGroup& workers) {
  check_model(model.get(), tokenizer);
  options.validate();
  FilterCounts counts;
  const auto filter = filter_for(*model, options);
  detail::PairPools pools(encode_pairs(train, tokenizer, filter, counts),
                          make_cutter(tokenizer, filter, options));
  state_ = std::make_unique<State>(std::move(model), std::move(tokenizer), std::move(pools), counts,
                                   valid, std::move(folder), options, device, workers);
}

Trainer::Trainer(std::shared_ptr<TranslationModel> model, SubwordTokenizer tokenizer,
                 const EncodedCorpus& train, const ParallelText& valid,
                 std::filesystem::path folder, const TrainerOptions& options, torch::Device device,
                 const WorkerGroup& workers) {
  check_model(model.get(), tokenizer);
  options.validate();
  detail::PairPools pools(train.file, options.shuffle_pairs,
                          make_cutter(tokenizer, filter_for(*model, options), options));
  state_ =
      std::make_unique<State>(std::move(model), std::move(tokenizer), std::move(pools),
                              train.counts, valid, std::move(folder), options, device, workers);
}

Trainer::~Trainer() = default;

TrainingResult Trainer::run(const TrainingCallbacks& callbacks) { return state_->run(callbacks); }

bool Trainer::resumed() const { return state_->resumed(); }

}  // namespace attend
