#include <fmt/format.h>

#include <iostream>

#include "attend/data/parallel_text.h"
#include "attend/file_error.h"
#include "attend/translation/bleu.h"
#include "attend/translation/chrf.h"
#include "attend/translation/translator.h"
#include "commands.h"
#include "common/console.h"
#include "common/machine.h"
#include "common/model_choice.h"
#include "common/search_flags.h"

namespace attend::app {
namespace {

struct EvaluateOptions {
  std::filesystem::path model_dir;
  std::vector<std::filesystem::path> test_sets;
  std::filesystem::path hypotheses, references;  // in place of a model and its test sets
  TranslatorOptions translator;
  BleuOptions bleu;
  MachineOptions machine;
};

ParallelText read_pairs(const std::filesystem::path& first, const std::filesystem::path& second) {
  auto text = read_parallel(first, second);
  if (text.size() == 0) throw FileError(first, "expected at least one line, got none");
  return text;
}

// Hypotheses with their references.
ParallelText translated(const EvaluateOptions& o) {
  if (!o.hypotheses.empty()) return read_pairs(o.hypotheses, o.references);
  const auto device = prepare_machine(o.machine);
  auto text = read_pairs(o.test_sets.at(0), o.test_sets.at(1));
  const auto translator = Translator::load(o.model_dir, o.translator, device);
  auto translations = translator.translate(text.source);
  for (size_t i = 0; i < translations.size(); ++i) {
    text.source[i] = std::move(translations[i].front().text);
  }
  return text;
}

int evaluate(const EvaluateOptions& o) {
  const auto [hypotheses, references] = translated(o);
  const auto bleu = corpus_bleu(hypotheses, references, o.bleu);
  std::cout << fmt::format(
      "BLEU|{} = {:.2f} {:.1f}/{:.1f}/{:.1f}/{:.1f} (BP = {:.3f} ratio = {:.3f} hyp_len = {} "
      "ref_len = {})\n",
      bleu_signature(o.bleu), bleu.score, bleu.precisions[0], bleu.precisions[1],
      bleu.precisions[2], bleu.precisions[3], bleu.brevity_penalty, bleu.ratio, bleu.sys_len,
      bleu.ref_len);
  std::cout << fmt::format("chrF2|{} = {:.2f}\n", chrf_signature(),
                           corpus_chrf(hypotheses, references).score);
  return EXIT_SUCCESS;
}

}  // namespace

Command add_evaluate(CLI::App& app) {
  auto options = std::make_shared<EvaluateOptions>();
  auto& o = *options;
  auto* model =
      app.add_option("-m,--model-dir", o.model_dir, "Model folder, attend's own or a MarianMT one");
  auto* texts =
      app.add_option("-t,--test-sets", o.test_sets, "Source text and its reference translation")
          ->expected(2);
  auto* hypotheses =
      app.add_option("--hypotheses", o.hypotheses, "Translations to score, instead of a model's")
          ->excludes(model)
          ->excludes(texts);
  auto* references =
      app.add_option("--references", o.references, "Their reference translations, line for line");
  app.callback([=] {
    const auto are_given = [](const CLI::Option* first, const CLI::Option* second) {
      return first->count() > 0 && second->count() > 0;
    };
    if (are_given(model, texts) || are_given(hypotheses, references)) return;
    throw CLI::RequiredError(
        "expected --model-dir and --test-sets, or --hypotheses and --references",
        CLI::ExitCodes::RequiredError);
  });
  add_search_options(app, o.translator);
  add_shortlist(app, o.translator);
  add_choice(app, "--tokenize", o.bleu.tokenizer, bleu_tokenizers(), "BLEU tokenizer");
  add_machine_options(app, o.machine);
  return [options] { return evaluate(*options); };
}

}  // namespace attend::app
