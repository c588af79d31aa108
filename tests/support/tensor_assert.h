#pragma once

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <string>
#include <typeinfo>

namespace attend::testing_support {

/// Succeeds if the shapes agree and |actual - expected| <= tolerance * max(1, |expected|) for every
/// element; dtypes and devices may differ. The message names the worst element and both values.
testing::AssertionResult tensor_near(const char* actual_text, const char* expected_text,
                                     const char* tolerance_text, const torch::Tensor& actual,
                                     const torch::Tensor& expected, double tolerance);

/// Succeeds if dtypes, shapes and all values agree exactly.
testing::AssertionResult tensor_equal(const char* actual_text, const char* expected_text,
                                      const torch::Tensor& actual, const torch::Tensor& expected);

/// Runs `call` and returns "" if it throws an exception of exactly `Exception` with exactly this
/// message (without a backtrace), else what happened instead.
template <typename Exception, typename Call>
std::string unmet_throw(const Call& call, const std::string& message) {
  try {
    call();
  } catch (const c10::Error& e) {
    const std::string got = e.what_without_backtrace();
    if (typeid(e) != typeid(Exception)) {
      return std::string("threw another type, ") + typeid(e).name() + ": " + got;
    }
    return got == message ? "" : "got the message\n  " + got + "\ninstead of\n  " + message;
  } catch (const std::exception& e) {
    return std::string("threw another type, ") + typeid(e).name() + ": " + e.what();
  }
  return "threw nothing; expected\n  " + message;
}

}  // namespace attend::testing_support

#define EXPECT_TENSOR_NEAR(actual, expected, tolerance) \
  EXPECT_PRED_FORMAT3(::attend::testing_support::tensor_near, actual, expected, tolerance)

#define EXPECT_TENSOR_EQUAL(actual, expected) \
  EXPECT_PRED_FORMAT2(::attend::testing_support::tensor_equal, actual, expected)

/// `exception` is c10::Error or c10::ValueError itself, no base of what is thrown.
#define EXPECT_THROW_MESSAGE(statement, exception, message)                                       \
  EXPECT_EQ(                                                                                      \
      "", ::attend::testing_support::unmet_throw<exception>([&] { (void)(statement); }, message)) \
      << #statement
