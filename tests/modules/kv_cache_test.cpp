#include "attend/modules/kv_cache.h"

#include <gtest/gtest.h>

#include "support/tensor_assert.h"

namespace attend::kv_cache_test {
namespace {

constexpr int64_t kB = 2, kH = 4, kD = 6;

KeyValue positions(int64_t length, int64_t batch = kB) {
  return {torch::randn({batch, kH, length, kD}), torch::randn({batch, kH, length, kD})};
}

torch::Tensor joined(const std::vector<torch::Tensor>& parts) { return torch::cat(parts, 2); }

// Positions that all rows have: [kB, S].
torch::Tensor of_all(const std::vector<int64_t>& row) {
  return torch::tensor(row, torch::kLong).expand({kB, -1});
}

TEST(KeyValueCache, HoldsEverythingAppendedInOrder) {
  KeyValueCache cache;
  EXPECT_EQ(cache.length(), 0);
  std::vector<torch::Tensor> keys, values;
  for (const int64_t length : {3, 1, 1, 20, 0, 1, 50}) {
    const auto next = positions(length);
    keys.push_back(next.key);
    values.push_back(next.value);
    const auto held = cache.append(next);
    EXPECT_TENSOR_EQUAL(held.key, joined(keys));
    EXPECT_TENSOR_EQUAL(held.value, joined(values));
    EXPECT_EQ(cache.length(), held.key.size(2));
  }
}

TEST(KeyValueCache, ValuesMayHaveAnotherSizeThanKeys) {
  KeyValueCache cache;
  const KeyValue next{torch::randn({kB, kH, 2, kD}), torch::randn({kB, kH, 2, 7})};
  cache.append(next);
  EXPECT_TENSOR_EQUAL(cache.append(next).value, joined({next.value, next.value}));
}

TEST(KeyValueCache, AppendingOnePositionDoesNotCopyTheOthers) {
  KeyValueCache cache;
  cache.append(positions(17));
  const auto* before = cache.append(positions(1)).key.const_data_ptr();
  EXPECT_EQ(cache.append(positions(1)).key.const_data_ptr(), before);
}

TEST(KeyValueCache, DoesNotShareMemoryWithWhatIsAppended) {
  KeyValueCache cache;
  auto next = positions(2);
  const auto key = next.key.clone();
  cache.append(next);
  next.key.zero_();
  EXPECT_TENSOR_EQUAL(cache.append(positions(1)).key.narrow(2, 0, 2), key);
}

TEST(KeyValueCache, CopiesAreIndependent) {
  KeyValueCache cache;
  const auto first = positions(2), second = positions(1), third = positions(1);
  cache.append(first);
  KeyValueCache copy = cache;
  const auto held = cache.append(second);
  copy.append(third);
  EXPECT_TENSOR_EQUAL(held.key, joined({first.key, second.key}));
  EXPECT_TENSOR_EQUAL(copy.append(positions(0)).key, joined({first.key, third.key}));
}

TEST(KeyValueCache, TruncatingForgetsTheLastPositions) {
  KeyValueCache cache;
  const auto first = positions(5), second = positions(2);
  cache.append(first);
  cache.truncate(3);
  EXPECT_EQ(cache.length(), 3);
  EXPECT_TENSOR_EQUAL(cache.append(second).key, joined({first.key.narrow(2, 0, 3), second.key}));
  cache.truncate(0);
  const auto of_another_batch = positions(1, 3);
  EXPECT_TENSOR_EQUAL(cache.append(of_another_batch).key, of_another_batch.key);
}

TEST(KeyValueCache, ReorderingPicksRows) {
  KeyValueCache cache;
  const auto first = positions(3);
  cache.append(first);
  const auto rows = torch::tensor({1, 1, 0}, torch::kInt);
  cache.reorder(rows);
  const auto next = positions(1, 3);
  const auto held = cache.append(next);
  EXPECT_TENSOR_EQUAL(held.key, joined({first.key.index_select(0, rows), next.key}));
  EXPECT_TENSOR_EQUAL(held.value, joined({first.value.index_select(0, rows), next.value}));
}

TEST(KeyValueCache, ReorderingAnEmptyCacheIsNothing) {
  KeyValueCache cache;
  cache.reorder(torch::tensor({1, 0}));
  EXPECT_EQ(cache.length(), 0);
}

TEST(KeyValueCache, GradientsReachWhatWasAppended) {
  KeyValueCache cache;
  auto first = positions(2), second = positions(1);
  for (auto* part : {&first, &second}) {
    part->key.requires_grad_();
    part->value.requires_grad_();
  }
  cache.append(first);
  cache.reorder(torch::tensor({1, 0}));
  const auto held = cache.append(second);
  (held.key.sum() + 2.0 * held.value.sum()).backward();
  EXPECT_TENSOR_EQUAL(first.key.grad(), torch::ones_like(first.key));
  EXPECT_TENSOR_EQUAL(second.value.grad(), torch::full_like(second.value, 2.0));
}

// A cache may be filled with gradients and go on without them, and the other way round. Nothing
// that was handed in or out before may change by that.
TEST(KeyValueCache, GradientsOnOneSideOnlyDoNotSpoilWhatWasHandedOut) {
  for (const bool on_key : {true, false}) {
    SCOPED_TRACE(on_key ? "gradients of keys" : "gradients of values");
    KeyValueCache cache;
    const auto first = positions(3), second = positions(1);
    (on_key ? first.key : first.value).requires_grad_();
    const auto key = first.key.detach().clone(), value = first.value.detach().clone();
    const auto held = cache.append(first);
    const auto loss = (held.key * held.key).sum() + (held.value * held.value).sum();
    cache.truncate(1);
    {
      const torch::NoGradGuard no_grad;
      EXPECT_TENSOR_EQUAL(cache.append(second).key, joined({key.narrow(2, 0, 1), second.key}));
    }
    EXPECT_TENSOR_EQUAL(first.key, key);
    EXPECT_TENSOR_EQUAL(first.value, value);
    loss.backward();
    const auto& leaf = on_key ? first.key : first.value;
    EXPECT_TENSOR_EQUAL(leaf.grad(), 2.0 * leaf.detach());
  }
}

TEST(KeyValueCache, AppendingConstantsToGradientsKeepsTheGradients) {
  for (const bool on_key : {true, false}) {
    KeyValueCache cache;
    const auto first = positions(3);
    const auto& leaf = on_key ? first.key : first.value;
    leaf.requires_grad_();
    cache.append(first);
    torch::Tensor loss = torch::zeros({});
    for (int i = 0; i < 3; ++i) {
      const auto held = cache.append(positions(1));
      loss = loss + ((on_key ? held.key : held.value).narrow(2, 0, 3) *
                     (on_key ? held.key : held.value).narrow(2, 0, 3))
                        .sum();
    }
    loss.backward();
    EXPECT_TENSOR_NEAR(leaf.grad(), 6.0 * leaf.detach(), 1e-5);
  }
}

// ---- Fixed caches and rings ----

TEST(FixedCache, HoldsWhatIsAppendedInTheFirstSlotsOfBuffersThatNeverMove) {
  auto cache = KeyValueCache::fixed(6);
  EXPECT_EQ(cache.capacity(), 6);
  EXPECT_FALSE(cache.is_ring());
  const auto first = positions(2), second = positions(3);
  const auto* key = cache.append(first).key.const_data_ptr();
  const auto held = cache.append(second);
  EXPECT_EQ(held.key.const_data_ptr(), key);
  EXPECT_EQ(held.key.sizes(), (std::vector<int64_t>{kB, kH, 6, kD}));
  EXPECT_TENSOR_EQUAL(held.positions, of_all({0, 1, 2, 3, 4, -1}));
  EXPECT_TENSOR_EQUAL(held.key.narrow(2, 0, 5), joined({first.key, second.key}));
  EXPECT_TENSOR_EQUAL(held.value.narrow(2, 0, 5), joined({first.value, second.value}));
  EXPECT_EQ(held.key.select(2, 5).abs().sum().item<double>(), 0.0);
  EXPECT_EQ(cache.length(), 5);
  // The last slot is that of rows beyond it.
  EXPECT_TENSOR_EQUAL(cache.next_positions(2, held.key.device()), of_all({5, 5}));
}

// Three rows, which stand at positions 2, 0 and 4 in the end.
TEST(FixedCache, RowsMayStandAtDifferentPositions) {
  auto cache = KeyValueCache::fixed(5);
  KeyValueCache two, four;
  const auto of_two = positions(2, 1), of_four = positions(4), next = positions(1, 3);
  two.append(of_two);
  four.append(of_four);
  cache.assign(KeyValueCache(), torch::tensor({0, 1, 0}));
  cache.append(positions(1, 3));
  cache.assign(KeyValueCache(), torch::tensor({0, 0, 0}));
  EXPECT_EQ(cache.length(), 0);
  cache.assign(two, torch::tensor({0}));
  EXPECT_EQ(cache.length(), 2);
  cache.assign(four, torch::tensor({1}), 2);
  EXPECT_EQ(cache.length(), 4);
  EXPECT_TENSOR_EQUAL(cache.next_positions(1, next.key.device()), torch::tensor({{2}, {0}, {4}}));
  const auto held = cache.append(next);
  EXPECT_TENSOR_EQUAL(held.positions,
                      torch::tensor({{0, 1, 2, -1, -1}, {0, -1, -1, -1, -1}, {0, 1, 2, 3, 4}}));
  EXPECT_TENSOR_EQUAL(held.key[0].narrow(1, 0, 3), torch::cat({of_two.key[0], next.key[0]}, 1));
  EXPECT_TENSOR_EQUAL(held.value[1].narrow(1, 0, 1), next.value[1]);
  EXPECT_TENSOR_EQUAL(held.value[2], torch::cat({of_four.value[1], next.value[2]}, 1));
  EXPECT_EQ(held.key[1].narrow(1, 1, 4).abs().sum().item<double>(), 0.0);
  EXPECT_TENSOR_EQUAL(cache.lengths(), torch::tensor({3, 1, 5}));
  // Each row loses as many; each is copied with its position.
  cache.drop_last(1);
  EXPECT_TENSOR_EQUAL(cache.next_positions(1, next.key.device()), torch::tensor({{2}, {0}, {4}}));
  auto smaller = KeyValueCache::fixed(3);
  EXPECT_THROW_MESSAGE(
      smaller.assign(cache, torch::tensor({1, 0})), c10::ValueError,
      "KeyValueCache::assign: expected at most the capacity of 3 positions, got 4");
  cache.set_length(2);  // without the row that holds most
  smaller.assign(cache, torch::tensor({1, 0}));
  EXPECT_EQ(smaller.length(), 2);
  const auto moved = smaller.append(positions(1));
  EXPECT_TENSOR_EQUAL(moved.positions, torch::tensor({{0, -1, -1}, {0, 1, 2}}));
  EXPECT_TENSOR_EQUAL(moved.key[1].narrow(1, 0, 2), of_two.key[0]);
  cache.reorder(torch::tensor({2, 2, 0}));
  EXPECT_TENSOR_EQUAL(cache.next_positions(1, next.key.device()), torch::tensor({{4}, {4}, {2}}));
  cache.set_length(4);
  cache.truncate(3);
  EXPECT_TENSOR_EQUAL(cache.lengths(), torch::tensor({3, 3, 2}));
  cache.drop_last(3);
  EXPECT_TENSOR_EQUAL(cache.lengths(), torch::tensor({0, 0, 0}));
  EXPECT_THROW_MESSAGE(cache.drop_last(1), c10::ValueError,
                       "KeyValueCache::drop_last: expected a count in [0, 0], got 1");
}

TEST(FixedCache, IsFullAtItsCapacityAndThenUnchanged) {
  auto cache = KeyValueCache::fixed(3);
  cache.append(positions(2));
  EXPECT_THROW_MESSAGE(cache.append(positions(2)), c10::ValueError,
                       "KeyValueCache::append: expected at most the capacity of 3 positions, got 2 "
                       "held and 2 new ones");
  EXPECT_EQ(cache.length(), 2);
  EXPECT_TENSOR_EQUAL(cache.append(positions(1)).positions, of_all({0, 1, 2}));
}

TEST(FixedCache, TruncatingGivesTheSlotsBack) {
  auto cache = KeyValueCache::fixed(4);
  const auto first = positions(1), second = positions(2), third = positions(2);
  cache.append(first);
  cache.append(second);
  cache.truncate(1);
  const auto held = cache.append(third);
  EXPECT_TENSOR_EQUAL(held.positions, of_all({0, 1, 2, -1}));
  EXPECT_TENSOR_EQUAL(held.key.narrow(2, 0, 3), joined({first.key, third.key}));
}

TEST(FixedCache, CopiesAreIndependentAndReorderingKeepsTheBuffers) {
  auto cache = KeyValueCache::fixed(4);
  const auto first = positions(2);
  const auto* key = cache.append(first).key.const_data_ptr();
  auto copy = cache;
  copy.append(positions(1));
  EXPECT_EQ(cache.length(), 2);
  cache.reorder(torch::tensor({1, 0}));
  const auto held = cache.append(positions(1));
  EXPECT_EQ(held.key.const_data_ptr(), key);
  EXPECT_TENSOR_EQUAL(held.key.narrow(2, 0, 2), first.key.flip({0}));
  cache.reorder(torch::tensor({1, 1, 0}));
  EXPECT_TENSOR_EQUAL(cache.append(positions(1, 3)).key.narrow(2, 0, 2),
                      first.key.index_select(0, torch::tensor({0, 0, 1})));
}

TEST(FixedCache, TakesWhatAnotherHoldsWithoutMoving) {
  auto cache = KeyValueCache::fixed(6);
  KeyValueCache growing;
  const auto first = positions(3), second = positions(2), third = positions(1);
  growing.append(first);
  cache.assign(growing, torch::tensor({1, 0}));
  EXPECT_EQ(cache.length(), 3);
  auto held = cache.append(second);
  const auto* key = held.key.const_data_ptr();
  EXPECT_TENSOR_EQUAL(held.positions, of_all({0, 1, 2, 3, 4, -1}));
  EXPECT_TENSOR_EQUAL(held.key.narrow(2, 0, 5), joined({first.key.flip({0}), second.key}));
  EXPECT_TENSOR_EQUAL(held.value.narrow(2, 0, 5), joined({first.value.flip({0}), second.value}));
  // Itself, a smaller one, and one that is empty.
  cache.assign(cache, torch::tensor({0, 0}));
  auto smaller = KeyValueCache::fixed(4);
  smaller.append(third);
  auto larger = KeyValueCache::fixed(8);
  larger.assign(cache, torch::tensor({0, 1}));
  EXPECT_TENSOR_EQUAL(larger.append(third).positions, of_all({0, 1, 2, 3, 4, 5, -1, -1}));
  cache.assign(smaller, torch::tensor({0, 1}));
  held = cache.append(second);
  EXPECT_EQ(held.key.const_data_ptr(), key);
  EXPECT_TENSOR_EQUAL(held.positions, of_all({0, 1, 2, -1, -1, -1}));
  EXPECT_TENSOR_EQUAL(held.key.narrow(2, 0, 3), joined({third.key, second.key}));
  cache.assign(KeyValueCache(), torch::tensor({0, 1}));
  held = cache.append(third);
  EXPECT_TENSOR_EQUAL(held.positions, of_all({0, -1, -1, -1, -1, -1}));
  EXPECT_EQ(held.key.narrow(2, 1, 5).abs().sum().item<double>(), 0.0);
  EXPECT_EQ(held.key.const_data_ptr(), key);
  EXPECT_THROW_MESSAGE(
      growing.assign(cache, torch::tensor({0, 1})), c10::Error,
      "KeyValueCache::assign: expected a fixed cache, and another that is no ring");
  EXPECT_THROW_MESSAGE(cache.assign(growing, torch::tensor({0, 1, 0})), c10::Error,
                       "KeyValueCache::assign: expected at most 2 rows, got 3 from row 0 on");
  EXPECT_THROW_MESSAGE(cache.assign(growing, torch::tensor({0, 1}), 1), c10::Error,
                       "KeyValueCache::assign: expected at most 2 rows, got 2 from row 1 on");
  growing.append(positions(4));
  EXPECT_THROW_MESSAGE(
      cache.assign(growing, torch::tensor({0, 1})), c10::ValueError,
      "KeyValueCache::assign: expected at most the capacity of 6 positions, got 7");
}

TEST(RingCache, KeepsTheLastPositions) {
  auto ring = KeyValueCache::ring(3);
  EXPECT_TRUE(ring.is_ring());
  std::vector<torch::Tensor> keys;
  const void* buffer = nullptr;
  for (int64_t t = 0; t < 8; ++t) {
    const auto next = positions(1);
    keys.push_back(next.key);
    const auto held = ring.append(next);
    if (buffer == nullptr) buffer = held.key.const_data_ptr();
    EXPECT_EQ(held.key.const_data_ptr(), buffer);
    EXPECT_EQ(ring.length(), t + 1);
    // Slot by slot: the position that is there, and its key.
    for (int64_t slot = 0; slot < 3; ++slot) {
      const auto position = held.positions[1][slot].item<int64_t>();
      const auto newest = t - (t - slot + 9) % 3;
      EXPECT_EQ(position, newest < 0 ? -1 : newest);
      if (position >= 0) {
        EXPECT_TENSOR_EQUAL(held.key.narrow(2, slot, 1), keys[static_cast<size_t>(position)]);
      }
    }
  }
}

TEST(RingCache, SeveralNewPositionsSeeWhatTheyOverwrite) {
  auto ring = KeyValueCache::ring(3);
  const auto first = positions(2), second = positions(5), third = positions(1);
  EXPECT_TENSOR_EQUAL(ring.append(first).positions, of_all({-1, -1, -1, 0, 1}));
  const auto seen = ring.append(second);
  EXPECT_TENSOR_EQUAL(seen.positions, of_all({0, 1, -1, 2, 3, 4, 5, 6}));
  EXPECT_TENSOR_EQUAL(seen.key.narrow(2, 3, 5), second.key);
  const auto after = ring.append(third);
  EXPECT_TENSOR_EQUAL(after.positions, of_all({6, 7, 5}));
  EXPECT_TENSOR_EQUAL(after.key.select(2, 1), third.key.squeeze(2));
  EXPECT_TENSOR_EQUAL(after.key.select(2, 2), second.key.select(2, 3));
}

TEST(FixedCache, ErrorsNameWhatWasExpectedAndGot) {
  EXPECT_THROW_MESSAGE(KeyValueCache().set_length(1), c10::Error,
                       "KeyValueCache::set_length: expected a fixed cache with positions");
  auto fixed = KeyValueCache::fixed(3);
  fixed.append(positions(1));
  EXPECT_THROW_MESSAGE(fixed.set_length(4), c10::ValueError,
                       "KeyValueCache::set_length: expected a length in [0, 3], got 4");
  EXPECT_THROW_MESSAGE(KeyValueCache::fixed(0), c10::ValueError,
                       "KeyValueCache::fixed: expected capacity > 0, got 0");
  EXPECT_THROW_MESSAGE(KeyValueCache::ring(-1), c10::ValueError,
                       "KeyValueCache::ring: expected capacity > 0, got -1");
  auto recorded = positions(1);
  recorded.key.requires_grad_();
  EXPECT_THROW_MESSAGE(KeyValueCache::fixed(2).append(recorded), c10::Error,
                       "KeyValueCache::append: expected no gradients to be recorded with a fixed "
                       "cache, which is written in place; use a growing one");
  auto ring = KeyValueCache::ring(2);
  EXPECT_THROW_MESSAGE(ring.append(recorded), c10::Error,
                       "KeyValueCache::append: expected no gradients to be recorded with a ring "
                       "cache, which is written in place; use a growing one");
  ring.append(positions(1));
  EXPECT_THROW_MESSAGE(ring.append(positions(1, 3)), c10::Error,
                       "KeyValueCache::append: expected key of shape [2, 4, -1, 6] (-1 = any), got "
                       "[3, 4, 1, 6]");
}

TEST(KeyValueCache, ErrorsNameWhatWasExpectedAndGotAndChangeNothing) {
  KeyValueCache cache;
  EXPECT_THROW_MESSAGE(cache.append({torch::zeros({kH, 1, kD}), torch::zeros({kH, 1, kD})}),
                       c10::Error,
                       "KeyValueCache::append: expected key with 4 dimensions, got [4, 1, 6]");
  EXPECT_THROW_MESSAGE(cache.append({positions(2).key, positions(1).value}), c10::Error,
                       "KeyValueCache::append: expected value of shape [2, 4, 2, -1] (-1 = any), "
                       "got [2, 4, 1, 6]");
  EXPECT_THROW_MESSAGE(cache.append({positions(2).key, {}}), c10::Error,
                       "KeyValueCache::append: expected value of shape [2, 4, 2, -1] (-1 = any), "
                       "got an undefined tensor");
  EXPECT_EQ(cache.length(), 0);
  const auto first = positions(2);
  cache.append(first);
  EXPECT_THROW_MESSAGE(cache.append(positions(1, 3)), c10::Error,
                       "KeyValueCache::append: expected key of shape [2, 4, -1, 6] (-1 = any), got "
                       "[3, 4, 1, 6]");
  EXPECT_THROW_MESSAGE(
      cache.append({torch::zeros({kB, kH, 1, kD}), torch::zeros({kB, kH, 1, 7})}), c10::Error,
      "KeyValueCache::append: expected value of shape [2, 4, -1, 6] (-1 = any), got [2, 4, 1, 7]");
  const auto in_doubles = [](const KeyValue& x) {
    return KeyValue{x.key.to(torch::kDouble), x.value.to(torch::kDouble)};
  };
  EXPECT_THROW_MESSAGE(cache.append(in_doubles(positions(1))), c10::Error,
                       "KeyValueCache::append: expected key of dtype Float like the cached keys, "
                       "got Double");
  EXPECT_THROW_MESSAGE(cache.append({positions(1).key, positions(1).value.to(torch::kMeta)}),
                       c10::Error,
                       "KeyValueCache::append: expected value on cpu like the cached values, got "
                       "meta");
  EXPECT_THROW_MESSAGE(cache.truncate(3), c10::ValueError,
                       "KeyValueCache::truncate: expected a length in [0, 2], got 3");
  EXPECT_THROW_MESSAGE(cache.truncate(-1), c10::ValueError,
                       "KeyValueCache::truncate: expected a length in [0, 2], got -1");
  EXPECT_THROW_MESSAGE(cache.reorder(torch::zeros({2})), c10::Error,
                       "KeyValueCache::reorder: expected rows of dtype Long or Int, got Float");
  EXPECT_THROW_MESSAGE(cache.reorder(torch::zeros({2, 1}, torch::kLong)), c10::Error,
                       "KeyValueCache::reorder: expected rows with 1 dimensions, got [2, 1]");
  EXPECT_THROW(cache.reorder(torch::tensor({0, 2})), c10::Error);
  EXPECT_EQ(cache.length(), 2);
  EXPECT_TENSOR_EQUAL(cache.append(positions(0)).key, first.key);
}

}  // namespace
}  // namespace attend::kv_cache_test
