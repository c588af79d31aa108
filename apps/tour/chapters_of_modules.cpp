// Chapters about the modules, with random inputs.
#include <fmt/format.h>

#include <chrono>
#include <cmath>

#include "attend/functional/position.h"
#include "attend/functional/rotary.h"
#include "attend/modules/basic_attention.h"
#include "attend/modules/multi_head_attention.h"
#include "attend/modules/multi_head_cross_attention.h"
#include "attend/modules/multi_head_self_attention.h"
#include "attend/modules/positional_encoding.h"
#include "attend/modules/scaled_dot_product_attention.h"
#include "attend/modules/torch_interop.h"
#include "chapters.h"
#include "common/model_attention.h"

namespace attend::app {
namespace {

void random_weights(Notebook& book) {
  const torch::NoGradGuard no_grad;
  constexpr int64_t kT = 10, kE = 64, kH = 4, kTarget = 5, kSource = 8;
  book.say(
      "Untrained modules on random inputs with sinusoidal positions added: what attention looks "
      "like "
      "before it has learned anything, nearly flat.");
  MultiHeadSelfAttention self(kE, kH);
  PositionalEncoding positions(PositionalEncodingOptions(kE, 32));
  const auto x = positions(torch::randn({1, kT, kE}) * 0.5);
  const auto weights = self(x, AttentionMask(), WeightsRequest::kPerHead).weights[0];
  HeatmapGrid heads;
  heads.title = "self-attention, T 10, E 64, 4 heads";
  for (int64_t h = 0; h < kH; ++h) {
    heads.panels.push_back(matrix(weights[h], numbered("t", kT), numbered("t", kT),
                                  fmt::format("head {}", h), "attention"));
  }
  book.show("self", heads, "Each head has matrices of its own, so it looks elsewhere.");
  MultiHeadCrossAttention cross(kE, kE, kE, kH);
  const auto decoder = positions(torch::randn({1, kTarget, kE}) * 0.5);
  const auto encoder = positions(torch::randn({1, kSource, kE}) * 0.5);
  const auto cross_weights =
      cross(decoder, encoder, AttentionMask(), WeightsRequest::kMean).weights[0];
  book.show("cross",
            matrix(cross_weights, numbered("decoder ", kTarget), numbered("encoder ", kSource),
                   "cross-attention, mean over heads", "attention"),
            "5 decoder positions over 8 encoder positions: the matrix need not be square.");
}

// The cosine similarity of each pair of rows.
torch::Tensor similarity(const torch::Tensor& vectors) {
  const auto unit = vectors / vectors.norm(2, -1, /*keepdim=*/true);
  return torch::matmul(unit, unit.t());
}

void positions(Notebook& book) {
  constexpr int64_t kLength = 100, kE = 128, kShown = 40;
  book.say(
      "Attention by itself does not know where a word stands: shuffle the words and the outputs "
      "are "
      "shuffled alike. Positions must be told. The paper adds sines and cosines of 64 different "
      "wavelengths to the vectors.");
  const auto table = functional::sinusoidal_positions(kLength, kE);
  book.show("sinusoids", matrix(table, {}, {}, "sinusoidal positions, 100 x 128", "value"),
            "Each row is added to the vector at that position. Left columns turn fast, right ones "
            "hardly.");
  LinePlot curves{.title = "columns of the table", .x_label = "position", .y_label = "value"};
  for (const int64_t dimension : {0, 1, 8, 16, 32, 64}) {
    LineSeries line{.name = fmt::format("dimension {}", dimension), .dashed = dimension % 2 == 1};
    for (int64_t p = 0; p < kLength; ++p) {
      line.add(static_cast<double>(p), table[p][dimension].item<double>());
    }
    curves.series.push_back(std::move(line));
  }
  book.show("curves", curves, "Dimension 1 is the cosine to dimension 0's sine.");

  // Different quantities, so each has a colour scale of its own.
  std::vector<Heatmap> kinds;
  kinds.push_back(
      matrix(similarity(table.narrow(0, 0, kShown)), {}, {}, "sinusoidal: cosine similarity"));
  // The same vector at every position with rotary embeddings: scores depend only on distance.
  const auto ones = torch::ones({kShown, kE});
  const auto turned = functional::rotary(ones, RotaryOptions{});
  kinds.push_back(matrix(similarity(turned), {}, {}, "rotary: score of equal vectors"));
  const auto slopes = functional::alibi_slopes(8);
  const auto place = torch::arange(kShown, torch::kFloat);
  kinds.push_back(matrix(-slopes[1] * (place.unsqueeze(1) - place).abs(), {}, {},
                         "ALiBi: what head 1 of 8 adds to the scores"));
  PositionalEncoding learned(PositionalEncodingOptions(kE, kShown).kind(PositionKind::kLearned));
  kinds.push_back(matrix(similarity(learned->weight.detach()), {}, {},
                         "learned, before training: cosine similarity"));
  for (size_t i = 0; i < kinds.size(); ++i) {
    book.show(fmt::format("kind-{}", i), kinds[i],
              i == 0 ? "Sinusoidal: neighbours are alike, and the picture is the same along the "
                       "diagonal: only distance counts."
              : i == 1
                  ? "Rotary: queries and keys are turned instead of added to; equal vectors score "
                    "less the further apart they stand."
              : i == 2 ? "ALiBi: nothing is added to the vectors; distance costs a fixed amount of "
                         "score, more in some heads than in others."
                       : "Learned: every position starts with a vector of its own; what neighbours "
                         "have in common, training must find.");
  }
}

void additive(Notebook& book) {
  const torch::NoGradGuard no_grad;
  constexpr int64_t kT = 5, kS = 7, kE = 16;
  book.say(
      "Two ways to compare a query with a key. Dot-product attention multiplies them. Additive "
      "attention (Bahdanau et al., 2015) puts both through a small network: v . tanh(W_q q + W_k "
      "k). "
      "It came first, takes vectors of different sizes, and costs a tanh for every pair.");
  const auto query = torch::randn({1, kT, kE}), key = torch::randn({1, kS, kE});
  BasicAttention basic(kE, kE, kE);
  ScaledDotProductAttention dot;
  HeatmapGrid both;
  both.title = "the same queries and keys";
  both.columns = 2;
  both.panels = {
      attention_heatmap(basic(query, key, key, AttentionMask(), WeightsRequest::kMean).weights[0],
                        numbered("q", kT), numbered("k", kS), "additive (untrained)"),
      attention_heatmap(dot(query, key, key, AttentionMask(), WeightsRequest::kMean).weights[0],
                        numbered("q", kT), numbered("k", kS), "scaled dot product")};
  book.show(
      "both", both,
      "The tanh keeps additive scores small, so untrained weights are flatter; the dot product "
      "of random vectors already prefers some keys.");
  std::string table = "   T=S     additive   dot product   (ms, batch 8, 64 numbers a vector)\n";
  for (const int64_t length : {32, 64, 128, 256}) {
    const auto x = torch::randn({8, length, 64});
    BasicAttention additive_module(64, 64, 64);
    const auto time = [&](const auto& f) {
      f();
      constexpr int kRuns = 5;
      const auto start = std::chrono::steady_clock::now();
      for (int i = 0; i < kRuns; ++i) f();
      const std::chrono::duration<double, std::milli> gone =
          std::chrono::steady_clock::now() - start;
      return gone.count() / kRuns;
    };
    table += fmt::format("{:6}   {:10.2f}   {:11.2f}\n", length,
                         time([&] { additive_module(x, x, x); }), time([&] { dot(x, x, x); }));
  }
  book.lines(table);
}

void beside_torch(Notebook& book) {
  const torch::NoGradGuard no_grad;
  constexpr int64_t kB = 2, kL = 8, kE = 64, kH = 8;
  book.say(
      "The same weights in torch::nn::MultiheadAttention and in attend's, the same input, self-"
      "attention with and without a causal mask. torch::nn wants the sequence first and a float "
      "mask.");
  torch::nn::MultiheadAttention theirs(kE, kH);
  MultiHeadAttention ours(kE, kH);
  copy_weights(theirs, ours);
  theirs->eval();
  ours->eval();
  const auto x = torch::randn({kB, kL, kE});
  const auto sequence_first = x.transpose(0, 1);
  const auto bias = torch::full({kL, kL}, -std::numeric_limits<float>::infinity()).triu(1);
  std::string table;
  for (const bool causal : {false, true}) {
    const auto [output, weights] =
        ours(x, x, x, causal ? AttentionMask::causal() : AttentionMask(), WeightsRequest::kMean);
    const auto [expected, expected_weights] =
        theirs(sequence_first, sequence_first, sequence_first, torch::Tensor(),
               /*need_weights=*/true, causal ? bias : torch::Tensor());
    table +=
        fmt::format("{:<8}  output {:.1e}   mean weights {:.1e}\n", causal ? "causal" : "regular",
                    (output - expected.transpose(0, 1)).abs().max().item<double>(),
                    (weights - expected_weights).abs().max().item<double>());
    if (causal) {
      HeatmapGrid both;
      both.columns = 2;
      both.title = "causal, first sentence, mean over 8 heads";
      both.panels = {
          attention_heatmap(expected_weights[0], numbered("t", kL), numbered("t", kL), "torch::nn"),
          attention_heatmap(weights[0], numbered("t", kL), numbered("t", kL), "attend")};
      book.show("weights", both, "The two pictures are the same.");
    }
  }
  book.lines("largest difference (float32)\n" + table);
}

}  // namespace

std::vector<Chapter> chapters_of_modules() {
  return {{"random", "Weights of random inputs", random_weights},
          {"positions", "Positions", positions},
          {"additive", "Additive and dot-product attention", additive},
          {"torch", "Beside torch::nn::MultiheadAttention", beside_torch}};
}

}  // namespace attend::app
