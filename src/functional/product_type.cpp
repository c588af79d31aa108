#include "functional/product_type.h"

#include <ATen/autocast_mode.h>
#include <ATen/cpu/Utils.h>

#include "attend/functional/linear.h"
#include "detail/check.h"

namespace attend::functional {
namespace {

// What this CPU multiplies in 16 bits.
struct NarrowProducts {
  bool bfloat16 = false, half = false;                    // faster than float32
  bool bfloat16_by_tiles = false, half_by_tiles = false;  // much faster
};

NarrowProducts find_narrow_products() {
  const auto cpu = at::cpu::get_cpu_capabilities();
  const auto has = [&](const char* name) {
    const auto found = cpu.find(name);
    return found != cpu.end() && found->second.toBool();
  };
  const auto architecture = cpu.find("architecture");
  // Of other architectures nothing is known here: LibTorch's own products are taken.
  if (architecture == cpu.end() || architecture->second.toStringRef() != "x86_64") {
    return {.bfloat16 = true, .half = true};
  }
  NarrowProducts found{.bfloat16_by_tiles = has("amx_bf16"), .half_by_tiles = has("amx_fp16")};
  found.bfloat16 = found.bfloat16_by_tiles || has("avx512_bf16");
  found.half = found.half_by_tiles || has("avx512_fp16");
  return found;
}

const NarrowProducts& narrow_products() {
  static const NarrowProducts found = find_narrow_products();
  return found;
}

bool is_narrow(torch::ScalarType type) { return type == torch::kBFloat16 || type == torch::kHalf; }

}  // namespace

torch::ScalarType product_type(const torch::Tensor& x) {
  const auto own = x.scalar_type();
  if (own == torch::kDouble || !x.is_floating_point() || !detail::autocast_is_enabled(x))
    return own;
  return at::autocast::get_autocast_dtype(x.device().type());
}

bool is_narrow_on_cpu(const torch::Tensor& x) { return x.is_cpu() && is_narrow(product_type(x)); }

bool lacks_products_of(const torch::Tensor& x) {
  return is_narrow_on_cpu(x) && !has_fast_products(product_type(x), x.device());
}

bool has_narrow_tiles(torch::ScalarType type) {
  const auto& products = narrow_products();
  return (type == torch::kBFloat16 && products.bfloat16_by_tiles) ||
         (type == torch::kHalf && products.half_by_tiles);
}

bool has_fast_products(torch::ScalarType type, const torch::Device& device) {
  if (!device.is_cpu() || !is_narrow(type)) return true;
  return type == torch::kHalf ? narrow_products().half : narrow_products().bfloat16;
}

}  // namespace attend::functional
