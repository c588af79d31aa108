#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "kernels/additive_problem.h"
#include "kernels/cuda/additive_attention-inl.h"
#include "kernels/cuda_block.h"

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
  DeviceAdditive(AdditiveProblem<T>& p, Fibres& fibres, bool is_approximate = false)
      : p_(&p),
        a_(p.a),
        is_approximate_(is_approximate),
        fibres_(&fibres),
        query_(on_device(p.query)),
        key_(on_device(p.key)),
        value_(on_device(p.value)),
        vector_(on_device(p.vector)),
        key_term_(on_device(p.key_term)),
        bias_(on_device(p.bias)),
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
    const auto rows = p_->heads() * p_->z.target;
    auto found = unwritten<T>(grid.parts > 1 ? rows * grid.parts * (2 + p_->z.value_dim) : 0);
    auto output = p_->template rows<T>(p_->output, p_->z.target, p_->z.value_dim);
    output.data = output_.data();
    const kernels::AdditiveResult<T> result{output, sums_.data(), scores_.data(), found.data()};
    with_kernels(grid, [&]<class Shape, class Score>() {
      using Memory = cuda::ForwardMemory<Shape, T>;
      launch<Memory>(*fibres_, grid.blocks(), [&](const HostBlock& block, Memory& memory) {
        cuda::forward_block<Shape, Score>(block, memory, grid, a_, result);
      });
    });
    if (grid.parts > 1) {
      launch<char>(*fibres_, rows, [&](const HostBlock& block, char& /*memory*/) {
        cuda::join_block(block, grid, a_, result);
      });
    }
    p_->output = from_device(output_);
    p_->sums = from_device(sums_);
    p_->scores = from_device(scores_);
  }

 private:
  template <class Body>
  void with_kernels(const cuda::AdditiveGrid& grid, const Body& body) {
    cuda::with_shape(grid.shape, [&]<class Shape>() {
      cuda::with_score_function(a_.score, a_.slope, is_approximate_,
                                [&]<class Score>() { body.template operator()<Shape, Score>(); });
    });
  }

  AdditiveProblem<T>* p_;
  kernels::AdditiveAttention<T> a_;
  bool is_approximate_;
  Fibres* fibres_;
  std::vector<T> query_, key_, value_, vector_, key_term_, bias_;
  std::vector<T> output_, sums_, scores_;
};

template <typename T>
void expect_same_bits(Numbers<T>& x, Numbers<T>& y, const char* what) {
  ASSERT_EQ(x.size(), y.size());
  EXPECT_EQ(std::memcmp(x.data(), y.data(), static_cast<size_t>(x.size()) * sizeof(T)), 0)
      << what << ": expected the same bits in each schedule";
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
    DeviceAdditive<T>(p, schedules_[0]).forward();
    expect_outputs(p, expected);
    for (auto* schedule : {&schedules_[1], &schedules_[2]}) {
      DeviceAdditive<T>(again, *schedule).forward();
      expect_same_bits(p.output, again.output, "output");
      expect_same_bits(p.scores, again.scores, "scores");
    }
  }

  template <typename T>
  void check_all() {
    for (const auto& sizes : kDeviceSizes) {
      for (const auto extras :
           {Extras::kNone, Extras::kAllowedAndClip, Extras::kBandBiasAndTerm, Extras::kDropout}) {
        check<T>(sizes, extras);
      }
    }
  }
};

TEST_P(CudaAdditiveBody, AgreesWithTheFormulaInFloat32) { check_all<float>(); }
TEST_P(CudaAdditiveBody, AgreesWithTheFormulaInFloat64) { check_all<double>(); }

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
