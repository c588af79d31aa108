#pragma once

// For those who decode with attention modules.

#include <torch/torch.h>

#include "attend/export.h"

namespace attend {

/// Projected keys and values, split into heads.
struct KeyValue {
  torch::Tensor key = {};        // [B, H, S, D]
  torch::Tensor value = {};      // [B, H, S, D]
  int64_t first = 0;             // position of the first key, where positions are consecutive
  torch::Tensor positions = {};  // [B, S], int64: position of each key otherwise; -1: empty slot
};

/// The keys and values of the positions that a decoder has already seen.
///
/// A cache belongs to one sequence of `step` calls and is an argument of them, not a member of a
/// module. A copy has its own buffers. There are three kinds:
///
/// - Growing, the default: appending one position costs amortised constant time, since the buffers
///   double when they are full. Where gradients are recorded it concatenates instead, so that
///   gradients reach earlier steps.
/// - `fixed`: allocated once. Buffers never move, sizes never change, and the next position of each row
///   is a number on the device, so a step can be captured in a CUDA graph and replayed, and rows may
///   stand at different positions (`assign`). Queries attend to all slots, with the empty ones masked:
///   each step costs the same, and tensor masks have S = capacity.
/// - `ring`: the last `capacity` positions; each new one replaces the oldest. Enough for a sliding
///   window over a text of any length. Tensor masks cannot be used with it.
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

  /// The number of positions appended, including those that a ring has dropped; of the row that holds
  /// most. Replays of a CUDA graph are not counted, and rows that leave are not seen: the host does not
  /// know them.
  int64_t length() const { return length_; }

  /// Tells a fixed cache the length that the host does not know.
  /// Throws: c10::Error if this cache is not fixed or was never filled; c10::ValueError unless
  ///         0 <= length <= capacity.
  void set_length(int64_t length);

  /// The number of positions that each row of a fixed cache or a ring holds, or held before it dropped
  /// some: [B], int64, on the device. Undefined for a growing cache and before the first append.
  torch::Tensor lengths() const { return next_.defined() ? next_.clone() : torch::Tensor(); }

  /// The slots of a fixed cache or a ring; 0 for a growing one.
  int64_t capacity() const { return capacity_; }
  bool is_ring() const { return is_ring_; }

  /// The positions of the next `count` keys: [count], or [B, count] once a fixed cache or a ring has
  /// buffers for B rows; int64. Of a fixed cache, none is beyond the last slot.
  torch::Tensor next_positions(int64_t count, torch::Device device) const;

  /// Appends keys and values. Returns all keys and values that the new queries may attend to, as
  /// views that are valid until the next call.
  KeyValue append(const KeyValue& next);

  /// Removes all but the first `length` positions of each row. Positions that a ring has overwritten are
  /// not restored. Throws c10::ValueError if there are fewer.
  void truncate(int64_t length);

  /// Removes the last `count` positions of each row, of which a row may have fewer. Throws
  /// c10::ValueError if the longest has.
  void drop_last(int64_t count);

  /// Makes this fixed cache hold what another of the same projections holds in `rows`: row first_row + i
  /// becomes its row rows[i], at its position; all others stay. The other grows or is fixed, also with
  /// another capacity, or is this one. Buffers for `rows` are allocated by the first call and never
  /// move. rows: [B'], integers on the cache's device.
  /// Throws: c10::Error if this cache is not fixed, the other is a ring, shapes differ or there are
  ///         fewer rows here; c10::ValueError if the other holds more positions than the capacity.
  void assign(const KeyValueCache& other, const torch::Tensor& rows, int64_t first_row = 0);

  /// Makes row i the old row rows[i], for beam search and to drop finished sentences. rows: [B'],
  /// integers on the cache's device. If B' = B, the buffers of a fixed cache or a ring are reused.
  void reorder(const torch::Tensor& rows);

 private:
  /// True if the buffers are part of an autograd graph.
  bool is_recorded() const;
  void check_next(const KeyValue& next) const;
  KeyValue append_to_slots(const KeyValue& next);
  void allocate(const KeyValue& like, int64_t rows);

  int64_t length_ = 0;
  int64_t capacity_ = 0;
  bool is_ring_ = false;
  bool owns_buffers_ = false;  // not shared with other tensors: may be written to
  torch::Tensor key_, value_;  // [B, H, capacity, D]
  torch::Tensor slots_;        // [B, capacity], int64: the position in each slot, or -1
  torch::Tensor next_;         // [B], int64: the next position
};

}  // namespace attend
