// Loads a model folder, translates, and shows which word each word comes from: translate FOLDER TEXT...
//
// The folder is one that attend-seq2seq trained, or a MarianMT folder of Hugging Face.
#include <attend/translation/translator.h>

#include <exception>
#include <iostream>
#include <iterator>
#include <sstream>
#include <string>
#include <vector>

namespace {

std::vector<std::string> words(const std::string& text) {
  std::istringstream stream(text);
  return {std::istream_iterator<std::string>(stream), {}};
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc < 3) {
    std::cerr << "usage: translate FOLDER TEXT...\n";
    return 2;
  }
  const attend::TranslatorOptions options{.beam_size = 4, .attention = true};
  const auto translator = attend::Translator::load(argv[1], options);

  const std::vector<std::string> texts(argv + 2, argv + argc);
  bool is_complete = true;
  for (const auto& text : texts) {
    const auto translation = translator.translate(text);
    std::cout << text << " -> " << translation.text << "  (score " << translation.score << ")\n";
    const auto source_words = words(text);
    const auto target_words = words(translation.text);
    for (const auto& link : translation.alignment) {
      std::cout << "  " << target_words.at(static_cast<size_t>(link.target)) << " <- "
                << source_words.at(static_cast<size_t>(link.source)) << '\n';
    }
    is_complete = is_complete && translation.alignment.size() == target_words.size();
  }
  return is_complete ? 0 : 1;
} catch (const std::exception& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
