#include "translation_json.h"

namespace attend::app {

nlohmann::ordered_json translations_json(const std::string& source,
                                         const std::vector<Translation>& translations,
                                         bool with_alignment, bool with_attention) {
  auto all = nlohmann::ordered_json::array();
  for (const auto& t : translations) {
    nlohmann::ordered_json one{
        {"text", t.text}, {"log_probability", t.log_probability}, {"score", t.score}};
    if (with_alignment) {
      auto& links = one["alignment"] = nlohmann::json::array();
      for (const auto& link : t.alignment) links.push_back({link.source, link.target});
    }
    if (with_attention) {
      auto& rows = one["attention"] = nlohmann::json::array();
      for (int64_t r = 0; t.attention.defined() && r < t.attention.size(0); ++r) {
        const auto row = t.attention[r].contiguous();
        const auto* values = row.const_data_ptr<float>();
        rows.push_back(std::vector<float>(values, values + row.numel()));
      }
    }
    all.push_back(std::move(one));
  }
  return {{"source", source}, {"translations", std::move(all)}};
}

std::string json_text(const nlohmann::ordered_json& json) {
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace attend::app
