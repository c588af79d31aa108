// Chapters about trained models and what their attention learned.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "attend/checkpoint/model_folder.h"
#include "attend/decoding/sampling.h"
#include "attend/models/recurrent_seq2seq.h"
#include "attend/models/seq2seq.h"
#include "attend/modules/multi_head_attention.h"
#include "attend/translation/tokenizer_fit.h"
#include "chapters.h"
#include "common/model_attention.h"
#include "demo_corpus/grammar.h"
#include "figures.h"
#include "trained_models.h"

namespace attend::app {
namespace {

constexpr auto kCat = "The cat sits on the mat";
constexpr auto kChat = "Le chat est assis sur le tapis";

AttentionPage cat_attention(const Notebook& book, torch::Device device) {
  return model_attention({.model_dir = trained_translator(book.folder(), device),
                          .text = kCat,
                          .target = kChat,
                          .device = device});
}

const AttentionView& view_of(const AttentionPage& page, const std::string& name) {
  for (const auto& view : page.views) {
    if (view.name == name) return view;
  }
  TORCH_INTERNAL_ASSERT(false, name);
}

void multi_head(Notebook& book, torch::Device device) {
  const auto page = cat_attention(book, device);
  const auto& encoder = view_of(page, "encoder");
  book.say(
      "One head has one set of weights, so it can look for one kind of thing. A layer has several, "
      "each with queries, keys and values of its own; their outputs are joined and projected. "
      "These "
      "are the heads of the demo's trained translator.");
  for (int64_t layer = 0; layer < encoder.weights.size(0); ++layer) {
    book.show(
        fmt::format("layer-{}", layer), heads_of_layer(page, encoder, layer),
        "Heads of one layer, side by side. Look for diagonals beside the main one (neighbours), "
        "columns (a word that all look at) and flat ones (nothing to look for).");
  }
}

void self_and_cross(Notebook& book, torch::Device device) {
  const auto page = cat_attention(book, device);
  book.say(
      fmt::format("\"{}\" / \"{}\" in the demo's trained translator, a sentence that training "
                  "never saw. In self-"
                  "attention queries, keys and values come from one sentence; in cross-attention "
                  "the queries come "
                  "from the French and the keys and values from the English.",
                  kCat, kChat));
  book.show_svg("flow", kFlowFigure, "Each layer of the model has this flow.");
  for (const auto& [name, text] :
       {std::pair{"encoder", "The English words look at each other."},
        std::pair{"decoder",
                  "The French words so far look at themselves and those before them: the "
                  "causal triangle. Row i is what has been read, starting with <pad>."},
        std::pair{"cross",
                  "Each French word that is written looks at the English: an alignment, with "
                  "sits -> est assis and on -> sur."}}) {
    const auto& view = view_of(page, name);
    const auto last = view.weights.size(0) - 1;
    book.show(name,
              attention_heatmap(view.weights[last].mean(0), page.tokens.at(view.rows),
                                page.tokens.at(view.columns),
                                fmt::format("{}, last layer, mean over heads", view.label)),
              text);
  }
}

void trace(Notebook& book, torch::Device device) {
  const auto folder = trained_translator(book.folder(), device);
  const auto model = load_seq2seq(folder);
  const auto tokenizer = load_tokenizer_of(*model, folder);
  const torch::InferenceMode inference;
  const auto source = tokenizer.source_subwords(kCat);
  std::vector<int64_t> ids;
  std::string words;
  for (const auto& subword : source) {
    ids.push_back(subword.id);
    words += " " + subword.piece;
  }
  auto mutable_model = model;
  const auto state = mutable_model->start(torch::tensor(ids, torch::kLong).unsqueeze(0));
  const auto& o = model->options;
  book.say(
      "A translation is written one token at a time. What each step needs from before is kept, so "
      "that nothing is computed twice.");
  std::string text = fmt::format(
      "encoded once:{}\n  {} tokens -> keys and values of {} layers, {} heads, {} numbers each\n\n",
      words, ids.size(), o.decoder_layers(), o.decoder_layer().num_heads(),
      o.embed_dim() / o.decoder_layer().num_heads());
  int64_t token = model->special_tokens().start_id;
  constexpr int kMost = 32;
  for (int step = 0; step < kMost; ++step) {
    const auto held = state->position();
    const auto output = mutable_model->step(torch::tensor({token}, torch::kLong), *state,
                                            /*want_alignment=*/true);
    const auto read = tokenizer.decoded_subwords({token}).front().piece;
    const auto p = torch::softmax(output.logits[0], 0);
    auto logits = output.logits[0].clone();
    logits[model->special_tokens().pad_id] = -std::numeric_limits<float>::infinity();
    token = logits.argmax().item<int64_t>();
    const auto looked = output.alignment[0].argmax().item<int64_t>();
    const auto next = tokenizer.decoded_subwords({token}).front().piece;
    text += fmt::format(
        "step {:2}  reads {:<10} cache {:2} -> {:2} positions   looks most at {:<10} writes {:<10} "
        "p {:.3f}\n",
        step + 1, read, held, state->position(), source[static_cast<size_t>(looked)].piece, next,
        p[token].item<double>());
    if (token == model->special_tokens().eos_id) break;
  }
  book.lines(text);
  book.show_svg(
      "step", kStepFigure,
      "Only the last token goes through the decoder; all before it are in the cache, to which it "
      "adds its own key and value.");
}

// A sentence word by word through a GRU, and at once through self-attention.
void one_sentence_both_ways(Notebook& book) {
  constexpr int64_t kE = 16, kH = 2;
  const std::vector<std::string> words{"The", "cat", "sits", "on", "the", "mat"};
  const auto count = static_cast<int64_t>(words.size());
  const torch::InferenceMode inference;
  const auto x = torch::randn({1, count, kE});
  book.say(
      "First one sentence, both ways, with random vectors for its words. The GRU reads a word and "
      "its "
      "own last state, and so it cannot begin with a word before it has done with the one before:");
  torch::nn::GRU gru(torch::nn::GRUOptions(kE, kE).batch_first(true));
  auto state = torch::zeros({1, 1, kE});
  std::string steps;
  for (int64_t t = 0; t < count; ++t) {
    state = std::get<1>(gru(x.narrow(1, t, 1), state));
    const auto* numbers = state.const_data_ptr<float>();
    steps += fmt::format(
        "step {}: reads {:<5} and state {}   -> state {}: {:5.2f} {:5.2f} {:5.2f} ...\n", t + 1,
        words[static_cast<size_t>(t)], t, t + 1, numbers[0], numbers[1], numbers[2]);
  }
  const double apart =
      (std::get<1>(gru(x, torch::zeros({1, 1, kE}))) - state).abs().max().item<double>();
  steps +=
      fmt::format("all at once the GRU does the same {} steps inside; largest difference {:.1e}\n",
                  count, apart);
  book.lines(steps);
  book.say(
      "Self-attention needs no state. Each word looks at all words, whatever has become of the "
      "others, "
      "so all of them are one product of matrices:");
  MultiHeadAttention attention(kE, kH);
  const auto at_once = attention(x, x, x).output;
  double largest = 0;
  for (int64_t t = 0; t < count; ++t) {
    const auto alone = attention(x.narrow(1, t, 1), x, x).output;
    largest = std::max(largest, (alone - at_once.narrow(1, t, 1)).abs().max().item<double>());
  }
  book.lines(
      fmt::format("step 1: all {} words look at all {} words\n"
                  "each word alone, in any order, gives the same; largest difference {:.1e}\n",
                  count, count, largest));
}

void recurrent(Notebook& book, torch::Device device) {
  constexpr int64_t kVocab = 900, kE = 128, kH = 4, kLayers = 2, kBatch = 8;
  one_sentence_both_ways(book);
  book.say(
      "A recurrent encoder reads a sentence word by word: each state needs the one before. A "
      "Transformer's encoder takes all words at once; every word is one step from every other. "
      "Measured here: encoding 8 random sentences, both models with 128 numbers a word, "
      "untrained.");
  Seq2Seq transformer(Seq2SeqOptions(kVocab, kVocab, kE, kH, kLayers).max_length(1024));
  RecurrentSeq2Seq gru(RecurrentSeq2SeqOptions(kVocab, kVocab, kE));
  transformer->to(device);
  gru->to(device);
  transformer->eval();
  gru->eval();
  const torch::InferenceMode inference;
  LineSeries parallel{.name = "Transformer"}, sequential{.name = "recurrent (GRU)", .dashed = true};
  std::string table = "length   Transformer   recurrent   (ms, 8 sentences)\n";
  for (const int64_t length : {8, 16, 32, 64, 128, 256, 512}) {
    const auto source = torch::randint(1, kVocab - 1, {kBatch, length}, torch::kLong).to(device);
    const auto milliseconds = [&](IncrementalModel& model) {
      model.start(source);
      constexpr int kRuns = 5;
      const auto start = std::chrono::steady_clock::now();
      for (int i = 0; i < kRuns; ++i) model.start(source);
      if (device.is_cuda()) torch::cuda::synchronize();
      const std::chrono::duration<double, std::milli> gone =
          std::chrono::steady_clock::now() - start;
      return gone.count() / kRuns;
    };
    const double a = milliseconds(*transformer), b = milliseconds(*gru);
    parallel.add(static_cast<double>(length), a);
    sequential.add(static_cast<double>(length), b);
    table += fmt::format("{:6}   {:11.2f}   {:9.2f}\n", length, a, b);
  }
  book.lines(table);
  const LinePlot plot{.series = {parallel, sequential},
                      .title = "time to encode 8 sentences",
                      .x_label = "words in a sentence",
                      .y_label = "ms",
                      .log_x = true,
                      .log_y = true};
  book.show(
      "time", plot,
      "The recurrent model takes as many steps as there are words. The Transformer's work grows "
      "with the square of the length, but all of it at once.");
}

void vision(Notebook& book, torch::Device device) {
  auto model = trained_shape_finder(book.folder(), device);
  torch::manual_seed(5);
  const auto [pictures, labels] = shape_pictures(4);
  const torch::InferenceMode inference;
  const auto result = model->run(pictures.to(device),
                                 WeightsRequest(WeightsRequest::kMean).queries({0}).layers({-1}));
  const auto weights = result.weights.back().squeeze(1).cpu();  // [B, 1 + N]
  const auto found = result.logits.argmax(1);
  book.say(
      "A vision transformer cuts a picture into patches and reads them as words, behind a class "
      "token "
      "that looks at all of them and says what the picture shows. Here: shapes of 16 x 16 pixels, "
      "16 "
      "patches, classified by a model trained a moment ago.");
  const auto& o = model->options;
  const auto side = o.image_size() / o.patch_size();
  for (int64_t i = 0; i < pictures.size(0); ++i) {
    const auto patches = weights[i].narrow(0, 1, side * side).view({1, 1, side, side});
    const auto looked =
        patches.repeat_interleave(o.patch_size(), 2).repeat_interleave(o.patch_size(), 3)[0][0];
    const auto picture = pictures[i][0];
    const auto bright = (picture - picture.min()) / (picture.max() - picture.min());
    HeatmapGrid grid;
    grid.columns = 3;
    grid.title = fmt::format("Shown: {}; taken for: {}", kShapes[labels[i].item<int64_t>()],
                             kShapes[found[i].item<int64_t>()]);
    grid.panels = {matrix(bright, {}, {}, "picture"),
                   matrix(looked / looked.max(), {}, {}, "attention of the class token"),
                   matrix(bright * looked / looked.max(), {}, {}, "drawn over the picture")};
    for (auto& panel : grid.panels) panel.options.show_values = false;
    book.show(fmt::format("picture-{}", i), grid,
              "Left the picture, in the middle where the class token looks (last layer, mean over "
              "heads, each patch 4 x 4 pixels), right both together.");
  }
}

void generation(Notebook& book, torch::Device device) {
  auto [model, tokenizer] = trained_writer(book.folder(), device);
  torch::manual_seed(2);
  book.say(
      "A causal language model writes: it gives every token a probability of being the next one, "
      "one "
      "is drawn, and it reads that too. This one has read 80,000 French sentences of the demo's "
      "grammar.");
  const auto begin = torch::full({8, 1}, tokenizer.pad_id(), torch::kLong).to(device);
  std::string text;
  for (const double temperature : {0.5, 1.0}) {
    text += fmt::format("temperature {}:\n", temperature);
    for (const auto& drawn :
         sample(*model, begin,
                {.temperature = temperature,
                .max_new_tokens = 60,
                .rules = {.suppress_tokens = spare_tokens(*model, tokenizer)}})) {
      const auto sentence = tokenizer.decode_target(drawn.tokens);
      text += fmt::format("  {} {}\n", demo_accepts_french(sentence) ? "+" : "-", sentence);
    }
  }
  book.lines(text + "+ the grammar accepts it, - it does not\n");
  const auto page = model_attention(
      {.model_dir = book.folder() / "models" / "writer", .text = kChat, .device = device});
  const auto& view = page.views.front();
  book.show("attention", heads_of_layer(page, view, view.weights.size(0) - 1),
            "What each token looks at when the next one is predicted, head by head.");
}

}  // namespace

std::vector<Chapter> chapters_of_models(torch::Device device) {
  const auto on_device = [device](void (*chapter)(Notebook&, torch::Device)) {
    return [device, chapter](Notebook& book) { chapter(book, device); };
  };
  return {{"multi-head", "Many heads", on_device(multi_head)},
          {"self-and-cross", "Self-attention and cross-attention", on_device(self_and_cross)},
          {"encoder-decoder", "A translation, token by token", on_device(trace)},
          {"recurrent", "Recurrent against Transformer", on_device(recurrent)},
          {"vision", "A vision transformer looks at shapes", on_device(vision)},
          {"generation", "A causal model writes", on_device(generation)}};
}

}  // namespace attend::app
