#include "attend/functional/loss.h"

#include <ATen/autocast_mode.h>

#include <algorithm>
#include <limits>

#include "attend/functional/linear.h"
#include "detail/check.h"
#include "detail/parallel.h"
#include "functional/derivatives.h"
#include "functional/products.h"
#include "kernels/cpu/cross_entropy.h"
#include "kernels/cpu/vocabulary_loss.h"

namespace attend::functional {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr auto kLinear = "linear_cross_entropy_sum";

// So many logits at a time: enough rows for products at full speed, few enough to stay in a cache.
constexpr int64_t kLogitsAtOnce = 1 << 23;
constexpr int64_t kFewestRows = 64;

// What a gradient is wanted of.
struct Wanted {
  bool hidden, weight, bias;
  bool any() const { return hidden || weight || bias; }
};

struct LossAndGradients {
  torch::Tensor loss;                  // a scalar
  torch::Tensor hidden, weight, bias;  // gradients, where wanted
};

// The losses of the rows of `logits` [N, V] and `bias` [V] or undefined, [N]; the logits become
// their gradients if `gradient`.
torch::Tensor row_losses(torch::Tensor& logits, const torch::Tensor& bias,
                         const torch::Tensor& target, int64_t ignore_id, double label_smoothing,
                         bool gradient) {
  const auto classes = logits.size(1);
  const auto type = logits.scalar_type();
  if (logits.is_cpu() && (type == torch::kFloat || type == torch::kDouble)) {
    auto losses = at::empty({logits.size(0)}, logits.options());
    const auto added = bias.defined() ? bias.contiguous() : bias;
    AT_DISPATCH_FLOATING_TYPES(type, kLinear, [&] {
      auto* x = logits.mutable_data_ptr<scalar_t>();
      auto* out = losses.mutable_data_ptr<scalar_t>();
      const auto* b = added.defined() ? added.const_data_ptr<scalar_t>() : nullptr;
      const auto* y = target.const_data_ptr<int64_t>();
      detail::parallel_for(logits.size(0), /*grain=*/1, [&](int64_t first, int64_t last) {
        kernels::cross_entropy(x, b, y, out, classes, ignore_id,
                               static_cast<scalar_t>(label_smoothing), gradient, first, last);
      });
    });
    return losses;
  }
  if (logits.is_cpu()) {  // narrower: by way of float32
    auto wide = logits.to(torch::kFloat);
    auto losses = row_losses(wide, bias.defined() ? bias.to(torch::kFloat) : bias, target,
                             ignore_id, label_smoothing, gradient);
    if (gradient) logits.copy_(wide);
    return losses;
  }
  if (bias.defined()) logits.add_(bias);
  const auto exact = type == torch::kDouble ? torch::kDouble : torch::kFloat;
  auto log_p = at::log_softmax(logits, -1, exact);
  const auto ignored = target.eq(ignore_id).unsqueeze(1);  // [N, 1]
  const auto y = target.unsqueeze(1).masked_fill(ignored, 0);
  const auto smoothed = label_smoothing / static_cast<double>(classes);
  auto losses = log_p.gather(1, y).mul_(label_smoothing - 1.0);
  if (label_smoothing > 0.0) losses.sub_(log_p.sum(1, /*keepdim=*/true), smoothed);
  losses.masked_fill_(ignored, 0.0);
  if (gradient) {
    auto p = log_p.exp_().sub_(smoothed);
    p.scatter_add_(1, y, torch::full_like(losses, label_smoothing - 1.0));
    logits.copy_(p.masked_fill_(ignored, 0.0));
  }
  return losses.squeeze(1);
}

// hidden [N, E], target [N] of 64-bit integers.
LossAndGradients compute(const torch::Tensor& hidden, const torch::Tensor& weight,
                         const torch::Tensor& bias, const torch::Tensor& target, int64_t ignore_id,
                         double label_smoothing, const Wanted& wanted) {
  const auto rows = hidden.size(0), classes = weight.size(0);
  const auto at_once = std::clamp<int64_t>(kLogitsAtOnce / std::max<int64_t>(classes, 1),
                                           kFewestRows, std::max(rows, kFewestRows));
  const auto transposed = weight.t();
  auto buffer = at::empty({std::min(at_once, rows), classes}, hidden.options());
  LossAndGradients result;
  result.loss = torch::zeros(
      {}, hidden.options().dtype(hidden.scalar_type() == torch::kDouble ? torch::kDouble
                                                                        : torch::kFloat));
  // Sums over all rows are float32 where the numbers are narrower.
  const auto exact = result.loss.scalar_type();
  if (wanted.hidden) result.hidden = at::empty_like(hidden);
  if (wanted.weight) result.weight = at::zeros_like(weight, exact);
  if (wanted.bias) result.bias = at::zeros_like(bias, exact);
  for (int64_t first = 0; first < rows; first += at_once) {
    const auto count = std::min(at_once, rows - first);
    const auto x = hidden.narrow(0, first, count);
    auto logits = buffer.narrow(0, 0, count);
    at::mm_out(logits, x, transposed);
    result.loss += row_losses(logits, bias, target.narrow(0, first, count), ignore_id,
                              label_smoothing, wanted.any())
                       .sum();
    if (wanted.hidden) {
      auto gradient = result.hidden.narrow(0, first, count);
      at::mm_out(gradient, logits, weight);
    }
    if (wanted.weight && exact == weight.scalar_type()) {
      result.weight.addmm_(logits.t(), x);
    } else if (wanted.weight) {
      result.weight.add_(at::mm(logits.t(), x));
    }
    if (wanted.bias) result.bias.add_(logits.sum(0, /*keepdim=*/false, exact));
  }
  if (wanted.weight) result.weight = result.weight.to(weight.scalar_type());
  if (wanted.bias) result.bias = result.bias.to(bias.scalar_type());
  return result;
}

// The same on the CPU in float32 or float64, where no row is ignored: logits exist by blocks of
// rows, which stay in a cache while they become losses and gradients.
LossAndGradients compute_by_blocks(const torch::Tensor& hidden, const torch::Tensor& weight,
                                   const torch::Tensor& bias, const torch::Tensor& target,
                                   double label_smoothing, const Wanted& wanted) {
  using kernels::kLossRows;
  const auto x = hidden.resolve_neg().contiguous(), w = weight.resolve_neg().contiguous();
  const auto b = bias.defined() ? bias.resolve_neg().contiguous() : bias;
  const auto y = target.contiguous();
  const auto rows = x.size(0), dim = x.size(1), classes = w.size(0);
  const auto tiles = kernels::vocabulary_tiles(classes), padded = kernels::padded_dim(dim);
  const auto empty = [&](at::IntArrayRef sizes) { return at::empty(sizes, x.options()); };
  auto losses = empty({rows});
  LossAndGradients result;
  if (wanted.hidden) result.hidden = at::empty_like(x);
  if (wanted.weight) result.weight = at::zeros_like(w);
  if (wanted.bias) result.bias = at::zeros_like(b);
  const auto words = tiles * kernels::kLossWords;
  const auto by_word = empty({words, padded});
  const auto by_dim = wanted.hidden ? empty({words, padded}) : at::Tensor();
  const auto panels = empty({2, kLossRows, padded});
  const auto logits = empty({tiles, kLossRows, kernels::kLossWords});
  const auto of_tiles = empty({3, tiles, kLossRows}), chosen = empty({kLossRows});
  AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), kLinear, [&] {
    const auto data = [](const torch::Tensor& t) {
      return t.defined() ? t.mutable_data_ptr<scalar_t>() : nullptr;
    };
    const auto read = [](const torch::Tensor& t) {
      return t.defined() ? t.const_data_ptr<scalar_t>() : nullptr;
    };
    detail::parallel_for(tiles, /*grain=*/1, [&](int64_t first, int64_t last) {
      kernels::pack_vocabulary(read(w), classes, dim, data(by_word), data(by_dim), first, last);
    });
    for (int64_t row = 0; row < rows; row += kLossRows) {
      const auto count = std::min(kLossRows, rows - row);
      const kernels::VocabularyLoss<scalar_t> loss{
          .rows = count,
          .dim = dim,
          .classes = classes,
          .hidden = read(x) + row * dim,
          .bias = read(b),
          .target = y.const_data_ptr<int64_t>() + row,
          .label_smoothing = static_cast<scalar_t>(label_smoothing),
          .by_word = read(by_word),
          .by_dim = read(by_dim),
          .row_panels = data(panels[0]),
          .dim_panels = data(panels[1]),
          .logits = data(logits),
          .greatest = data(of_tiles[0]),
          .total = data(of_tiles[1]),
          .sum = data(of_tiles[2]),
          .chosen = data(chosen)};
      kernels::pack_hidden(loss);
      detail::parallel_for(tiles, /*grain=*/1, [&](int64_t first, int64_t last) {
        kernels::vocabulary_logits(loss, first, last);
      });
      kernels::vocabulary_losses(loss, data(losses) + row);
      if (!wanted.any()) continue;
      detail::parallel_for(tiles, /*grain=*/1, [&](int64_t first, int64_t last) {
        kernels::vocabulary_weights(loss, data(result.weight), data(result.bias), first, last);
      });
      if (!wanted.hidden) continue;
      detail::parallel_for(
          padded / kernels::kDimGroup, /*grain=*/1, [&](int64_t first, int64_t last) {
            kernels::vocabulary_hidden(loss, data(result.hidden) + row * dim, first, last);
          });
    }
  });
  result.loss = losses.sum();
  return result;
}

bool goes_by_blocks(const torch::Tensor& hidden) {
  return hidden.is_cpu() &&
         (hidden.scalar_type() == torch::kFloat || hidden.scalar_type() == torch::kDouble);
}

// The same without the work for ignored rows: padding. On a GPU, counting them would wait for it.
LossAndGradients compute_kept(const torch::Tensor& hidden, const torch::Tensor& weight,
                              const torch::Tensor& bias, const torch::Tensor& target,
                              int64_t ignore_id, double label_smoothing, const Wanted& wanted) {
  const auto of_rows = [&](const torch::Tensor& x, const torch::Tensor& y) {
    return goes_by_blocks(x) ? compute_by_blocks(x, weight, bias, y, label_smoothing, wanted)
                             : compute(x, weight, bias, y, ignore_id, label_smoothing, wanted);
  };
  const auto kept = hidden.is_cpu() ? target.ne(ignore_id).nonzero().squeeze(1) : torch::Tensor();
  if (!kept.defined()) {
    return compute(hidden, weight, bias, target, ignore_id, label_smoothing, wanted);
  }
  if (kept.size(0) == target.size(0)) return of_rows(hidden, target);
  auto result = of_rows(hidden.index_select(0, kept), target.index_select(0, kept));
  if (wanted.hidden) {
    result.hidden = at::zeros_like(hidden).index_copy_(0, kept, result.hidden);
  }
  return result;
}

torch::Tensor composed(const torch::Tensor& hidden, const torch::Tensor& weight,
                       const torch::Tensor& bias, const torch::Tensor& target, int64_t ignore_id,
                       double label_smoothing) {
  return cross_entropy_sum(at::linear(hidden, weight, bias), target, ignore_id, label_smoothing);
}

class LinearCrossEntropy : public torch::autograd::Function<LinearCrossEntropy> {
 public:
  static torch::Tensor forward(AutogradContext* context, const torch::Tensor& hidden,
                               const torch::Tensor& weight,
                               const std::optional<torch::Tensor>& bias,
                               const torch::Tensor& target, int64_t ignore_id,
                               double label_smoothing) {
    const auto b = bias.value_or(torch::Tensor());
    const Wanted wanted{hidden.requires_grad(), weight.requires_grad(),
                        b.defined() && b.requires_grad()};
    auto result = compute_kept(hidden, weight, b, target, ignore_id, label_smoothing, wanted);
    context->save_for_backward({hidden, weight, b, target});
    // Neither inputs nor outputs: kept beside them.
    context->saved_data["gradients"] =
        std::vector<torch::Tensor>{result.hidden, result.weight, result.bias};
    context->saved_data["ignore_id"] = ignore_id;
    context->saved_data["label_smoothing"] = label_smoothing;
    return result.loss;
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    if (torch::GradMode::is_enabled()) {
      const auto saved = context->get_saved_variables();
      auto result = gradients_of_formula(
          {saved[0], saved[1], saved[2]},
          [&](const variable_list& x) -> variable_list {
            return {composed(x[0], x[1], x[2], saved[3], context->saved_data["ignore_id"].toInt(),
                             context->saved_data["label_smoothing"].toDouble())};
          },
          gradients);
      result.resize(6);
      return result;
    }
    variable_list result(6);
    const auto own = context->saved_data["gradients"].toTensorVector();
    for (size_t i = 0; i < own.size(); ++i) {
      if (own[i].defined()) result[i] = own[i] * gradients[0].to(own[i].scalar_type());
    }
    return result;
  }
};

torch::Tensor loss_of(const torch::Tensor& hidden, const torch::Tensor& weight,
                      const torch::Tensor& bias, const torch::Tensor& target, int64_t ignore_id,
                      double label_smoothing) {
  if (carries_tangent(hidden) || carries_tangent(weight) || carries_tangent(bias)) {
    return composed(hidden, weight, bias, target, ignore_id, label_smoothing)
        .to(hidden.scalar_type() == torch::kDouble ? torch::kDouble : torch::kFloat);
  }
  const bool records =
      torch::GradMode::is_enabled() && (hidden.requires_grad() || weight.requires_grad() ||
                                        (bias.defined() && bias.requires_grad()));
  if (records) {
    return LinearCrossEntropy::apply(hidden, weight, if_defined(bias), target, ignore_id,
                                     label_smoothing);
  }
  return compute_kept(hidden, weight, bias, target, ignore_id, label_smoothing, {}).loss;
}

// LibTorch's own loss checks on the way; here the targets index memory.
void check_targets(const torch::Tensor& target, int64_t classes, int64_t ignore_id) {
  if (!target.is_cpu()) return;
  const auto* y = target.const_data_ptr<int64_t>();
  for (int64_t n = 0; n < target.numel(); ++n) {
    TORCH_CHECK_INDEX(y[n] == ignore_id || (y[n] >= 0 && y[n] < classes), kLinear,
                      ": expected targets in [0, ", classes, ") or ", ignore_id, ", got ", y[n]);
  }
}

}  // namespace

torch::Tensor cross_entropy_sum(const torch::Tensor& logits, const torch::Tensor& target,
                                int64_t ignore_id, double label_smoothing) {
  constexpr auto kName = "cross_entropy_sum";
  detail::check_probability(kName, "label_smoothing", label_smoothing);
  detail::check_rank(kName, "logits", logits, 1, 4);
  detail::check_ids(kName, "target", target);
  detail::check_shape(kName, "target", target, logits.sizes().slice(0, logits.dim() - 1));
  return at::cross_entropy_loss(logits.reshape({-1, logits.size(-1)}),
                                target.reshape({-1}).to(torch::kLong), /*weight=*/{},
                                at::Reduction::Sum, ignore_id, label_smoothing);
}

torch::Tensor linear_cross_entropy_sum(const torch::Tensor& hidden, const torch::Tensor& weight,
                                       const torch::Tensor& bias, const torch::Tensor& target,
                                       int64_t ignore_id, double label_smoothing) {
  detail::check_probability(kLinear, "label_smoothing", label_smoothing);
  detail::check_rank(kLinear, "hidden", hidden, 1, 4);
  detail::check_shape(kLinear, "weight", weight, {-1, hidden.size(-1)});
  if (bias.defined()) {
    detail::check_shape(kLinear, "bias", bias, {weight.size(0)});
    detail::check_same_kind(kLinear, "bias", bias, "hidden", hidden);
  }
  detail::check_same_kind(kLinear, "weight", weight, "hidden", hidden);
  detail::check_ids(kLinear, "target", target);
  detail::check_shape(kLinear, "target", target, hidden.sizes().slice(0, hidden.dim() - 1));
  const auto x = hidden.reshape({-1, hidden.size(-1)});
  const auto y = target.reshape({-1}).to(torch::kLong).contiguous();
  check_targets(y, weight.size(0), ignore_id);
  if (is_narrow_on_cpu(hidden) && !has_narrow_tiles(product_type(hidden))) {
    // By blocks in float32: what stays in a cache is worth more than products of 16 bits.
    const ThroughFloat32 float32(hidden, /*is_wanted=*/true);
    return loss_of(float32.widened(x), float32.widened(weight), float32.widened(bias), y, ignore_id,
                   label_smoothing);
  }
  if (!detail::autocast_is_enabled(hidden)) {
    return loss_of(x, weight, bias, y, ignore_id, label_smoothing);
  }
  // The inputs of the product are cast as LibTorch casts those of its own; the loss stays exact.
  const auto device = hidden.device().type();
  const auto cast = [&](const torch::Tensor& t) {
    const auto type = at::autocast::get_autocast_dtype(device);
    return t.defined() ? at::autocast::cached_cast(type, t, device) : t;
  };
  const c10::impl::ExcludeDispatchKeyGuard no_autocast(c10::autocast_dispatch_keyset);
  return loss_of(cast(x), cast(weight), cast(bias), y, ignore_id, label_smoothing);
}

}  // namespace attend::functional
