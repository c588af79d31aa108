#include "kernels/cpu/packed_product.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/numbers.h"
#include "support/instruction_sets.h"

namespace attend::kernels_test {
namespace {

using kernels::Ending;
using kernels::WeightStorage;

// What a weight or an input counts as, and the scale of its row.
std::vector<double> rounded_rows(WeightStorage storage, Numbers<float>& x, int64_t rows,
                                 int64_t columns, bool is_input) {
  std::vector<double> result;
  for (int64_t r = 0; r < rows; ++r) {
    float greatest = 0;
    for (int64_t c = 0; c < columns; ++c) {
      greatest = std::max(greatest, std::abs(x[r * columns + c]));
    }
    for (int64_t c = 0; c < columns; ++c) {
      const float value = x[r * columns + c];
      if (storage == WeightStorage::kFloat32 || (storage == WeightStorage::kBFloat16 && is_input)) {
        result.push_back(value);
      } else if (storage == WeightStorage::kBFloat16) {
        result.push_back(rounded_to_bfloat16(value));
      } else if (greatest == 0.0F) {
        result.push_back(0.0);
      } else {
        const float scale = greatest / 127.0F;
        const float integer =
            std::nearbyint(is_input ? value * (127.0F / greatest) : value / scale);
        result.push_back(double{integer} * scale);
      }
    }
  }
  return result;
}

double activated(double x, Ending::Activation activation) {
  switch (activation) {
    case Ending::Activation::kNone:
      return x;
    case Ending::Activation::kRelu:
      return std::max(x, 0.0);
    case Ending::Activation::kGelu:
      return x * 0.5 * std::erfc(-x / std::sqrt(2.0));
    case Ending::Activation::kGeluTanh:
      return x * 0.5 * (1 + std::tanh(std::sqrt(2 / std::acos(-1.0)) * (x + 0.044715 * x * x * x)));
    case Ending::Activation::kSwish:
      return x / (1 + std::exp(-x));
  }
  return x;
}

struct PackedCase {
  WeightStorage storage;
  int64_t rows, columns, depth;
  Ending::Activation activation = Ending::Activation::kNone;
  bool with_bias = true, with_factor = false, with_addend = false;
  bool by_pairs = false;  // of kBFloat16: inputs are rounded too
};

void check_packed_product(const PackedCase& z) {
  SCOPED_TRACE(testing::Message() << "storage " << static_cast<int>(z.storage) << ", " << z.rows
                                  << " x " << z.columns << " x " << z.depth << ", activation "
                                  << static_cast<int>(z.activation)
                                  << (z.by_pairs ? ", by pairs" : ""));
  auto input = normal<float>(z.rows * z.depth, 1), weights = normal<float>(z.columns * z.depth, 2),
       bias = normal<float>(kernels::packed_panels(z.columns) * kernels::kPackedColumns, 3),
       factor = normal<float>(z.rows * z.columns, 4), addend = normal<float>(z.rows * z.columns, 5);
  for (int64_t k = 0; k < z.depth; ++k) input[(z.rows - 1) * z.depth + k] = 0;  // a row of zeros
  const auto a = rounded_rows(z.storage, input, z.rows, z.depth, /*is_input=*/!z.by_pairs);
  const auto w = rounded_rows(z.storage, weights, z.columns, z.depth, false);
  std::vector<double> expected;
  for (int64_t i = 0; i < z.rows; ++i) {
    for (int64_t j = 0; j < z.columns; ++j) {
      double sum = z.with_bias ? bias[j] : 0.0;
      for (int64_t k = 0; k < z.depth; ++k) {
        sum += a[static_cast<size_t>(i * z.depth + k)] * w[static_cast<size_t>(j * z.depth + k)];
      }
      const auto at = i * z.columns + j;
      expected.push_back(activated(sum, z.activation) * (z.with_factor ? factor[at] : 1.0F) +
                         (z.with_addend ? addend[at] : 0.0F));
    }
  }
  const auto padded = bias.size();
  Numbers<std::byte> packed(
      static_cast<int64_t>(kernels::packed_bytes(z.storage, z.columns, z.depth)));
  Numbers<float> scales(padded), input_scales(z.rows), output(z.rows * z.columns, -1e9F);
  Numbers<int32_t> sums(padded);
  const auto of_pairs = kernels::packed_depth(WeightStorage::kBFloat16, z.depth);
  Numbers<kernels::BFloat16> halves(z.rows * of_pairs);
  if (z.by_pairs) kernels::round_rows(input.data(), z.depth, z.rows, z.depth, halves.data());
  Numbers<int8_t> integers(z.rows * kernels::packed_depth(WeightStorage::kInt8, z.depth));
  kernels::pack_weights(z.storage, weights.data(), z.columns, z.depth, packed.data(), scales.data(),
                        sums.data());
  kernels::quantize_rows(input.data(), z.depth, z.rows, z.depth, integers.data(),
                         input_scales.data());
  if (z.with_addend) output = addend;  // which may be the output itself
  const kernels::PackedProduct product{
      .rows = z.rows,
      .input = input.data(),
      .input_stride = z.depth,
      .halves = z.by_pairs ? halves.data() : nullptr,
      .integers = integers.data(),
      .input_scales = input_scales.data(),
      .weights = {.storage = z.storage,
                  .columns = z.columns,
                  .depth = z.depth,
                  .data = packed.data(),
                  .bias = z.with_bias ? bias.data() : nullptr,
                  .scales = scales.data(),
                  .sums = sums.data()},
      .ending = {.activation = z.activation,
                 .factor = z.with_factor ? factor.data() : nullptr,
                 .addend = z.with_addend ? output.data() : nullptr},
      .output = output.data()};
  const auto panels = kernels::packed_panels(z.columns);
  for (int64_t panel = panels; panel-- > 0;) kernels::packed_product(product, panel, panel + 1);
  expect_near(output, expected, static_cast<double>(12 + z.depth), "output");

  // A row's bits do not depend on the rows beside it.
  Numbers<float> alone(z.rows * z.columns, -1e9F);
  if (z.with_addend) alone = addend;
  for (int64_t i = 0; i < z.rows; ++i) {
    auto row = product;
    row.rows = 1;
    row.input += i * z.depth;
    if (z.by_pairs) row.halves += i * of_pairs;
    row.integers += i * kernels::packed_depth(WeightStorage::kInt8, z.depth);
    row.input_scales += i;
    row.output = alone.data() + i * z.columns;
    if (z.with_factor) row.ending.factor += i * z.columns;
    if (z.with_addend) row.ending.addend = row.output;
    kernels::packed_product(row, 0, panels);
  }
  for (int64_t i = 0; i < output.size(); ++i) ASSERT_EQ(output[i], alone[i]) << i;
}

TEST(PackedProduct, IsTheProductOfRoundedNumbers) {
  testing_support::for_each_instruction_set([] {
    for (const auto storage :
         {WeightStorage::kFloat32, WeightStorage::kBFloat16, WeightStorage::kInt8}) {
      check_packed_product({.storage = storage, .rows = 1, .columns = 1, .depth = 1});
      check_packed_product({.storage = storage, .rows = 5, .columns = 64, .depth = 7});
      check_packed_product({.storage = storage, .rows = 13, .columns = 67, .depth = 33});
      check_packed_product(
          {.storage = storage, .rows = 8, .columns = 130, .depth = 96, .with_bias = false});
      check_packed_product({.storage = storage, .rows = 6, .columns = 31, .depth = 130});
    }
  });
}

TEST(PackedProduct, OfPairsIsTheProductOfRoundedNumbers) {
  testing_support::for_each_instruction_set([] {
    if (!testing_support::can_multiply_pairs()) return;
    const auto check = [](int64_t rows, int64_t columns, int64_t depth) {
      check_packed_product({.storage = WeightStorage::kBFloat16,
                            .rows = rows,
                            .columns = columns,
                            .depth = depth,
                            .activation = Ending::Activation::kRelu,
                            .with_bias = rows % 2 == 0,
                            .by_pairs = true});
    };
    check(1, 1, 1);
    check(5, 64, 7);
    check(13, 67, 33);
    check(8, 130, 96);
    check(6, 31, 130);
  });
}

TEST(PackedProduct, AppliesItsEnding) {
  using Activation = Ending::Activation;
  testing_support::for_each_instruction_set([] {
    for (const auto activation : {Activation::kRelu, Activation::kGelu, Activation::kGeluTanh,
                                  Activation::kSwish, Activation::kNone}) {
      check_packed_product({.storage = WeightStorage::kFloat32,
                            .rows = 7,
                            .columns = 75,
                            .depth = 5,
                            .activation = activation,
                            .with_factor = activation != Activation::kRelu,
                            .with_addend = activation != Activation::kSwish});
    }
    check_packed_product({.storage = WeightStorage::kInt8,
                          .rows = 3,
                          .columns = 70,
                          .depth = 12,
                          .activation = Activation::kRelu,
                          .with_factor = true,
                          .with_addend = true});
  });
}

TEST(PackedProduct, CopiedColumnsAreThoseOfAMatrixPackedInThatOrder) {
  constexpr int64_t kColumns = 130, kDepth = 7;
  auto weights = normal<float>(kColumns * kDepth, 6);
  const std::vector<int64_t> order{129, 3, 64, 3, 0, 65, 127};
  const auto count = static_cast<int64_t>(order.size());
  Numbers<float> chosen(count * kDepth);
  for (int64_t c = 0; c < count; ++c) {
    std::copy_n(weights.data() + order[static_cast<size_t>(c)] * kDepth, kDepth,
                chosen.data() + c * kDepth);
  }
  for (const auto storage :
       {WeightStorage::kFloat32, WeightStorage::kBFloat16, WeightStorage::kInt8}) {
    const auto bytes = [&](int64_t columns) {
      return static_cast<int64_t>(kernels::packed_bytes(storage, columns, kDepth));
    };
    Numbers<float> scales(3 * kernels::kPackedColumns);
    Numbers<int32_t> sums(3 * kernels::kPackedColumns);
    Numbers<std::byte> all(bytes(kColumns)), expected(bytes(count)), copied(bytes(count));
    kernels::pack_weights(storage, weights.data(), kColumns, kDepth, all.data(), scales.data(),
                          sums.data());
    kernels::pack_weights(storage, chosen.data(), count, kDepth, expected.data(), scales.data(),
                          sums.data());
    for (int64_t c = 0; c < count; ++c) {
      kernels::copy_packed_column(storage, kDepth, all.data(), order[static_cast<size_t>(c)],
                                  copied.data(), c);
    }
    EXPECT_TRUE(std::equal(copied.data(), copied.data() + copied.size(), expected.data()))
        << static_cast<int>(storage);
  }
}

TEST(PackedProduct, OfAnEmptySumIsTheBias) {
  check_packed_product({.storage = WeightStorage::kFloat32, .rows = 2, .columns = 3, .depth = 0});
}

}  // namespace
}  // namespace attend::kernels_test
