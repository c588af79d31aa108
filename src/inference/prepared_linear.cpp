#include "inference/prepared_linear.h"

#include <algorithm>

#include "detail/ids.h"
#include "detail/parallel.h"
#include "kernels/cpu/instruction_set.h"
#include "kernels/cpu/top_tokens.h"

namespace attend::detail {
namespace {

// A part of a product that is worth another thread, in multiply-adds: about 10 us.
constexpr int64_t kWorthAThread = 500'000;
// From so many rows on, threads take panels one by one. With fewer, where reading the weights takes most
// of the time, a thread takes a group of them, which its cache may still have from the last step.
constexpr int64_t kRowsToShare = 16;
// Tasks of a thread, where there are rows enough, so that none waits long for the last one.
constexpr int64_t kTasksOfThread = 4;
// Rows of a task, at least: a panel is read once for each.
constexpr int64_t kRowsOfPart = 16;
// Rows whose outputs are looked at together: of so many, kTopPart of each fit into a second cache.
constexpr int64_t kRowsOfBlock = 256;
// Rows whose best outputs are worth another thread when those of all parts are brought together.
constexpr int64_t kRowsToMerge = 64;

// For a product of so many multiply-adds.
int64_t threads_for(int64_t work) {
  return std::clamp<int64_t>(work / kWorthAThread, 1, torch::get_num_threads());
}

// In how many groups threads take panels.
int64_t panel_groups(int64_t rows, int64_t panels, int64_t threads) {
  return rows < kRowsToShare ? std::min(threads, panels) : panels;
}

kernels::WeightStorage storage_of(WeightPrecision precision) {
  switch (precision) {
    case WeightPrecision::kFloat32:
      return kernels::WeightStorage::kFloat32;
    case WeightPrecision::kBFloat16:
      return kernels::WeightStorage::kBFloat16;
    case WeightPrecision::kInt8:
      return kernels::WeightStorage::kInt8;
  }
  TORCH_INTERNAL_ASSERT(false, "precision");
}

// The rows [first, first + rows) of a product.
kernels::PackedProduct rows_of(const kernels::PackedProduct& whole, int64_t first, int64_t rows) {
  auto part = whole;
  const auto offset = first * whole.weights.columns;
  part.rows = rows;
  if (whole.input != nullptr) part.input += first * whole.input_stride;
  const auto packed = first * kernels::packed_depth(whole.weights.storage, whole.weights.depth);
  if (whole.halves != nullptr) part.halves += packed;
  if (whole.integers != nullptr) {
    part.integers += packed;
    part.input_scales += first;
  }
  if (whole.ending.factor != nullptr) part.ending.factor += offset;
  if (whole.ending.addend != nullptr) part.ending.addend += offset;
  part.output += offset;
  return part;
}

// The panels [first, first + panels) of a product without an ending. No output.
kernels::PackedProduct panels_of(const kernels::PackedProduct& whole, int64_t first,
                                 int64_t panels) {
  auto part = whole;
  auto& weights = part.weights;
  const auto column = first * kernels::kPackedColumns;
  weights.columns = std::min(panels * kernels::kPackedColumns, weights.columns - column);
  weights.data += kernels::packed_bytes(weights.storage, column, weights.depth);
  if (weights.bias != nullptr) weights.bias += column;
  if (weights.scales != nullptr) weights.scales += column;
  if (weights.sums != nullptr) weights.sums += column;
  return part;
}

// The rows from `first` on.
kernels::TopTokens rows_of(const kernels::TopTokens& whole, int64_t first) {
  auto some = whole;
  const auto part = first * kernels::top_parts(whole.size), place = first * whole.count;
  some.largest += part;
  if (whole.sums != nullptr) some.sums += part;
  some.values += place;
  some.tokens += place;
  return some;
}

}  // namespace

PreparedLinear::PreparedLinear(const torch::Tensor& weight, const torch::Tensor& bias,
                               const Packing& packing)
    : storage_(storage_of(packing.precision)), columns_(weight.size(0)), depth_(weight.size(1)) {
  const auto source = weight.detach().contiguous();
  const auto padded = kernels::packed_panels(columns_) * kernels::kPackedColumns;
  packed_ =
      packing.memory.take(static_cast<int64_t>(kernels::packed_bytes(storage_, columns_, depth_)));
  if (storage_ == kernels::WeightStorage::kInt8) {
    scales_ = torch::empty({padded}, on_cpu(torch::kFloat));
    sums_ = torch::empty({padded}, on_cpu(torch::kInt));
  }
  if (bias.defined()) {
    bias_ = torch::zeros({padded}, on_cpu(torch::kFloat));
    bias_.narrow(0, 0, columns_).copy_(bias.detach());
  }
  kernels::pack_weights(storage_, source.const_data_ptr<float>(), columns_, depth_,
                        reinterpret_cast<std::byte*>(packed_.mutable_data_ptr<uint8_t>()),
                        scales_.defined() ? scales_.mutable_data_ptr<float>() : nullptr,
                        sums_.defined() ? sums_.mutable_data_ptr<int32_t>() : nullptr);
}

PreparedLinear PreparedLinear::joined(const std::vector<torch::nn::Linear>& layers,
                                      const Packing& packing) {
  std::vector<torch::Tensor> weights, biases;
  for (const auto& layer : layers) {
    weights.push_back(layer->weight.detach());
    if (layer->bias.defined()) biases.push_back(layer->bias.detach());
  }
  TORCH_INTERNAL_ASSERT(biases.empty() || biases.size() == layers.size());
  return {torch::cat(weights), biases.empty() ? torch::Tensor() : torch::cat(biases), packing};
}

PreparedLinear PreparedLinear::without_outputs() const {
  PreparedLinear none;
  none.storage_ = storage_;
  none.depth_ = depth_;
  const auto empty = [](const torch::Tensor& of) {
    return of.defined() ? torch::empty({0}, of.options()) : torch::Tensor();
  };
  none.packed_ = empty(packed_);
  none.bias_ = empty(bias_);
  none.scales_ = empty(scales_);
  none.sums_ = empty(sums_);
  return none;
}

void PreparedLinear::grow(int64_t outputs) {
  columns_ = std::max(columns_, outputs);
  const auto lengthen = [](torch::Tensor& values, int64_t size) {
    if (!values.defined() || values.numel() >= size) return;
    auto longer = torch::zeros({size}, values.options());
    longer.narrow(0, 0, values.numel()).copy_(values);
    values = longer;
  };
  // Whole panels, and room for twice as many where there are some, so that growing costs little.
  const auto needed = kernels::packed_bytes(storage_, columns_, depth_);
  if (packed_.numel() >= static_cast<int64_t>(needed)) return;
  const auto room = packed_.numel() == 0 ? columns_ : 2 * columns_;
  const auto padded = kernels::packed_panels(room) * kernels::kPackedColumns;
  lengthen(packed_, static_cast<int64_t>(kernels::packed_bytes(storage_, room, depth_)));
  lengthen(bias_, padded);
  lengthen(scales_, padded);
  lengthen(sums_, padded);
}

void PreparedLinear::copy_output(const PreparedLinear& other, int64_t from, int64_t to) {
  kernels::copy_packed_column(storage_, depth_, other.view().data, from,
                              reinterpret_cast<std::byte*>(packed_.mutable_data_ptr<uint8_t>()),
                              to);
  const auto copy = [&](const torch::Tensor& values, torch::Tensor& copies, auto zero) {
    using Value = decltype(zero);
    if (!values.defined()) return;
    copies.mutable_data_ptr<Value>()[to] = values.const_data_ptr<Value>()[from];
  };
  copy(other.bias_, bias_, float{});
  copy(other.scales_, scales_, float{});
  copy(other.sums_, sums_, int32_t{});
}

kernels::PackedWeights PreparedLinear::view() const {
  return {.storage = storage_,
          .columns = columns_,
          .depth = depth_,
          .data = reinterpret_cast<const std::byte*>(packed_.const_data_ptr<uint8_t>()),
          .bias = bias_.defined() ? bias_.const_data_ptr<float>() : nullptr,
          .scales = scales_.defined() ? scales_.const_data_ptr<float>() : nullptr,
          .sums = sums_.defined() ? sums_.const_data_ptr<int32_t>() : nullptr};
}

// The product with weights and input, to which an output and an ending are added.
kernels::PackedProduct PreparedLinear::product(const float* input, int64_t rows,
                                               Scratch& scratch) const {
  kernels::PackedProduct product{.rows = rows,
                                 .input = input,
                                 .input_stride = depth_,
                                 .halves = nullptr,
                                 .integers = nullptr,
                                 .input_scales = nullptr,
                                 .weights = view(),
                                 .ending = {},
                                 .output = nullptr};
  const auto size = kernels::packed_depth(storage_, depth_);
  const auto for_rows = [&](const auto& convert) {
    parallel_for(rows, std::max<int64_t>(kWorthAThread / std::max<int64_t>(depth_, 1), 1),
                 [&](int64_t first, int64_t last) { convert(first, last - first); });
  };
  if (storage_ == kernels::WeightStorage::kBFloat16 && kernels::prefers_bfloat16_products()) {
    auto* halves = scratch.halves.of(rows * size);
    for_rows([&](int64_t first, int64_t count) {
      kernels::round_rows(input + first * depth_, depth_, count, depth_, halves + first * size);
    });
    product.halves = halves;
  }
  if (storage_ != kernels::WeightStorage::kInt8) return product;
  auto* integers = scratch.integers.of(rows * size);
  auto* scales = scratch.scales.of(rows);
  for_rows([&](int64_t first, int64_t count) {
    kernels::quantize_rows(input + first * depth_, depth_, count, depth_, integers + first * size,
                           scales + first);
  });
  product.input = nullptr;
  product.integers = integers;
  product.input_scales = scales;
  return product;
}

void PreparedLinear::run(const float* input, int64_t rows, float* output, Scratch& scratch,
                         const kernels::Ending& ending) const {
  auto whole = product(input, rows, scratch);
  whole.ending = ending;
  whole.output = output;
  const auto panels = kernels::packed_panels(columns_);
  const auto threads = threads_for(rows * columns_ * depth_);
  const auto groups = panel_groups(rows, panels, threads);
  whole.panels_ahead = groups == panels ? threads : 1;
  const auto parts = std::clamp<int64_t>((kTasksOfThread * threads + groups - 1) / groups, 1,
                                         std::max<int64_t>(rows / kRowsOfPart, 1));
  share_tasks(groups * parts, threads, [&](int64_t /*thread*/, const auto& take) {
    while (const auto task = take()) {
      const auto group = *task % groups, part = *task / groups;
      const auto row = rows * part / parts, end = rows * (part + 1) / parts;
      kernels::packed_product(rows_of(whole, row, end - row), panels * group / groups,
                              panels * (group + 1) / groups);
    }
  });
}

BestTokens PreparedLinear::best(const float* input, int64_t rows, const BestTokensRequest& request,
                                Scratch& scratch) const {
  constexpr auto kPanels = kernels::kTopPart / kernels::kPackedColumns;
  const auto parts = kernels::top_parts(columns_);
  const auto work = std::max<int64_t>(rows * kernels::kTopPart * depth_, 1);
  const auto shares = std::min(threads_for(parts * work), parts);
  const auto blocks = std::max<int64_t>((rows + kRowsOfBlock - 1) / kRowsOfBlock, 1);
  const auto block = (rows + blocks - 1) / blocks;

  BestTokens best{.count = std::min(request.count, columns_)};
  const auto places = rows * best.count;
  best.log_probabilities.resize(static_cast<size_t>(places));
  best.tokens.resize(static_cast<size_t>(places));
  const auto excluded = values_of(request.excluded);
  float* const sums = scratch.sums.of(2 * rows * parts);
  const bool has_sums = request.normaliser != Normaliser::kNone;
  const kernels::TopTokens top{.size = columns_,
                               .count = best.count,
                               .excluded = excluded.data(),
                               .excluded_count = static_cast<int64_t>(excluded.size()),
                               .sums_excluded = request.normaliser == Normaliser::kAll,
                               .largest = sums,
                               .sums = has_sums ? sums + rows * parts : nullptr,
                               .values = best.log_probabilities.data(),
                               .tokens = best.tokens.data()};
  // Each share of the parts has a list of its own; the first one's is the result.
  float* const values = scratch.best.of((shares - 1) * places);
  int64_t* const tokens = scratch.best_tokens.of((shares - 1) * places);
  const auto of_share = [&](int64_t share) {
    auto own = top;
    if (share == 0) return own;
    own.values = values + (share - 1) * places;
    own.tokens = tokens + (share - 1) * places;
    return own;
  };

  const auto whole = product(input, rows, scratch);
  float* const logits = scratch.logits.of(shares * block * kernels::kTopPart);
  const auto groups = panel_groups(rows, parts, shares);
  share_tasks(groups, shares, [&](int64_t share, const auto& take) {
    const auto own = of_share(share);
    kernels::clear_top_tokens(own, rows);
    while (const auto group = take()) {
      for (auto part = parts * *group / groups; part < parts * (*group + 1) / groups; ++part) {
        auto columns = panels_of(whole, part * kPanels, kPanels);
        columns.output = logits + share * block * kernels::kTopPart;
        columns.panels_ahead = groups == parts ? kPanels * (shares - 1) + 1 : 1;
        const auto panels = kernels::packed_panels(columns.weights.columns);
        for (int64_t row = 0; row < rows; row += block) {
          const auto here = std::min(block, rows - row);
          auto some = rows_of(columns, row, here);
          some.output = columns.output;
          kernels::packed_product(some, 0, panels);
          kernels::add_top_part(rows_of(own, row), here, part, some.output, some.weights.columns);
        }
      }
    }
  });
  parallel_for(rows, kRowsToMerge, [&](int64_t first, int64_t last) {
    for (int64_t share = 1; share < shares; ++share) {
      kernels::add_top_tokens(rows_of(top, first), last - first, rows_of(of_share(share), first));
    }
    for (auto row = first; row < last && has_sums; ++row) {
      const float sum = kernels::top_log_sum(top, row);
      for (int64_t c = 0; c < best.count; ++c) top.values[row * best.count + c] -= sum;
    }
  });
  return best;
}

}  // namespace attend::detail
