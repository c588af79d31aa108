#include "attend/viz/attention_page.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <string_view>

#include "detail/markup.h"
#include "viz/attention_page_template.h"

namespace attend {
namespace {

using Json = nlohmann::ordered_json;

constexpr auto kPage = "AttentionPage";
constexpr int64_t kMostTokens = 4096;
constexpr int64_t kMostWeights = int64_t{1} << 26;

int64_t count_of(const AttentionPage& page, const AttentionView& view, const std::string& list) {
  const auto found = page.tokens.find(list);
  TORCH_CHECK_VALUE(found != page.tokens.end() && !found->second.empty(), kPage,
                    ": expected tokens in the list \"", list, "\" of the view ", view.name,
                    ", got none");
  const auto count = static_cast<int64_t>(found->second.size());
  TORCH_CHECK_VALUE(count <= kMostTokens, kPage, ": expected at most ", kMostTokens,
                    " tokens in the list \"", list, "\", got ", count);
  return count;
}

// Checks the weights of a view and returns them as contiguous float32 on the CPU.
torch::Tensor checked_weights(const AttentionPage& page, const AttentionView& view) {
  const auto rows = count_of(page, view, view.rows);
  const auto columns = count_of(page, view, view.columns);
  const auto& weights = view.weights;
  TORCH_CHECK(weights.defined() && weights.dim() == 4 && weights.size(0) > 0 &&
                  weights.size(1) > 0 && weights.size(2) == rows && weights.size(3) == columns,
              kPage, ": expected weights [layers, heads, ", rows, ", ", columns, "] in the view ",
              view.name, ", got ",
              weights.defined() ? c10::str(weights.sizes()) : "an undefined tensor");
  const auto numbers = weights.detach().to(torch::kCPU, torch::kFloat).contiguous();
  constexpr double kRounding = 1e-3;  // tolerance for weights computed in 16 bits
  const auto bad = numbers.ge(-kRounding).logical_and(numbers.le(1 + kRounding)).logical_not();
  if (bad.any().item<bool>()) {
    const auto at = bad.nonzero()[0];
    TORCH_CHECK_VALUE(false, kPage, ": expected weights in [0, 1], got ",
                      numbers.index({at[0], at[1], at[2], at[3]}).item<float>(), " in the view ",
                      view.name, " at layer ", at[0].item<int64_t>(), ", head ",
                      at[1].item<int64_t>(), ", row ", at[2].item<int64_t>(), ", column ",
                      at[3].item<int64_t>());
  }
  return numbers;
}

// 16-bit little-endian integers.
std::string packed(const torch::Tensor& weights) {
  constexpr float kLargest = 65535.0F;
  const auto count = static_cast<size_t>(weights.numel());
  const auto* values = weights.const_data_ptr<float>();
  std::string bytes(2 * count, '\0');
  for (size_t i = 0; i < count; ++i) {
    const auto number =
        static_cast<uint32_t>(std::lround(std::clamp(values[i], 0.0F, 1.0F) * kLargest));
    bytes[2 * i] = static_cast<char>(number & 255U);
    bytes[2 * i + 1] = static_cast<char>(number >> 8U);
  }
  return detail::base64(bytes);
}

Json nested(const torch::Tensor& weights) {
  if (weights.dim() == 1) {
    const auto* values = weights.const_data_ptr<float>();
    return std::vector<float>(values, values + weights.numel());
  }
  auto list = Json::array();
  for (int64_t i = 0; i < weights.size(0); ++i) list.push_back(nested(weights[i]));
  return list;
}

template <typename WriteWeights>
Json document(const AttentionPage& page, const WriteWeights& write_weights) {
  TORCH_CHECK_VALUE(!page.views.empty(), kPage, ": expected at least one view, got none");
  int64_t numbers = 0;
  for (const auto& view : page.views) numbers += view.weights.defined() ? view.weights.numel() : 0;
  TORCH_CHECK_VALUE(numbers <= kMostWeights, kPage, ": expected at most ", kMostWeights,
                    " weights in all, which a browser can still hold, got ", numbers);
  Json result{{"format", "attend attention 1"}, {"title", page.title}, {"model", page.model}};
  result["tokens"] = page.tokens;
  result["views"] = Json::array();
  for (const auto& view : page.views) {
    const auto weights = checked_weights(page, view);
    result["views"].push_back({{"name", view.name},
                               {"label", view.label},
                               {"rows", view.rows},
                               {"columns", view.columns},
                               {"layers", weights.size(0)},
                               {"heads", weights.size(1)},
                               {"weights", write_weights(weights)}});
  }
  if (page.beams.empty()) return result;
  result["beams"] = Json::array();
  for (size_t step = 0; step < page.beams.size(); ++step) {
    auto hypotheses = Json::array();
    for (const auto& h : page.beams[step]) {
      hypotheses.push_back({{"tokens", h.tokens},
                            {"score", h.score},
                            {"parent", h.parent},
                            {"kept", h.kept},
                            {"finished", h.finished}});
    }
    result["beams"].push_back({{"step", step + 1}, {"hypotheses", std::move(hypotheses)}});
  }
  return result;
}

std::string text_of(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

void replace_once(std::string& text, std::string_view what, const std::string& with) {
  const auto at = text.find(what);
  TORCH_INTERNAL_ASSERT(at != std::string::npos, what);
  text.replace(at, what.size(), with);
}

}  // namespace

std::string attention_html(const AttentionPage& page) {
  auto data = text_of(document(page, packed));
  // Escapes every "<", so that the data cannot close the script element or open a comment.
  for (auto at = data.find('<'); at != std::string::npos; at = data.find('<', at)) {
    data.replace(at, 1, "\\u003c");
  }
  std::string html(detail::kAttentionPageTemplate);
  // The title is inserted last, since it may contain the text "{{ATTENTION_DATA}}".
  replace_once(html, "{{ATTENTION_DATA}}", data);
  replace_once(html, "{{TITLE}}", detail::escape_markup(page.title));
  return html;
}

std::string attention_json(const AttentionPage& page) { return text_of(document(page, nested)); }

}  // namespace attend
