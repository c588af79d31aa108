#include "attend/functional/dropout.h"

#include <ATen/CPUGeneratorImpl.h>

#include <utility>

#include "detail/check.h"
#include "detail/parallel.h"
#include "functional/derivatives.h"
#include "functional/dropout_seed.h"
#include "kernels/cpu/dropout.h"

namespace attend::functional {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Blocks of elements that are worth a thread of their own.
constexpr int64_t kBlocksOfThread = 8;

// That of the innermost DropoutSeed of this thread, undefined where there is none.
at::Generator& own_generator() {
  static thread_local at::Generator generator;
  return generator;
}

torch::Tensor compute(const torch::Tensor& x, double p, uint64_t seed) {
  const auto rule = dropout_rule(p);
  const auto type = x.scalar_type() == torch::kDouble ? torch::kDouble : torch::kFloat;
  const auto from = x.to(type).resolve_neg().contiguous();
  auto out = at::empty_like(from);
  const auto size = from.numel();
  AT_DISPATCH_FLOATING_TYPES(from.scalar_type(), "dropout", [&] {
    const auto* in = from.const_data_ptr<scalar_t>();
    auto* to = out.mutable_data_ptr<scalar_t>();
    const auto blocks = (size + kernels::kDropoutBlock - 1) / kernels::kDropoutBlock;
    detail::parallel_for(blocks, kBlocksOfThread, [&](int64_t first, int64_t last) {
      kernels::dropout(in, to, size, rule.threshold, static_cast<scalar_t>(rule.scale), seed, first,
                       last);
    });
  });
  return out.to(x.scalar_type());
}

// Linear in x, so its derivative is itself with the same mask.
class Dropout : public torch::autograd::Function<Dropout> {
 public:
  static torch::Tensor forward(AutogradContext* context, const torch::Tensor& x, double p,
                               int64_t seed) {
    context->saved_data["p"] = p;
    context->saved_data["seed"] = seed;
    return compute(x, p, static_cast<uint64_t>(seed));
  }
  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    return {dropout_with_seed(gradients[0], context->saved_data["p"].toDouble(),
                              static_cast<uint64_t>(context->saved_data["seed"].toInt())),
            {},
            {}};
  }
};

}  // namespace

uint64_t draw_dropout_seed() {
  auto generator =
      own_generator().defined() ? own_generator() : at::detail::getDefaultCPUGenerator();
  const std::scoped_lock lock(generator.mutex());
  return at::check_generator<at::CPUGeneratorImpl>(generator)->random64();
}

torch::Tensor dropout_with_seed(const torch::Tensor& x, double p, uint64_t seed) {
  if (carries_tangent(x)) return x * compute(torch::ones_like(x), p, seed);
  return Dropout::apply(x, p, static_cast<int64_t>(seed));
}

torch::Tensor dropout(const torch::Tensor& x, double p) {
  detail::check_probability("dropout", "p", p);
  if (p == 0.0) return x;
  if (!x.is_cpu() || x.layout() != torch::kStrided || !x.is_floating_point()) {
    return torch::dropout(x, p, /*train=*/true);
  }
  return dropout_with_seed(x, p, draw_dropout_seed());
}

DropoutSeed::DropoutSeed(uint64_t seed)
    : previous_(std::exchange(own_generator(), at::detail::createCPUGenerator(seed))) {}

DropoutSeed::~DropoutSeed() { own_generator() = std::move(previous_); }

}  // namespace attend::functional
