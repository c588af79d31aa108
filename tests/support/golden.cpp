#include "support/golden.h"

#include <fstream>
#include <nlohmann/json.hpp>
#include <vector>

namespace attend::testing_support {

std::map<std::string, torch::Tensor> load_golden(const std::string& file, const std::string& name) {
  std::ifstream stream(std::string(ATTEND_TEST_GOLDEN_DIR) + "/" + file + ".json");
  const auto cases = nlohmann::json::parse(stream);
  std::map<std::string, torch::Tensor> result;
  for (const auto& [key, entry] : cases.at(name).items()) {
    const auto data = entry.at("data").get<std::vector<double>>();
    const auto shape = entry.at("shape").get<std::vector<int64_t>>();
    result[key] = torch::tensor(data, torch::kDouble)
                      .view(shape)
                      .to(entry.at("dtype") == "bool" ? torch::kBool : torch::kDouble);
  }
  return result;
}

}  // namespace attend::testing_support
