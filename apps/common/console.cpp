#include "common/console.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <csignal>
#include <iostream>

namespace attend::app {
namespace {

// A type that signal handlers may write to.
volatile std::sig_atomic_t stop_signal = 0;

void on_signal(int signal) { stop_signal = signal; }

constexpr int kBarWidth = 24;

std::string bar(double part) {
  const int filled = static_cast<int>(std::lround(part * kBarWidth));
  std::string text;
  for (int i = 0; i < kBarWidth; ++i) text += i < filled ? "█" : "░";
  return text;
}

}  // namespace

std::string clock_time(double seconds) {
  const auto all = static_cast<int64_t>(std::max(0.0, std::round(seconds)));
  const auto hours = all / 3600, minutes = all / 60 % 60, rest = all % 60;
  return hours > 0 ? fmt::format("{}:{:02}:{:02}", hours, minutes, rest)
                   : fmt::format("{}:{:02}", minutes, rest);
}

ProgressBar::ProgressBar() : terminal_(::isatty(STDERR_FILENO) != 0) {}

void ProgressBar::draw(double part, const std::string& text) {
  constexpr std::chrono::milliseconds kBetween{200};
  const auto now = std::chrono::steady_clock::now();
  if (!terminal_ || (drawn_ && now - drawn_at_ < kBetween)) return;
  drawn_at_ = now;
  drawn_ = true;
  std::cerr << fmt::format("\r{} {:5.1f} %  {}\033[K", bar(part), 100 * part, text) << std::flush;
}

void ProgressBar::clear() {
  if (drawn_) std::cerr << "\r\033[K";
  drawn_ = false;
}

TrainingConsole::TrainingConsole(bool quiet) : quiet_(quiet) {
  std::signal(SIGINT, on_signal);
  std::signal(SIGTERM, on_signal);
  if (std::signal(SIGHUP, on_signal) == SIG_IGN) std::signal(SIGHUP, SIG_IGN);
  std::signal(SIGPIPE, SIG_IGN);
}

void TrainingConsole::line(const std::string& text) {
  if (quiet_) return;
  bar_.clear();
  std::cerr << text << '\n' << std::flush;
}

bool TrainingConsole::is_stop_requested() const { return stop_signal != 0; }

void TrainingConsole::draw(const TrainingReport& report) {
  if (quiet_) return;
  bar_.draw(report.progress, fmt::format("update {}  {:.0f} tokens/s  {} left", report.update,
                                         report.tokens_per_second, clock_time(report.time_left)));
}

TrainingCallbacks TrainingConsole::callbacks() {
  TrainingCallbacks callbacks;
  callbacks.progress = [this](const TrainingReport& report) { draw(report); };
  callbacks.report = [this](const TrainingReport& r) {
    line(fmt::format(
        "epoch {}  update {}  sentences {}  cost {:.4f}  {:.0f} tokens/s  "
        "gradient norm {:.2f}  learning rate {:.2e}{}  {} gone, {} left",
        r.epoch, r.update, r.examples, r.cost, r.tokens_per_second, r.gradient_norm,
        r.learning_rate, r.skipped > 0 ? fmt::format("  {} updates skipped", r.skipped) : "",
        clock_time(r.elapsed), clock_time(r.time_left)));
  };
  callbacks.validation = [this](const ValidationReport& r) {
    std::string text = fmt::format("validation at epoch {} update {}{}:", r.epoch, r.update,
                                   r.of_mean ? ", mean of the last checkpoints" : "");
    for (const auto& [metric, score] : r.scores) {
      const bool best = std::ranges::find(r.improved, metric) != r.improved.end();
      text += fmt::format("  {} {:.4f}{}", metric, score, best ? " (best)" : "");
    }
    line(text);
  };
  callbacks.note = [this](const std::string& text) { line(text); };
  callbacks.stop_requested = [this] { return is_stop_requested(); };
  return callbacks;
}

}  // namespace attend::app
