#include "service_metrics.h"

#include <fmt/format.h>

#include <string_view>

namespace attend::app {
namespace {

class MetricsPage {
 public:
  // Begins a metric; samples follow.
  void metric(std::string_view name, std::string_view type, std::string_view help) {
    name_ = name;
    text_ += fmt::format("# HELP {} {}\n# TYPE {} {}\n", name, help, name, type);
  }
  template <typename Number>
  void sample(std::string_view suffix, std::string_view labels, Number value) {
    text_ += fmt::format("{}{}{} {}\n", name_, suffix, labels, value);
  }
  template <typename Number>
  void single(std::string_view name, std::string_view type, std::string_view help, Number value) {
    metric(name, type, help);
    sample("", "", value);
  }
  const std::string& text() const { return text_; }

 private:
  std::string name_, text_;
};

}  // namespace

std::string metrics_text(const TranslationServiceStatistics& counts,
                         const std::map<int, uint64_t>& responses) {
  MetricsPage page;
  page.metric("attend_requests_total", "counter", "Requests for translations that are finished.");
  page.sample("", R"({outcome="answered"})", counts.answered);
  page.sample("", R"({outcome="failed"})", counts.failed);
  page.sample("", R"({outcome="cancelled"})", counts.cancelled);
  page.sample("", R"({outcome="expired"})", counts.expired);
  page.sample("", R"({outcome="refused"})", counts.refused);
  page.single("attend_requests_accepted_total", "counter",
              "Requests that were not refused: answered, failed, cancelled, expired and pending.",
              counts.accepted);
  page.single("attend_requests_pending", "gauge", "Requests that were accepted and not finished.",
              counts.pending);
  page.single("attend_queue_texts", "gauge", "Texts that wait for a worker.", counts.waiting_texts);
  page.single("attend_batches_total", "counter", "Batches that were taken from the queue.",
              counts.batches);
  page.single("attend_source_tokens_total", "counter", "Tokens of the texts that were answered.",
              counts.source_tokens);
  page.single("attend_target_tokens_total", "counter", "Tokens of their translations.",
              counts.target_tokens);

  page.metric("attend_request_seconds", "histogram",
              "Time from accepting a request to its answer.");
  uint64_t up_to = 0;
  for (size_t i = 0; i < LatencyHistogram::kBounds.size(); ++i) {
    up_to += counts.latency.counts()[i];
    page.sample("_bucket", fmt::format("{{le=\"{}\"}}", LatencyHistogram::kBounds[i]), up_to);
  }
  page.sample("_bucket", R"({le="+Inf"})", counts.latency.count());
  page.sample("_sum", "", counts.latency.sum());
  page.sample("_count", "", counts.latency.count());
  page.metric("attend_request_seconds_percentile", "gauge",
              "Percentiles of attend_request_seconds since the start.");
  for (const double part : {0.5, 0.9, 0.99}) {
    page.sample("", fmt::format("{{quantile=\"{}\"}}", part), counts.latency.percentile(part));
  }

  page.metric("attend_http_responses_total", "counter",
              "HTTP responses by status; 499: the client hung up.");
  for (const auto& [status, count] : responses) {
    page.sample("", fmt::format("{{status=\"{}\"}}", status), count);
  }
  return page.text();
}

}  // namespace attend::app
