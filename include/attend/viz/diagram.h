#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "attend/toolkit_export.h"
#include "attend/viz/colormap.h"

namespace attend {

/// What a box of a diagram holds. Each has colours of its own.
enum class DiagramRole {
  kPlain,
  kQuery,
  kKey,
  kValue,
  kHighlighted,  // with a thick border
};

/// A box with a label, in one cell of a grid or over several.
struct DiagramBox {
  std::string name = {};    // what arrows call it, not shown; different for each box
  std::string label = {};   // lines are separated by "\n", at most 8; empty = none
  int64_t column = 0;       // of its leftmost cell, [0, 15]
  int64_t row = 0;          // of its uppermost cell, [0, 15]
  int64_t column_span = 1;  // cells that it takes to the right
  int64_t row_span = 1;     // cells that it takes downwards
  DiagramRole role = DiagramRole::kPlain;
};

/// An arrow from the border of a box to the border of another.
struct DiagramArrow {
  std::string from = {};   // name of a box
  std::string to = {};     // name of another box
  std::string label = {};  // one line beside the arrow; empty = none
  bool dashed = false;
};

/// Boxes and arrows between them, such as where the queries, keys and values of an attention layer
/// come from.
///
/// Columns and rows of the grid are as large as what is in them needs. Arrows run horizontally and
/// vertically around the boxes; they keep apart from each other, and labels apart from arrows,
/// where there is room.
/// Note: at most 256 boxes and 128 arrows. Lines of labels wider than 240 px end with "…".
struct Diagram {
  std::vector<DiagramBox> boxes = {};
  std::vector<DiagramArrow> arrows = {};
  std::string title = {};  // above the boxes, on one line; empty = none
};

/// The colours of a box. The letters in it are dark enough to read in each role.
///
/// Source: tints of colours of M. Okabe and K. Ito, 2008, Color Universal Design
///         (jfly.uni-koeln.de/color), which colour-blind readers can tell apart.
struct DiagramColors {
  Rgb inside = {};
  Rgb border = {};
};
ATTEND_TOOLKIT_API DiagramColors diagram_colors(DiagramRole role);

/// Where the parts of a picture are, in px of an SVG picture. A PNG picture has kPngScale
/// (heatmap.h) times as many pixels in each direction.
struct DiagramLayout {
  struct Pixel {
    double x = 0, y = 0;
  };
  struct Area {
    double x = 0, y = 0, width = 0, height = 0;  // x and y of the top left corner
  };
  struct Arrow {
    std::vector<Pixel> points = {};  // from border to tip, with the corners between them
    Area label = {};                 // all 0 without one
  };

  double width = 0, height = 0;    // of the picture, whole pixels
  std::vector<Area> boxes = {};    // in the order of the diagram's
  std::vector<Arrow> arrows = {};  // in the order of the diagram's
};

/// Draws a picture and writes it atomically.
///
/// Throws: c10::ValueError without boxes, for boxes without a name or with the name of another, for
///         boxes that share a cell or are not in the grid, for arrows that do not connect two
///         boxes, and for more of anything than fits; FileError where the file cannot be written.
/// Note:   fonts are those of the heatmaps, see heatmap.h.
ATTEND_TOOLKIT_API void write_png(const std::filesystem::path& path, const Diagram& diagram);
ATTEND_TOOLKIT_API void write_svg(const std::filesystem::path& path, const Diagram& diagram);

/// The bytes of the same pictures. The SVG has its text as text and nothing that runs or is loaded:
/// it may be put into a page as it is.
ATTEND_TOOLKIT_API std::string diagram_png(const Diagram& diagram);
ATTEND_TOOLKIT_API std::string diagram_svg(const Diagram& diagram);

/// The layout that these pictures have.
ATTEND_TOOLKIT_API DiagramLayout diagram_layout(const Diagram& diagram);

}  // namespace attend
