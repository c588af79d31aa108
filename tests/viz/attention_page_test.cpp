#include "attend/viz/attention_page.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "support/tensor_assert.h"

namespace attend::attention_page_test {
namespace {

using nlohmann::json;

constexpr int64_t kLayers = 2, kHeads = 3, kRows = 4, kColumns = 5;

AttentionPage small_page() {
  torch::manual_seed(1);
  return {
      .title = "a title",
      .model = "marian",
      .tokens = {{"source", {"▁a", "b", "c", "d", "</s>"}}, {"target", {"▁x", "y", "z", "</s>"}}},
      .views = {{"cross", "Cross-attention", "target", "source",
                 torch::softmax(torch::randn({kLayers, kHeads, kRows, kColumns}), -1)}}};
}

// What the page holds between the tags of its data.
json data_of(const std::string& html) {
  const std::string tag = "<script type=\"application/json\" id=\"attention-data\">";
  const auto begin = html.find(tag);
  EXPECT_NE(begin, std::string::npos);
  const auto end = html.find("</script>", begin);
  return json::parse(html.substr(begin + tag.size(), end - begin - tag.size()));
}

int digit(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  return c == '+' ? 62 : 63;
}

std::vector<double> unpacked(const std::string& base64) {
  std::string bytes;
  for (size_t i = 0; i < base64.size(); i += 4) {
    int group = 0, count = 3;
    for (size_t j = 0; j < 4; ++j) {
      const char c = base64[i + j];
      if (c == '=') --count;
      group = group * 64 + (c == '=' ? 0 : digit(c));
    }
    for (int j = 0; j < count; ++j) bytes += static_cast<char>(group >> (16 - 8 * j) & 255);
  }
  std::vector<double> values;
  for (size_t i = 0; i + 1 < bytes.size(); i += 2) {
    const auto low = static_cast<unsigned char>(bytes[i]);
    const auto high = static_cast<unsigned char>(bytes[i + 1]);
    values.push_back((low + 256 * high) / 65535.0);
  }
  return values;
}

TEST(AttentionPage, HoldsTheWeightsToSixteenBits) {
  // 1 to 3 bytes are left over at the end of a base64 text.
  for (const int64_t columns : {5, 4, 3}) {
    auto page = small_page();
    page.tokens["source"].resize(static_cast<size_t>(columns));
    page.views[0].weights = page.views[0].weights.narrow(3, 0, columns).narrow(0, 0, 1);
    page.views[0].weights = page.views[0].weights.narrow(1, 0, 1);
    const auto data = data_of(attention_html(page));
    EXPECT_EQ(data["format"], "attend attention 1");
    EXPECT_EQ(data["views"][0]["layers"], 1);
    EXPECT_EQ(data["views"][0]["rows"], "target");
    EXPECT_EQ(data["tokens"]["source"], page.tokens["source"]);
    const auto values = unpacked(data["views"][0]["weights"]);
    const auto expected = page.views[0].weights.contiguous();
    ASSERT_EQ(static_cast<int64_t>(values.size()), expected.numel());
    for (size_t i = 0; i < values.size(); ++i) {
      EXPECT_NEAR(values[i], expected.const_data_ptr<float>()[i], 0.5 / 65535 + 1e-7);
    }
  }
}

TEST(AttentionJson, HoldsTheNumbersAsTheyAre) {
  auto page = small_page();
  page.beams = {{{.tokens = {"▁x"}, .score = -0.5, .parent = 0, .kept = true}}};
  const auto data = json::parse(attention_json(page));
  const auto& weights = data["views"][0]["weights"];
  for (int64_t l = 0; l < kLayers; ++l) {
    for (int64_t h = 0; h < kHeads; ++h) {
      for (int64_t r = 0; r < kRows; ++r) {
        for (int64_t c = 0; c < kColumns; ++c) {
          EXPECT_EQ(weights[static_cast<size_t>(l)][static_cast<size_t>(h)][static_cast<size_t>(r)]
                           [static_cast<size_t>(c)]
                               .get<float>(),
                    page.views[0].weights[l][h][r][c].item<float>());
        }
      }
    }
  }
  EXPECT_EQ(data["beams"][0]["step"], 1);
  EXPECT_EQ(data["beams"][0]["hypotheses"][0]["tokens"][0], "▁x");
  EXPECT_EQ(data["beams"][0]["hypotheses"][0]["score"], -0.5);
}

TEST(AttentionPage, TextIsNeverMarkup) {
  auto page = small_page();
  const std::string hostile = "</script><script>alert(1)</script><!--";
  page.title = "<b>" + hostile + "&\"\xFF {{ATTENTION_DATA}}";
  page.tokens["source"][1] = hostile;
  page.tokens["source"][2] = std::string("\x01\xC3(\0", 4);
  page.views[0].label = hostile;
  const auto harmless = attention_html(small_page()), html = attention_html(page);
  const auto count = [](const std::string& text, const std::string& what) {
    size_t found = 0;
    for (auto at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++found;
    return found;
  };
  EXPECT_EQ(count(html, "<script"), count(harmless, "<script"));
  EXPECT_EQ(count(html, "</script"), count(harmless, "</script"));
  EXPECT_EQ(count(html, "<!--"), count(harmless, "<!--"));
  const auto data = data_of(html);
  EXPECT_EQ(data["tokens"]["source"][1], hostile);
  EXPECT_EQ(data["title"], "<b>" + hostile + "&\"\uFFFD {{ATTENTION_DATA}}");
  EXPECT_NE(html.find("<title>&lt;b&gt;&lt;/script&gt;"), std::string::npos);
}

TEST(AttentionPage, LoadsNothing) {
  const auto html = attention_html(small_page());
  for (const auto* what : {"http:", "https:", "src=", "@import", "url("}) {
    EXPECT_EQ(html.find(what), std::string::npos) << what;
  }
}

TEST(AttentionPage, ErrorsNameWhatWasExpectedAndGot) {
  auto page = small_page();
  page.views[0].weights[1][2][3][4] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THROW_MESSAGE(attention_html(page), c10::ValueError,
                       "AttentionPage: expected weights in [0, 1], got nan in the view cross at "
                       "layer 1, head 2, row 3, column 4");
  page = small_page();
  page.tokens["target"].pop_back();
  EXPECT_THROW_MESSAGE(attention_json(page), c10::Error,
                       "AttentionPage: expected weights [layers, heads, 3, 5] in the view cross, "
                       "got [2, 3, 4, 5]");
  page.tokens["target"].clear();
  EXPECT_THROW_MESSAGE(attention_html(page), c10::ValueError,
                       "AttentionPage: expected tokens in the list \"target\" of the view cross, "
                       "got none");
  page.views[0].weights = torch::Tensor();
  page.tokens["target"] = {"x"};
  EXPECT_THROW_MESSAGE(attention_html(page), c10::Error,
                       "AttentionPage: expected weights [layers, heads, 1, 5] in the view cross, "
                       "got an undefined tensor");
  page.views.clear();
  EXPECT_THROW_MESSAGE(attention_html(page), c10::ValueError,
                       "AttentionPage: expected at least one view, got none");
  page = small_page();
  page.tokens["source"].resize(5000, "x");
  EXPECT_THROW_MESSAGE(
      attention_html(page), c10::ValueError,
      "AttentionPage: expected at most 4096 tokens in the list \"source\", got 5000");
  page = small_page();
  page.views.push_back(page.views[0]);
  page.views[1].weights = torch::zeros({1, 1, 1}).expand({1 << 14, 1 << 7, 1 << 7}).unsqueeze(0);
  EXPECT_THROW_MESSAGE(
      attention_html(page), c10::ValueError,
      "AttentionPage: expected at most 67108864 weights in all, which a browser can "
      "still hold, got 268435576");
}

TEST(AttentionPage, TwoThousandTokensAreTaken) {
  constexpr int64_t kTokens = 2000;
  auto page = small_page();
  page.beams.clear();
  page.tokens = {{"source", std::vector<std::string>(kTokens, "x")}};
  page.views.resize(1);
  page.views[0].rows = page.views[0].columns = "source";
  page.views[0].weights = torch::eye(kTokens).view({1, 1, kTokens, kTokens});
  // Two bytes a weight, in base64.
  EXPECT_GT(attention_html(page).size(), static_cast<size_t>(kTokens * kTokens * 2 / 3 * 4));
}

}  // namespace
}  // namespace attend::attention_page_test
