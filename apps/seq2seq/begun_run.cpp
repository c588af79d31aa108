#include "begun_run.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <string>
#include <utility>
#include <vector>

#include "attend/file_error.h"
#include "detail/atomic_file.h"
#include "detail/read_file.h"

namespace attend::app {
namespace {

using nlohmann::ordered_json;
namespace fs = std::filesystem;

constexpr auto kFlags = "training-flags.json";
constexpr auto kConfig = "config.json";

ordered_json read_json(const fs::path& path) {
  auto json = ordered_json::parse(detail::read_file(path), nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) throw FileError(path, "expected a JSON object, got something else");
  return json;
}

// The flags that the run was started with, as far as config.json tells.
ordered_json flags_of_config(const ordered_json& config) {
  ordered_json flags;
  const auto take = [&](const char* flag, const char* key) {
    if (config.contains(key)) flags[flag] = config[key];
  };
  const bool recurrent = config.value("model_type", "") == "attend_recurrent_seq2seq";
  flags["--model"] = recurrent ? "recurrent" : "transformer";
  take("--embed-dim", "d_model");
  const bool separate = !config.value("share_encoder_decoder_embeddings", true);
  flags["--separate-vocabs"] = separate;
  // In folders of attend 0.1, pad_id is the last id unless the vocabulary is restricted.
  flags["--restrict-vocab"] =
      !separate && config.value("pad_token_id", 0) != config.value("vocab_size", 0) - 1;
  if (recurrent) return flags;
  take("--heads", "encoder_attention_heads");
  take("--encoder-layers", "encoder_layers");
  take("--decoder-layers", "decoder_layers");
  take("--ffn-dim", "encoder_ffn_dim");
  take("--activation", "activation_function");
  take("--pre-norm", "normalize_before");
  return flags;
}

}  // namespace

ordered_json lasting_flags(const ModelChoice& model, const SubwordChoice& subwords) {
  ordered_json flags{
      {"--vocab-size", subwords.training.vocab_size},
      {"--subword-model", subwords.training.model == SubwordModel::kBpe ? "bpe" : "unigram"},
      {"--subword-mix-scripts", !subwords.training.split_by_unicode_script},
      {"--separate-vocabs", subwords.separate_vocabs},
      {"--restrict-vocab", subwords.restrict_vocab},
      {"--subword-pairs", subwords.pairs},
      {"--model", model.kind},
      {"--embed-dim", model.embed_dim}};
  if (model.kind == "recurrent") return flags;
  flags.update({{"--heads", model.heads},
                {"--encoder-layers", model.encoder_layers},
                {"--decoder-layers", model.decoder_layers},
                {"--ffn-dim", model.ffn_dim},
                {"--activation", model.activation},
                {"--pre-norm", model.pre_norm}});
  return flags;
}

void write_lasting_flags(const fs::path& folder, const ordered_json& flags) {
  detail::write_file_atomically(folder / kFlags, flags.dump(2) + "\n");
}

void check_lasting_flags(const fs::path& folder, const ordered_json& flags) {
  const bool are_kept = fs::exists(folder / kFlags);
  const auto path = folder / (are_kept ? kFlags : kConfig);
  auto begun = read_json(path);
  if (!are_kept) begun = flags_of_config(begun);
  std::vector<std::string> ours, theirs;
  for (const auto& [flag, value] : flags.items()) {
    if (!begun.contains(flag) || begun[flag] == value) continue;
    ours.push_back(fmt::format("{} ({})", flag, value.dump()));
    theirs.push_back(begun[flag].dump());
  }
  if (ours.empty()) return;
  throw FileError(path, fmt::format("expected a run with the same {}, got {}; train into another "
                                    "folder or start again with --no-reload",
                                    fmt::join(ours, ", "), fmt::join(theirs, ", ")));
}

}  // namespace attend::app
