#include <fmt/format.h>
#include <fmt/ranges.h>

#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <fstream>
#include <iostream>
#include <map>
#include <mutex>
#include <sstream>
#include <thread>

#include "attend/file_error.h"
#include "attend/text/lines.h"
#include "attend/text/words.h"
#include "attend/translation/translator.h"
#include "commands.h"
#include "common/choice.h"
#include "common/console.h"
#include "common/machine.h"
#include "common/number_flag.h"
#include "common/search_flags.h"
#include "detail/read_file.h"
#include "throughput.h"
#include "translation_json.h"

namespace attend::app {
namespace {

struct TranslateOptions {
  std::filesystem::path model_dir, input, output, target_prefix;
  TranslatorOptions translator;
  std::string alignment;  // hard, soft or none
  std::optional<int64_t> n_best;
  bool score = false, json = false;
  size_t mini_batch = 64;  // most lines translated at a time
  MachineOptions machine;
};

/// Reads lines ahead in a thread of its own. The translating thread takes all lines that are
/// available and never waits for further ones, so each line is answered without delay.
class WaitingLines {
 public:
  WaitingLines(std::istream& stream, std::string name) {
    // Detached, since after an error it may still be blocked on reading a line.
    std::thread([shared = shared_, &stream, name = std::move(name)] {
      LineReader reader(stream, name);
      const auto put = [&](auto&& change) {
        const std::lock_guard lock(shared->mutex);
        change();
        shared->changed.notify_all();
      };
      try {
        while (auto line = reader.next()) {
          std::unique_lock lock(shared->mutex);
          shared->changed.wait(lock, [&] { return shared->lines.size() < kReadAhead; });
          shared->lines.push_back(std::move(*line));
          shared->changed.notify_all();
        }
      } catch (...) {
        put([&] { shared->error = std::current_exception(); });
      }
      put([&] { shared->finished = true; });
    }).detach();
  }

  /// Between 1 and `most` lines; none at the end. A read error is thrown after the lines before it.
  std::vector<std::string> take(size_t most) {
    std::unique_lock lock(shared_->mutex);
    shared_->changed.wait(lock, [&] { return !shared_->lines.empty() || shared_->finished; });
    std::vector<std::string> taken;
    while (!shared_->lines.empty() && taken.size() < most) {
      taken.push_back(std::move(shared_->lines.front()));
      shared_->lines.pop_front();
    }
    shared_->changed.notify_all();
    if (taken.empty() && shared_->error) std::rethrow_exception(shared_->error);
    return taken;
  }

 private:
  static constexpr size_t kReadAhead = 4096;
  struct Shared {
    std::mutex mutex;
    std::condition_variable changed;
    std::deque<std::string> lines;
    std::exception_ptr error;
    bool finished = false;
  };
  std::shared_ptr<Shared> shared_ = std::make_shared<Shared>();
};

// The beginnings of translations, a line for each line of the input.
class PrefixLines {
 public:
  explicit PrefixLines(const std::filesystem::path& path)
      : path_(path), stream_(detail::open_for_reading(path)), reader_(stream_, path.string()) {}

  std::vector<std::string> take(size_t count) {
    std::vector<std::string> lines;
    while (lines.size() < count) {
      auto line = reader_.next();
      if (!line) {
        throw FileError(path_, fmt::format("expected a line for each line of the input, got {}",
                                           reader_.line_number()));
      }
      lines.push_back(std::move(*line));
    }
    return lines;
  }

  void expect_end() {
    const auto lines = reader_.line_number();
    if (reader_.next()) {
      throw FileError(path_, fmt::format("expected the {} lines of the input, got more", lines));
    }
  }

 private:
  std::filesystem::path path_;
  std::ifstream stream_;
  LineReader reader_;
};

// Marian's soft alignment: for each target word the weights of the source words, separated by
// spaces.
std::string soft_alignment(const torch::Tensor& attention) {
  std::string text;
  for (int64_t t = 0; t < attention.size(0); ++t) {
    const auto row = attention[t].contiguous();
    const auto* values = row.const_data_ptr<float>();
    text +=
        fmt::format("{}{:.6g}", t == 0 ? "" : " ", fmt::join(values, values + row.numel(), ","));
  }
  return text;
}

std::string text_line(const TranslateOptions& o, size_t line, const Translation& t) {
  std::string text = o.n_best ? fmt::format("{} ||| {}", line, t.text) : t.text;
  const bool has_words = t.attention.defined();
  if (o.alignment == "hard") text += " ||| " + pharaoh(t.alignment);
  if (o.alignment == "soft") text += " ||| " + (has_words ? soft_alignment(t.attention) : "");
  if (o.n_best || o.score) {
    text += fmt::format(" ||| F0= {:.4f} ||| {:.4f}", t.log_probability, t.score);
  }
  return text;
}

int64_t words_of(const std::string& text) { return static_cast<int64_t>(split_words(text).size()); }

// How much of a file is translated and how long the rest takes, on a terminal that shows nothing else.
class FileProgress {
 public:
  explicit FileProgress(const TranslateOptions& o) {
    const bool is_alone = !o.output.empty() || ::isatty(STDOUT_FILENO) == 0;
    if (is_alone && std::filesystem::is_regular_file(o.input)) {
      size_ = static_cast<double>(std::filesystem::file_size(o.input));
    }
  }

  void add(const std::string& line) { read_ += static_cast<double>(line.size()) + 1; }

  void draw(const Throughput& done) {
    if (size_ <= 0) return;
    const auto part = std::min(read_ / size_, 1.0);
    const auto seconds = done.seconds();
    bar_.draw(part, fmt::format("{} lines  {:.0f} lines/s  {} left", done.lines(),
                                static_cast<double>(done.lines()) / seconds,
                                clock_time(seconds * (1 - part) / part)));
  }

  void clear() { bar_.clear(); }

 private:
  double size_ = 0, read_ = 0;  // bytes; without a size nothing is drawn
  ProgressBar bar_;
};

int translate(const TranslateOptions& o) {
  auto options = o.translator;
  if (o.n_best) options.n_best = *o.n_best;
  if (options.beam_size) options.beam_size = std::max(*options.beam_size, options.n_best);
  options.attention = !o.alignment.empty();
  options.scores = o.n_best || o.score || o.json;
  const auto device = prepare_machine(o.machine);
  const auto translator = Translator::load(o.model_dir, options, device);

  std::ifstream input_file;
  if (!o.input.empty()) {
    if (std::filesystem::is_directory(o.input))
      throw FileError(o.input, "expected a file, got a folder");
    input_file.open(o.input, std::ios::binary);
    if (!input_file) throw FileError(o.input, "cannot open for reading");
  }
  std::optional<PrefixLines> prefixes;
  if (!o.target_prefix.empty()) prefixes.emplace(o.target_prefix);
  std::ofstream output_file;
  if (!o.output.empty()) {
    output_file.open(o.output, std::ios::binary);
    if (!output_file) throw FileError(o.output, "cannot open for writing");
  }
  const std::string output_name = o.output.empty() ? "standard output" : o.output.string();
  std::ostream& output = o.output.empty() ? std::cout : output_file;
  WaitingLines waiting(o.input.empty() ? std::cin : input_file,
                       o.input.empty() ? "standard input" : o.input.string());

  size_t line = 0;
  Throughput done;
  FileProgress progress(o);
  while (true) {
    const auto texts = waiting.take(o.mini_batch);
    if (texts.empty()) break;
    const auto taken = done.seconds();
    const auto results = translator.translate(
        texts, prefixes ? prefixes->take(texts.size()) : std::vector<std::string>());
    int64_t source_words = 0, target_words = 0;
    for (size_t i = 0; i < texts.size(); ++i, ++line) {
      source_words += words_of(texts[i]);
      target_words += words_of(results[i].front().text);
      progress.add(texts[i]);
      if (o.json) {
        output << json_text(translations_json(texts[i], results[i], o.alignment == "hard",
                                              o.alignment == "soft"))
               << '\n';
      } else {
        for (const auto& translation : results[i])
          output << text_line(o, line, translation) << '\n';
      }
    }
    output.flush();
    if (!output) throw FileError(output_name, "cannot write");
    done.add(static_cast<int64_t>(texts.size()), source_words, target_words,
             done.seconds() - taken);
    progress.draw(done);
  }
  if (prefixes) prefixes->expect_end();
  progress.clear();
  std::cerr << done.summary() << '\n';
  return EXIT_SUCCESS;
}

}  // namespace

Command add_translate(CLI::App& app) {
  auto options = std::make_shared<TranslateOptions>();
  auto& o = *options;
  app.add_option("-m,--model-dir", o.model_dir, "Model folder, attend's own or a MarianMT one")
      ->required();
  app.add_option("-i,--input", o.input, "Text, one sentence per line; default: standard input");
  app.add_option("-o,--output", o.output, "Translations; default: standard output");
  add_search_options(app, o.translator);
  add_shortlist(app, o.translator);
  add_number(
      app, "--n-best", o.n_best, kBeamSizes,
      "Print the n best of each line: line number ||| text ||| F0= log-probability ||| score");
  app.add_option("--alignment", o.alignment, "Append word alignments: hard (0-0 1-2) or soft")
      ->check(one_of({"hard", "soft"}));
  app.add_flag("--score", o.score, "Append ||| F0= log-probability ||| score");
  app.add_flag("--json", o.json, "One JSON object per line");
  app.add_option(
      "--target-prefix", o.target_prefix,
      "Text that translations begin with, a line for each line of the input, perhaps empty");
  constexpr double kMostFactor = 1e6;
  add_number(app, "--max-length-factor", o.translator.max_length_factor,
             {.least = 0, .most = kMostFactor}, "Limit of target tokens per source token");
  constexpr size_t kMostLines = 1'000'000;
  add_number(app, "--mini-batch", o.mini_batch, {.least = 1, .most = kMostLines},
             "Most lines to translate at a time");
  add_machine_options(app, o.machine);
  return [options] { return translate(*options); };
}

}  // namespace attend::app
