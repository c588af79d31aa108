// A vision transformer learns which texture a picture holds somewhere among noise; the attention of its
// class token tells where it looked.
#include <attend/attend.h>

#include <iostream>
#include <tuple>

namespace {

constexpr int64_t kImageSize = 16, kPatchSize = 4, kClasses = 4;

// One patch for each class: rows, columns, a checkerboard, a bright square. [K, 4, 4]
torch::Tensor make_textures() {
  const auto odd = (torch::arange(kPatchSize) % 2).to(torch::kFloat);
  const auto rows = odd.unsqueeze(1).expand({kPatchSize, kPatchSize});
  const auto columns = rows.t();
  return torch::stack(
      {rows, columns, (rows - columns).abs(), torch::ones({kPatchSize, kPatchSize})});
}

// Noise with a texture in one of its 16 patches: images [N, 1, 16, 16], classes [N], places [N].
std::tuple<torch::Tensor, torch::Tensor, torch::Tensor> make_images(int64_t count) {
  const auto classes = torch::randint(kClasses, {count}), places = torch::randint(16, {count});
  auto patches = 0.2 * torch::randn({count, 16, kPatchSize, kPatchSize});
  patches.index_put_({torch::arange(count), places}, 2 * make_textures().index_select(0, classes),
                     /*accumulate=*/true);
  const auto rows = patches.view({count, 4, 4, kPatchSize, kPatchSize}).transpose(2, 3);
  return {rows.reshape({count, 1, kImageSize, kImageSize}), classes, places};
}

}  // namespace

int main() {
  torch::manual_seed(1);
  auto model = attend::VisionTransformer(
      attend::VisionTransformerOptions(kImageSize, kPatchSize, kClasses, /*embed_dim=*/32,
                                       /*num_heads=*/4, /*num_layers=*/2)
          .num_channels(1));
  auto optimizer = torch::optim::Adam(model->parameters(), torch::optim::AdamOptions(3e-3));
  for (int update = 1; update <= 80; ++update) {
    const auto [images, classes, places] = make_images(32);
    optimizer.zero_grad();
    const auto loss = torch::cross_entropy_loss(model(images), classes);
    loss.backward();
    optimizer.step();
    if (update % 20 == 0)
      std::cout << "update " << update << "  loss " << loss.item<double>() << '\n';
  }

  model->eval();
  const torch::NoGradGuard no_grad;
  const auto [images, classes, places] = make_images(200);
  // Only the class token's row of the last layer, mean over the heads.
  const auto request =
      attend::WeightsRequest(attend::WeightsRequest::kMean).queries({0}).layers({-1});
  const auto result = model->run(images, request);
  const auto weights =
      result.weights.back().squeeze(1).narrow(1, 1, 16);  // [N, 16], class token left out
  const auto share_of = [](const torch::Tensor& same) {
    return same.to(torch::kDouble).mean().item<double>();
  };
  const auto accuracy = share_of(result.logits.argmax(-1) == classes);
  const auto looks_at_texture = share_of(weights.argmax(-1) == places);  // by chance: 1 / 16
  std::cout << "accuracy " << accuracy << ", class token looks at the texture most in "
            << looks_at_texture << " of the pictures\n";
  return accuracy > 0.9 && looks_at_texture > 0.5 ? 0 : 1;
}
