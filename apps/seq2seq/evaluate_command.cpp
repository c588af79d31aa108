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
  TranslatorOptions translator;
  BleuOptions bleu;
  MachineOptions machine;
};

int evaluate(const EvaluateOptions& o) {
  const auto device = prepare_machine(o.machine);
  const auto text = read_parallel(o.test_sets.at(0), o.test_sets.at(1));
  if (text.size() == 0) throw FileError(o.test_sets.at(0), "expected at least one line, got none");
  const auto translator = Translator::load(o.model_dir, o.translator, device);
  std::vector<std::string> hypotheses;
  for (auto& best : translator.translate(text.source)) {
    hypotheses.push_back(std::move(best.front().text));
  }
  const auto bleu = corpus_bleu(hypotheses, text.target, o.bleu);
  std::cout << fmt::format(
      "BLEU|{} = {:.2f} {:.1f}/{:.1f}/{:.1f}/{:.1f} (BP = {:.3f} ratio = {:.3f} hyp_len = {} "
      "ref_len = {})\n",
      bleu_signature(o.bleu), bleu.score, bleu.precisions[0], bleu.precisions[1],
      bleu.precisions[2], bleu.precisions[3], bleu.brevity_penalty, bleu.ratio, bleu.sys_len,
      bleu.ref_len);
  std::cout << fmt::format("chrF2|{} = {:.2f}\n", chrf_signature(),
                           corpus_chrf(hypotheses, text.target).score);
  return EXIT_SUCCESS;
}

}  // namespace

Command add_evaluate(CLI::App& app) {
  auto options = std::make_shared<EvaluateOptions>();
  auto& o = *options;
  app.add_option("-m,--model-dir", o.model_dir, "Model folder, attend's own or a MarianMT one")
      ->required();
  app.add_option("-t,--test-sets", o.test_sets, "Source text and its reference translation")
      ->expected(2)
      ->required();
  add_search_options(app, o.translator);
  add_shortlist(app, o.translator);
  add_choice(app, "--tokenize", o.bleu.tokenizer, bleu_tokenizers(), "BLEU tokenizer");
  add_machine_options(app, o.machine);
  return [options] { return evaluate(*options); };
}

}  // namespace attend::app
