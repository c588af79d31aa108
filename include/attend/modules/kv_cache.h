#pragma once

#include <torch/torch.h>

#include "attend/export.h"

namespace attend {

/// Keys and values after their projections, split into heads.
struct KeyValue {
  torch::Tensor key = {};        // [B, H, S, D]
  torch::Tensor value = {};      // [B, H, S, D]
  int64_t first = 0;             // the position of the first key, where they stand in order
  torch::Tensor positions = {};  // [S], int64: where each key stands if they do not; -1: empty slot
};

/// The keys and values of the positions that a decoder has already seen.
///
/// A cache belongs to one sequence of forward calls; it is an argument of `step`, never a member of
/// a module. A copy has buffers of its own. There are three kinds:
///
/// - Growing, the default: appending one position costs amortised constant time, since the buffers
///   double when they are full. Where gradients are recorded it concatenates instead, so that they
///   flow.
/// - `fixed`: all memory at once. Buffers never move, sizes never change and where to write next is
///   a number on the device, so a step with it can be captured in a CUDA graph and replayed. Queries
///   meet all slots, the empty ones masked: a step costs the same early and late, and masks of
///   tensors are for S = capacity.
/// - `ring`: the last `capacity` positions and no more, each new one in the place of the oldest: all
///   that a sliding window needs, however long the text. Masks of tensors have no place in it.
///
/// Shapes: key and value [B, H, S, D].
/// Throws: c10::Error if what is appended has another batch size, head count, size, device or
///         dtype, or if gradients are recorded with a fixed cache or a ring; c10::ValueError if a
///         fixed cache is full.
class ATTEND_API KeyValueCache {
 public:
  KeyValueCache() = default;
  KeyValueCache(const KeyValueCache& other);
  KeyValueCache(KeyValueCache&& other) noexcept;  // leaves `other` empty
  KeyValueCache& operator=(KeyValueCache other) noexcept;
  ~KeyValueCache() = default;

  /// A cache of at most `capacity` positions, allocated by the first append.
  /// Throws: c10::ValueError unless capacity > 0.
  static KeyValueCache fixed(int64_t capacity);

  /// A cache of the last `capacity` positions: with a window of n keys before the query, n + 1.
  /// Throws: c10::ValueError unless capacity > 0.
  static KeyValueCache ring(int64_t capacity);

  /// The number of positions appended, those that a ring has dropped counted too. Replays of a CUDA
  /// graph are not counted: only the device knows of them.
  int64_t length() const { return length_; }

  /// The slots of a fixed cache or a ring; 0 for a growing one.
  int64_t capacity() const { return capacity_; }
  bool is_ring() const { return is_ring_; }

  /// Where the next `count` positions will stand: [count], int64.
  torch::Tensor next_positions(int64_t count, torch::Device device) const;

  /// Adds positions and returns what queries at them may see. The result is a view, valid until the
  /// next call.
  KeyValue append(const KeyValue& next);

  /// Forgets all but the first `length` positions. What a ring has overwritten does not come back.
  /// Throws c10::ValueError if there are fewer.
  void truncate(int64_t length);

  /// Row i becomes the old row rows[i], for beam search and to drop finished sentences.
  /// rows: [B'], integers on the cache's device. With as many rows as before, the buffers of a fixed
  /// cache or a ring stay where they are.
  void reorder(const torch::Tensor& rows);

 private:
  /// True if autograd knows what is held.
  bool is_recorded() const;
  void check_next(const KeyValue& next) const;
  KeyValue append_to_slots(const KeyValue& next);

  int64_t length_ = 0;
  int64_t capacity_ = 0;
  bool is_ring_ = false;
  bool owns_buffers_ = false;  // they are the cache's alone, and may be written to
  torch::Tensor key_, value_;  // [B, H, capacity, D]
  torch::Tensor slots_;        // [capacity], int64: the position in each slot, or -1
  torch::Tensor next_;         // [1], int64: the next position
};

}  // namespace attend
