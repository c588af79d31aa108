#include "attend/functional/heads.h"

#include "detail/check.h"

namespace attend::functional {

torch::Tensor split_heads(const torch::Tensor& x, int64_t num_heads) {
  detail::check_shape("split_heads", "x", x, {-1, -1, -1});
  detail::check_positive("split_heads", "num_heads", num_heads);
  TORCH_CHECK(x.size(2) % num_heads == 0,
              "split_heads: expected a last size divisible by num_heads ", num_heads, ", got ",
              detail::shape_string(x.sizes()));
  return x.view({x.size(0), x.size(1), num_heads, x.size(2) / num_heads}).transpose(1, 2);
}

torch::Tensor merge_heads(const torch::Tensor& x) {
  detail::check_shape("merge_heads", "x", x, {-1, -1, -1, -1});
  return x.transpose(1, 2).reshape({x.size(0), x.size(2), x.size(1) * x.size(3)});
}

}  // namespace attend::functional
