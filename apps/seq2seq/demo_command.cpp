#include <fmt/format.h>

#include <iostream>

#include "attend/translation/translator.h"
#include "commands.h"
#include "common/choice.h"
#include "common/demo_training.h"
#include "common/machine.h"
#include "common/number_flag.h"
#include "demo_corpus/grammar.h"
#include "demo_pictures.h"
#include "detail/atomic_file.h"

namespace attend::app {
namespace {

namespace fs = std::filesystem;

struct DemoOptions {
  fs::path model_dir = "attend-demo";
  DemoCorpusOptions corpus = demo_corpus();
  DemoTraining training;
  bool quick = false;
  MachineOptions machine;
};

void write_corpus(const fs::path& folder, const std::string& name,
                  const std::vector<DemoPair>& pairs) {
  fs::create_directories(folder);
  std::string english, french, alignment;
  for (const auto& pair : pairs) {
    english += pair.source + "\n";
    french += pair.target + "\n";
    std::vector<WordLink> links;
    for (const auto& link : pair.links) links.push_back({link.source, link.target});
    alignment += pharaoh(links) + "\n";
  }
  detail::write_file_atomically(folder / (name + ".en"), english);
  detail::write_file_atomically(folder / (name + ".fr"), french);
  detail::write_file_atomically(folder / (name + ".align"), alignment);
}

double exact_match(const Translator& translator, const std::vector<DemoPair>& pairs) {
  const auto text = demo_texts(pairs);
  const auto found = translator.translate(text.source);
  int64_t right = 0;
  for (size_t i = 0; i < pairs.size(); ++i) right += found[i].front().text == text.target[i];
  return 100.0 * static_cast<double>(right) / static_cast<double>(pairs.size());
}

// The percentage of the nouns' gold links that the attention's hard alignment contains.
double noun_alignment(const Translator& translator, const std::vector<DemoPair>& pairs) {
  const auto text = demo_texts(pairs);
  const auto attention = translator.align(text.source, text.target);
  int64_t found = 0, all = 0;
  for (size_t i = 0; i < pairs.size(); ++i) {
    const auto links = hard_alignment(attention[i]);
    for (const auto& gold : pairs[i].links) {
      if (gold.kind != WordKind::kNoun) continue;
      ++all;
      found += std::ranges::find(links, WordLink{gold.source, gold.target}) != links.end();
    }
  }
  return 100.0 * static_cast<double>(found) / static_cast<double>(std::max<int64_t>(all, 1));
}

int demo(DemoOptions o) {
  const auto device = prepare_machine(o.machine);
  if (o.quick) {
    o.corpus.train = 4000;
    o.corpus.validation = o.corpus.test = 50;
    o.training.updates = 60;
  }
  std::cout << fmt::format("Writing {} English-French sentence pairs by grammar to {}.\n",
                           o.corpus.train + o.corpus.validation + o.corpus.test,
                           (o.model_dir / "corpus").string())
            << std::flush;
  const auto corpus = generate_demo_corpus(o.corpus);
  write_corpus(o.model_dir / "corpus", "train", corpus.train);
  write_corpus(o.model_dir / "corpus", "valid", corpus.validation);
  write_corpus(o.model_dir / "corpus", "test", corpus.test);
  o.training.seed = o.corpus.seed;
  const auto translator = train_demo(o.model_dir, o.training, corpus, device);

  std::cout << "\nTranslations of sentences that training never saw:\n";
  const auto showcases = demo_showcases();
  for (const auto& pair : showcases) {
    const auto text = translator.translate(pair.source).text;
    std::cout << fmt::format("  {}\n    {}\n", pair.source, text);
    if (text != pair.target) std::cout << fmt::format("    expected: {}\n", pair.target);
  }

  const auto cat = demo_showcase();
  const auto attention = translator.align({cat.source}, {cat.target}).front();
  std::cout << fmt::format("\n{} -> {}\nword alignment (source-target): {}\n", cat.source,
                           cat.target, pharaoh(hard_alignment(attention)))
            << attention_text(translator, cat.source, cat.target);
  for (const auto& file : draw_attention(o.model_dir, translator, cat.source, cat.target)) {
    std::cout << "  drawn: " << file.string() << '\n';
  }

  std::cout << fmt::format(
      "\nOn {0} held-out sentences:\n  exact match: {1:.1f} %\n"
      "  gold alignments of nouns found by cross-attention: {2:.1f} %\n"
      "\nTry: echo 'The cat sits on the mat' | attend-seq2seq translate -m {3} --alignment hard\n",
      corpus.test.size(), exact_match(translator, corpus.test),
      noun_alignment(translator, corpus.test), o.model_dir.string());
  return EXIT_SUCCESS;
}

}  // namespace

Command add_demo(CLI::App& app) {
  auto options = std::make_shared<DemoOptions>();
  auto& o = *options;
  app.add_option("-m,--model-dir", o.model_dir, "Folder for corpus, model and pictures")
      ->capture_default_str();
  app.add_option("--model", o.training.model, "Architecture")
      ->check(one_of({"transformer", "recurrent"}))
      ->capture_default_str();
  constexpr int64_t kMostUpdates = 1'000'000'000;
  add_number(app, "--updates", o.training.updates, {.least = 1, .most = kMostUpdates},
             "Training updates");
  add_number(app, "--seed", o.corpus.seed, kSeeds, "Random seed of the corpus and the training");
  app.add_flag("--short", o.quick,
               "A small corpus and a few updates: tests that everything runs, learns little");
  app.add_flag("!--no-reload", o.training.reload,
               "Train from scratch even if the folder has a snapshot");
  add_machine_options(app, o.machine);
  return [options] { return demo(*options); };
}

}  // namespace attend::app
