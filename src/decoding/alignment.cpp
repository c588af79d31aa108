#include "attend/decoding/alignment.h"

#include <fmt/format.h>

#include <algorithm>

#include "detail/check.h"

namespace attend {
namespace {

int64_t word_count(const std::vector<int64_t>& word_of) {
  int64_t count = 0;
  for (const auto word : word_of) count = std::max(count, word + 1);
  return count;
}

// A matrix [words, subwords] with 1 where the subword is part of the word.
torch::Tensor membership(const std::vector<int64_t>& word_of) {
  auto result =
      torch::zeros({word_count(word_of), static_cast<int64_t>(word_of.size())}, torch::kCPU);
  auto values = result.accessor<float, 2>();
  for (size_t i = 0; i < word_of.size(); ++i) {
    if (word_of[i] >= 0) values[word_of[i]][static_cast<int64_t>(i)] = 1.0F;
  }
  return result;
}

}  // namespace

torch::Tensor merge_subwords(const torch::Tensor& attention,
                             const std::vector<int64_t>& word_of_target,
                             const std::vector<int64_t>& word_of_source) {
  detail::check_shape(
      "merge_subwords", "attention", attention,
      {static_cast<int64_t>(word_of_target.size()), static_cast<int64_t>(word_of_source.size())});
  const auto target = membership(word_of_target), source = membership(word_of_source);
  const auto sizes = target.sum(1, /*keepdim=*/true).clamp_min(1.0);
  return torch::matmul(target / sizes, attention.to(torch::kCPU, torch::kFloat)).matmul(source.t());
}

std::vector<WordLink> hard_alignment(const torch::Tensor& attention) {
  detail::check_shape("hard_alignment", "attention", attention, {-1, -1});
  std::vector<WordLink> links;
  if (attention.size(1) == 0) return links;
  const auto best = attention.argmax(1).to(torch::kCPU);
  const auto* sources = best.const_data_ptr<int64_t>();
  for (int64_t t = 0; t < attention.size(0); ++t) links.push_back({sources[t], t});
  std::ranges::sort(links);
  return links;
}

std::string pharaoh(const std::vector<WordLink>& links) {
  std::string text;
  for (const auto& link : links) {
    text += fmt::format("{}{}-{}", text.empty() ? "" : " ", link.source, link.target);
  }
  return text;
}

}  // namespace attend
