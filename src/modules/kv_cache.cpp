#include "attend/modules/kv_cache.h"

#include <algorithm>
#include <utility>

#include "detail/check.h"

namespace attend {
namespace {

constexpr auto kAppend = "KeyValueCache::append";
constexpr int64_t kFirstCapacity = 16;

torch::Tensor with_capacity(const torch::Tensor& held, int64_t length, int64_t capacity,
                            const torch::Tensor& like) {
  auto grown = torch::empty({like.size(0), like.size(1), capacity, like.size(3)}, like.options());
  if (length > 0) grown.narrow(2, 0, length).copy_(held.narrow(2, 0, length));
  return grown;
}

torch::Tensor selected(const torch::Tensor& held, int64_t length, const torch::Tensor& rows) {
  auto result =
      torch::empty({rows.size(0), held.size(1), held.size(2), held.size(3)}, held.options());
  auto filled = result.narrow(2, 0, length);
  at::index_select_out(filled, held.narrow(2, 0, length), 0, rows);
  return result;
}

}  // namespace

KeyValueCache::KeyValueCache(const KeyValueCache& other)
    : length_(other.length_),
      capacity_(other.capacity_),
      is_ring_(other.is_ring_),
      owns_buffers_(other.owns_buffers_) {
  if (!other.key_.defined()) return;
  // Buffers that the other cache does not own are never written to, so sharing them is safe.
  key_ = owns_buffers_ ? other.key_.clone() : other.key_;
  value_ = owns_buffers_ ? other.value_.clone() : other.value_;
  if (capacity_ == 0) return;
  slots_ = other.slots_.clone();
  next_ = other.next_.clone();
}

KeyValueCache::KeyValueCache(KeyValueCache&& other) noexcept
    : length_(std::exchange(other.length_, 0)),
      capacity_(other.capacity_),
      is_ring_(other.is_ring_),
      owns_buffers_(other.owns_buffers_),
      key_(std::move(other.key_)),
      value_(std::move(other.value_)),
      slots_(std::move(other.slots_)),
      next_(std::move(other.next_)) {}

KeyValueCache& KeyValueCache::operator=(KeyValueCache other) noexcept {
  length_ = other.length_;
  capacity_ = other.capacity_;
  is_ring_ = other.is_ring_;
  owns_buffers_ = other.owns_buffers_;
  key_ = std::move(other.key_);
  value_ = std::move(other.value_);
  slots_ = std::move(other.slots_);
  next_ = std::move(other.next_);
  return *this;
}

KeyValueCache KeyValueCache::fixed(int64_t capacity) {
  detail::check_positive("KeyValueCache::fixed", "capacity", capacity);
  KeyValueCache cache;
  cache.capacity_ = capacity;
  return cache;
}

KeyValueCache KeyValueCache::ring(int64_t capacity) {
  detail::check_positive("KeyValueCache::ring", "capacity", capacity);
  KeyValueCache cache;
  cache.capacity_ = capacity;
  cache.is_ring_ = true;
  return cache;
}

torch::Tensor KeyValueCache::next_positions(int64_t count, torch::Device device) const {
  const auto options = torch::TensorOptions().dtype(torch::kLong).device(device);
  if (!next_.defined()) return torch::arange(length_, length_ + count, options);
  const auto next = next_.unsqueeze(1) + torch::arange(count, options);  // [B, count]
  // Full rows may be written to where nothing is read of them: behind the rows of a batch.
  return is_ring_ ? next : next.clamp_max(capacity_ - 1);
}

void KeyValueCache::set_length(int64_t length) {
  constexpr auto kName = "KeyValueCache::set_length";
  TORCH_CHECK(slots_.defined() && !is_ring_, kName, ": expected a fixed cache with positions");
  TORCH_CHECK_VALUE(length >= 0 && length <= capacity_, kName, ": expected a length in [0, ",
                    capacity_, "], got ", length);
  length_ = length;
}

bool KeyValueCache::is_recorded() const {
  return length_ > 0 && (key_.requires_grad() || value_.requires_grad());
}

void KeyValueCache::check_next(const KeyValue& next) const {
  detail::check_rank(kAppend, "key", next.key, 4, 4);
  detail::check_shape(kAppend, "value", next.value,
                      {next.key.size(0), next.key.size(1), next.key.size(2), -1});
  if (length_ == 0 && !slots_.defined()) return;
  detail::check_shape(kAppend, "key", next.key, {key_.size(0), key_.size(1), -1, key_.size(3)});
  detail::check_shape(kAppend, "value", next.value,
                      {value_.size(0), value_.size(1), -1, value_.size(3)});
  detail::check_same_kind(kAppend, "key", next.key, "the cached keys", key_);
  detail::check_same_kind(kAppend, "value", next.value, "the cached values", value_);
}

void KeyValueCache::allocate(const KeyValue& like, int64_t rows) {
  // Zeros, since empty slots get weight 0 and 0 times uninitialised memory may be NaN.
  const auto empty = [&](const torch::Tensor& x) {
    return torch::zeros({rows, x.size(1), capacity_, x.size(3)}, x.options());
  };
  key_ = empty(like.key);
  value_ = empty(like.value);
  slots_ = torch::full({rows, capacity_}, -1, like.key.options().dtype(torch::kLong));
  next_ = torch::zeros({rows}, slots_.options());
  owns_buffers_ = true;
}

KeyValue KeyValueCache::append_to_slots(const KeyValue& next) {
  TORCH_CHECK(
      !torch::GradMode::is_enabled() || (!next.key.requires_grad() && !next.value.requires_grad()),
      kAppend, ": expected no gradients to be recorded with a ", is_ring_ ? "ring" : "fixed",
      " cache, which is written in place; use a growing one");
  const auto added = next.key.size(2);
  TORCH_CHECK_VALUE(is_ring_ || length_ + added <= capacity_, kAppend,
                    ": expected at most the capacity of ", capacity_, " positions, got ", length_,
                    " held and ", added, " new ones");
  if (!slots_.defined()) allocate(next, next.key.size(0));
  const auto positions = next_positions(added, key_.device());
  // The last of several new positions overwrites keys that the first one still attends to, so all
  // are concatenated.
  const bool overwrites = is_ring_ && added > 1;
  KeyValue seen{key_, value_, 0, slots_};
  if (overwrites) {
    seen = {torch::cat({key_, next.key}, 2), torch::cat({value_, next.value}, 2), 0,
            torch::cat({slots_, positions}, 1)};
  }
  const auto kept = std::min(added, capacity_);
  const auto last = [&](const torch::Tensor& x, int64_t axis) {
    return x.narrow(axis, added - kept, kept);
  };
  const auto kept_positions = last(positions, 1);
  const auto slots = is_ring_ ? kept_positions.remainder(capacity_) : kept_positions;
  const auto write = [&](const torch::Tensor& held, const torch::Tensor& from) {
    const auto kept_ones = last(from, 2);
    held.scatter_(2, slots.unsqueeze(1).unsqueeze(3).expand_as(kept_ones), kept_ones);
  };
  write(key_, next.key);
  write(value_, next.value);
  slots_.scatter_(1, slots, kept_positions);
  next_.add_(added);
  if (!is_ring_) next_.clamp_max_(capacity_);
  length_ += added;
  return seen;
}

KeyValue KeyValueCache::append(const KeyValue& next) {
  check_next(next);
  if (capacity_ > 0) return append_to_slots(next);
  const auto added = next.key.size(2);
  if (torch::GradMode::is_enabled() &&
      (next.key.requires_grad() || next.value.requires_grad() || is_recorded())) {
    const auto grown = [&](const torch::Tensor& held, const torch::Tensor& more) {
      return length_ > 0 ? torch::cat({held.narrow(2, 0, length_), more}, 2) : more;
    };
    key_ = grown(key_, next.key);
    value_ = grown(value_, next.value);
    length_ += added;
    owns_buffers_ = false;
    return {key_, value_};
  }

  const auto needed = length_ + added;
  if (length_ == 0 || !owns_buffers_ || needed > key_.size(2)) {
    const auto capacity = std::max({needed, 2 * length_, kFirstCapacity});
    key_ = with_capacity(key_, length_, capacity, next.key);
    value_ = with_capacity(value_, length_, capacity, next.value);
    owns_buffers_ = true;
  }
  key_.narrow(2, length_, added).copy_(next.key);
  value_.narrow(2, length_, added).copy_(next.value);
  length_ = needed;
  return {key_.narrow(2, 0, length_), value_.narrow(2, 0, length_)};
}

void KeyValueCache::truncate(int64_t length) {
  TORCH_CHECK_VALUE(length >= 0 && length <= length_,
                    "KeyValueCache::truncate: expected a length in [0, ", length_, "], got ",
                    length);
  length_ = length;
  if (!slots_.defined()) return;
  slots_.masked_fill_(slots_.ge(length), -1);
  next_.clamp_max_(length);
}

void KeyValueCache::drop_last(int64_t count) {
  TORCH_CHECK_VALUE(count >= 0 && count <= length_,
                    "KeyValueCache::drop_last: expected a count in [0, ", length_, "], got ",
                    count);
  length_ -= count;
  if (!slots_.defined()) return;
  next_.sub_(count).clamp_min_(0);
  slots_.masked_fill_(slots_.ge(next_.unsqueeze(1)), -1);
}

void KeyValueCache::assign(const KeyValueCache& other, const torch::Tensor& rows,
                           int64_t first_row) {
  constexpr auto kName = "KeyValueCache::assign";
  TORCH_CHECK(capacity_ > 0 && !is_ring_ && !other.is_ring_, kName,
              ": expected a fixed cache, and another that is no ring");
  detail::check_rank(kName, "rows", rows, 1, 1);
  detail::check_ids(kName, "rows", rows);
  TORCH_CHECK_VALUE(other.length_ <= capacity_, kName, ": expected at most the capacity of ",
                    capacity_, " positions, got ", other.length_);
  const auto number = rows.size(0);
  if (!slots_.defined()) {
    if (!other.key_.defined()) return;
    allocate({other.key_, other.value_}, number);
  }
  TORCH_CHECK(first_row >= 0 && number <= key_.size(0) - first_row, kName, ": expected at most ",
              key_.size(0), " rows, got ", number, " from row ", first_row, " on");
  const auto chosen = [&](const torch::Tensor& held) { return held.narrow(0, first_row, number); };
  const bool is_fixed = other.slots_.defined();
  // Of a fixed cache whose steps a graph replays, only the device knows the length.
  const auto count = is_fixed ? std::min(capacity_, other.capacity_) : other.length_;
  if (count > 0) {
    const auto copy = [&](const torch::Tensor& held, const torch::Tensor& from) {
      detail::check_shape(kName, "the other's keys and values", from,
                          {-1, held.size(1), -1, held.size(3)});
      chosen(held).narrow(2, 0, count).copy_(from.narrow(2, 0, count).index_select(0, rows));
    };
    copy(key_, other.key_);
    copy(value_, other.value_);
  }
  const auto slots = chosen(slots_), next = chosen(next_);
  if (is_fixed) {
    slots.narrow(1, 0, count).copy_(other.slots_.narrow(1, 0, count).index_select(0, rows));
    next.copy_(other.next_.index_select(0, rows));
  } else {
    slots.narrow(1, 0, count).copy_(torch::arange(count, slots_.options()));
    next.fill_(count);
  }
  // Zeros, as in a new cache: what was there may not be finite.
  const auto rest = capacity_ - count;
  slots.narrow(1, count, rest).fill_(-1);
  if (&other != this) {
    chosen(key_).narrow(2, count, rest).zero_();
    chosen(value_).narrow(2, count, rest).zero_();
  }
  length_ = number == key_.size(0) ? other.length_ : std::max(length_, other.length_);
}

void KeyValueCache::reorder(const torch::Tensor& rows) {
  detail::check_rank("KeyValueCache::reorder", "rows", rows, 1, 1);
  detail::check_ids("KeyValueCache::reorder", "rows", rows);
  if (!key_.defined()) return;
  if (slots_.defined()) {
    const auto reordered = [&](const torch::Tensor& held) {
      auto chosen = held.index_select(0, rows);
      return rows.size(0) == held.size(0) ? held.copy_(chosen) : chosen;
    };
    for (auto* held : {&key_, &value_, &slots_, &next_}) *held = reordered(*held);
    return;
  }
  if (length_ == 0) return;
  auto key = owns_buffers_ ? selected(key_, length_, rows) : key_.index_select(0, rows);
  auto value = owns_buffers_ ? selected(value_, length_, rows) : value_.index_select(0, rows);
  key_ = std::move(key);
  value_ = std::move(value);
}

}  // namespace attend
