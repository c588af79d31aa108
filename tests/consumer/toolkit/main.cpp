#include <attend/text/subword_training.h>
#include <torch/script.h>

#include <iostream>
#include <sstream>
#include <string>
#include <vector>

// The toolkit at work, and beside it what LibTorch itself does: a script, and an error that is caught.
int main() {
  attend::SubwordTrainingOptions options;
  options.vocab_size = 30;
  options.shrink_to_fit = true;
  const auto tokenizer =
      attend::train_subwords(std::vector<std::string>(20, "the cat sees the dog"), options);
  std::cout << "text " << tokenizer.decode_target(tokenizer.encode_target("the dog sees the cat"));

  torch::jit::Module module("Doubling");
  module.define("def forward(self, x):\n    return x * 2\n");
  std::stringstream file;
  module.save(file);
  const auto doubled = torch::jit::load(file).forward({torch::full({3}, 4.0)}).toTensor();
  std::cout << ", script " << doubled.sum().item<double>();

  try {
    torch::empty({int64_t{1} << 50});
  } catch (const c10::Error&) {
    std::cout << ", allocation refused\n";
  }
}
