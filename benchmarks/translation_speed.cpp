// The speed of a translator: translates a text batch by batch, after a round that is not counted, and
// prints the seconds of each round, and the median and the 99th percentile of its calls' seconds.
// translation_speed.py runs it beside CTranslate2.
//
// usage: translation_speed FOLDER TEXT BATCH BEAM PRECISION THREADS ROUNDS [TRANSLATIONS]
// PRECISION: fp32, bf16, int8, or module for the model as it trains.
#include <torch/torch.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <fstream>
#include <iostream>
#include <map>
#include <numeric>
#include <span>
#include <string>
#include <vector>

#include "attend/checkpoint/model_folder.h"
#include "attend/models/incremental_model.h"
#include "attend/translation/tokenizer_fit.h"
#include "attend/translation/translator.h"

namespace attend::benchmark {
namespace {

Translator load(const std::string& folder, const std::string& precision, int64_t beam) {
  const TranslatorOptions options{.beam_size = beam, .scores = false};  // as CTranslate2's default
  if (precision == "module") {
    auto model = load_translation_model(folder);
    auto tokenizer = load_tokenizer_of(*model, folder);
    return {std::move(model), std::move(tokenizer), options};
  }
  const std::map<std::string, WeightPrecision> precisions{{"fp32", WeightPrecision::kFloat32},
                                                          {"bf16", WeightPrecision::kBFloat16},
                                                          {"int8", WeightPrecision::kInt8}};
  auto own = options;
  own.precision = precisions.at(precision);
  return Translator::load(folder, own);
}

// The nearest-rank percentile of some seconds.
double percentile(std::vector<double> seconds, double share) {
  std::ranges::sort(seconds);
  const auto rank = std::ceil(share * static_cast<double>(seconds.size()));
  return seconds[static_cast<size_t>(std::max(rank, 1.0)) - 1];
}

int run(std::span<char*> args) {
  const std::string folder = args[1], precision = args[5];
  const auto batch = std::stoul(args[3]);
  torch::set_num_threads(std::stoi(args[6]));
  std::ifstream file(args[2]);
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  const auto translator = load(folder, precision, std::stol(args[4]));
  std::vector<std::string> found;
  for (int64_t round = 0; round <= std::stol(args[7]); ++round) {
    found.clear();
    std::vector<double> calls;
    for (size_t first = 0; first < lines.size(); first += batch) {
      const auto count = std::min(batch, lines.size() - first);
      const std::vector<std::string> texts(
          lines.begin() + static_cast<std::ptrdiff_t>(first),
          lines.begin() + static_cast<std::ptrdiff_t>(first + count));
      const auto begin = std::chrono::steady_clock::now();
      auto translations = translator.translate(texts);
      const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
      calls.push_back(seconds.count());
      for (auto& best : translations) found.push_back(best.front().text);
    }
    if (round == 0) continue;
    std::cout << std::accumulate(calls.begin(), calls.end(), 0.0) << ' ' << percentile(calls, 0.5)
              << ' ' << percentile(calls, 0.99) << '\n';
  }
  if (args.size() > 8) {
    std::ofstream output(args[8]);
    for (const auto& text : found) output << text << '\n';
  }
  return EXIT_SUCCESS;
}

}  // namespace
}  // namespace attend::benchmark

int main(int argc, char** argv) {
  if (argc < 8) {
    std::cerr << "usage: translation_speed FOLDER TEXT BATCH BEAM PRECISION THREADS ROUNDS "
                 "[TRANSLATIONS]\n";
    return 2;
  }
  return attend::benchmark::run({argv, static_cast<size_t>(argc)});
}
