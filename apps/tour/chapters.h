#pragma once

#include <functional>
#include <string>
#include <vector>

#include "common/machine.h"
#include "notebook.h"

namespace attend::app {

/// A part of the tour that can be run by itself.
struct Chapter {
  std::string name;   // on the command line
  std::string title;  // on the page
  std::function<void(Notebook&)> run;
};

/// All chapters in order. `device`: where models are trained and run.
std::vector<Chapter> chapters_by_hand();
std::vector<Chapter> chapters_of_modules();
std::vector<Chapter> chapters_of_models(torch::Device device);

}  // namespace attend::app
