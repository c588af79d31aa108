#include "attend/models/model_holder.h"

#include <gtest/gtest.h>

#include "attend/checkpoint/model_folder.h"
#include "attend/decoding/beam_search.h"
#include "attend/decoding/sampling.h"
#include "support/temporary_folder.h"

namespace attend::model_holder_test {
namespace {

using testing_support::TemporaryFolder;

Seq2Seq translator() { return Seq2Seq(11, 11, 8, 2, 1); }

CausalLM writer() { return CausalLM(CausalLMOptions(11, 8, 2, 1).max_length(9)); }

torch::Tensor ids() { return torch::tensor({{2, 3, 4}}); }

TEST(ModelHolder, IsTakenWhereAModelIs) {
  const TemporaryFolder folder;
  auto held = translator();
  save_model(folder.path(), held);
  save_model(folder.path(), translator());
  EXPECT_EQ(model_type(folder.path()), "marian");
  save_model(folder.path(), RecurrentSeq2Seq(11, 11, 6));
  EXPECT_EQ(model_type(folder.path()), "attend_recurrent_seq2seq");
  save_model(folder.path(), writer());
  EXPECT_EQ(model_type(folder.path()), "gpt2");
  save_model(folder.path(), VisionTransformer(VisionTransformerOptions(8, 4, 3, 6, 2, 1)));
  EXPECT_EQ(model_type(folder.path()), "vit");
}

TEST(ModelHolder, IsTakenWhereAnInterfaceOfTheModelIs) {
  const torch::NoGradGuard no_grad;
  const BeamSearchOptions options{.max_length = 5};
  auto held = translator();
  held->eval();
  const auto answer = beam_search(*held, ids(), options)[0][0].tokens;
  EXPECT_EQ(beam_search(held, ids(), options)[0][0].tokens, answer);
  TranslationModel& model = held;
  EXPECT_EQ(beam_search(model, ids(), options)[0][0].tokens, answer);
  EXPECT_EQ(sample(writer(), ids(), {.max_new_tokens = 2}).size(), 1U);

  const torch::nn::Module& module = held;
  EXPECT_EQ(&module, held.get());

  const TemporaryFolder folder;
  save_model(folder.path(), model);
  EXPECT_EQ(model_type(folder.path()), "marian");
}

TEST(ModelHolder, SharesTheModelWithWhoKeepsIt) {
  const auto held = translator();
  const std::shared_ptr<TranslationModel> kept = held;
  EXPECT_EQ(kept.get(), held.ptr().get());
  const std::shared_ptr<torch::nn::Module> module = held;
  EXPECT_EQ(module.get(), held.ptr().get());
  const Seq2Seq empty = nullptr;
  EXPECT_THROW(static_cast<void>(static_cast<Seq2SeqImpl&>(empty)), c10::Error);
}

}  // namespace
}  // namespace attend::model_holder_test
