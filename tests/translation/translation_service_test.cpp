#include "attend/translation/translation_service.h"

#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

#include "attend/models/seq2seq.h"
#include "attend/text/subword_training.h"
#include "support/tensor_assert.h"

namespace attend::translation_service_test {
namespace {

using Seconds = std::chrono::duration<double>;
using Texts = std::vector<std::string>;

SubwordTokenizer subwords() {
  return train_subwords({"the cat sits on the mat", "a dog sleeps under the old tree",
                         "le chat est assis sur le tapis", "un chien dort sous le vieil arbre"},
                        {.vocab_size = 60});
}

Seq2Seq small_model(const SubwordTokenizer& tokenizer) {
  torch::manual_seed(11);
  Seq2Seq model(
      Seq2SeqOptions(tokenizer.vocab_size(), tokenizer.vocab_size(), 16, 2, 1).max_length(24));
  const torch::NoGradGuard no_grad;
  for (auto& parameter : model->parameters()) parameter.normal_(0.0, 0.5);
  return model;
}

Translator small_translator(std::optional<WeightPrecision> precision, bool graphed = false) {
  const auto tokenizer = subwords();
  return {small_model(tokenizer),
          tokenizer,
          {.beam_size = 3, .precision = precision, .graphed = graphed}};
}

// Texts of many lengths, some of them longer than the model.
Texts many_texts(size_t count) {
  const Texts words{"the", "cat", "a", "dog", "old", "tree", "on", "mat", "sleeps"};
  Texts texts;
  for (size_t i = 0; i < count; ++i) {
    std::string text;
    for (size_t w = 0; w < i % 14; ++w) text += words[(i + w * w) % words.size()] + " ";
    texts.push_back(text);
  }
  return texts;
}

void expect_same(const std::vector<Translation>& got, const std::vector<Translation>& expected) {
  ASSERT_EQ(got.size(), expected.size());
  for (size_t n = 0; n < got.size(); ++n) {
    EXPECT_EQ(got[n].text, expected[n].text);
    EXPECT_EQ(got[n].score, expected[n].score);
    EXPECT_EQ(got[n].log_probability, expected[n].log_probability);
    EXPECT_EQ(got[n].alignment, expected[n].alignment);
    EXPECT_EQ(got[n].attention.defined(), expected[n].attention.defined());
    if (got[n].attention.defined() && expected[n].attention.defined()) {
      EXPECT_TENSOR_EQUAL(got[n].attention, expected[n].attention);
    }
  }
}

constexpr auto kPoison = "a \u0416";  // of a letter that is unknown

// What is only searched with, with the vocabulary of another model.
class SearchedModel : public TranslationModel {
 public:
  explicit SearchedModel(Seq2Seq model) : model_(std::move(model)) {}

  SpecialTokenIds special_tokens() const override { return model_->special_tokens(); }
  VocabularySizes vocabulary_sizes() const override { return model_->vocabulary_sizes(); }
  torch::Tensor forward(const torch::Tensor&, const torch::Tensor&, const AttentionMask&,
                        const AttentionMask&) override {
    throw std::logic_error("not used");
  }
  torch::Tensor loss_sum(const torch::Tensor&, const torch::Tensor&, const torch::Tensor&,
                         double) override {
    throw std::logic_error("not used");
  }
  torch::nn::Module& module() override { return *model_; }

 protected:
  Seq2Seq model_;
};

// A model that stops until the test lets it go on, and fails for one token.
class WatchedModel : public SearchedModel {
 public:
  WatchedModel(Seq2Seq model, int64_t poison) : SearchedModel(std::move(model)), poison_(poison) {}

  int64_t max_target_length() const override { return model_->max_target_length(); }
  std::unique_ptr<DecoderState> start(const torch::Tensor& source,
                                      const AttentionMask& source_mask) override {
    std::unique_lock lock(mutex_);
    batches_.push_back(source.size(0));
    changed_.notify_all();
    changed_.wait(lock, [&] { return open_; });
    TORCH_CHECK((source == poison_).any().item<bool>() == false, "a poisoned text");
    return model_->start(source, source_mask);
  }
  StepOutput step(const torch::Tensor& tokens, DecoderState& state, bool want_alignment) override {
    return model_->step(tokens, state, want_alignment);
  }
  void set_open(bool open) {
    const std::lock_guard lock(mutex_);
    open_ = open;
    changed_.notify_all();
  }
  void wait_for_batches(size_t count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return batches_.size() >= count; });
  }
  std::vector<int64_t> batches() {  // the texts in each
    const std::lock_guard lock(mutex_);
    return batches_;
  }

 private:
  int64_t poison_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<int64_t> batches_;
  bool open_ = true;
};

// A model whose states admit others, and which takes a step when it is allowed to. It writes as many tokens
// as the source has.
class SteppedModel : public SearchedModel {
 public:
  using SearchedModel::SearchedModel;

  int64_t max_target_length() const override { return 60; }
  std::unique_ptr<DecoderState> start(const torch::Tensor& source,
                                      const AttentionMask& /*source_mask*/) override {
    auto state = std::make_unique<State>();
    for (int64_t b = 0; b < source.size(0); ++b) {
      state->left.push_back(source[b].ne(special_tokens().pad_id).sum().item<int64_t>());
    }
    return state;
  }
  StepOutput step(const torch::Tensor& tokens, DecoderState& state, bool) override {
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return allowed_ > 0; });
      --allowed_;
    }
    auto& left = dynamic_cast<State&>(state).left;
    EXPECT_EQ(tokens.size(0), static_cast<int64_t>(left.size()));
    auto logits = torch::zeros({tokens.size(0), vocabulary_sizes().target});
    constexpr int64_t kWritten = 5;
    for (size_t i = 0; i < left.size(); ++i) {
      const auto token = left[i]-- > 1 ? kWritten : special_tokens().eos_id;
      logits[static_cast<int64_t>(i)][token] = 10.0;
    }
    return {logits, {}, {}};
  }
  void allow(int64_t steps) {
    const std::lock_guard lock(mutex_);
    allowed_ += steps;
    changed_.notify_all();
  }

 private:
  struct State : DecoderState {
    int64_t position() const override { return 0; }
    bool can_admit() const override { return true; }
    void admit(std::unique_ptr<DecoderState> other) override {
      const auto& joining = dynamic_cast<State&>(*other).left;
      left.insert(left.end(), joining.begin(), joining.end());
    }
    void reorder(const torch::Tensor& rows, const torch::Tensor&) override {
      std::vector<int64_t> moved;
      for (int64_t i = 0; i < rows.size(0); ++i) {
        moved.push_back(left[static_cast<size_t>(rows[i].item<int64_t>())]);
      }
      left = moved;
    }
    std::vector<int64_t> left;  // tokens to write
  };

  std::mutex mutex_;
  std::condition_variable changed_;
  int64_t allowed_ = 0;
};

class WatchedService : public testing::Test {
 protected:
  // One worker, which holds a first text at the closed gate.
  void begin(TranslationServiceOptions options) {
    options.workers = 1;
    service_.emplace(Translator(model_, tokenizer_, {.beam_size = 1}), options);
    model_->set_open(false);
    first_.emplace(service_->submit({.texts = {"the cat"}}));
    model_->wait_for_batches(1);
  }

  // Why there is no answer; its message is then in message_.
  RequestFailure failure_of(const std::function<void()>& ask) {
    try {
      ask();
    } catch (const TranslationServiceError& error) {
      message_ = error.what();
      return error.failure();
    }
    throw std::logic_error("expected a TranslationServiceError");
  }
  RequestFailure failure_of(const PendingTranslations& pending) {
    return failure_of([&] { pending.get(); });
  }
  RequestFailure failure_of(const TranslationRequest& request) {
    return failure_of([&] { service_->submit(request).get(); });
  }

  void TearDown() override { model_->set_open(true); }

  SubwordTokenizer tokenizer_ = subwords();
  std::shared_ptr<WatchedModel> model_ =
      std::make_shared<WatchedModel>(small_model(tokenizer_), tokenizer_.unk_id());
  std::optional<TranslationService> service_;
  std::optional<PendingTranslations> first_;
  std::string message_;
};

class BitForBit : public testing::TestWithParam<WeightPrecision> {};

TEST_P(BitForBit, APreparedTranslatorsAnswerDoesNotDependOnWhoSharesTheBatch) {
  const auto translator = small_translator(GetParam());
  const auto texts = many_texts(60);
  std::vector<std::vector<Translation>> alone(texts.size());
  for (size_t i = 0; i < texts.size(); ++i) {
    alone[i] =
        translator.translate({texts[i]}, 1 + static_cast<int64_t>(i % 3), i % 2 == 0).front();
  }
  TranslationService service(translator, {.workers = 2, .max_queue = 60});
  std::vector<std::jthread> callers;
  constexpr size_t kCallers = 5;
  for (size_t caller = 0; caller < kCallers; ++caller) {
    callers.emplace_back([&, caller] {
      std::vector<std::pair<size_t, PendingTranslations>> mine;
      for (size_t i = caller; i < texts.size(); i += kCallers) {
        mine.emplace_back(i, service.submit({.texts = {texts[i]},
                                             .n_best = 1 + static_cast<int64_t>(i % 3),
                                             .attention = i % 2 == 0}));
      }
      for (const auto& one : mine) expect_same(one.second.get().front(), alone[one.first]);
    });
  }
  callers.clear();
  const auto counts = service.statistics();
  EXPECT_EQ(counts.answered, 60U);
  EXPECT_LT(counts.batches, 60U);  // they did share
}

INSTANTIATE_TEST_SUITE_P(TranslationService, BitForBit,
                         testing::Values(WeightPrecision::kFloat32, WeightPrecision::kBFloat16,
                                         WeightPrecision::kInt8));

class AgreesToRounding : public testing::TestWithParam<bool> {};  // graphed

TEST_P(AgreesToRounding, AModelThatIsNotPrepared) {
  const auto translator = small_translator(std::nullopt);
  const auto texts = many_texts(40);
  TranslationService service(small_translator(std::nullopt, GetParam()),
                             {.workers = 2, .max_batch = 8});
  const auto pending = service.submit({.texts = texts, .n_best = 3});
  const auto& together = pending.get();
  ASSERT_EQ(together.size(), texts.size());
  for (size_t i = 0; i < texts.size(); ++i) {
    const auto alone = translator.translate({texts[i]}, 3, false).front();
    ASSERT_EQ(together[i].size(), 3U);
    for (size_t n = 0; n < 3; ++n) EXPECT_NEAR(together[i][n].score, alone[n].score, 1e-4);
  }
}

INSTANTIATE_TEST_SUITE_P(TranslationService, AgreesToRounding, testing::Bool());

TEST(TranslationService, ARequestOfNoTextsIsAnswered) {
  TranslationService service(small_translator(WeightPrecision::kFloat32));
  EXPECT_TRUE(service.submit({}).get().empty());
  EXPECT_EQ(service.submit({.texts = {""}}).get().front().front().text, "");
  EXPECT_EQ(service.statistics().answered, 2U);
}

TEST_F(WatchedService, WhatWaitsIsTranslatedTogether) {
  begin({.max_batch = 4});
  std::vector<PendingTranslations> waiting;
  for (int i = 0; i < 6; ++i) waiting.push_back(service_->submit({.texts = {"the mat"}}));
  model_->set_open(true);
  for (const auto& one : waiting) one.get();
  EXPECT_EQ(model_->batches(), (std::vector<int64_t>{1, 4, 2}));
}

TEST_F(WatchedService, AFullQueueRefusesUntilThereIsRoom) {
  begin({.max_queue = 3});
  const auto two = service_->submit({.texts = {"a", "b"}});
  EXPECT_EQ(failure_of(TranslationRequest{.texts = {"c", "d"}}), RequestFailure::kQueueFull);
  EXPECT_EQ(message_,
            "TranslationService: expected room for 2 texts in the queue of 3, got 2 that wait");
  const auto third = service_->submit({.texts = {"c"}});
  EXPECT_EQ(service_->statistics().waiting_texts, 3U);
  EXPECT_EQ(failure_of(TranslationRequest{.texts = {"d"}}), RequestFailure::kQueueFull);
  EXPECT_EQ(failure_of(TranslationRequest{.texts = {"a", "b", "c", "d"}}),
            RequestFailure::kTooLarge);
  EXPECT_EQ(message_, "TranslationService: expected at most 3 texts in a request, got 4");
  third.cancel();
  const auto again = service_->submit({.texts = {"d"}});
  model_->set_open(true);
  EXPECT_EQ(two.get().size(), 2U);
  EXPECT_EQ(again.get().size(), 1U);
  EXPECT_EQ(service_->statistics().refused, 3U);
}

TEST_F(WatchedService, TextsOverTheLimitAreRefused) {
  begin({.max_text_bytes = 7});
  EXPECT_EQ(failure_of(TranslationRequest{.texts = {"1234567", "12345678"}}),
            RequestFailure::kTooLarge);
  EXPECT_EQ(message_, "TranslationService: expected texts of at most 7 bytes, got one of 8");
}

TEST_F(WatchedService, ARequestThatExpiresInTheQueueNeverReachesTheModel) {
  begin({.max_queue = 2});
  EXPECT_EQ(failure_of(TranslationRequest{.texts = {"a", "b"}, .timeout = Seconds(0.01)}),
            RequestFailure::kExpired);
  EXPECT_EQ(message_, "TranslationService: expected an answer within 0.01 s, got none");
  EXPECT_EQ(service_->statistics().waiting_texts, 0U);
  // Nobody waits for this one: it makes room for the next, or a worker passes over it.
  const auto forgotten = service_->submit({.texts = {"c", "d"}, .timeout = Seconds(0.01)});
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  const auto next = service_->submit({.texts = {"the mat"}});
  const auto late = service_->submit({.texts = {"e"}, .timeout = Seconds(0.01)});
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  model_->set_open(true);
  next.get();
  service_->close();
  EXPECT_EQ(model_->batches(), (std::vector<int64_t>{1, 1}));
  EXPECT_EQ(failure_of(forgotten), RequestFailure::kExpired);
  EXPECT_EQ(failure_of(late), RequestFailure::kExpired);
  EXPECT_EQ(service_->statistics().expired, 3U);
}

TEST_F(WatchedService, ARequestThatExpiresWhileItIsTranslatedFailsInTime) {
  begin({});
  const auto late = service_->submit({.texts = {"a"}, .timeout = Seconds(0.05)});
  first_->cancel();
  EXPECT_FALSE(late.wait_for(Seconds(0.0)));
  EXPECT_TRUE(late.wait_for(Seconds(3600)));  // the model still waits at the gate
  EXPECT_EQ(failure_of(late), RequestFailure::kExpired);
  EXPECT_EQ(service_->statistics().expired, 1U);
}

TEST_F(WatchedService, ACancelledRequestLeavesTheOthers) {
  begin({});
  const auto gone = service_->submit({.texts = {"a", "b"}});
  const auto stays = service_->submit({.texts = {"the mat"}});
  gone.cancel();
  gone.cancel();
  first_->cancel();  // it is being translated
  EXPECT_EQ(failure_of(gone), RequestFailure::kCancelled);
  EXPECT_EQ(message_, "TranslationService: the request was cancelled");
  model_->set_open(true);
  EXPECT_EQ(stays.get().size(), 1U);
  stays.cancel();
  EXPECT_EQ(stays.get().size(), 1U);
  service_->close();
  EXPECT_EQ(model_->batches(), (std::vector<int64_t>{1, 1}));
  const auto counts = service_->statistics();
  EXPECT_EQ(counts.cancelled, 2U);
  EXPECT_EQ(counts.answered, 1U);
}

TEST_F(WatchedService, ATextAtFaultFailsItsRequestAlone) {
  begin({});
  const auto before = service_->submit({.texts = {"the mat", "a dog"}});
  const auto guilty = service_->submit({.texts = {"the cat", kPoison, kPoison}});
  const auto after = service_->submit({.texts = {"the old cat"}});
  model_->set_open(true);
  EXPECT_EQ(before.get().size(), 2U);
  EXPECT_EQ(after.get().size(), 1U);
  EXPECT_THROW_MESSAGE(guilty.get(), c10::Error, "a poisoned text");
  EXPECT_EQ(service_->submit({.texts = {"a dog"}}).get().size(), 1U);  // it goes on
  const auto counts = service_->statistics();
  EXPECT_EQ(counts.failed, 1U);
  EXPECT_EQ(counts.answered, 4U);
}

TEST_F(WatchedService, CloseAnswersWhatWasAcceptedAndRefusesTheRest) {
  begin({});
  const auto waits = service_->submit({.texts = {"a dog", "the mat"}});
  std::jthread closing([&] { service_->close(); });
  const auto is_closed = [&] {
    try {
      (void)service_->submit({});
      return false;
    } catch (const TranslationServiceError& error) {
      return error.failure() == RequestFailure::kClosed;
    }
  };
  while (!is_closed()) std::this_thread::yield();
  EXPECT_FALSE(waits.wait_for(Seconds(0)));
  model_->set_open(true);
  closing.join();
  EXPECT_TRUE(waits.wait_for(Seconds(0)));
  service_->close();
  const auto counts = service_->statistics();
  EXPECT_EQ(counts.pending, 0U);
  EXPECT_EQ(counts.answered, counts.accepted);
  service_.reset();
  EXPECT_EQ(waits.get().size(), 2U);
  waits.cancel();
  service_.emplace(Translator(model_, tokenizer_, {.beam_size = 1}));
  service_->close();
  EXPECT_EQ(failure_of(TranslationRequest{}), RequestFailure::kClosed);
  EXPECT_EQ(message_, "TranslationService: expected an open service, got a closed one");
}

TEST_F(WatchedService, CountsAddUpWhateverHappens) {
  begin({.max_queue = 8, .max_batch = 3});
  model_->set_open(true);
  constexpr size_t kCallers = 6, kRequests = 30;
  std::atomic<uint64_t> answered = 0, failed = 0, others = 0, refused = 0;
  {
    std::vector<std::jthread> callers;
    for (size_t caller = 0; caller < kCallers; ++caller) {
      callers.emplace_back([&, caller] {
        for (size_t i = 0; i < kRequests; ++i) {
          try {
            const auto kind = (caller + i) % 5;
            const auto pending = service_->submit(
                {.texts = {kind == 0 ? kPoison : "the mat", "a cat"},
                 .timeout = kind == 1 ? std::optional(Seconds(1e-6)) : std::nullopt});
            if (kind == 2) pending.cancel();
            pending.get();
            ++answered;
          } catch (const TranslationServiceError& error) {
            ++(error.failure() == RequestFailure::kQueueFull ? refused : others);
          } catch (const c10::Error&) {
            ++failed;
          }
        }
      });
    }
  }
  first_->get();
  service_->close();
  const auto counts = service_->statistics();
  EXPECT_EQ(counts.refused, refused);
  EXPECT_EQ(counts.accepted, 1 + kCallers * kRequests - refused);
  EXPECT_EQ(counts.answered, 1 + answered);
  EXPECT_EQ(counts.failed, failed);
  EXPECT_EQ(counts.cancelled + counts.expired, others);
  EXPECT_EQ(counts.accepted, counts.answered + counts.failed + counts.cancelled + counts.expired);
  EXPECT_EQ(counts.pending, 0U);
  EXPECT_EQ(counts.waiting_texts, 0U);
  EXPECT_EQ(counts.latency.count(), counts.answered);
  EXPECT_GT(counts.failed, 0U);
  EXPECT_GT(counts.expired, 0U);
}

TEST(TranslationService, TextsJoinWhileOthersDecodeAndLeaveBeforeThem) {
  const auto tokenizer = subwords();
  const auto model = std::make_shared<SteppedModel>(small_model(tokenizer));
  TranslationService service(Translator(model, tokenizer, {.beam_size = 1}), {.workers = 1});
  const std::string much = "the cat sits on the mat a dog sleeps under the old tree",
                    little = "cat";
  const auto steps = static_cast<int64_t>(tokenizer.encode_source(little).size());
  const auto longer = service.submit({.texts = {much}});
  const auto dropped = service.submit({.texts = {much}});
  while (service.statistics().waiting_texts > 0) std::this_thread::yield();
  model->allow(1);
  const auto shorter = service.submit({.texts = {little}});
  dropped.cancel();
  // The worker may have gone into two steps before it could see the text.
  model->allow(steps + 2);
  ASSERT_LT(steps + 4, static_cast<int64_t>(tokenizer.encode_source(much).size()));
  EXPECT_TRUE(shorter.wait_for(Seconds(60)));
  EXPECT_FALSE(longer.wait_for(Seconds(0)));
  model->allow(100);
  EXPECT_EQ(longer.get().size(), 1U);
  service.close();
  EXPECT_EQ(service.statistics().cancelled, 1U);
}

TEST(TranslationService, CountsTheTokensOfWhatItDelivers) {
  const auto translator = small_translator(WeightPrecision::kFloat32);
  const auto tokens = translator.tokenizer().encode_source("the old cat").size();
  TranslationService service(translator);
  const auto pending = service.submit({.texts = {"the old cat", "the old cat"}, .n_best = 2});
  const auto& translations = pending.get().front();
  EXPECT_EQ(translations[0].source_tokens, static_cast<int64_t>(tokens));
  EXPECT_EQ(service.statistics().source_tokens, 2 * tokens);
  EXPECT_EQ(
      service.statistics().target_tokens,
      2 * static_cast<uint64_t>(translations[0].target_tokens + translations[1].target_tokens));
  EXPECT_GE(translations[0].target_tokens, 1);
}

TEST(TranslationService, WhatIsOutOfRangeIsRefused) {
  const auto translator = small_translator(WeightPrecision::kFloat32);
  const auto with = [&](const TranslationServiceOptions& options) {
    return [&translator, options] { const TranslationService service(translator, options); };
  };
  EXPECT_THROW_MESSAGE(with({.workers = -1})(), c10::ValueError,
                       "TranslationService: expected workers >= 0, got -1");
  EXPECT_THROW_MESSAGE(with({.max_queue = 0})(), c10::ValueError,
                       "TranslationService: expected max_queue > 0, got 0");
  EXPECT_THROW_MESSAGE(with({.max_batch = 0})(), c10::ValueError,
                       "TranslationService: expected max_batch > 0, got 0");
  EXPECT_THROW_MESSAGE(with({.max_text_bytes = 0})(), c10::ValueError,
                       "TranslationService: expected max_text_bytes > 0, got 0");
  TranslationService service(translator);
  EXPECT_EQ(service.options().workers, torch::get_num_threads());
  EXPECT_THROW_MESSAGE(service.submit({.texts = {"a"}, .n_best = 4}), c10::ValueError,
                       "TranslationService: expected 1 <= n_best <= beam_size 3, got 4");
  EXPECT_THROW_MESSAGE(service.submit({.texts = {"a"}, .timeout = Seconds(0)}), c10::ValueError,
                       "TranslationService: expected a timeout > 0 s, got 0");
}

}  // namespace
}  // namespace attend::translation_service_test
