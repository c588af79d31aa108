#pragma once

#include <string>
#include <vector>

namespace attend::app {

/// A line through points, in their order.
struct LineSeries {
  std::string name = {};       // in the legend
  std::vector<double> x = {};  // as many as y
  std::vector<double> y = {};
  bool dashed = false;

  void add(double x_value, double y_value) {
    x.push_back(x_value);
    y.push_back(y_value);
  }
};

/// Lines between two axes, such as losses over the updates of a training run.
///
/// Lines differ in colour and marker, so they can be told apart in a grey print and by colour-blind
/// readers. A line of up to 32 points has a marker on each, a longer one about every 28 px. The x
/// axis ends at the data's limits, the y axis at ticks.
///
/// Note:   the legend is to the right of the axes, in the order of the series; there is none if no
///         series has a name.
struct LinePlot {
  std::vector<LineSeries> series = {};
  std::string title = {};    // above the axes
  std::string x_label = {};  // below the axes; empty = none
  std::string y_label = {};  // left of the axes; empty = none
  bool log_x = false;        // logarithmic x axis
  bool log_y = false;        // logarithmic y axis
  bool from_zero = false;    // the y axis includes 0
  double height = 400;       // length of the y axis in px
};

/// Draws plots in rows of two, left to right, as a PNG file.
///
/// Throws: c10::ValueError if there are no plots, for series with different numbers of x and y, for
///         numbers that are not finite, and for numbers <= 0 on a logarithmic axis.
std::string line_plots_png(const std::vector<LinePlot>& plots);
std::string line_plots_svg(const std::vector<LinePlot>& plots);

}  // namespace attend::app
