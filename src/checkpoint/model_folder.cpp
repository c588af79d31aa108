// Loads folders whose architecture is only known at run time.
#include "attend/checkpoint/model_folder.h"

#include <fmt/format.h>

#include "checkpoint/folder.h"
#include "checkpoint/translation_folders.h"
#include "detail/json_file.h"

namespace attend {

namespace fs = std::filesystem;

void save_model(const fs::path& folder, TranslationModel& model) {
  if (auto* transformer = dynamic_cast<Seq2SeqImpl*>(&model)) {
    save_model(folder, *transformer);
  } else if (auto* recurrent = dynamic_cast<RecurrentSeq2SeqImpl*>(&model)) {
    save_model(folder, *recurrent);
  } else {
    TORCH_CHECK(false, "save_model: expected a Seq2Seq or a RecurrentSeq2Seq, got another class");
  }
}

std::string model_type(const fs::path& folder) {
  return detail::JsonFile(folder / "config.json").get<std::string>("model_type");
}

std::shared_ptr<TranslationModel> load_translation_model(const fs::path& folder) {
  const auto type = model_type(folder);
  if (detail::is_seq2seq(type)) return load_seq2seq(folder).ptr();
  if (type == detail::kAttendRecurrent) return load_recurrent_seq2seq(folder).ptr();
  detail::refuse_model_type(detail::JsonFile(folder / "config.json"),
                            fmt::format("{}, {} or {}", detail::kMarian, detail::kAttendSeq2Seq,
                                        detail::kAttendRecurrent));
}

}  // namespace attend
