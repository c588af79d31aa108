#include "attend/inference/graphed_decoder.h"

#include <algorithm>
#include <bit>
#include <map>
#include <mutex>
#include <tuple>
#include <utility>
#include <vector>

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
    assign(like, rows, sentences);
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
        counts_{.sentences = source.size(0),
                .rows = source.size(0),
                .extent = {started_->position(), started_->source_length()}} {}
  ~GraphedState() override {
    if (step_) steps_->give_back(std::move(step_));
  }
  GraphedState(const GraphedState&) = delete;
  GraphedState& operator=(const GraphedState&) = delete;
  GraphedState(GraphedState&&) = delete;
  GraphedState& operator=(GraphedState&&) = delete;

  int64_t position() const override { return counts_.extent.position; }
  torch::Tensor first_tokens() const override { return first_; }
  bool can_admit() const override { return true; }
  const detail::StaticSteps* steps() const { return steps_.get(); }

  void reorder(const torch::Tensor& rows, const torch::Tensor& sentences) override {
    const torch::InferenceMode inference;
    detail::check_rank(kState, "rows", rows, 1, 1);
    auto left = counts_;
    left.rows = rows.size(0);
    if (sentences.defined()) left.sentences = sentences.size(0);
    TORCH_CHECK(left.rows > 0 && left.sentences > 0 && left.rows % left.sentences == 0, kState,
                ": expected rows of a multiple of ", left.sentences, " sentences, got ", left.rows);
    if (first_.defined()) first_ = first_.index_select(0, rows);
    if (!step_) {
      started_->reorder(rows, sentences);
    } else {
      if (have_joined_ && sentences.defined()) {
        // Those that leave may be the longest.
        left.extent = step_->state().extent(rows, sentences);
      }
      step_->state().set_position(left.extent.position);
      const auto wanted = size(left, step_->size().alignment);
      if (step_->size() == wanted) {
        step_->assign(step_->state(), rows, sentences);
      } else {
        move(wanted, rows, sentences.defined() ? sentences : all(left.sentences));
      }
    }
    counts_ = left;
  }

  void admit(std::unique_ptr<DecoderState> other) override {
    const torch::InferenceMode inference;
    auto* joining = dynamic_cast<GraphedState*>(other.get());
    TORCH_CHECK(joining != nullptr && joining->steps() == steps(), kState,
                ": expected a state made by this model's start, got another");
    const auto& more = joining->counts_;
    TORCH_CHECK(more.rows_each() == counts_.rows_each(), kState, ": expected sentences of ",
                counts_.rows_each(), " rows to join, got ", more.rows_each());
    const Counts both{.sentences = counts_.sentences + more.sentences,
                      .rows = counts_.rows + more.rows,
                      .extent = {std::max(counts_.extent.position, more.extent.position),
                                 std::max(counts_.extent.source, more.extent.source)}};
    tell_position();
    joining->tell_position();
    const auto wanted = size(both, step_ != nullptr && step_->size().alignment);
    if (!step_ || step_->size() != wanted) move(wanted, all(counts_.rows), all(counts_.sentences));
    step_->state().assign(joining->contents(), all(more.rows), all(more.sentences),
                          {.row = counts_.rows, .sentence = counts_.sentences});
    if (first_.defined()) first_ = torch::cat({first_, joining->first_});
    counts_ = both;
    have_joined_ = true;
  }

  StepOutput step(const torch::Tensor& tokens, bool want_alignment) {
    detail::check_ids(kGraphedDecoder, "tokens", tokens);
    detail::check_shape(kGraphedDecoder, "tokens", tokens, {counts_.rows});
    const auto most = steps_->model().max_target_length();
    auto& [position, source] = counts_.extent;
    TORCH_CHECK_VALUE(position < most, kGraphedDecoder, ": expected at most ", most,
                      " tokens, got ", position, " + 1");
    const auto wanted = size(counts_, want_alignment);
    if (!step_ || step_->size() != wanted) {
      tell_position();
      move(wanted, all(counts_.rows), all(counts_.sentences));
    }
    auto result = (*step_)(tokens);
    ++position;
    if (result.alignment.defined()) {
      // A copy, since it is kept from step to step.
      const auto keys = source > 0 ? source : position;
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

  const detail::FixableState& contents() const { return step_ ? step_->state() : *started_; }

  void tell_position() {
    if (step_) step_->state().set_position(counts_.extent.position);
  }

  torch::Tensor all(int64_t count) const {
    return torch::arange(count, torch::TensorOptions(device_).dtype(torch::kLong));
  }

  StepSize size(const Counts& counts, bool alignment) const {
    const auto most = steps_->model().max_target_length();
    const auto [position, source] = counts.extent;
    return {.sentences = power_of_two_from(counts.sentences),
            .rows_each = counts.rows_each(),
            .source = source > 0 ? std::max(kLeastSource, power_of_two_from(source)) : 0,
            .positions = std::min(most, std::max(kLeastPositions, power_of_two_from(position + 1))),
            .alignment = alignment};
  }

  // Goes on in a step of this size with these of the rows and sentences.
  void move(const StepSize& to, const torch::Tensor& rows, const torch::Tensor& sentences) {
    auto next = steps_->take(to, contents(), rows, sentences);
    next->assign(contents(), rows, sentences);
    if (step_) steps_->give_back(std::move(step_));
    step_ = std::move(next);
    started_ = nullptr;
  }

  std::shared_ptr<detail::StaticSteps> steps_;
  std::unique_ptr<detail::FixableState> started_;  // until the first step
  std::unique_ptr<StaticStep> step_;               // from then on
  torch::Tensor first_;                            // [N], or undefined
  torch::Device device_;
  Counts counts_;
  bool have_joined_ = false;  // rows stand at different positions, of sources of different lengths
};

}  // namespace

GraphedDecoder::GraphedDecoder(std::shared_ptr<IncrementalModel> model) {
  TORCH_CHECK_VALUE(model != nullptr, kGraphedDecoder, ": expected a model, got none");
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
  TORCH_CHECK_VALUE(fixable != nullptr, kGraphedDecoder,
                    ": expected a Seq2Seq or CausalLM, got another model");
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
