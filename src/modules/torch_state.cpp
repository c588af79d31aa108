// State dicts with the parameter names of torch::nn.
#include <map>
#include <string>

#include "attend/modules/torch_interop.h"
#include "detail/named_tensors.h"

namespace attend {

template <typename Module>
std::map<std::string, torch::Tensor> torch_state(const Module& from) {
  // torch::nn has the same parameter names in C++ and Python.
  return detail::named_parameters(*to_torch(from));
}

template <typename Module>
void load_torch_state(const std::map<std::string, torch::Tensor>& state, Module& to) {
  const auto theirs = to_torch(to);
  detail::fill_all(
      detail::named_parameters(*theirs), state, "module", [](const std::string& problems) {
        TORCH_CHECK(false, "load_torch_state: expected the weights of the module, got ", problems);
      });
  copy_weights(theirs, to);
}

// The macro's argument is a type, which cannot be put in parentheses.
// NOLINTBEGIN(bugprone-macro-parentheses)
#define ATTEND_TORCH_STATE(Module)                                                     \
  template ATTEND_API std::map<std::string, torch::Tensor> torch_state(const Module&); \
  template ATTEND_API void load_torch_state(const std::map<std::string, torch::Tensor>&, Module&)
// NOLINTEND(bugprone-macro-parentheses)
ATTEND_TORCH_STATE(MultiHeadAttention);
ATTEND_TORCH_STATE(MultiHeadSelfAttention);
ATTEND_TORCH_STATE(MultiHeadCrossAttention);
ATTEND_TORCH_STATE(TransformerEncoderLayer);
ATTEND_TORCH_STATE(TransformerDecoderLayer);
ATTEND_TORCH_STATE(TransformerEncoder);
ATTEND_TORCH_STATE(TransformerDecoder);
ATTEND_TORCH_STATE(TransformerStacks);
#undef ATTEND_TORCH_STATE

}  // namespace attend
