#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "kernels/additive_problem.h"
#include "kernels/cuda_host_kernels.h"

namespace attend::kernels_test {
namespace {

namespace cuda = kernels::cuda;

// Memory that ends where its numbers do, so that AddressSanitizer sees what is beyond.
template <typename T>
std::vector<T> on_device(Numbers<T>& x) {
  return std::vector<T>(x.data(), x.data() + x.size());
}
template <typename T>
Numbers<T> from_device(const std::vector<T>& x) {
  Numbers<T> result(static_cast<int64_t>(x.size()));
  std::copy(x.begin(), x.end(), result.data());
  return result;
}
template <typename T>
std::vector<T> unwritten(int64_t size) {
  return std::vector<T>(static_cast<size_t>(size), std::numeric_limits<T>::quiet_NaN());
}

// What a GPU would hold of a problem, and its kernels.
template <typename T>
class DeviceAdditive {
 public:
  DeviceAdditive(AdditiveProblem<T>& p, Fibres& fibres)
      : p_(&p),
        a_(p.a),
        fibres_(&fibres),
        query_(on_device(p.query)),
        key_(on_device(p.key)),
        value_(on_device(p.value)),
        vector_(on_device(p.vector)),
        key_term_(on_device(p.key_term)),
        bias_(on_device(p.bias)),
        output_gradient_(on_device(p.output_gradient)),
        score_gradient_(on_device(p.score_gradient)),
        output_(unwritten<T>(p.output.size())),
        sums_(unwritten<T>(p.sums.size())),
        scores_(static_cast<size_t>(p.scores.size()), static_cast<T>(kNothing)) {
    a_.query.data = query_.data();
    a_.key.data = key_.data();
    a_.value.data = value_.data();
    a_.vector = vector_.data();
    if (a_.key_term != nullptr) a_.key_term = key_term_.data();
    if (a_.bias.data != nullptr) a_.bias.data = bias_.data();
  }

  void forward() {
    const auto grid = cuda::query_grid(a_);
    const auto found_dim = 2 + p_->z.value_dim;
    auto found = unwritten<T>(grid.parts > 1 ? grid.heads * grid.rows * grid.parts * found_dim : 0);
    auto output = p_->template rows<T>(p_->output, p_->z.target, p_->z.value_dim);
    output.data = output_.data();
    run_forward<T>(*fibres_, a_, {output, sums_.data(), scores_.data(), found.data()}, false);
    p_->output = from_device(output_);
    p_->sums = from_device(sums_);
    p_->scores = from_device(scores_);
  }

  void backward(bool has_output_gradient = true, bool has_score_gradient = true) {
    const auto queries = cuda::query_grid(a_), keys = cuda::key_grid(a_);
    auto deltas = unwritten<T>(queries.heads * queries.rows);
    cuda::AdditiveUpstream<T> upstream{
        .output_gradient = p_->template rows<const T>(p_->output, p_->z.target, p_->z.value_dim),
        .output = {},
        .sums = sums_.data(),
        .score_gradient = has_score_gradient ? score_gradient_.data() : nullptr,
        .deltas = deltas.data()};
    upstream.output = upstream.output_gradient;
    upstream.output.data = output_.data();
    upstream.output_gradient.data = has_output_gradient ? output_gradient_.data() : nullptr;
    const auto sums_of_head = queries.row_blocks * queries.parts * cuda::vector_sums(queries.shape);
    auto query = unwritten<T>(queries.parts * p_->query.size());
    auto vector = unwritten<T>(queries.heads * sums_of_head * p_->z.hidden_dim);
    std::vector<T> bias(bias_.size());
    auto key = unwritten<T>(keys.parts * p_->key.size());
    auto value = unwritten<T>(keys.parts * p_->value.size());
    auto key_term = unwritten<T>(keys.parts * p_->key_term.size());
    run_backward<T>(*fibres_, a_, upstream,
                    {query.data(), vector.data(), a_.bias.data == nullptr ? nullptr : bias.data()},
                    {key.data(), value.data(), key_term.data()}, false);
    p_->clear_gradients();
    add_parts(query, p_->of_query);
    add_parts(key, p_->of_key);
    add_parts(value, p_->of_value);
    add_parts(key_term, p_->of_key_term);
    p_->of_bias = from_device(bias);
    const auto dim = p_->z.hidden_dim;
    for (int64_t i = 0; i < queries.heads * sums_of_head * dim; ++i) {
      p_->of_vector[i / dim / sums_of_head % p_->z.heads * dim + i % dim] +=
          vector[static_cast<size_t>(i)];
    }
  }

 private:
  static void add_parts(const std::vector<T>& parts, Numbers<T>& sum) {
    for (size_t i = 0; i < parts.size(); ++i) {
      sum[static_cast<int64_t>(i) % sum.size()] += parts[i];
    }
  }

  AdditiveProblem<T>* p_;
  kernels::AdditiveAttention<T> a_;
  Fibres* fibres_;
  std::vector<T> query_, key_, value_, vector_, key_term_, bias_;
  std::vector<T> output_gradient_, score_gradient_, output_, sums_, scores_;
};

template <typename T>
std::vector<double> as_doubles(Numbers<T>& x) {
  return std::vector<double>(x.data(), x.data() + x.size());
}
template <typename T>
void expect_same_bits(Numbers<T>& x, Numbers<T>& y, const char* what) {
  ASSERT_EQ(x.size(), y.size());
  EXPECT_EQ(std::memcmp(x.data(), y.data(), static_cast<size_t>(x.size()) * sizeof(T)), 0)
      << what << ": expected the same bits in each schedule";
}

template <typename T>
void run_on_device(AdditiveProblem<T>& p, Fibres& fibres) {
  DeviceAdditive<T> device(p, fibres);
  device.forward();
  device.backward();
}

template <typename T>
void expect_same_results(AdditiveProblem<T>& x, AdditiveProblem<T>& y) {
  expect_same_bits(x.output, y.output, "output");
  expect_same_bits(x.scores, y.scores, "scores");
  expect_same_bits(x.of_query, y.of_query, "gradient of the query");
  expect_same_bits(x.of_key, y.of_key, "gradient of the key");
  expect_same_bits(x.of_value, y.of_value, "gradient of the value");
  expect_same_bits(x.of_vector, y.of_vector, "gradient of the vector");
  expect_same_bits(x.of_key_term, y.of_key_term, "gradient of the key term");
  expect_same_bits(x.of_bias, y.of_bias, "gradient of the bias");
}

// With few queries and with more, several parts of the keys and of the queries, and queries without a key.
constexpr AdditiveSizes kDeviceSizes[] = {{2, 3, 5, 13, 11, 7},   {1, 2, 17, 70, 33, 20},
                                          {1, 1, 6, 262, 5, 3},   {1, 2, 1, 37, 40, 9},
                                          {2, 1, 3, 259, 6, 130}, {1, 1, 259, 9, 7, 5}};

class CudaAdditiveBody : public testing::TestWithParam<AdditiveScore> {
 protected:
  // The first one's results are compared with the formula, the others' with its bits.
  Fibres schedules_[3] = {{cuda::kThreads, Schedule::kFirst},
                          {cuda::kThreads, Schedule::kLast},
                          {cuda::kThreads, Schedule::kRandom}};

  template <typename T>
  void check(const AdditiveSizes& sizes, Extras extras) {
    SCOPED_TRACE(testing::Message() << "extras " << static_cast<int>(extras)
                                    << ", T = " << sizes.target << ", S = " << sizes.source);
    AdditiveProblem<T> p(sizes, GetParam(), extras), again(sizes, GetParam(), extras);
    if (GetParam() == AdditiveScore::kLeakyRelu && extras == Extras::kDropout) {
      p.a.slope = again.a.slope = T{0};  // ReLU
    }
    const AdditiveReference expected(p);
    run_on_device(p, schedules_[0]);
    expect_outputs(p, expected);
    expect_gradients(p, expected);
    for (auto* schedule : {&schedules_[1], &schedules_[2]}) {
      run_on_device(again, *schedule);
      expect_same_results(p, again);
    }
  }

  // The tiles do not depend on the function: with one of them in all sizes.
  template <typename T>
  void check_all() {
    const bool is_first = GetParam() == AdditiveScore::kTanh && sizeof(T) == 4;
    for (const auto& sizes : kDeviceSizes) {
      if (!is_first && sizes.source != 70 && sizes.source != 259) continue;
      for (const auto extras :
           {Extras::kNone, Extras::kAllowedAndClip, Extras::kBandBiasAndTerm, Extras::kDropout}) {
        check<T>(sizes, extras);
      }
    }
  }
};

TEST_P(CudaAdditiveBody, AgreesWithTheFormulaInFloat32) { check_all<float>(); }
TEST_P(CudaAdditiveBody, AgreesWithTheFormulaInFloat64) { check_all<double>(); }

// The attention of a class: by few queries, whose tiles are narrow, and by more.
constexpr AdditiveSizes kFewAndMore[] = {{2, 3, 3, 13, 11, 7}, {2, 3, 21, 70, 9, 6}};

TEST_P(CudaAdditiveBody, WhatIsNotANumberIsSeenByThoseWhoSeeTheKey) {
  for (const int64_t at : {0, 7, 12}) {
    AdditiveProblem<float> p({1, 1, 5, 13, 11, 7}, GetParam(), Extras::kNone);
    p.a.band_right = 0;
    p.key[at * p.z.hidden_dim + 9] = std::numeric_limits<float>::quiet_NaN();
    const AdditiveReference expected(p);
    DeviceAdditive<float>(p, schedules_[0]).forward();
    expect_near(p.output, expected.output, 40, "output");
  }
}

TEST(CudaAdditiveTiles, RowsThatNobodySeesMayHoldAnything) {
  Fibres fibres(cuda::kThreads, Schedule::kFirst);
  for (const auto& sizes : kFewAndMore) {
    AdditiveProblem<float> p(sizes, AdditiveScore::kTanh, Extras::kAllowedAndClip), broken = p;
    const auto heads = sizes.heads, target = sizes.target, source = sizes.source;
    for (auto* x : {&p, &broken}) {
      // Key 4 is seen by nobody, nor does query 1 see a key.
      for (int64_t row = 0; row < x->heads() * target; ++row) {
        x->allowed[static_cast<size_t>(row * source + 4)] = 0;
      }
      x->repoint();
    }
    const auto spoil = [](Numbers<float>& x, int64_t at, int64_t dim) {
      for (int64_t i = 0; i < dim; ++i) x[at * dim + i] = std::numeric_limits<float>::quiet_NaN();
    };
    for (int64_t head = 0; head < sizes.batch * heads; ++head) {
      spoil(broken.key, head * source + 4, sizes.hidden_dim);
      spoil(broken.value, head * source + 4, sizes.value_dim);
    }
    spoil(broken.query, 1, sizes.hidden_dim);
    run_on_device(p, fibres);
    run_on_device(broken, fibres);
    expect_same_results(p, broken);
  }
}

TEST(CudaAdditiveTiles, AMissingUpstreamGradientIsOneOfZeros) {
  Fibres fibres(cuda::kThreads, Schedule::kFirst);
  for (const auto& sizes : kFewAndMore) {
    for (const bool has_output : {false, true}) {
      AdditiveProblem<float> zeros(sizes, AdditiveScore::kTanh, Extras::kDropout), missing = zeros;
      missing.repoint();
      auto& gradient = has_output ? zeros.score_gradient : zeros.output_gradient;
      gradient = Numbers<float>(gradient.size());
      run_on_device(zeros, fibres);
      DeviceAdditive<float> device(missing, fibres);
      device.forward();
      device.backward(has_output, !has_output);
      expect_near(missing.of_query, as_doubles(zeros.of_query), 0, "gradient of the query");
      expect_near(missing.of_key, as_doubles(zeros.of_key), 0, "gradient of the key");
      expect_near(missing.of_value, as_doubles(zeros.of_value), 0, "gradient of the value");
      expect_near(missing.of_vector, as_doubles(zeros.of_vector), 0, "gradient of the vector");
    }
  }
}

TEST(CudaAdditiveTiles, RowsAreReadWhereTheyLie) {
  Fibres fibres(cuda::kThreads, Schedule::kFirst);
  for (const auto& sizes : kFewAndMore) {
    AdditiveProblem<float> p(sizes, AdditiveScore::kTanh, Extras::kNone), apart = p;
    apart.repoint();
    // [B, H, L, D] -> [B, L, H, D]
    const auto move = [&](Numbers<float>& x, int64_t length, int64_t dim) {
      auto moved = x;
      for (int64_t i = 0; i < x.size(); ++i) {
        const auto d = i % dim, l = i / dim % length, h = i / dim / length % sizes.heads,
                   b = i / dim / length / sizes.heads;
        moved[((b * length + l) * sizes.heads + h) * dim + d] = x[i];
      }
      x = moved;
      return kernels::HeadRows<const float>{x.data(), length * sizes.heads * dim, dim,
                                            sizes.heads * dim};
    };
    apart.a.query = move(apart.query, sizes.target, sizes.hidden_dim);
    apart.a.key = move(apart.key, sizes.source, sizes.hidden_dim);
    apart.a.value = move(apart.value, sizes.source, sizes.value_dim);
    run_on_device(p, fibres);
    run_on_device(apart, fibres);
    expect_same_results(p, apart);
  }
}

TEST(CudaAdditiveTiles, AMaskOfKeysIsThatOfAllPairs) {
  Fibres fibres(cuda::kThreads, Schedule::kFirst);
  for (const auto& sizes : kFewAndMore) {
    AdditiveProblem<float> dense(sizes, AdditiveScore::kTanh, Extras::kNone), by_key = dense;
    const auto of_head = sizes.target * sizes.source;
    for (auto* p : {&dense, &by_key}) {
      p->repoint();
      p->allowed.assign(static_cast<size_t>(p->scores.size()), 0);
      p->a.band_left = 5;
    }
    for (int64_t i = 0; i < dense.scores.size(); ++i) {
      const auto batch = i / of_head / sizes.heads, s = i % sizes.source;
      const char is_allowed = s < sizes.source - 2 - batch ? 1 : 0;
      dense.allowed[static_cast<size_t>(i)] = is_allowed;
      by_key.allowed[static_cast<size_t>(batch * sizes.source + s)] = is_allowed;
    }
    dense.a.allowed = {reinterpret_cast<const bool*>(dense.allowed.data()), sizes.heads * of_head,
                       of_head, sizes.source, 1};
    by_key.a.allowed = {reinterpret_cast<const bool*>(by_key.allowed.data()), sizes.source, 0, 0,
                        1};
    run_on_device(dense, fibres);
    run_on_device(by_key, fibres);
    expect_same_results(dense, by_key);
  }
}

TEST(Fibres, ThreadsThatWaitInVainAreAnError) {
  Fibres fibres(64, Schedule::kRandom);
  EXPECT_THROW(fibres.run([&](int thread) {
    if (thread > 0) fibres.wait_for_block(thread, false);
  }),
               std::logic_error);
  Fibres others(64, Schedule::kRandom);
  EXPECT_THROW(others.run([&](int thread) {
    if (thread % 2 == 0) others.shuffle_xor(thread, 0.0, 1);
  }),
               std::logic_error);
}

TEST(Fibres, AShuffleExchangesAndAVoteIsOfAll) {
  Fibres fibres(64, Schedule::kLast);
  std::vector<double> got(64);
  std::vector<char> votes(64);
  fibres.run([&](int thread) {
    const auto i = static_cast<size_t>(thread);
    got[i] = fibres.shuffle_xor(thread, fibres.shuffle_xor(thread, thread, 16), 1);
    votes[i] = fibres.wait_for_block(thread, thread == 40) && !fibres.wait_for_block(thread, false);
  });
  for (int i = 0; i < 64; ++i) {
    EXPECT_EQ(got[static_cast<size_t>(i)], i ^ 17);
    EXPECT_TRUE(votes[static_cast<size_t>(i)]);
  }
}

std::string name_of_function(const testing::TestParamInfo<AdditiveScore>& info) {
  constexpr const char* kNames[] = {"Tanh", "LeakyRelu", "Silu", "Gelu"};
  return kNames[static_cast<int>(info.param)];
}

INSTANTIATE_TEST_SUITE_P(Functions, CudaAdditiveBody,
                         testing::Values(AdditiveScore::kTanh, AdditiveScore::kLeakyRelu,
                                         AdditiveScore::kSilu, AdditiveScore::kGelu),
                         name_of_function);

}  // namespace
}  // namespace attend::kernels_test
