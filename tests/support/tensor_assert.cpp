#include "support/tensor_assert.h"

#include <sstream>
#include <vector>

namespace attend::testing_support {
namespace {

// The index of the n-th element in row-major order: "[0, 2, 1]".
std::string index_string(int64_t n, at::IntArrayRef sizes) {
  std::vector<int64_t> index(sizes.size());
  for (size_t d = sizes.size(); d-- > 0;) {
    index[d] = n % sizes[d];
    n /= sizes[d];
  }
  std::ostringstream text;
  text << at::IntArrayRef(index);
  return text.str();
}

torch::Tensor as_doubles(const torch::Tensor& x) {
  return x.detach().to(torch::kCPU, torch::kDouble).contiguous();
}

}  // namespace

testing::AssertionResult tensor_near(const char* actual_text, const char* expected_text,
                                     const char* /*tolerance_text*/, const torch::Tensor& actual,
                                     const torch::Tensor& expected, double tolerance) {
  if (!actual.defined() || !expected.defined()) {
    return testing::AssertionFailure()
           << (actual.defined() ? expected_text : actual_text) << " is undefined";
  }
  if (actual.sizes() != expected.sizes()) {
    return testing::AssertionFailure() << actual_text << " has shape " << actual.sizes() << ", "
                                       << expected_text << " has " << expected.sizes();
  }
  if (actual.numel() == 0) return testing::AssertionSuccess();
  const auto a = as_doubles(actual), b = as_doubles(expected);
  const auto difference = torch::where(a == b, torch::zeros_like(a), (a - b).abs());
  const auto allowed = tolerance * b.abs().clamp_min(1.0);
  // Written so that a NaN counts as wrong.
  const auto wrong = difference.le(allowed).logical_not();
  const auto count = wrong.sum().item<int64_t>();
  if (count == 0) return testing::AssertionSuccess();
  const auto excess = (difference / b.abs().clamp_min(1.0)).masked_fill(wrong.logical_not(), 0.0);
  const auto worst =
      excess.nan_to_num(std::numeric_limits<double>::infinity()).argmax().item<int64_t>();
  std::ostringstream message;
  message.precision(10);
  message << actual_text << " differs from " << expected_text << " in " << count << " of "
          << a.numel() << " elements, most at " << index_string(worst, a.sizes()) << ": got "
          << a.flatten()[worst].item<double>() << ", expected " << b.flatten()[worst].item<double>()
          << ", tolerance " << tolerance;
  return testing::AssertionFailure() << message.str();
}

testing::AssertionResult tensor_equal(const char* actual_text, const char* expected_text,
                                      const torch::Tensor& actual, const torch::Tensor& expected) {
  if (actual.defined() && expected.defined() && actual.scalar_type() != expected.scalar_type()) {
    return testing::AssertionFailure()
           << actual_text << " has dtype " << actual.scalar_type() << ", " << expected_text
           << " has " << expected.scalar_type();
  }
  return tensor_near(actual_text, expected_text, "0", actual, expected, 0.0);
}

}  // namespace attend::testing_support
