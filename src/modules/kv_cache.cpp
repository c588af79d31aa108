#include "attend/modules/kv_cache.h"

#include <algorithm>
#include <utility>

#include "detail/check.h"

namespace attend {
namespace {

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
    : length_(other.length_), owns_buffers_(other.owns_buffers_) {
  if (length_ == 0) return;
  // What is not the other cache's own is never written to, so it can be shared.
  key_ = owns_buffers_ ? other.key_.clone() : other.key_;
  value_ = owns_buffers_ ? other.value_.clone() : other.value_;
}

KeyValueCache::KeyValueCache(KeyValueCache&& other) noexcept
    : length_(std::exchange(other.length_, 0)),
      owns_buffers_(other.owns_buffers_),
      key_(std::move(other.key_)),
      value_(std::move(other.value_)) {}

KeyValueCache& KeyValueCache::operator=(KeyValueCache other) noexcept {
  length_ = other.length_;
  owns_buffers_ = other.owns_buffers_;
  key_ = std::move(other.key_);
  value_ = std::move(other.value_);
  return *this;
}

bool KeyValueCache::is_recorded() const {
  return length_ > 0 && (key_.requires_grad() || value_.requires_grad());
}

KeyValue KeyValueCache::append(const KeyValue& next) {
  constexpr auto kName = "KeyValueCache::append";
  detail::check_rank(kName, "key", next.key, 4, 4);
  detail::check_shape(kName, "value", next.value,
                      {next.key.size(0), next.key.size(1), next.key.size(2), -1});
  if (length_ > 0) {
    detail::check_shape(kName, "key", next.key, {key_.size(0), key_.size(1), -1, key_.size(3)});
    detail::check_shape(kName, "value", next.value,
                        {value_.size(0), value_.size(1), -1, value_.size(3)});
    detail::check_same_kind(kName, "key", next.key, "the cached keys", key_);
    detail::check_same_kind(kName, "value", next.value, "the cached values", value_);
  }
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
}

void KeyValueCache::reorder(const torch::Tensor& rows) {
  detail::check_rank("KeyValueCache::reorder", "rows", rows, 1, 1);
  detail::check_ids("KeyValueCache::reorder", "rows", rows);
  if (length_ == 0) return;
  auto key = owns_buffers_ ? selected(key_, length_, rows) : key_.index_select(0, rows);
  auto value = owns_buffers_ ? selected(value_, length_, rows) : value_.index_select(0, rows);
  key_ = std::move(key);
  value_ = std::move(value);
}

}  // namespace attend
