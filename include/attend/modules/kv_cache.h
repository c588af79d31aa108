#pragma once

#include <torch/torch.h>

#include "attend/export.h"

namespace attend {

/// Keys and values after their projections, split into heads.
struct KeyValue {
  torch::Tensor key;    // [B, H, S, D]
  torch::Tensor value;  // [B, H, S, D]
  int64_t first = 0;    // the position of the first key, for rotary positions
};

/// The keys and values of the positions that a decoder has already seen.
///
/// Appending one position costs amortised constant time: the buffers double when they are full. A
/// cache belongs to one sequence of forward calls; it is an argument of `forward`, never a member
/// of a module. Where gradients are recorded it concatenates instead, so that they flow.
///
/// A copy has buffers of its own.
///
/// Shapes: key and value [B, H, S, D], S growing.
/// Throws: c10::Error if what is appended has another batch size, head count, size, device or
/// dtype.
class ATTEND_API KeyValueCache {
 public:
  KeyValueCache() = default;
  KeyValueCache(const KeyValueCache& other);
  KeyValueCache(KeyValueCache&& other) noexcept;  // leaves `other` empty
  KeyValueCache& operator=(KeyValueCache other) noexcept;
  ~KeyValueCache() = default;

  /// The number of positions held.
  int64_t length() const { return length_; }

  /// Adds positions and returns everything held. The result is a view, valid until the next call.
  KeyValue append(const KeyValue& next);

  /// Forgets all but the first `length` positions. Throws c10::ValueError if there are fewer.
  void truncate(int64_t length);

  /// Row i becomes the old row rows[i], for beam search and to drop finished sentences.
  /// rows: [B'], integers on the cache's device.
  void reorder(const torch::Tensor& rows);

 private:
  /// True if autograd knows what is held.
  bool is_recorded() const;

  int64_t length_ = 0;
  bool owns_buffers_ = false;  // they are the cache's alone, and may be written to
  torch::Tensor key_, value_;  // [B, H, capacity, D]
};

}  // namespace attend
