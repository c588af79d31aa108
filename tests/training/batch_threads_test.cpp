#include "attend/training/batch_threads.h"

#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "attend/functional/dropout.h"
#include "attend/models/recurrent_seq2seq.h"
#include "attend/models/seq2seq.h"
#include "support/tensor_assert.h"

namespace attend::batch_threads_test {
namespace {

constexpr int64_t kVocab = 11, kPad = 10;

Seq2Seq model(double dropout) {
  torch::manual_seed(3);
  Seq2Seq result(Seq2SeqOptions(kVocab, kVocab, 12, 3, 2).dropout(dropout).max_length(16));
  result->to(torch::kDouble);
  return result;
}

// Seven sentences of 5 source tokens, which end in padding, and 4 of the target.
struct Sentences {
  torch::Tensor source, target, labels;
};

Sentences sentences() {
  torch::manual_seed(4);
  Sentences s{torch::randint(1, kPad, {7, 5}), torch::randint(1, kPad, {7, 4}),
              torch::randint(1, kPad, {7, 4})};
  s.source.index_put_({torch::tensor({1, 6}), torch::tensor({4, 4})}, kPad);
  return s;
}

template <typename Model>
torch::Tensor loss_of(Model& model, const Sentences& s, int64_t first, int64_t last) {
  const torch::indexing::Slice rows(first, last);
  return model->loss_sum(s.source.index({rows}), s.target.index({rows}), s.labels.index({rows}),
                         0.1);
}

std::vector<torch::Tensor> gradients_of(const torch::nn::Module& module) {
  std::vector<torch::Tensor> result;
  for (const auto& parameter : module.parameters()) result.push_back(parameter.grad());
  return result;
}

template <typename Model>
void expect_gradients_of_the_whole_batch(Model& model) {
  const auto s = sentences();
  const auto expected_loss = loss_of(model, s, 0, 7);
  expected_loss.backward();
  const auto expected = gradients_of(*model);
  model->zero_grad();

  BatchThreads threads(*model, 3);
  const std::vector<int64_t> bounds{0, 2, 3, 7};
  for (int round = 0; round < 3; ++round) {
    const auto loss = threads.backward([&](int64_t share) {
      const auto i = static_cast<size_t>(share);
      return loss_of(model, s, bounds[i], bounds[i + 1]);
    });
    EXPECT_FALSE(loss.requires_grad());
    EXPECT_NEAR(loss.template item<double>(), expected_loss.template item<double>(), 1e-11);
    const auto gradients = gradients_of(*model);
    ASSERT_EQ(gradients.size(), expected.size());
    for (size_t i = 0; i < expected.size(); ++i) {
      EXPECT_TENSOR_NEAR(gradients[i], expected[i], 1e-11);
    }
  }
}

TEST(BatchThreads, GradientsAreThoseOfTheWholeBatch) {
  auto transformer = model(0.0);
  expect_gradients_of_the_whole_batch(transformer);
  torch::manual_seed(5);
  RecurrentSeq2Seq recurrent(RecurrentSeq2SeqOptions(kVocab, kVocab, 6).dropout(0.0));
  recurrent->to(torch::kDouble);
  expect_gradients_of_the_whole_batch(recurrent);
}

TEST(BatchThreads, EachShareHasRandomNumbersOfItsOwn) {
  auto m = model(0.3);
  const auto s = sentences();
  const auto run = [&](int64_t shares) {
    m->zero_grad();
    BatchThreads threads(*m, shares);
    threads.backward([&](int64_t share) {
      const functional::DropoutSeed seed(static_cast<uint64_t>(100 + share));
      // Shares begin in another order each time.
      std::this_thread::sleep_for(std::chrono::microseconds(torch::randint(500, {}).item<int>()));
      return loss_of(m, s, share, share + 1);
    });
    return gradients_of(*m);
  };
  const auto expected = run(5);
  for (int repetition = 0; repetition < 4; ++repetition) {
    const auto again = run(5);
    for (size_t i = 0; i < expected.size(); ++i) EXPECT_TENSOR_EQUAL(again[i], expected[i]);
  }
}

TEST(BatchThreads, SharesRunAtATimeOnThreadsOfTheirOwn) {
  torch::nn::Linear layer(2, 3);
  const int before = torch::get_num_threads();
  BatchThreads threads(*layer, 3, 2);
  EXPECT_EQ(torch::get_num_threads(), before);
  EXPECT_EQ(threads.shares(), 3);
  std::mutex mutex;
  std::condition_variable all_here;
  std::set<std::thread::id> here;
  for (int round = 0; round < 2; ++round) {
    here.clear();
    threads.backward([&](int64_t) {
      EXPECT_EQ(torch::get_num_threads(), 2);
      std::unique_lock lock(mutex);
      here.insert(std::this_thread::get_id());
      all_here.notify_all();
      EXPECT_TRUE(
          all_here.wait_for(lock, std::chrono::seconds(60), [&] { return here.size() == 3; }));
      return torch::Tensor();
    });
    EXPECT_FALSE(here.contains(std::this_thread::get_id()));
  }
}

TEST(BatchThreads, SharesWithoutALossCountAsZero) {
  torch::nn::Linear layer(2, 3);
  BatchThreads threads(*layer, 2);
  const auto one = [&](int64_t share) {
    return share == 0 ? torch::Tensor() : layer(torch::ones({1, 2})).sum();
  };
  EXPECT_TENSOR_EQUAL(threads.backward(one), layer(torch::ones({1, 2})).sum().detach());
  EXPECT_TENSOR_EQUAL(layer->weight.grad(), torch::ones({3, 2}));
  EXPECT_EQ(threads.backward([](int64_t) { return torch::Tensor(); }).item<float>(), 0);
  EXPECT_FALSE(layer->weight.grad().defined());
  // A parameter that has no part in a loss.
  threads.backward([&](int64_t) { return layer->bias.sum(); });
  EXPECT_FALSE(layer->weight.grad().defined());
  EXPECT_TENSOR_EQUAL(layer->bias.grad(), torch::full({3}, 2.0));
}

TEST(BatchThreads, AFailureReachesTheCallerAndTheNextRoundWorks) {
  torch::nn::Linear layer(2, 3);
  BatchThreads threads(*layer, 3);
  const auto sum = [&](int64_t) { return layer(torch::ones({1, 2})).sum(); };
  threads.backward(sum);
  const auto before = layer->weight.grad().clone();
  EXPECT_THROW(threads.backward([&](int64_t share) {
    TORCH_CHECK_INDEX(share != 1, "share 1");
    return 5 * sum(share);
  }),
               c10::IndexError);
  EXPECT_TENSOR_EQUAL(layer->weight.grad(), before);
  threads.backward(sum);
  EXPECT_TENSOR_EQUAL(layer->weight.grad(), before);
  EXPECT_THROW(BatchThreads(*layer, 0), c10::ValueError);
  EXPECT_THROW(BatchThreads(*layer, 2, 0), c10::ValueError);
}

}  // namespace
}  // namespace attend::batch_threads_test
