// attend's own format of a RecurrentSeq2Seq; no Hugging Face class reads it.
#include "attend/checkpoint/model_folder.h"
#include "checkpoint/folder.h"
#include "checkpoint/layout.h"
#include "checkpoint/translation_folders.h"

namespace attend {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

json recurrent_config(const RecurrentSeq2SeqOptions& o) {
  return {{"architectures", json::array({"AttendRecurrentSeq2Seq"})},
          {"attention_dim", o.attention_dim()},
          {"d_model", o.embed_dim()},
          {"decoder_start_token_id", o.start_id()},
          {"decoder_vocab_size", o.tgt_vocab()},
          {"dropout", o.dropout()},
          {"eos_token_id", o.eos_id()},
          {"is_encoder_decoder", true},
          {"max_position_embeddings", o.max_length()},
          {"model_type", detail::kAttendRecurrent},
          {"pad_token_id", o.pad_id()},
          {"share_encoder_decoder_embeddings", o.share_embeddings()},
          {"tie_word_embeddings", o.tie_output()},
          {"torch_dtype", "float32"},
          {"vocab_size", o.src_vocab()}};
}

RecurrentSeq2SeqOptions recurrent_options(const detail::JsonFile& config) {
  return RecurrentSeq2SeqOptions(config.size("vocab_size"), config.size("decoder_vocab_size"),
                                 config.size("d_model"))
      .attention_dim(config.size("attention_dim"))
      .dropout(config.get<double>("dropout"))
      .max_length(config.size("max_position_embeddings"))
      .share_embeddings(config.get<bool>("share_encoder_decoder_embeddings"))
      .tie_output(config.get<bool>("tie_word_embeddings"))
      .eos_id(config.get<int64_t>("eos_token_id"))
      .pad_id(config.get<int64_t>("pad_token_id"))
      .start_id(config.get<int64_t>("decoder_start_token_id"));
}

}  // namespace

void save_model(const fs::path& folder, RecurrentSeq2SeqImpl& model) {
  detail::write_translation_folder(folder, recurrent_config(model.options), model,
                                   detail::named_weights(model));
}

RecurrentSeq2Seq load_recurrent_seq2seq(const fs::path& folder) {
  const detail::JsonFile config(folder / "config.json");
  if (config.get<std::string>("model_type") != detail::kAttendRecurrent) {
    detail::refuse_model_type(config, detail::kAttendRecurrent);
  }
  const auto options = recurrent_options(config);
  const detail::WeightsFile file(folder);
  const detail::WeightsPlan plan{.wanted = detail::layout_of(options),
                                 .tied = {},
                                 .derived = {},
                                 .may_exclude = {detail::kLogitsBias}};
  detail::check_header(file, plan);
  auto model = detail::build<RecurrentSeq2Seq>(config.path(), options);
  detail::fill(*model, detail::read_weights(file, plan));
  model->eval();
  return model;
}

}  // namespace attend
