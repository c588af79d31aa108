// A pointer network (Vinyals et al., 2015, arXiv:1506.03134): the weights of an additive attention are
// the answer, asked for as log-probabilities. It learns to point at the largest number of a list, of any length.
#include <attend/attend.h>

#include <iostream>
#include <tuple>

namespace {

struct PointerImpl : torch::nn::Module {
  PointerImpl() {
    embed = register_module("embed", torch::nn::Linear(1, 32));
    read = register_module("read", torch::nn::GRU(torch::nn::GRUOptions(32, 32).batch_first(true)));
    point = register_module(
        "point", attend::BasicAttention(/*query_dim=*/32, /*key_dim=*/32, /*hidden_dim=*/32));
  }

  // numbers [B, S], lengths [B] -> the log-probability of each place [B, S]
  torch::Tensor forward(const torch::Tensor& numbers, const torch::Tensor& lengths) {
    const auto keys = embed(numbers.unsqueeze(-1));  // [B, S, 32]
    const auto summary = std::get<1>(read(keys));    // [1, B, 32]
    const auto query = summary.transpose(0, 1);      // [B, 1, 32]
    const auto mask = attend::AttentionMask::key_lengths(lengths);
    const auto request = attend::WeightsRequest(attend::WeightsRequest::kMean)
                             .values(attend::WeightsRequest::Values::kLogProbabilities);
    return point(query, keys, keys, mask, request).weights.squeeze(1);
  }

  torch::nn::Linear embed{nullptr};
  torch::nn::GRU read{nullptr};
  attend::BasicAttention point{nullptr};
};
TORCH_MODULE(Pointer);

// Lists of 3 to `longest` numbers, padded with a number that would win if it were seen.
std::tuple<torch::Tensor, torch::Tensor, torch::Tensor> make_lists(int64_t count, int64_t longest) {
  auto numbers = torch::rand({count, longest});
  const auto lengths = torch::randint(3, longest + 1, {count});
  const auto is_padding = torch::arange(longest) >= lengths.unsqueeze(1);
  const auto largest = numbers.masked_fill(is_padding, -1).argmax(-1);
  return {numbers.masked_fill(is_padding, 2), lengths, largest};
}

}  // namespace

int main() {
  torch::manual_seed(1);
  auto model = Pointer();
  auto optimizer = torch::optim::Adam(model->parameters(), torch::optim::AdamOptions(1e-2));
  for (int update = 1; update <= 150; ++update) {
    const auto [numbers, lengths, largest] = make_lists(64, 6);
    optimizer.zero_grad();
    const auto loss = torch::nll_loss(model(numbers, lengths), largest);
    loss.backward();
    optimizer.step();
    if (update % 50 == 0)
      std::cout << "update " << update << "  loss " << loss.item<double>() << '\n';
  }

  const torch::NoGradGuard no_grad;
  const auto [numbers, lengths, largest] = make_lists(500, 12);  // twice as long as in training
  const auto weights = model(numbers, lengths).exp();
  const auto accuracy = (weights.argmax(-1) == largest).to(torch::kDouble).mean().item<double>();
  const auto on_padding =
      (weights * (torch::arange(12) >= lengths.unsqueeze(1))).sum().item<double>();
  std::cout << "points at the largest number: " << accuracy << ", at padding: " << on_padding
            << '\n';
  return accuracy > 0.9 && on_padding == 0 ? 0 : 1;
}
