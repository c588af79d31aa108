// The speed of greedy generation: continues prompts of random tokens, after a round that is not counted, and prints the
// seconds of each round, and the tokens of the last. generation_speed.py runs it beside transformers.
//
// usage: generation_speed FOLDER BATCH PROMPT NEW PRECISION THREADS ROUNDS
// FOLDER: a causal model; PROMPT, NEW: tokens; PRECISION: fp32, bf16, int8, or module for the model as it trains.
#include <torch/torch.h>

#include <chrono>
#include <iostream>
#include <map>
#include <memory>
#include <span>
#include <string>

#include "attend/checkpoint/model_folder.h"
#include "attend/decoding/beam_search.h"
#include "attend/inference/prepared_model.h"

namespace attend::benchmark {
namespace {

int run_generation(std::span<char*> args) {
  const std::string precision = args[5];
  const auto batch = std::stol(args[2]), length = std::stol(args[3]), count = std::stol(args[4]);
  torch::set_num_threads(std::stoi(args[6]));
  auto model = load_causal_lm(args[1]);
  model->eval();
  std::unique_ptr<PreparedModel> prepared;
  if (precision != "module") {
    const std::map<std::string, WeightPrecision> precisions{{"fp32", WeightPrecision::kFloat32},
                                                            {"bf16", WeightPrecision::kBFloat16},
                                                            {"int8", WeightPrecision::kInt8}};
    prepared = prepare_for_inference(*model, {.precision = precisions.at(precision)});
  }
  IncrementalModel& used = prepared ? static_cast<IncrementalModel&>(*prepared) : *model;
  // As in generation_speed.py.
  const auto prompt = (torch::arange(batch * length) * 7919 % 50000).view({batch, length});
  const BeamSearchOptions options{
      .beam_size = 1, .max_length_factor = 1e9, .max_new_tokens = count};
  for (int64_t round = 0; round <= std::stol(args[7]); ++round) {
    const auto begin = std::chrono::steady_clock::now();
    const auto found = beam_search(used, prompt, options);
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
    if (round > 0) std::cout << seconds.count() << '\n';
    if (round < std::stol(args[7])) continue;
    for (const auto& hypotheses : found) {
      for (const auto token : hypotheses.front().tokens) std::cout << token << ' ';
      std::cout << '\n';
    }
  }
  return EXIT_SUCCESS;
}

}  // namespace
}  // namespace attend::benchmark

int main(int argc, char** argv) {
  if (argc != 8) {
    std::cerr << "usage: generation_speed FOLDER BATCH PROMPT NEW PRECISION THREADS ROUNDS\n";
    return 2;
  }
  return attend::benchmark::run_generation({argv, static_cast<size_t>(argc)});
}
