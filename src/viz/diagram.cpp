#include "attend/viz/diagram.h"

#include <torch/torch.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <queue>
#include <set>
#include <string_view>
#include <tuple>
#include <utility>

#include "attend/viz/heatmap.h"
#include "detail/atomic_file.h"
#include "viz/canvas.h"
#include "viz/heatmap_plan.h"

namespace attend {
namespace {

using detail::Anchor;
using detail::Canvas;
using detail::FontBook;
using detail::Point;
using detail::Rect;
using detail::TextStyle;

constexpr auto kDiagram = "Diagram";
constexpr int64_t kGridSide = 16;  // columns and rows
constexpr int64_t kMostLabelLines = 8;
constexpr size_t kMostArrows = 128;

constexpr TextStyle kBoxTextStyle{13, detail::kInk};
constexpr TextStyle kArrowTextStyle{11.5, detail::kMuted};
constexpr double kWidestLine = 240;  // of a label, px
constexpr double kBoxLine = 17;      // from one baseline to the next
constexpr double kBoxPadding = 12;
constexpr double kNarrowestBox = 72;
constexpr double kLowestBox = 38;
constexpr double kEmptyTrack = 38;  // a column or row without boxes
constexpr double kBoxCorner = 6;
constexpr double kArrowWidth = 1.5;
constexpr double kHeadLength = 9;
constexpr double kHeadWidth = 8;
constexpr double kLabelHeight = 15;
constexpr double kLabelDistance = 4;  // from its arrow
constexpr double kLabelMargin = 2;    // from others
constexpr double kLaneDistance = 12;  // between arrows side by side
constexpr double kPortDistance = 9;   // between their tips
constexpr double kDiagramTitle = 32;  // with the space below it
constexpr double kWidestTitle = 480;  // however small the boxes are

// ---- Checks -------------------------------------------------------------------------------------

std::vector<std::string> label_lines(std::string_view label) {
  std::vector<std::string> lines;
  while (!label.empty()) {
    const auto line = label.substr(0, label.find('\n'));
    lines.emplace_back(line);
    label.remove_prefix(std::min(line.size() + 1, label.size()));
  }
  return lines;
}

void check_box(const DiagramBox& box) {
  const auto check_cells = [&](const char* what, int64_t first, int64_t span) {
    TORCH_CHECK_VALUE(first >= 0 && span >= 1 && first < kGridSide && span <= kGridSide - first,
                      kDiagram, ": expected the box \"", box.name, "\" in ", what, " 0 to ",
                      kGridSide - 1, ", got ", span, " from ", first, " on");
  };
  check_cells("columns", box.column, box.column_span);
  check_cells("rows", box.row, box.row_span);
  const auto lines = label_lines(box.label).size();
  TORCH_CHECK_VALUE(lines <= kMostLabelLines, kDiagram, ": expected at most ", kMostLabelLines,
                    " lines in the label of the box \"", box.name, "\", got ", lines);
}

using BoxNumbers = std::map<std::string, size_t>;

BoxNumbers checked_boxes(const Diagram& diagram) {
  TORCH_CHECK_VALUE(!diagram.boxes.empty(), kDiagram, ": expected at least one box, got none");
  BoxNumbers numbers;
  std::map<std::pair<int64_t, int64_t>, std::string> cells;
  for (size_t i = 0; i < diagram.boxes.size(); ++i) {
    const auto& box = diagram.boxes[i];
    TORCH_CHECK_VALUE(!box.name.empty(), kDiagram, ": expected a name for every box, got none for ",
                      "box ", i);
    TORCH_CHECK_VALUE(numbers.emplace(box.name, i).second, kDiagram,
                      ": expected boxes of different names, got two of the name \"", box.name,
                      "\"");
    check_box(box);
    for (int64_t row = box.row; row < box.row + box.row_span; ++row) {
      for (int64_t column = box.column; column < box.column + box.column_span; ++column) {
        const auto [cell, is_free] = cells.emplace(std::pair(column, row), box.name);
        TORCH_CHECK_VALUE(is_free, kDiagram, ": expected boxes in cells of their own, got \"",
                          cell->second, "\" and \"", box.name, "\" in column ", column, ", row ",
                          row);
      }
    }
  }
  return numbers;
}

void check_arrows(const Diagram& diagram, const BoxNumbers& numbers) {
  TORCH_CHECK_VALUE(diagram.arrows.size() <= kMostArrows, kDiagram, ": expected at most ",
                    kMostArrows, " arrows, got ", diagram.arrows.size());
  for (const auto& arrow : diagram.arrows) {
    for (const auto& end : {arrow.from, arrow.to}) {
      TORCH_CHECK_VALUE(numbers.contains(end), kDiagram,
                        ": expected arrows between boxes of the diagram, got one from \"",
                        arrow.from, "\" to \"", arrow.to, "\"");
    }
    TORCH_CHECK_VALUE(arrow.from != arrow.to, kDiagram,
                      ": expected arrows between two boxes, got one from \"", arrow.from,
                      "\" to itself");
  }
}

// ---- Routes -------------------------------------------------------------------------------------

bool overlap(const Rect& a, const Rect& b) {
  return a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height;
}

// The area of a horizontal or vertical segment and of `margin` px around it.
Rect around(Point a, Point b, double margin) {
  return {std::min(a.x, b.x) - margin, std::min(a.y, b.y) - margin,
          std::abs(a.x - b.x) + 2 * margin, std::abs(a.y - b.y) + 2 * margin};
}

Rect around(const Rect& rect, double margin) {
  return {rect.x - margin, rect.y - margin, rect.width + 2 * margin, rect.height + 2 * margin};
}

// A line of the lattice that arrows run on: an x or a y, and how gladly it is taken.
struct LatticeLine {
  double at = 0;
  double cost = 1;  // for each px
};

// Finds ways for arrows along a lattice of lines: short, with few corners, around the boxes and off
// the ways found before. A shortest path over (crossing of two lines, direction).
class ArrowRouter {
 public:
  ArrowRouter(std::vector<LatticeLine> xs, std::vector<LatticeLine> ys, std::vector<Rect> boxes)
      : xs_(std::move(xs)),
        ys_(std::move(ys)),
        boxes_(std::move(boxes)),
        is_blocked_(xs_.size() * ys_.size()),
        is_used_(xs_.size() * ys_.size()),
        is_edge_used_(2 * xs_.size() * ys_.size()),
        is_edge_on_label_(2 * xs_.size() * ys_.size()) {
    for (size_t j = 0; j < ys_.size(); ++j) {
      for (size_t i = 0; i < xs_.size(); ++i) {
        for (const auto& box : boxes_) {
          if (xs_[i].at >= box.x && xs_[i].at <= box.x + box.width && ys_[j].at >= box.y &&
              ys_[j].at <= box.y + box.height) {
            is_blocked_[node(i, j)] = true;
          }
        }
      }
    }
  }

  // The corners of the way from the border of one box to that of another, both ends included.
  std::vector<Point> route(size_t from, size_t to);

  // Keeps the ways of further arrows off a label.
  void avoid(const Rect& label);

  // How often a way lies on one before it.
  int overlaps() const { return overlaps_; }

 private:
  // Directions are clockwise, so that the opposite of d is d ^ 2.
  static constexpr int kRight = 0, kDown = 1, kLeft = 2, kUp = 3;
  // What each of these is worth, in px of a detour.
  static constexpr double kCorner = 45, kCrossing = 100, kOverlap = 400;

  // Where a way may leave a box or enter it.
  struct Port {
    size_t node = 0;    // the first crossing outside
    int direction = 0;  // outwards
    Point at = {};      // on the border
    double cost = 0;
  };

  struct Way {
    Port start = {}, end = {};
    std::vector<size_t> nodes = {};  // between them
  };

  size_t node(size_t i, size_t j) const { return j * xs_.size() + i; }
  Point point_at(size_t number) const {
    return {xs_[number % xs_.size()].at, ys_[number / xs_.size()].at};
  }

  std::vector<Port> ports_of(size_t box) const;
  Way cheapest(const std::vector<Port>& starts, const std::vector<Port>& ends) const;
  std::optional<size_t> neighbor(size_t from, int direction) const;
  size_t edge_of(size_t from, int direction) const;
  double step_cost(size_t from, size_t to, int direction) const;
  void take(const Way& way);

  std::vector<LatticeLine> xs_, ys_;
  std::vector<Rect> boxes_;
  std::vector<bool> is_blocked_, is_used_;             // of nodes
  std::vector<bool> is_edge_used_, is_edge_on_label_;  // of each node to the right and downwards
  std::set<std::pair<double, double>> used_ports_;
  int overlaps_ = 0;
};

std::vector<ArrowRouter::Port> ArrowRouter::ports_of(size_t box_number) const {
  // For each px, a little more than the way that it saves, but less than a corner.
  constexpr double kOffCentre = 1.1, kMostOffCentre = 0.9 * kCorner;
  const auto& box = boxes_[box_number];
  std::vector<Port> ports;
  // The lines of one kind that cross two sides of the box, and the lines next to these sides.
  const auto add = [&](const auto& along, double first, double length, const auto& across,
                       double near_side, double far_side, bool is_vertical) {
    size_t before = 0, after = 0;
    for (size_t k = 0; k < across.size(); ++k) {
      if (across[k].at < near_side) before = k;
      if (across[k].at <= far_side) after = k + 1;
    }
    for (size_t k = 0; k < along.size(); ++k) {
      const double at = along[k].at;
      if (at < first + kBoxCorner || at > first + length - kBoxCorner) continue;
      const double centre = first + length / 2;
      const double cost = std::min(kOffCentre * std::abs(at - centre), kMostOffCentre);
      const auto port = [&](size_t line, int direction, double side) {
        const Point border = is_vertical ? Point{at, side} : Point{side, at};
        const bool is_taken = used_ports_.contains({border.x, border.y});
        ports.push_back({is_vertical ? node(k, line) : node(line, k), direction, border,
                         cost + (is_taken ? kOverlap : 0)});
      };
      port(before, is_vertical ? kUp : kLeft, near_side);
      port(after, is_vertical ? kDown : kRight, far_side);
    }
  };
  add(xs_, box.x, box.width, ys_, box.y, box.y + box.height, true);
  add(ys_, box.y, box.height, xs_, box.x, box.x + box.width, false);
  return ports;
}

std::optional<size_t> ArrowRouter::neighbor(size_t from, int direction) const {
  const size_t i = from % xs_.size(), j = from / xs_.size();
  switch (direction) {
    case kRight:
      return i + 1 < xs_.size() ? std::optional(from + 1) : std::nullopt;
    case kDown:
      return j + 1 < ys_.size() ? std::optional(from + xs_.size()) : std::nullopt;
    case kLeft:
      return i > 0 ? std::optional(from - 1) : std::nullopt;
    default:
      return j > 0 ? std::optional(from - xs_.size()) : std::nullopt;
  }
}

size_t ArrowRouter::edge_of(size_t from, int direction) const {
  const size_t first =
      direction == kRight || direction == kDown ? from : *neighbor(from, direction);
  return 2 * first + (direction == kDown || direction == kUp ? 1 : 0);
}

double ArrowRouter::step_cost(size_t from, size_t to, int direction) const {
  const auto a = point_at(from), b = point_at(to);
  const bool is_vertical = direction == kDown || direction == kUp;
  const double line = is_vertical ? xs_[from % xs_.size()].cost : ys_[from / xs_.size()].cost;
  return (std::abs(a.x - b.x) + std::abs(a.y - b.y)) * line + (is_used_[to] ? kCrossing : 0) +
         (is_edge_used_[edge_of(from, direction)] ? kOverlap : 0) +
         (is_edge_on_label_[edge_of(from, direction)] ? kOverlap : 0);
}

void ArrowRouter::avoid(const Rect& label) {
  for (size_t from = 0; from < xs_.size() * ys_.size(); ++from) {
    for (const int direction : {kRight, kDown}) {
      const auto to = neighbor(from, direction);
      if (to && overlap(around(point_at(from), point_at(*to), kLabelMargin), label)) {
        is_edge_on_label_[edge_of(from, direction)] = true;
      }
    }
  }
}

// Source: E. W. Dijkstra, 1959, A note on two problems in connexion with graphs.
ArrowRouter::Way ArrowRouter::cheapest(const std::vector<Port>& starts,
                                       const std::vector<Port>& ends) const {
  constexpr size_t kNowhere = std::numeric_limits<size_t>::max();
  constexpr size_t kDirections = 4;
  const size_t goal = kDirections * xs_.size() * ys_.size();
  std::vector<double> costs(goal + 1, std::numeric_limits<double>::infinity());
  std::vector<size_t> before(goal + 1, kNowhere);
  std::map<size_t, const Port*> start_of;      // of states
  std::multimap<size_t, const Port*> ends_at;  // nodes
  const Port* end = nullptr;                   // the cheapest so far
  std::priority_queue<std::pair<double, size_t>, std::vector<std::pair<double, size_t>>,
                      std::greater<>>
      open;
  const auto reach = [&](size_t state, double cost, size_t from) {
    if (cost >= costs[state]) return false;
    costs[state] = cost;
    before[state] = from;
    open.emplace(cost, state);
    return true;
  };
  const auto stub = [&](const Port& port) {
    const auto at = point_at(port.node);
    return port.cost + std::abs(at.x - port.at.x) + std::abs(at.y - port.at.y);
  };
  for (const auto& port : starts) {
    const size_t state = kDirections * port.node + static_cast<size_t>(port.direction);
    if (reach(state, stub(port), kNowhere)) start_of[state] = &port;
  }
  for (const auto& port : ends) ends_at.emplace(port.node, &port);

  while (!open.empty()) {
    const auto [cost, state] = open.top();
    open.pop();
    if (state == goal) break;
    if (cost > costs[state]) continue;
    const size_t at = state / kDirections;
    const int direction = static_cast<int>(state % kDirections);
    for (auto [i, last] = ends_at.equal_range(at); i != last; ++i) {
      const auto& port = *i->second;
      if (port.direction == direction) continue;  // it would have to turn back
      const double corner = (port.direction ^ 2) == direction ? 0 : kCorner;
      if (reach(goal, cost + stub(port) + corner, state)) end = &port;
    }
    for (int next = 0; next < static_cast<int>(kDirections); ++next) {
      if (next == (direction ^ 2)) continue;
      const auto to = neighbor(at, next);
      if (!to || is_blocked_[*to]) continue;
      reach(kDirections * *to + static_cast<size_t>(next),
            cost + step_cost(at, *to, next) + (next == direction ? 0 : kCorner), state);
    }
  }
  // There are lines around all boxes and between any two, so every box can be reached.
  TORCH_INTERNAL_ASSERT(before[goal] != kNowhere);
  Way way;
  size_t first = kNowhere;
  for (size_t state = before[goal]; state != kNowhere; state = before[state]) {
    way.nodes.push_back(state / kDirections);
    first = state;
  }
  std::reverse(way.nodes.begin(), way.nodes.end());
  way.start = *start_of.at(first);
  way.end = *end;
  return way;
}

void ArrowRouter::take(const Way& way) {
  for (const auto& port : {way.start.at, way.end.at}) {
    overlaps_ += used_ports_.emplace(port.x, port.y).second ? 0 : 1;
  }
  for (size_t k = 0; k < way.nodes.size(); ++k) {
    is_used_[way.nodes[k]] = true;
    if (k == 0) continue;
    const auto [first, last] = std::minmax(way.nodes[k - 1], way.nodes[k]);
    const size_t edge = edge_of(first, last == first + 1 ? kRight : kDown);
    overlaps_ += is_edge_used_[edge] ? 1 : 0;
    is_edge_used_[edge] = true;
  }
}

std::vector<Point> ArrowRouter::route(size_t from, size_t to) {
  const auto way = cheapest(ports_of(from), ports_of(to));
  take(way);

  std::vector<Point> points{way.start.at};
  const auto add = [&](Point next) {
    const auto is_straight = [&](Point a, Point b) {
      return (a.x == b.x && b.x == next.x) || (a.y == b.y && b.y == next.y);
    };
    if (points.size() > 1 && is_straight(points[points.size() - 2], points.back())) {
      points.pop_back();
    }
    points.push_back(next);
  };
  for (const size_t at : way.nodes) add(point_at(at));
  add(way.end.at);
  return points;
}

// ---- Grid ---------------------------------------------------------------------------------------

// The columns of the grid, or its rows: tracks with gaps before, between and after them.
struct GridTracks {
  std::vector<double> starts, sizes;  // px of each track
  std::vector<double> gaps;           // px before each track and after the last

  void place() {
    starts.clear();
    double at = 0;
    for (size_t i = 0; i < sizes.size(); ++i) {
      at += gaps[i];
      starts.push_back(at);
      at += sizes[i];
    }
  }

  double length(int64_t first, int64_t span) const {
    const auto begin = static_cast<size_t>(first), last = static_cast<size_t>(first + span - 1);
    return starts[last] + sizes[last] - starts[begin];
  }

  // Lines in the tracks and in the gaps, on whole px. The middle ones are taken most gladly.
  std::vector<LatticeLine> lines(int lanes) const {
    constexpr double kOffCentre = 1.05;
    std::map<double, double> costs;
    const auto add = [&](double start, double size, int count) {
      for (int k = 1; k <= count; ++k) {
        const double at = std::round(start + size * k / (count + 1));
        costs.emplace(at, 2 * k == count + 1 ? 1 : kOffCentre);
      }
    };
    for (size_t i = 0; i < sizes.size(); ++i) {
      add(starts[i] - gaps[i], gaps[i], lanes);
      add(starts[i], sizes[i], lanes);
    }
    add(starts.back() + sizes.back(), gaps.back(), lanes);
    std::vector<LatticeLine> result;
    for (const auto& [at, cost] : costs) result.push_back({at, cost});
    return result;
  }
};

// What a box takes of one direction of the grid.
struct TrackNeed {
  int64_t first = 0, span = 1;
  double size = 0;  // px
};

GridTracks make_tracks(std::vector<TrackNeed> needs, double empty, double smallest,
                       std::vector<double> gaps) {
  GridTracks tracks;
  tracks.gaps = std::move(gaps);
  tracks.sizes.resize(tracks.gaps.size() - 1, empty);
  for (const auto& need : needs) {
    for (int64_t i = need.first; i < need.first + need.span; ++i) {
      auto& size = tracks.sizes[static_cast<size_t>(i)];
      size = std::max(size, need.span == 1 ? std::max(smallest, need.size) : smallest);
    }
  }
  // Boxes over several tracks take what is there; what they still need is shared out evenly.
  std::stable_sort(needs.begin(), needs.end(),
                   [](const TrackNeed& a, const TrackNeed& b) { return a.span < b.span; });
  for (const auto& need : needs) {
    tracks.place();
    const double missing = need.size - tracks.length(need.first, need.span);
    if (missing <= 0) continue;
    for (int64_t i = need.first; i < need.first + need.span; ++i) {
      tracks.sizes[static_cast<size_t>(i)] += std::ceil(missing / static_cast<double>(need.span));
    }
  }
  tracks.place();
  return tracks;
}

// ---- Plan ---------------------------------------------------------------------------------------

struct DiagramPlan {
  std::vector<std::vector<std::string>> box_lines;  // shortened to fit
  std::vector<std::string> arrow_labels;            // the same
  std::string title;
  DiagramLayout layout;
};

// A place beside an arrow for a label of some size: where it is on the fewest other things, and of
// these places the one nearest to the middle of the longest segment.
Rect label_place(const std::vector<Point>& arrow, double width,
                 const std::vector<std::vector<Point>>& arrows, const std::vector<Rect>& boxes,
                 const std::vector<Rect>& labels) {
  constexpr double kOnBox = 1000, kOnLabel = 1000, kOnArrow = 100;
  std::optional<Rect> best;
  double least = 0;
  const auto consider = [&](const Rect& place, double cost) {
    for (const auto& box : boxes) cost += overlap(around(place, kLabelMargin), box) ? kOnBox : 0;
    for (const auto& label : labels) {
      // Those that are not placed yet, or have no text, have no width.
      const bool is_on = label.width > 0 && overlap(around(place, kLabelMargin), label);
      cost += is_on ? kOnLabel : 0;
    }
    for (const auto& other : arrows) {
      for (size_t i = 1; i < other.size(); ++i) {
        // Heads are wider than lines.
        const double margin = i + 1 == other.size() ? kHeadWidth / 2 : kLabelMargin;
        cost += overlap(place, around(other[i - 1], other[i], margin)) ? kOnArrow : 0;
      }
    }
    if (!best || cost < least) {
      best = place;
      least = cost;
    }
  };
  double longest = 0;
  for (size_t i = 1; i < arrow.size(); ++i) {
    longest = std::max(
        longest, std::abs(arrow[i].x - arrow[i - 1].x) + std::abs(arrow[i].y - arrow[i - 1].y));
  }
  for (size_t i = 1; i < arrow.size(); ++i) {
    const auto &a = arrow[i - 1], &b = arrow[i];
    const double length = std::abs(a.x - b.x) + std::abs(a.y - b.y);
    for (const double share : {0.5, 0.4, 0.6, 0.3, 0.7, 0.2, 0.8, 0.1, 0.9}) {
      const Point at{a.x + share * (b.x - a.x), a.y + share * (b.y - a.y)};
      const double cost = 10 * (1 - length / longest) + 4 * std::abs(share - 0.5);
      if (a.y == b.y) {
        consider({at.x - width / 2, at.y - kLabelDistance - kLabelHeight, width, kLabelHeight},
                 cost);
        consider({at.x - width / 2, at.y + kLabelDistance, width, kLabelHeight}, cost + 1);
      } else {
        consider({at.x + kLabelDistance, at.y - kLabelHeight / 2, width, kLabelHeight}, cost);
        consider({at.x - kLabelDistance - width, at.y - kLabelHeight / 2, width, kLabelHeight},
                 cost + 1);
      }
    }
  }
  return *best;
}

// The gaps before, between and after the columns: wide enough for the labels of arrows between
// boxes side by side.
std::vector<double> column_gaps(const Diagram& diagram, const BoxNumbers& numbers, size_t columns,
                                double smallest, const std::vector<double>& label_widths) {
  std::vector<double> gaps(columns + 1, smallest);
  for (size_t i = 0; i < diagram.arrows.size(); ++i) {
    if (label_widths[i] == 0) continue;
    const auto* left = &diagram.boxes[numbers.at(diagram.arrows[i].from)];
    const auto* right = &diagram.boxes[numbers.at(diagram.arrows[i].to)];
    if (left->column > right->column) std::swap(left, right);
    const bool are_in_a_row =
        left->row < right->row + right->row_span && right->row < left->row + left->row_span;
    if (!are_in_a_row || left->column + left->column_span != right->column) continue;
    auto& gap = gaps[static_cast<size_t>(right->column)];
    gap = std::max(gap, std::ceil(label_widths[i]) + 2 * kHeadLength);
  }
  return gaps;
}

DiagramLayout::Area area_of(const Rect& rect) { return {rect.x, rect.y, rect.width, rect.height}; }

struct PlacedDiagram {
  std::vector<Rect> boxes, labels;
  std::vector<std::vector<Point>> arrows;
  int conflicts = 0;  // overlaps of arrows and labels with each other
};

// Everything where it is, but for the margin and the title; `lanes` arrows fit into a gap.
PlacedDiagram place_diagram(const Diagram& diagram, const BoxNumbers& numbers,
                            const DiagramPlan& plan, const FontBook& fonts, int lanes) {
  const double gap = kLaneDistance * (lanes + 1);
  std::vector<double> label_widths;
  for (const auto& label : plan.arrow_labels) {
    label_widths.push_back(label.empty() ? 0 : fonts.width(label, kArrowTextStyle));
  }
  std::vector<TrackNeed> across, down;
  size_t columns = 0, rows = 0;
  for (size_t i = 0; i < diagram.boxes.size(); ++i) {
    const auto& box = diagram.boxes[i];
    double width = 0;
    for (const auto& line : plan.box_lines[i]) {
      width = std::max(width, fonts.width(line, kBoxTextStyle));
    }
    const auto lines = static_cast<double>(plan.box_lines[i].size());
    across.push_back({box.column, box.column_span, std::ceil(width) + 2 * kBoxPadding});
    down.push_back({box.row, box.row_span, std::ceil(lines * kBoxLine) + 2 * kBoxPadding});
    columns = std::max(columns, static_cast<size_t>(box.column + box.column_span));
    rows = std::max(rows, static_cast<size_t>(box.row + box.row_span));
  }
  const double narrowest = kPortDistance * (lanes + 1);
  const auto xs =
      make_tracks(across, std::max(kEmptyTrack, narrowest), std::max(kNarrowestBox, narrowest),
                  column_gaps(diagram, numbers, columns, gap, label_widths));
  const auto ys = make_tracks(down, std::max(kEmptyTrack, narrowest),
                              std::max(kLowestBox, narrowest), std::vector<double>(rows + 1, gap));

  PlacedDiagram placed;
  for (const auto& box : diagram.boxes) {
    placed.boxes.push_back(
        {xs.starts[static_cast<size_t>(box.column)], ys.starts[static_cast<size_t>(box.row)],
         xs.length(box.column, box.column_span), ys.length(box.row, box.row_span)});
  }

  // Boxes that are near each other first: their arrows have the least choice.
  const auto box_of = [&](const std::string& name) { return placed.boxes[numbers.at(name)]; };
  const auto distance = [&](size_t arrow) {
    const auto a = box_of(diagram.arrows[arrow].from), b = box_of(diagram.arrows[arrow].to);
    return std::abs(a.x + a.width / 2 - b.x - b.width / 2) +
           std::abs(a.y + a.height / 2 - b.y - b.height / 2);
  };
  std::vector<size_t> order;
  for (size_t i = 0; i < diagram.arrows.size(); ++i) order.push_back(i);
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return distance(a) < distance(b); });
  ArrowRouter router(xs.lines(lanes), ys.lines(lanes), placed.boxes);
  placed.arrows.resize(diagram.arrows.size());
  placed.labels.resize(diagram.arrows.size());
  for (const size_t i : order) {
    placed.arrows[i] =
        router.route(numbers.at(diagram.arrows[i].from), numbers.at(diagram.arrows[i].to));
    if (plan.arrow_labels[i].empty()) continue;
    placed.labels[i] =
        label_place(placed.arrows[i], label_widths[i], placed.arrows, placed.boxes, placed.labels);
    router.avoid(placed.labels[i]);
  }
  placed.conflicts = router.overlaps();
  for (const auto& label : placed.labels) {
    for (const auto& arrow : placed.arrows) {
      for (size_t i = 1; i < arrow.size(); ++i) {
        placed.conflicts += overlap(around(arrow[i - 1], arrow[i], 1), label) ? 1 : 0;
      }
    }
  }
  return placed;
}

DiagramPlan plan_diagram(const Diagram& diagram, const FontBook& fonts) {
  const auto numbers = checked_boxes(diagram);
  check_arrows(diagram, numbers);
  DiagramPlan plan;
  for (const auto& box : diagram.boxes) {
    plan.box_lines.push_back(label_lines(box.label));
    for (auto& line : plan.box_lines.back()) line = fonts.fitted(line, kBoxTextStyle, kWidestLine);
  }
  for (const auto& arrow : diagram.arrows) {
    plan.arrow_labels.push_back(fonts.fitted(arrow.label, kArrowTextStyle, kWidestLine));
  }

  // Wider gaps where they help.
  constexpr int kFewestLanes = 3, kMostLanes = 7;
  auto placed = place_diagram(diagram, numbers, plan, fonts, kFewestLanes);
  for (int lanes = kFewestLanes + 2; placed.conflicts > 0 && lanes <= kMostLanes; lanes += 2) {
    auto wider = place_diagram(diagram, numbers, plan, fonts, lanes);
    if (wider.conflicts < placed.conflicts) placed = std::move(wider);
  }

  double left = std::numeric_limits<double>::infinity(), top = left, right = -left, bottom = -left;
  const auto include = [&](const Rect& rect) {
    left = std::min(left, rect.x);
    top = std::min(top, rect.y);
    right = std::max(right, rect.x + rect.width);
    bottom = std::max(bottom, rect.y + rect.height);
  };
  for (const auto& box : placed.boxes) include(box);
  for (const auto& label : placed.labels) {
    if (label.width > 0) include(label);
  }
  for (const auto& arrow : placed.arrows) {
    for (size_t i = 1; i < arrow.size(); ++i) include(around(arrow[i - 1], arrow[i], kArrowWidth));
  }

  auto& layout = plan.layout;
  plan.title =
      fonts.fitted(diagram.title, detail::kTitleStyle, std::max(right - left, kWidestTitle));
  const double width = std::max(right - left, fonts.width(plan.title, detail::kTitleStyle));
  const double title = plan.title.empty() ? 0 : kDiagramTitle;
  layout.width = std::ceil(width + 2 * detail::kMargin) + 1;  // + 1: what is shifted to whole px
  layout.height = std::ceil(bottom - top + 2 * detail::kMargin + title) + 1;
  const double x = std::ceil(detail::kMargin - left), y = std::ceil(detail::kMargin + title - top);
  const auto shifted = [&](Rect rect) {
    return area_of({rect.x + x, rect.y + y, rect.width, rect.height});
  };
  for (const auto& box : placed.boxes) layout.boxes.push_back(shifted(box));
  for (size_t i = 0; i < placed.arrows.size(); ++i) {
    DiagramLayout::Arrow arrow;
    for (const auto& point : placed.arrows[i]) arrow.points.push_back({point.x + x, point.y + y});
    if (placed.labels[i].width > 0) arrow.label = shifted(placed.labels[i]);
    layout.arrows.push_back(std::move(arrow));
  }
  return plan;
}

// ---- Drawing ------------------------------------------------------------------------------------

Point point_of(const DiagramLayout::Pixel& pixel) { return {pixel.x, pixel.y}; }

// The tip is the last point; the line ends inside the head, whose tip would be blunt otherwise.
void draw_arrow(Canvas& canvas, const DiagramLayout::Arrow& arrow, bool dashed) {
  std::vector<Point> points;
  for (const auto& point : arrow.points) points.push_back(point_of(point));
  const Point tip = points.back(), corner = points[points.size() - 2];
  const double length = std::abs(tip.x - corner.x) + std::abs(tip.y - corner.y);
  const Point forward{(tip.x - corner.x) / length, (tip.y - corner.y) / length};
  const Point neck{tip.x - kHeadLength * forward.x, tip.y - kHeadLength * forward.y};
  points.back() = {neck.x + forward.x, neck.y + forward.y};
  canvas.polyline(points, {detail::kMuted, kArrowWidth,
                           dashed ? std::vector<double>{5, 4} : std::vector<double>{}});
  constexpr double kHalf = kHeadWidth / 2;
  canvas.polygon({tip,
                  {neck.x - kHalf * forward.y, neck.y + kHalf * forward.x},
                  {neck.x + kHalf * forward.y, neck.y - kHalf * forward.x}},
                 detail::kMuted);
}

void draw_box(Canvas& canvas, const DiagramLayout::Area& area, DiagramRole role,
              const std::vector<std::string>& lines) {
  const auto colors = diagram_colors(role);
  const double border = role == DiagramRole::kHighlighted ? 3 : 1.5;
  canvas.box({area.x, area.y, area.width, area.height}, kBoxCorner, colors.inside,
             {colors.border, border, {}});
  const double first = area.y + area.height / 2 -
                       kBoxLine * (static_cast<double>(lines.size()) - 1) / 2 +
                       0.36 * kBoxTextStyle.size;
  for (size_t i = 0; i < lines.size(); ++i) {
    canvas.text(lines[i], {area.x + area.width / 2, first + kBoxLine * static_cast<double>(i)},
                Anchor::kMiddle, kBoxTextStyle);
  }
}

void draw_diagram(Canvas& canvas, const Diagram& diagram, const DiagramPlan& plan) {
  const auto& layout = plan.layout;
  if (!plan.title.empty()) {
    canvas.text(plan.title, {detail::kMargin, detail::kMargin + detail::kTitleStyle.size * 0.85},
                Anchor::kStart, detail::kTitleStyle);
  }
  for (size_t i = 0; i < layout.boxes.size(); ++i) {
    draw_box(canvas, layout.boxes[i], diagram.boxes[i].role, plan.box_lines[i]);
  }
  for (size_t i = 0; i < layout.arrows.size(); ++i) {
    draw_arrow(canvas, layout.arrows[i], diagram.arrows[i].dashed);
  }
  for (size_t i = 0; i < layout.arrows.size(); ++i) {
    if (plan.arrow_labels[i].empty()) continue;
    const auto& area = layout.arrows[i].label;
    canvas.text(plan.arrow_labels[i],
                {area.x + area.width / 2, area.y + area.height / 2 + 0.36 * kArrowTextStyle.size},
                Anchor::kMiddle, kArrowTextStyle);
  }
}

}  // namespace

DiagramColors diagram_colors(DiagramRole role) {
  switch (role) {
    case DiagramRole::kQuery:
      return {{0xCC, 0xE3, 0xF0}, {0x00, 0x72, 0xB2}};
    case DiagramRole::kKey:
      return {{0xFA, 0xEC, 0xCC}, {0xE6, 0x9F, 0x00}};
    case DiagramRole::kValue:
      return {{0xCC, 0xEC, 0xE3}, {0x00, 0x9E, 0x73}};
    case DiagramRole::kHighlighted:
      return {{0xF7, 0xDF, 0xCC}, {0xD5, 0x5E, 0x00}};
    case DiagramRole::kPlain:
      break;
  }
  return {{0xF3, 0xF4, 0xF6}, {0x8C, 0x95, 0x9F}};
}

std::string diagram_png(const Diagram& diagram) {
  const FontBook fonts;
  const auto plan = plan_diagram(diagram, fonts);
  const auto canvas =
      detail::make_png_canvas(plan.layout.width, plan.layout.height, kPngScale, fonts);
  draw_diagram(*canvas, diagram, plan);
  return canvas->finish();
}

std::string diagram_svg(const Diagram& diagram) {
  const FontBook fonts;
  const auto plan = plan_diagram(diagram, fonts);
  const auto canvas = detail::make_svg_canvas(plan.layout.width, plan.layout.height, diagram.title);
  draw_diagram(*canvas, diagram, plan);
  return canvas->finish();
}

void write_png(const std::filesystem::path& path, const Diagram& diagram) {
  detail::write_file_atomically(path, diagram_png(diagram));
}
void write_svg(const std::filesystem::path& path, const Diagram& diagram) {
  detail::write_file_atomically(path, diagram_svg(diagram));
}

DiagramLayout diagram_layout(const Diagram& diagram) {
  const FontBook fonts;
  return plan_diagram(diagram, fonts).layout;
}

}  // namespace attend
