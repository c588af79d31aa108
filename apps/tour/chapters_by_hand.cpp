// Chapters with inputs small enough to compute every step by hand.
#include <fmt/format.h>

#include <cmath>

#include "attend/functional/attention.h"
#include "attend/modules/self_attention.h"
#include "chapters.h"
#include "common/model_attention.h"

namespace attend::app {
namespace {

using Words = std::vector<std::string>;

double largest_difference(const torch::Tensor& a, const torch::Tensor& b) {
  return (a.to(torch::kDouble) - b.to(torch::kDouble)).abs().max().item<double>();
}

std::string numbers(const torch::Tensor& row) {
  std::string text;
  for (int64_t i = 0; i < row.size(0); ++i) {
    text += fmt::format("{}{:.3f}", i == 0 ? "" : "  ", row[i].item<double>());
  }
  return text;
}

void dot_products(Notebook& book) {
  const Words words{"cat", "sat", "mat"};
  const auto vectors = torch::tensor({{1., 0., 1.}, {0., 1., 1.}, {1., 1., 0.}});
  book.say(
      "A word is a list of numbers, a vector. Two vectors are similar if their dot product is "
      "large: "
      "multiply number by number and add up.");
  book.show("vectors", matrix(vectors, words, numbered("x", 3), "three words as vectors"),
            "Each row is a word.");
  std::string steps;
  for (const auto& [a, b] : {std::pair{0, 1}, std::pair{0, 2}, std::pair{1, 2}, std::pair{0, 0}}) {
    std::string sum;
    for (int64_t i = 0; i < 3; ++i) {
      sum += fmt::format("{}{:g} x {:g}", i == 0 ? "" : " + ", vectors[a][i].item<double>(),
                         vectors[b][i].item<double>());
    }
    steps +=
        fmt::format("{} . {} = {} = {:g}\n", words[static_cast<size_t>(a)],
                    words[static_cast<size_t>(b)], sum, vectors[a].dot(vectors[b]).item<double>());
  }
  book.lines(steps);
  book.show(
      "products", matrix(torch::matmul(vectors, vectors.t()), words, words, "X X^T", "dot product"),
      "All dot products at once, as one matrix product. A word is most similar to itself; each "
      "two of these words share one number.");
}

void self_attention(Notebook& book) {
  const Words words{"I", "love", "AI"};
  constexpr int64_t kDim = 4;
  SelfAttention attention(SingleHeadAttentionOptions(kDim, kDim).bias(false));
  attention->eval();
  const auto x = torch::randn({3, kDim});
  const auto query = attention->q_proj(x), key = attention->k_proj(x), value = attention->v_proj(x);
  book.say(
      "Self-attention lets each word look at all words of its sentence. From each word's vector x "
      "three others are made, by three matrices that training would learn: the query (what it "
      "looks "
      "for), the key (what it can be found by) and the value (what it has to say). Here vectors "
      "and "
      "matrices are random, so the weights mean nothing yet; the steps are the real ones.");
  HeatmapGrid projections;
  projections.title = "from vectors to queries, keys and values";
  projections.columns = 4;
  projections.panels = {matrix(x, words, numbered("", kDim), "x"),
                        matrix(query, words, numbered("", kDim), "queries x W_Q"),
                        matrix(key, words, numbered("", kDim), "keys x W_K"),
                        matrix(value, words, numbered("", kDim), "values x W_V")};
  book.show("projections", projections, "Each row is a word in four roles.");

  const auto scores = torch::matmul(query, key.t()) / std::sqrt(static_cast<double>(kDim));
  const auto weights = torch::softmax(scores, -1);
  const auto output = torch::matmul(weights, value);
  for (int64_t i = 0; i < 3; ++i) {
    const auto& word = words[static_cast<size_t>(i)];
    book.lines(
        fmt::format("\"{}\" asks:  query {}\n"
                    "  its scores over I, love, AI (query . key / sqrt(4)):  {}\n"
                    "  normalised (exp, divided by the sum):                 {}   sum {:.3f}\n"
                    "  weighted sum of the values:                           {}\n",
                    word, numbers(query[i]), numbers(scores[i]), numbers(weights[i]),
                    weights[i].sum().item<double>(), numbers(output[i])));
  }
  book.show(
      "weights", attention_heatmap(weights, words, words, "who looks at whom"),
      "Read along a row: how the word's look is shared out over all words. Each row sums to 1.");
  const auto module = attention(x, AttentionMask(), WeightsRequest::kMean);
  book.say(fmt::format("attend::SelfAttention on the same input: largest difference {:.1e}.",
                       std::max(largest_difference(module.output, output),
                                largest_difference(module.weights, weights))));
}

const Words kCatSatDown{"The", "cat", "sat", "down"};

torch::Tensor four_dimensions() {
  return torch::tensor({{1., .5, 0., .5}, {0., 1., 1., 0.}, {0., 0., .5, 1.}, {.5, 0., 0., 1.}});
}

torch::Tensor six_dimensions() {
  return torch::tensor({{1., .5, 0., .5, 0., 0.},
                        {0., 1., 1., 0., .5, 0.},
                        {0., 0., .5, 1., 1., .5},
                        {.5, 0., 0., .5, 1., 1.}});
}

// Every step from embeddings to output, with and without a mask.
void steps(Notebook& book, const std::string& prefix, const torch::Tensor& x, bool causal) {
  const auto dim = x.size(1);
  const auto scores = torch::matmul(x, x.t());
  const auto scaled = scores / std::sqrt(static_cast<double>(dim));
  auto masked = scaled;
  book.show(prefix + "embeddings",
            matrix(x, kCatSatDown, numbered("x", dim), fmt::format("X, {} dimensions", dim)),
            "The words' vectors, made by hand. They are queries, keys and values at once here.");
  book.show(prefix + "scores", matrix(scores, kCatSatDown, kCatSatDown, "scores Q K^T", "score"),
            "How well each row's query fits each column's key.");
  book.show(
      prefix + "scaled",
      matrix(scaled, kCatSatDown, kCatSatDown, fmt::format("divided by sqrt({})", dim), "score"),
      "The same, smaller: long vectors would otherwise make the softmax too sure of itself.");
  if (causal) {
    const auto mask = functional::causal_mask(4);
    book.show(
        prefix + "mask",
        attention_heatmap(mask.to(torch::kFloat), kCatSatDown, kCatSatDown, "the causal mask"),
        "1 may be looked at, 0 may not: no word looks at those after it.");
    masked = scaled.masked_fill(mask.logical_not(), -std::numeric_limits<double>::infinity());
  }
  const auto weights = torch::softmax(masked, -1);
  book.show(prefix + "weights",
            attention_heatmap(weights, kCatSatDown, kCatSatDown, "softmax, row by row"),
            "The weights. Each row sums to 1.");
  const auto output = torch::matmul(weights, x);
  book.show(prefix + "output",
            matrix(output, kCatSatDown, numbered("y", dim), "output: weights x V"),
            "Each word is now a mixture of the words it looked at.");
  const auto batched = x.unsqueeze(0);
  const auto module = functional::scaled_dot_product_attention(
      batched, batched, batched, causal ? AttentionMask::causal() : AttentionMask(),
      WeightsRequest::kMean);
  book.say(fmt::format("scaled_dot_product_attention in one call: largest difference {:.1e}.",
                       std::max(largest_difference(module.output[0], output),
                                largest_difference(module.weights[0], weights))));
}

void scaled_dot_product(Notebook& book) {
  book.say(
      "\"The cat sat down\", each word a vector of four numbers made by hand, through equation 1 "
      "of "
      "Vaswani et al. (2017): softmax(Q K^T / sqrt(d)) V.");
  steps(book, "d4-", four_dimensions(), /*causal=*/false);
  book.say("The same sentence with vectors of six numbers.");
  steps(book, "d6-", six_dimensions(), /*causal=*/false);
}

void causal(Notebook& book) {
  book.say(
      "A model that writes must not see what it has not written. The causal mask hides the words "
      "after each word; the rest is as before.");
  steps(book, "", six_dimensions(), /*causal=*/true);
  const auto weights_of = [](const torch::Tensor& x, const AttentionMask& mask) {
    const auto batched = x.unsqueeze(0);
    return functional::scaled_dot_product_attention(batched, batched, batched, mask,
                                                    WeightsRequest::kMean)
        .weights[0];
  };
  const auto side_by_side = [&](const torch::Tensor& x, const Words& words,
                                const std::string& title) {
    HeatmapGrid grid;
    grid.title = title;
    grid.columns = 2;
    grid.panels = {
        attention_heatmap(weights_of(x, {}), words, words, "regular"),
        attention_heatmap(weights_of(x, AttentionMask::causal()), words, words, "causal")};
    return grid;
  };
  book.show("sentence", side_by_side(six_dimensions(), kCatSatDown, "The cat sat down"),
            "Left: every word looks at every word. Right: at itself and those before it; the first "
            "word has only itself.");
  book.show(
      "random", side_by_side(torch::randn({6, 32}), numbered("t", 6), "random, T 6, E 32"),
      "The same for random vectors. Long vectors look mostly at themselves, since nothing is as "
      "similar to a vector as itself.");
}

void scaling(Notebook& book) {
  constexpr int64_t kKeys = 16, kTrials = 2000;
  book.say(
      "Why divide by sqrt(d)? The dot product of two random vectors of d numbers has a standard "
      "deviation of sqrt(d). Undivided, scores grow with d, the softmax picks one key and forgets "
      "the "
      "others, and its gradient vanishes. The entropy of the weights shows it: log 16 = 2.77 nats "
      "when all 16 keys count alike, 0 when one takes all.");
  LineSeries with{.name = "divided by sqrt(d)"}, without{.name = "not divided", .dashed = true};
  std::string table = "   d   divided   not divided   (nats, mean of 2000 queries)\n";
  for (const int64_t dim : {1, 2, 4, 8, 16, 32, 64, 128, 256, 512}) {
    const auto query = torch::randn({kTrials, 1, dim}), key = torch::randn({kTrials, kKeys, dim});
    const auto entropy = [&](double scale) {
      const auto weights = functional::scaled_dot_product_attention(
                               query, key, key, {}, WeightsRequest::kMean, {.scale = scale})
                               .weights.to(torch::kDouble);
      return -torch::xlogy(weights, weights).sum(-1).mean().item<double>();
    };
    const double divided = entropy(1.0 / std::sqrt(static_cast<double>(dim))), plain = entropy(1.0);
    with.add(static_cast<double>(dim), divided);
    without.add(static_cast<double>(dim), plain);
    table += fmt::format("{:4}   {:7.3f}   {:11.3f}\n", dim, divided, plain);
  }
  book.lines(table);
  const LinePlot plot{.series = {with, without},
                      .title = "entropy of the weights over 16 random keys",
                      .x_label = "d, numbers in a vector",
                      .y_label = "nats",
                      .log_x = true,
                      .from_zero = true};
  book.show("entropy", plot,
            "Divided, the entropy stays where it is however long the vectors are.");
}

}  // namespace

std::vector<Chapter> chapters_by_hand() {
  return {{"dot-products", "Dot products as similarity", dot_products},
          {"self-attention", "Self-attention, word by word", self_attention},
          {"scaled-dot-product", "Scaled dot-product attention, step by step", scaled_dot_product},
          {"causal", "Regular and causal self-attention", causal},
          {"scaling", "Why scale by sqrt(d)", scaling}};
}

}  // namespace attend::app
