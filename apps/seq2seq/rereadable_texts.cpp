#include "rereadable_texts.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <torch/torch.h>

#include <array>
#include <cerrno>
#include <fstream>
#include <future>
#include <string>
#include <system_error>
#include <utility>

#include "attend/file_error.h"
#include "detail/read_file.h"

namespace attend::app {
namespace {

namespace fs = std::filesystem;

// Whether the path is a pipe, socket or device, which can be read only once.
bool is_stream(const fs::path& path) {
  std::error_code ignored;  // opening it later gives a better error
  return fs::is_other(fs::status(path, ignored));
}

bool are_same(const fs::path& a, const fs::path& b) {
  struct stat first {
  }, second{};
  return ::stat(a.c_str(), &first) == 0 && ::stat(b.c_str(), &second) == 0 &&
         first.st_dev == second.st_dev && first.st_ino == second.st_ino;
}

void copy_stream(const fs::path& from, const fs::path& to,
                 const std::function<bool()>& stop_requested) {
  constexpr size_t kBytesAtATime = size_t{1} << 20U;
  auto in = detail::open_for_reading(from);
  std::ofstream out(to, std::ios::binary | std::ios::trunc);
  std::vector<char> bytes(kBytesAtATime);
  while (out && in && !stop_requested()) {
    in.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    out.write(bytes.data(), in.gcount());
  }
  out.close();
  if (!out) {
    throw FileError(to, fmt::format("cannot write a copy of {}: {}", from.string(),
                                    std::generic_category().message(errno)));
  }
  if (in.bad()) throw FileError(from, "cannot read: an input error");
}

}  // namespace

void check_texts(const std::vector<fs::path>& texts) {
  for (size_t i = 0; i < texts.size(); ++i) {
    if (!is_stream(texts[i])) {
      (void)detail::open_for_reading(texts[i]);
      continue;
    }
    for (size_t j = 0; j < i; ++j) {
      TORCH_CHECK_VALUE(!are_same(texts[i], texts[j]),
                        "--train-sets: expected two texts, got one pipe for both: ",
                        texts[j].string(), " and ", texts[i].string());
    }
  }
}

RereadableTexts::RereadableTexts(std::vector<fs::path> texts, const fs::path& folder,
                                 const std::function<void(const std::string&)>& note,
                                 const std::function<bool()>& stop_requested)
    : paths_(std::move(texts)) {
  try {
    std::vector<std::future<void>> copying;
    for (size_t i = 0; i < paths_.size(); ++i) {
      if (!is_stream(paths_[i])) continue;
      // If this process is killed, detail::remove_leftovers removes files with such names.
      copies_.push_back(folder / fmt::format(".attend-text-{}.tmp", i + 1));
      note(fmt::format("{} can be read only once: copying it to {}", paths_[i].string(),
                       copies_.back().string()));
      copying.push_back(std::async(std::launch::async, copy_stream, paths_[i], copies_.back(),
                                   std::cref(stop_requested)));
      paths_[i] = copies_.back();
    }
    for (auto& one : copying) one.get();
  } catch (...) {
    remove_copies();
    throw;
  }
}

RereadableTexts::~RereadableTexts() { remove_copies(); }

void RereadableTexts::remove_copies() {
  std::error_code ignored;  // a later run removes remaining files
  for (const auto& copy : copies_) fs::remove(copy, ignored);
}

}  // namespace attend::app
