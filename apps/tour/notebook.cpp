#include "notebook.h"

#include <fmt/format.h>

#include <fstream>
#include <iostream>
#include <iterator>
#include <sstream>
#include <utility>

#include "attend/file_error.h"
#include "detail/atomic_file.h"
#include "detail/markup.h"

namespace attend::app {
namespace {

namespace fs = std::filesystem;
using detail::escape_markup;

constexpr auto kHead = R"(<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>A tour of attention</title>
<style>
:root { color-scheme: light dark; --text: #1b1b1f; --page: #fdfdfb; --quiet: #5b5b66; --line: #d9d9e0; }
@media (prefers-color-scheme: dark) {
  :root { --text: #e8e8ee; --page: #17171b; --quiet: #a3a3b0; --line: #3a3a44; }
}
body { margin: 0 auto; max-width: 60rem; padding: 1.5rem; color: var(--text); background: var(--page);
       font: 1.05rem/1.55 system-ui, "DejaVu Sans", sans-serif; }
h1, h2 { line-height: 1.2; text-wrap: balance; }
h2 { margin-top: 3.5rem; padding-top: 1rem; border-top: 1px solid var(--line); }
nav ol { columns: 18rem; column-gap: 1.5rem; padding: 0; }
nav li { margin-left: 2.2rem; break-inside: avoid; }
a { color: inherit; }
pre { overflow-x: auto; padding: .8rem 1rem; border: 1px solid var(--line); border-radius: .4rem;
      font: .9rem/1.45 "DejaVu Sans Mono", ui-monospace, monospace; }
figure { margin: 1.5rem 0; }
figure > div { overflow-x: auto; background: #fff; border-radius: .4rem; padding: .3rem; }
figure svg { max-width: 100%; height: auto; }
figcaption { color: var(--quiet); font-size: .95rem; margin-top: .4rem; }
</style>
</head>
<body>
<h1>A tour of attention</h1>
<p>Every number here was computed by attend's modules when this page was made; nothing is drawn by hand.</p>
)";

std::string read_file(const fs::path& path) {
  std::ifstream stream(path, std::ios::binary);
  if (!stream) throw FileError(path, "cannot open for reading");
  return {std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
}

void make_folder(const fs::path& folder) {
  std::error_code failed;
  fs::create_directories(folder, failed);
  if (failed) throw FileError(folder, "cannot make the folder: " + failed.message());
}

}  // namespace

Notebook::Notebook(fs::path folder) : folder_(std::move(folder)) {
  make_folder(folder_ / "figures");
  make_folder(folder_ / "chapters");
}

fs::path Notebook::part(const std::string& name) const {
  return folder_ / "chapters" / (name + ".html");
}

void Notebook::begin(const std::string& name, const std::string& title) {
  name_ = name;
  html_ = fmt::format("<h2 id=\"{}\">{}</h2>\n", escape_markup(name), escape_markup(title));
  std::cout << "\n# " << title << "\n" << std::flush;
}

void Notebook::say(const std::string& text) {
  html_ += "<p>" + escape_markup(text) + "</p>\n";
  std::cout << '\n' << text << '\n' << std::flush;
}

void Notebook::lines(const std::string& text) {
  html_ += "<pre>";
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) html_ += escape_markup(line) + "\n";
  html_ += "</pre>\n";
  std::cout << '\n' << text << (text.ends_with('\n') ? "" : "\n") << std::flush;
}

fs::path Notebook::figure(const std::string& name, const std::string& suffix) const {
  return folder_ / "figures" / (name_ + "-" + name + suffix);
}

void Notebook::draw(const std::string& name, const std::string& png, const std::string& svg,
                    const std::string& how_to_read) {
  const auto shown = figure(name, png.empty() ? ".svg" : ".png");
  if (!png.empty()) detail::write_file_atomically(shown, png);
  detail::write_file_atomically(figure(name, ".svg"), svg);
  html_ += fmt::format("<figure id=\"{}\"><div>{}</div><figcaption>{}</figcaption></figure>\n",
                       escape_markup(name_ + "-" + name), svg, escape_markup(how_to_read));
  std::cout << '\n' << how_to_read << "\n[" << shown.string() << "]\n" << std::flush;
}

// Small matrices are printed as numbers, or on a terminal as blocks. Larger ones are only drawn.
void Notebook::print(const Heatmap& matrix) const {
  const int64_t most_columns = terminal_.width > 0 ? terminal_.width / 3 : 12;
  if (matrix.values.size(1) > most_columns) return;
  std::cout << '\n' << heatmap_text(matrix, terminal_.color, terminal_.width);
}

void Notebook::show(const std::string& name, const Heatmap& matrix,
                    const std::string& how_to_read) {
  print(matrix);
  draw(name, heatmap_png(matrix), heatmap_svg(matrix), how_to_read);
}

void Notebook::show(const std::string& name, const HeatmapGrid& matrices,
                    const std::string& how_to_read) {
  for (const auto& panel : matrices.panels) print(panel);
  draw(name, heatmap_png(matrices), heatmap_svg(matrices), how_to_read);
}

void Notebook::show(const std::string& name, const LinePlot& plot, const std::string& how_to_read) {
  std::cout << '\n';
  draw(name, line_plots_png({plot}), line_plots_svg({plot}), how_to_read);
}

void Notebook::show_svg(const std::string& name, std::string_view svg,
                        const std::string& how_to_read) {
  std::cout << '\n';
  draw(name, "", std::string(svg), how_to_read);
}

void Notebook::end() { detail::write_file_atomically(part(name_), html_); }

void Notebook::write_index(const std::vector<std::string>& names) const {
  std::string contents, chapters;
  for (const auto& name : names) {
    if (!fs::exists(part(name))) continue;
    const auto html = read_file(part(name));
    const auto begin = html.find('>') + 1, end = html.find("</h2>");
    contents += fmt::format("<li><a href=\"#{}\">{}</a></li>\n", escape_markup(name),
                            html.substr(begin, end - begin));
    chapters += "<section>\n" + html + "</section>\n";
  }
  detail::write_file_atomically(folder_ / "index.html", std::string(kHead) + "<nav><ol>\n" +
                                                            contents + "</ol></nav>\n" + chapters +
                                                            "</body>\n</html>\n");
}

std::vector<std::string> numbered(const std::string& letter, int64_t count) {
  std::vector<std::string> names;
  for (int64_t i = 0; i < count; ++i) names.push_back(fmt::format("{}{}", letter, i));
  return names;
}

Heatmap matrix(const torch::Tensor& values, std::vector<std::string> rows,
               std::vector<std::string> columns, const std::string& title,
               const std::string& label) {
  Heatmap heatmap;
  heatmap.values = values;
  heatmap.row_labels = std::move(rows);
  heatmap.column_labels = std::move(columns);
  heatmap.options.title = title;
  heatmap.options.value_label = label;
  return heatmap;
}

}  // namespace attend::app
