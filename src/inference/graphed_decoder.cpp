#include "attend/inference/graphed_decoder.h"

#include <algorithm>
#include <bit>
#include <iterator>
#include <map>
#include <mutex>
#include <tuple>
#include <utility>
#include <vector>

#include "attend/models/causal_lm.h"
#include "attend/models/seq2seq.h"
#include "detail/check.h"
#include "inference/cuda_graph.h"
#include "models/fixed_state.h"

namespace attend {
namespace {

constexpr auto kGraphedDecoder = "GraphedDecoder";
constexpr auto kState = "GraphedDecoder's state";
constexpr int64_t kLeastSource = 16, kLeastPositions = 64;

int64_t power_of_two_from(int64_t count) {
  return static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(count)));
}

// What the tensors of a step are sized by.
struct StepSize {
  int64_t sentences, rows_each, source, positions;
  bool alignment;

  int64_t rows() const { return sentences * rows_each; }
  auto operator<=>(const StepSize&) const = default;
};

// Indices of rows or sentences, for `count` of them: those behind are copies of the first.
torch::Tensor filled_up(const torch::Tensor& indices, int64_t count) {
  const auto given = indices.size(0);
  if (given == count) return indices;
  return torch::cat({indices, indices.narrow(0, 0, 1).expand({count - given})});
}

// The model's step on tensors that never move: tokens, the decoder's state, logits and alignment.
class StaticStep {
 public:
  StaticStep(IncrementalModel& model, const StepSize& size, const detail::FixableState& like,
             const torch::Tensor& rows, const torch::Tensor& sentences)
      : model_(model),
        size_(size),
        state_(like.make_fixed({size.positions, size.source})),
        tokens_(torch::zeros({size.rows()}, rows.options())) {
    // Done once, since the first step makes tensors, of libraries too; then recorded.
    assign(like, rows, sentences);
    run();
    state_->set_position(0);  // of the recording, whose contents `assign` replaces
    graph_ = detail::record([this] { run(); }, tokens_.device());
  }

  const StepSize& size() const { return size_; }
  detail::FixableState& state() { return *state_; }

  // rows: of all sentences; sentences: undefined leaves those that there are. What is behind them is
  // filled with copies.
  void assign(const detail::FixableState& from, const torch::Tensor& rows,
              const torch::Tensor& sentences) {
    state_->assign(from, filled_up(rows, size_.rows()),
                   sentences.defined() ? filled_up(sentences, size_.sentences) : sentences, {});
  }

  // tokens: [N] -> logits [N, V], alignment of all keys [N, S].
  StepOutput operator()(const torch::Tensor& tokens) {
    const auto count = tokens.size(0);
    tokens_.narrow(0, 0, count).copy_(tokens);
    // They may be of another vocabulary, if a step failed.
    if (count < size_.rows()) tokens_.narrow(0, count, size_.rows() - count).zero_();
    if (graph_) {
      graph_->replay();
    } else {
      run();
    }
    StepOutput result{logits_.narrow(0, 0, count), {}};
    if (alignment_.defined()) result.alignment = alignment_.narrow(0, 0, count);
    return result;
  }

 private:
  // What is recorded.
  void run() {
    const auto output = model_.step(tokens_, *state_, size_.alignment);
    const auto keep = [](torch::Tensor& held, const torch::Tensor& x) {
      if (!held.defined()) held = torch::empty(x.sizes(), x.options());
      held.copy_(x);
    };
    keep(logits_, output.logits);
    if (output.alignment.defined()) keep(alignment_, output.alignment);
  }

  IncrementalModel& model_;
  StepSize size_;
  std::unique_ptr<detail::FixableState> state_;
  torch::Tensor tokens_;                         // [N]
  torch::Tensor logits_;                         // [N, V]
  torch::Tensor alignment_;                      // [N, S]
  std::unique_ptr<detail::RecordedWork> graph_;  // on a CUDA device
};

}  // namespace

namespace detail {

/// The model, and the steps that no state uses at the moment.
class StaticSteps {
 public:
  explicit StaticSteps(std::shared_ptr<IncrementalModel> model) : model_(std::move(model)) {}

  IncrementalModel& model() const { return *model_; }

  std::unique_ptr<StaticStep> take(const StepSize& size, const FixableState& like,
                                   const torch::Tensor& rows, const torch::Tensor& sentences) {
    {
      const std::lock_guard lock(mutex_);
      if (auto& unused = unused_[size]; !unused.empty()) {
        auto step = std::move(unused.back());
        unused.pop_back();
        return step;
      }
      ++made_;
    }
    return std::make_unique<StaticStep>(*model_, size, like, rows, sentences);
  }

  void give_back(std::unique_ptr<StaticStep> step) {
    const std::lock_guard lock(mutex_);
    auto& unused = unused_[step->size()];
    unused.push_back(std::move(step));
  }

  int64_t made() const {
    const std::lock_guard lock(mutex_);
    return made_;
  }

 private:
  std::shared_ptr<IncrementalModel> model_;
  mutable std::mutex mutex_;
  std::map<StepSize, std::vector<std::unique_ptr<StaticStep>>> unused_;
  int64_t made_ = 0;
};

}  // namespace detail

namespace {

class GraphedState final : public DecoderState {
 public:
  GraphedState(std::shared_ptr<detail::StaticSteps> steps,
               std::unique_ptr<detail::FixableState> started, const torch::Tensor& source)
      : steps_(std::move(steps)),
        started_(std::move(started)),
        first_(started_->first_tokens()),
        device_(source.device()),
        held_{.sentences = source.size(0),
              .rows = source.size(0),
              .extent = {started_->position(), started_->source_length()}} {}
  ~GraphedState() override {
    if (step_) steps_->give_back(std::move(step_));
  }
  GraphedState(const GraphedState&) = delete;
  GraphedState& operator=(const GraphedState&) = delete;
  GraphedState(GraphedState&&) = delete;
  GraphedState& operator=(GraphedState&&) = delete;

  int64_t position() const override { return all_together().extent.position; }
  torch::Tensor first_tokens() const override { return first_; }
  bool can_admit() const override { return true; }
  const detail::StaticSteps* steps() const { return steps_.get(); }

  void reorder(const torch::Tensor& rows, const torch::Tensor& sentences) override {
    const torch::InferenceMode inference;
    detail::check_rank(kState, "rows", rows, 1, 1);
    if (!waiting_.empty()) take_in_those_who_wait(/*alignment=*/false);
    auto left = held_;
    left.rows = rows.size(0);
    if (sentences.defined()) left.sentences = sentences.size(0);
    TORCH_CHECK(left.rows > 0 && left.sentences > 0 && left.rows % left.sentences == 0, kState,
                ": expected rows of a multiple of ", left.sentences, " sentences, got ", left.rows);
    const auto first = first_.defined() ? first_.index_select(0, rows) : first_;
    if (!step_) {
      started_->reorder(rows, sentences);
    } else {
      // Those that leave may be the longest.
      if (have_joined_ && sentences.defined()) {
        left.extent = step_->state().extent(rows, sentences);
      }
      step_->state().set_position(left.extent.position);
      // The next step finds a smaller size, when it is known whether others join.
      if (left.rows_each() == step_->size().rows_each && left.rows <= step_->size().rows()) {
        step_->assign(step_->state(), rows, sentences);
      } else {
        move(size(left, step_->size().alignment), rows,
             sentences.defined() ? sentences : all(left.sentences));
      }
    }
    first_ = first;
    held_ = left;
  }

  void admit(std::unique_ptr<DecoderState> other) override {
    const torch::InferenceMode inference;
    auto* joining = dynamic_cast<GraphedState*>(other.get());
    TORCH_CHECK(joining != nullptr && joining->steps() == steps(), kState,
                ": expected a state made by this model's start, got another");
    TORCH_CHECK(joining->held_.rows_each() == held_.rows_each(), kState, ": expected sentences of ",
                held_.rows_each(), " rows to join, got ", joining->held_.rows_each());
    if (first_.defined()) first_ = torch::cat({first_, joining->first_});
    auto behind = std::exchange(joining->waiting_, {});
    static_cast<void>(other.release());  // to an owner of its own type
    waiting_.emplace_back(joining);
    std::ranges::move(behind, std::back_inserter(waiting_));
  }

  StepOutput step(const torch::Tensor& tokens, bool want_alignment) {
    const auto [sentences, rows, extent] = all_together();
    detail::check_ids(kGraphedDecoder, "tokens", tokens);
    detail::check_shape(kGraphedDecoder, "tokens", tokens, {rows});
    const auto most = steps_->model().max_target_length();
    TORCH_CHECK_VALUE(extent.position < most, kGraphedDecoder, ": expected at most ", most,
                      " tokens, got ", extent.position, " + 1");
    take_in_those_who_wait(want_alignment);
    auto result = (*step_)(tokens);
    const auto position = ++held_.extent.position;
    if (!want_alignment) {
      result.alignment = torch::Tensor();
    } else if (result.alignment.defined()) {
      // A copy, since it is kept from step to step.
      const auto keys = extent.source > 0 ? extent.source : position;
      result.alignment = result.alignment.narrow(1, 0, keys).clone();
    }
    return result;
  }

 private:
  struct Counts {
    int64_t sentences, rows;
    detail::Extent extent;

    int64_t rows_each() const { return rows / sentences; }
  };

  // Of those held and those that wait.
  Counts all_together() const {
    auto result = held_;
    for (const auto& one : waiting_) {
      const auto& [sentences, rows, extent] = one->held_;
      result.sentences += sentences;
      result.rows += rows;
      result.extent.position = std::max(result.extent.position, extent.position);
      result.extent.source = std::max(result.extent.source, extent.source);
    }
    return result;
  }

  const detail::FixableState& contents() const { return step_ ? step_->state() : *started_; }

  void tell_position() {
    if (step_) step_->state().set_position(held_.extent.position);
  }

  torch::Tensor all(int64_t count) const {
    return torch::arange(count, torch::TensorOptions(device_).dtype(torch::kLong));
  }

  // Once a step has computed the alignment, those of its batch do.
  StepSize size(const Counts& counts, bool alignment) const {
    const auto most = steps_->model().max_target_length();
    const auto [position, source] = counts.extent;
    return {.sentences = power_of_two_from(counts.sentences),
            .rows_each = counts.rows_each(),
            .source = source > 0 ? std::max(kLeastSource, power_of_two_from(source)) : 0,
            .positions = std::min(most, std::max(kLeastPositions, power_of_two_from(position + 1))),
            .alignment = alignment || (step_ && step_->size().alignment)};
  }

  // Goes on in a step of this size with these of the rows and sentences.
  void move(const StepSize& to, const torch::Tensor& rows, const torch::Tensor& sentences) {
    auto next = steps_->take(to, contents(), rows, sentences);
    next->assign(contents(), rows, sentences);
    if (step_) steps_->give_back(std::move(step_));
    step_ = std::move(next);
    started_ = nullptr;
  }

  // Makes ready for a step of all: here, where it is known how many there are, a size is chosen.
  void take_in_those_who_wait(bool alignment) {
    const auto together = all_together();
    const auto wanted = size(together, alignment);
    const bool moves = !step_ || step_->size() != wanted;
    if (!moves && waiting_.empty()) return;
    tell_position();
    if (moves) move(wanted, all(held_.rows), all(held_.sentences));
    for (const auto& one : waiting_) {
      one->tell_position();
      const auto& more = one->held_;
      step_->state().assign(one->contents(), all(more.rows), all(more.sentences),
                            {.row = held_.rows, .sentence = held_.sentences});
      held_.rows += more.rows;
      held_.sentences += more.sentences;
    }
    if (!waiting_.empty()) have_joined_ = true;
    waiting_.clear();
    held_ = together;
    tell_position();
  }

  std::shared_ptr<detail::StaticSteps> steps_;
  std::unique_ptr<detail::FixableState> started_;  // until the first step
  std::unique_ptr<StaticStep> step_;               // from then on
  torch::Tensor first_;                            // [N], or undefined
  torch::Device device_;
  Counts held_;                                         // in the step
  std::vector<std::unique_ptr<GraphedState>> waiting_;  // that join it before the next one
  bool have_joined_ = false;  // rows stand at different positions, of sources of different lengths
};

}  // namespace

GraphedDecoder::GraphedDecoder(std::shared_ptr<IncrementalModel> model) {
  TORCH_CHECK_VALUE(model != nullptr, kGraphedDecoder, ": expected a model, got none");
  TORCH_CHECK_VALUE(dynamic_cast<const Seq2SeqImpl*>(model.get()) != nullptr ||
                        dynamic_cast<const CausalLMImpl*>(model.get()) != nullptr,
                    kGraphedDecoder, ": expected a Seq2Seq or CausalLM, got another model");
  steps_ = std::make_shared<detail::StaticSteps>(std::move(model));
}

SpecialTokenIds GraphedDecoder::special_tokens() const { return steps_->model().special_tokens(); }

VocabularySizes GraphedDecoder::vocabulary_sizes() const {
  return steps_->model().vocabulary_sizes();
}

int64_t GraphedDecoder::max_target_length() const { return steps_->model().max_target_length(); }

int64_t GraphedDecoder::steps_made() const { return steps_->made(); }

std::unique_ptr<DecoderState> GraphedDecoder::start(const torch::Tensor& source,
                                                    const AttentionMask& source_mask) {
  const torch::InferenceMode inference;
  auto started = steps_->model().start(source, source_mask);
  auto* fixable = dynamic_cast<detail::FixableState*>(started.get());
  TORCH_INTERNAL_ASSERT(fixable != nullptr, "the state of a Seq2Seq or CausalLM");
  fixable->check_fixable();
  TORCH_CHECK_VALUE(source.size(0) > 0, kGraphedDecoder, ": expected sentences, got none");
  static_cast<void>(started.release());  // to an owner of its own type
  return std::make_unique<GraphedState>(steps_, std::unique_ptr<detail::FixableState>(fixable),
                                        source);
}

StepOutput GraphedDecoder::step(const torch::Tensor& tokens, DecoderState& state,
                                bool want_alignment) {
  auto* own = dynamic_cast<GraphedState*>(&state);
  TORCH_CHECK(own != nullptr && own->steps() == steps_.get(), kGraphedDecoder,
              "::step: expected a state made by this model's start, got another");
  const torch::InferenceMode inference;
  return own->step(tokens, want_alignment);
}

}  // namespace attend
