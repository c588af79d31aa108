#include "common/model_choice.h"

#include <map>

#include "attend/models/recurrent_seq2seq.h"
#include "attend/models/seq2seq.h"
#include "common/number_flag.h"

namespace attend::app {
namespace {

const std::map<std::string, Activation>& activations() {
  static const std::map<std::string, Activation> names{
      {"relu", Activation::kRelu}, {"gelu", Activation::kGelu}, {"swish", Activation::kSwish}};
  return names;
}

}  // namespace

void add_model_choice(CLI::App& app, ModelChoice& c) {
  constexpr auto kGroup = "Model";
  const auto add = [&](const std::string& flag, auto& value, const std::string& help) {
    return app.add_option(flag, value, help)->capture_default_str()->group(kGroup);
  };
  add("--model", c.kind, "Architecture")->check(one_of({"transformer", "recurrent"}));
  const auto number = [&](const std::string& flag, auto& value, const auto& range,
                          const std::string& help) {
    add_number(app, flag, value, range, help)->group(kGroup);
  };
  // Far larger than any trained model, and products of sizes still fit into 64 bits.
  constexpr NumberRange<int64_t> kSizes{.least = 1, .most = 1 << 20};
  constexpr NumberRange<int64_t> kLayers{.least = 0, .most = 1000};
  number("--embed-dim", c.embed_dim, kSizes, "Size of embeddings and states");
  number("--heads", c.heads, kSizes, "Attention heads (Transformer)");
  number("--encoder-layers", c.encoder_layers, kLayers, "Encoder layers (Transformer)");
  number("--decoder-layers", c.decoder_layers, kLayers, "Decoder layers (Transformer)");
  number("--ffn-dim", c.ffn_dim, kSizes, "Hidden size of the feed-forward blocks (Transformer)");
  number("--dropout", c.dropout, kProbability, "Dropout, [0, 1)");
  number("--attention-dropout", c.attention_dropout, kProbability,
         "Dropout on attention weights (Transformer)");
  number("--activation-dropout", c.activation_dropout, kProbability,
         "Dropout inside the feed-forward blocks (Transformer)");
  add("--activation", c.activation, "Activation of the feed-forward blocks (Transformer)")
      ->check(one_of({"relu", "gelu", "swish"}));
  app.add_flag("--pre-norm", c.pre_norm,
               "Pre-norm instead of post-norm (Transformer; attend's own folder format)")
      ->group(kGroup);
  number("--max-positions", c.max_positions, kSizes, "Longest source and target, in tokens");
}

std::shared_ptr<TranslationModel> make_model(const ModelChoice& c,
                                             const SubwordTokenizer& tokenizer) {
  const auto source = tokenizer.source_vocabulary().size();
  const auto target = tokenizer.target_vocab_size();
  if (c.kind == "recurrent") {
    return RecurrentSeq2Seq(RecurrentSeq2SeqOptions(source, target, c.embed_dim)
                                .share_embeddings(!tokenizer.separate_vocabs())
                                .dropout(c.dropout)
                                .max_length(c.max_positions)
                                .eos_id(tokenizer.eos_id())
                                .pad_id(tokenizer.pad_id())
                                .start_id(tokenizer.pad_id()));
  }
  return Seq2Seq(Seq2SeqOptions(source, target, c.embed_dim, c.heads, c.encoder_layers)
                     .share_embeddings(!tokenizer.separate_vocabs())
                     .decoder_layers(c.decoder_layers)
                     .feed_forward_dim(c.ffn_dim)
                     .dropout(c.dropout)
                     .attention_dropout(c.attention_dropout)
                     .activation_dropout(c.activation_dropout)
                     .activation(activations().at(c.activation))
                     .norm_order(c.pre_norm ? NormOrder::kPre : NormOrder::kPost)
                     .max_length(c.max_positions)
                     .eos_id(tokenizer.eos_id())
                     .pad_id(tokenizer.pad_id())
                     .start_id(tokenizer.pad_id()));
}

Choices<BleuTokenizer> bleu_tokenizers() {
  return {{"none", BleuTokenizer::kNone},
          {"13a", BleuTokenizer::k13a},
          {"intl", BleuTokenizer::kIntl},
          {"char", BleuTokenizer::kChar}};
}

}  // namespace attend::app
