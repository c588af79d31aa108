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
/// The lines differ in colour and in the marks on their points, so that they can be told apart in a
/// grey print and by colour-blind readers. Up to 32 points of a line are all marked, of more points
/// one about every 28 px. The x axis is as long as the data, the y axis ends at ticks.
///
/// Note: the legend stands on the right of the axes, in the order of the series; it is left out
///       where no series has a name.
struct LinePlot {
  std::vector<LineSeries> series = {};
  std::string title = {};    // above the axes
  std::string x_label = {};  // below the axes; empty = none
  std::string y_label = {};  // left of the axes; empty = none
  bool log_x = false;        // equal distances are equal factors
  bool log_y = false;        // the same, upwards
  bool from_zero = false;    // the y axis goes down to 0 at least
  double height = 400;       // px, between the axis' ends
};

/// The bytes of a picture of these plots in rows of two, from left to right.
///
/// Throws: c10::ValueError without plots, for series that are not as long in x as in y, for numbers
///         that are not finite, and for numbers <= 0 on a logarithmic axis.
std::string line_plots_png(const std::vector<LinePlot>& plots);
std::string line_plots_svg(const std::vector<LinePlot>& plots);

}  // namespace attend::app
