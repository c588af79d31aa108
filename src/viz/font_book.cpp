#include "viz/font_book.h"

#include <cairo-ft.h>
#include <fontconfig/fontconfig.h>

#include <array>
#include <functional>
#include <vector>

#include "detail/utf8.h"

namespace attend::detail {
namespace {

constexpr auto kFamily = "DejaVu Sans";

template <auto function>
struct Deleter {
  template <typename T>
  void operator()(T* object) const {
    function(object);
  }
};
using Pattern = std::unique_ptr<FcPattern, Deleter<FcPatternDestroy>>;
using FontSet = std::unique_ptr<FcFontSet, Deleter<FcFontSetDestroy>>;
using FontFace = std::unique_ptr<cairo_font_face_t, Deleter<cairo_font_face_destroy>>;
using FontOptions = std::unique_ptr<cairo_font_options_t, Deleter<cairo_font_options_destroy>>;
using ScaledFont = std::unique_ptr<cairo_scaled_font_t, Deleter<cairo_scaled_font_destroy>>;

// Format characters, such as joiners, that have no glyph of their own.
bool is_invisible(char32_t c) {
  return (c >= 0x200B && c <= 0x200F) || (c >= 0x202A && c <= 0x202E) ||
         (c >= 0x2060 && c <= 0x2064) || (c >= 0xFE00 && c <= 0xFE0F) || c == 0xFEFF ||
         (c >= 0xE0100 && c <= 0xE01EF);
}

Pattern make_pattern(bool bold) {
  Pattern pattern(FcPatternCreate());
  FcPatternAddString(pattern.get(), FC_FAMILY, reinterpret_cast<const FcChar8*>(kFamily));
  FcPatternAddInteger(pattern.get(), FC_WEIGHT, bold ? FC_WEIGHT_BOLD : FC_WEIGHT_REGULAR);
  FcConfigSubstitute(nullptr, pattern.get(), FcMatchPattern);
  FcDefaultSubstitute(pattern.get());
  return pattern;
}

// The installed fonts for one weight, best match first, opened on first use.
class FontStack {
 public:
  explicit FontStack(bool bold) : pattern_(make_pattern(bold)) {
    FcResult ignored{};
    sorted_.reset(FcFontSort(nullptr, pattern_.get(), /*trim=*/FcTrue, /*csp=*/nullptr, &ignored));
    for (int i = 0; sorted_ && i < sorted_->nfont; ++i) {
      FcBool is_color = FcFalse;
      FcPatternGetBool(sorted_->fonts[i], FC_COLOR, 0, &is_color);
      FcCharSet* characters = nullptr;
      FcPatternGetCharSet(sorted_->fonts[i], FC_CHARSET, 0, &characters);
      // Colour fonts are bitmaps of one size, which Cairo scales badly.
      if (characters != nullptr && !is_color) fonts_.push_back({sorted_->fonts[i], characters, {}});
    }
    if (fonts_.empty()) {  // Cairo falls back to its built-in font
      fonts_.push_back({nullptr, nullptr,
                        FontFace(cairo_toy_font_face_create(
                            kFamily, CAIRO_FONT_SLANT_NORMAL,
                            bold ? CAIRO_FONT_WEIGHT_BOLD : CAIRO_FONT_WEIGHT_NORMAL))});
    }
  }

  // The first font that has `c`, or the first of all if none has it.
  size_t font_for(char32_t c) const {
    for (size_t i = 0; i < fonts_.size(); ++i) {
      if (fonts_[i].characters != nullptr && FcCharSetHasChar(fonts_[i].characters, c)) return i;
    }
    return 0;
  }

  cairo_font_face_t* face(size_t index) {
    auto& font = fonts_[index];
    if (!font.face) {
      const Pattern prepared(FcFontRenderPrepare(nullptr, pattern_.get(), font.pattern));
      font.face.reset(cairo_ft_font_face_create_for_pattern(prepared.get()));
    }
    return font.face.get();
  }

 private:
  struct Font {
    FcPattern* pattern;     // of sorted_
    FcCharSet* characters;  // of sorted_
    FontFace face;
  };

  Pattern pattern_;
  FontSet sorted_;
  std::vector<Font> fonts_;
};

struct Run {
  size_t font;
  std::string text;
};

std::vector<Run> split_runs(const FontStack& fonts, std::string_view text) {
  const auto printable = printable_utf8(text);
  std::vector<Run> runs;
  for (std::string_view rest = printable; !rest.empty();) {
    const auto c = first_code_point(rest);
    if (!is_invisible(c.value)) {
      // A combining mark uses the font of its base character.
      const bool combines = !runs.empty() && display_width(rest.substr(0, c.length)) == 0;
      const size_t font = combines ? runs.back().font : fonts.font_for(c.value);
      if (runs.empty() || runs.back().font != font) runs.push_back({font, {}});
      runs.back().text += rest.substr(0, c.length);
    }
    rest.remove_prefix(c.length);
  }
  return runs;
}

}  // namespace

struct FontBook::Impl {
  // Mutable, since fonts are opened on first use.
  mutable std::array<FontStack, 2> stacks{FontStack(/*bold=*/false), FontStack(/*bold=*/true)};
  FontOptions options{cairo_font_options_create()};

  Impl() {
    // Without hinting, text widths do not depend on the scale, so a layout fits at every scale.
    cairo_font_options_set_hint_metrics(options.get(), CAIRO_HINT_METRICS_OFF);
    cairo_font_options_set_hint_style(options.get(), CAIRO_HINT_STYLE_NONE);
    cairo_font_options_set_antialias(options.get(), CAIRO_ANTIALIAS_GRAY);
  }

  // Calls use(face, text, width) for each run of characters with the same font.
  void for_each_run(
      std::string_view text, const TextStyle& style,
      const std::function<void(cairo_font_face_t*, const std::string&, double)>& use) const {
    auto& stack = stacks[style.bold ? 1 : 0];
    cairo_matrix_t size, identity;
    cairo_matrix_init_scale(&size, style.size, style.size);
    cairo_matrix_init_identity(&identity);
    for (const auto& run : split_runs(stack, text)) {
      auto* face = stack.face(run.font);
      const ScaledFont font(cairo_scaled_font_create(face, &size, &identity, options.get()));
      cairo_text_extents_t extents;
      cairo_scaled_font_text_extents(font.get(), run.text.c_str(), &extents);
      use(face, run.text, extents.x_advance);
    }
  }
};

FontBook::FontBook() : impl_(std::make_unique<const Impl>()) {}
FontBook::~FontBook() = default;

double FontBook::width(std::string_view text, const TextStyle& style) const {
  double sum = 0;
  impl_->for_each_run(text, style, [&](auto*, const auto&, double width) { sum += width; });
  return sum;
}

void FontBook::show(cairo_t* cairo, std::string_view text, const TextStyle& style) const {
  cairo_set_font_options(cairo, impl_->options.get());
  cairo_set_source_rgb(cairo, style.color.red / 255.0, style.color.green / 255.0,
                       style.color.blue / 255.0);
  double x = 0;
  impl_->for_each_run(text, style, [&](auto* face, const auto& run, double width) {
    cairo_set_font_face(cairo, face);
    cairo_set_font_size(cairo, style.size);
    cairo_move_to(cairo, x, 0);
    cairo_show_text(cairo, run.c_str());
    x += width;
  });
}

std::string FontBook::fitted(std::string_view text, const TextStyle& style, double limit) const {
  if (width(text, style) <= limit) return std::string(text);
  constexpr std::string_view kEllipsis = "…";
  // Bisects over the number of characters for the longest prefix that fits.
  size_t fits = 0, too_long = text.size();
  while (fits + 1 < too_long) {
    const auto middle = fits + (too_long - fits) / 2;
    auto shortened = std::string(utf8_prefix(text, middle)).append(kEllipsis);
    (width(shortened, style) <= limit ? fits : too_long) = middle;
  }
  return std::string(utf8_prefix(text, fits)).append(kEllipsis);
}

}  // namespace attend::detail
