#include <fmt/format.h>
#include <unistd.h>

#include <iostream>

#include "attend/checkpoint/model_folder.h"
#include "attend/data/demo_grammar.h"
#include "attend/text/subword_training.h"
#include "attend/training/trainer.h"
#include "attend/translation/translator.h"
#include "commands.h"
#include "common/machine.h"
#include "console.h"
#include "demo_pictures.h"
#include "detail/atomic_file.h"
#include "model_choice.h"

namespace attend::app {
namespace {

namespace fs = std::filesystem;

struct DemoOptions {
  fs::path model_dir = "attend-demo";
  std::string model = "transformer";
  DemoCorpusOptions corpus{.train = 80000};
  int64_t vocab_size = 900;
  int64_t updates = 2200;
  bool quick = false;
  bool reload = true;
  MachineOptions machine;
};

// What a trial of each architecture found to work in about four minutes on two cores.
ModelChoice demo_model(const DemoOptions& o) {
  ModelChoice choice;
  choice.kind = o.model;
  choice.embed_dim = o.model == "recurrent" ? 192 : 128;
  choice.encoder_layers = choice.decoder_layers = 2;
  choice.ffn_dim = 512;
  choice.dropout = 0.0;  // the grammar's pairs hold no noise to overfit, and it learns faster so
  choice.max_positions = 128;
  return choice;
}

TrainerOptions demo_training(const DemoOptions& o) {
  TrainerOptions options;
  options.after = {static_cast<double>(o.updates), Duration::Unit::kUpdates};
  options.valid_freq = {std::max(1.0, static_cast<double>(o.updates) / 4),
                        Duration::Unit::kUpdates};
  options.disp_freq = {std::max(1.0, static_cast<double>(o.updates) / 16),
                       Duration::Unit::kUpdates};
  options.batch_tokens = 1536;
  options.schedule = {.peak = o.model == "recurrent" ? 2e-3 : 3e-3,
                      .warmup = std::min<int64_t>(400, o.updates / 4),
                      .decay = Decay::kLinear};
  options.exponential_smoothing = 0.005;
  options.valid_metrics = {"cross-entropy"};
  options.seed = o.corpus.seed;
  options.reload = o.reload;
  return options;
}

ParallelText texts(const std::vector<DemoPair>& pairs) {
  ParallelText text;
  for (const auto& pair : pairs) {
    text.source.push_back(pair.source);
    text.target.push_back(pair.target);
  }
  return text;
}

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

Translator trained(const DemoOptions& o, const DemoCorpus& corpus, torch::Device device) {
  TrainingConsole console(/*quiet=*/false);
  const auto train = texts(corpus.train);
  const bool resume = o.reload && has_snapshot(o.model_dir);
  const auto tokenizer = [&] {
    if (resume) return SubwordTokenizer::load(o.model_dir);
    auto sentences = train.source;
    sentences.insert(sentences.end(), train.target.begin(), train.target.end());
    return train_subwords(sentences,
                          {.vocab_size = o.vocab_size,
                           .tokenizer = {.source_language = "en", .target_language = "fr"}});
  }();
  torch::manual_seed(o.corpus.seed);
  auto model = make_model(demo_model(o), tokenizer);
  Trainer trainer(model, tokenizer, train, texts(corpus.validation), o.model_dir, demo_training(o),
                  device);
  const auto result = trainer.run(console.callbacks());
  TORCH_CHECK(!result.interrupted, "interrupted; the same command goes on from update ",
              result.updates);
  std::cout << fmt::format("Trained {} updates in {} with {} threads.\n", result.updates,
                           clock_time(result.elapsed), torch::get_num_threads());
  return Translator::load(o.model_dir, {.beam_size = 1}, device);
}

double exact_match(const Translator& translator, const std::vector<DemoPair>& pairs) {
  const auto text = texts(pairs);
  const auto found = translator.translate(text.source);
  int64_t right = 0;
  for (size_t i = 0; i < pairs.size(); ++i) right += found[i].front().text == text.target[i];
  return 100.0 * static_cast<double>(right) / static_cast<double>(pairs.size());
}

// The share of the French nouns' gold links that the attention points at.
double noun_alignment(const Translator& translator, const std::vector<DemoPair>& pairs) {
  const auto text = texts(pairs);
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
    o.updates = 60;
  }
  std::cout << fmt::format("Writing {} English-French sentence pairs by grammar to {}.\n",
                           o.corpus.train + o.corpus.validation + o.corpus.test,
                           (o.model_dir / "corpus").string())
            << std::flush;
  const auto corpus = generate_demo_corpus(o.corpus);
  write_corpus(o.model_dir / "corpus", "train", corpus.train);
  write_corpus(o.model_dir / "corpus", "valid", corpus.validation);
  write_corpus(o.model_dir / "corpus", "test", corpus.test);
  const auto translator = trained(o, corpus, device);

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
            << attention_text(translator, cat.source, cat.target, ::isatty(STDOUT_FILENO) != 0);
  for (const auto& file :
       draw_attention(o.model_dir / "pictures", translator, cat.source, cat.target)) {
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
  app.add_option("--model", o.model, "Architecture")
      ->check(CLI::IsMember({"transformer", "recurrent"}))
      ->capture_default_str();
  app.add_option("--updates", o.updates, "Training updates")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--seed", o.corpus.seed, "Of the corpus and the training")->capture_default_str();
  app.add_flag("--short", o.quick,
               "A small corpus and a few updates: shows that everything runs, not what it learns");
  app.add_flag("!--no-reload", o.reload, "Train again even if the folder has a snapshot");
  add_machine_options(app, o.machine);
  return [options] { return demo(*options); };
}

}  // namespace attend::app
