#include "functional/products.h"

#include <ATen/autocast_mode.h>
#include <ATen/cpu/Utils.h>

#include <cstdlib>
#include <limits>
#include <string>
#include <string_view>

#include "attend/functional/linear.h"
#include "detail/check.h"

namespace attend::functional {
namespace {

constexpr OwnProducts kAllOwn{.rows = std::numeric_limits<int64_t>::max(), .gradients = true};

// What this CPU is good at.
struct CpuProducts {
  bool bfloat16 = false, half = false;                    // faster than float32
  bool bfloat16_by_tiles = false, half_by_tiles = false;  // much faster
  OwnProducts own{};                                      // of float32
};

CpuProducts find_cpu_products() {
  const auto cpu = at::cpu::get_cpu_capabilities();
  const auto text = [&](const char* name) {
    const auto found = cpu.find(name);
    return found == cpu.end() ? std::string() : found->second.toStringRef();
  };
  const auto has = [&](const char* name) {
    const auto found = cpu.find(name);
    return found != cpu.end() && found->second.toBool();
  };
  // Of other architectures nothing is known here: LibTorch's own products are taken.
  if (text("architecture") != "x86_64") return {.bfloat16 = true, .half = true};
  CpuProducts found{.bfloat16_by_tiles = has("amx_bf16"), .half_by_tiles = has("amx_fp16")};
  const auto name = text("cpu_name");
  const bool is_intel = name.starts_with("Intel");
  // Intel's AVX-512 multiplies pairs of bfloat16 half as fast as float32's numbers.
  found.bfloat16 = found.bfloat16_by_tiles || (has("avx512_bf16") && !is_intel);
  found.half = found.half_by_tiles || has("avx512_fp16");
  if (name.starts_with("AMD") && has("avx2")) found.own = kAllOwn;
  if (is_intel && has("avx512_f")) found.own = {.rows = 128};
  return found;
}

const CpuProducts& cpu_products() {
  static const CpuProducts found = find_cpu_products();
  return found;
}

OwnProducts find_own_products() {
  // NOLINTNEXTLINE(concurrency-mt-unsafe): nobody sets it.
  const char* given = std::getenv("ATTEND_LINEAR");
  if (given == nullptr) return cpu_products().own;
  const std::string_view choice(given);
  TORCH_CHECK_VALUE(choice == "attend" || choice == "libtorch",
                    "ATTEND_LINEAR: expected attend or libtorch, got ", choice);
  return choice == "attend" ? kAllOwn : OwnProducts{};
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
  const auto& products = cpu_products();
  return (type == torch::kBFloat16 && products.bfloat16_by_tiles) ||
         (type == torch::kHalf && products.half_by_tiles);
}

bool has_fast_products(torch::ScalarType type, const torch::Device& device) {
  if (!device.is_cpu() || !is_narrow(type)) return true;
  return type == torch::kHalf ? cpu_products().half : cpu_products().bfloat16;
}

OwnProducts own_products() {
  static const OwnProducts found = find_own_products();
  return found;
}

}  // namespace attend::functional
