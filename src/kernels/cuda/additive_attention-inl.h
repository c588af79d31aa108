// The blocks of additive attention's kernels. The scores of a tile of queries and keys exist at a time;
// the backward pass makes them again, once where a block's own rows are queries and once where they
// are keys, so that each gradient is summed by one block and in one order.
#pragma once

#include <limits>

#include "kernels/cuda/additive_attention.h"
#include "kernels/cuda/score_functions-inl.h"
#include "kernels/cuda/tile-inl.h"

namespace attend::kernels::cuda {

template <typename T>
ATTEND_DEVICE constexpr T hidden_score() {
  return -std::numeric_limits<T>::infinity();
}
ATTEND_DEVICE int64_t least_of(int64_t x, int64_t y) { return x < y ? x : y; }
ATTEND_DEVICE int64_t most_of(int64_t x, int64_t y) { return x > y ? x : y; }

// ---- What a block works on ----

struct Span {
  int64_t begin, end;
};

// The rows of a block: `count` of its own from `first` on, and a part of the others.
struct BlockPlace {
  int64_t index, batch, head;  // of B * H
  int64_t row_block, first;
  int count;
  int64_t part;
  Span others;
};

// The keys that queries [first, last) see by the band alone, and the queries that see such keys.
template <typename T>
ATTEND_DEVICE Span keys_of_queries(const AdditiveAttention<T>& a, int64_t first, int64_t last) {
  const auto offset = a.source - a.target, low = first + offset, high = last - 1 + offset;
  return {a.band_left < low ? low - a.band_left : 0,
          a.band_right < a.source - 1 - high ? high + a.band_right + 1 : a.source};
}
template <typename T>
ATTEND_DEVICE Span queries_of_keys(const AdditiveAttention<T>& a, int64_t first, int64_t last) {
  const auto offset = a.source - a.target, low = first - offset, high = last - 1 - offset;
  return {a.band_right < low ? low - a.band_right : 0,
          a.band_left < a.target - 1 - high ? high + a.band_left + 1 : a.target};
}

template <class Shape, bool kOwnAreQueries, typename T>
ATTEND_DEVICE BlockPlace place_of(const AdditiveAttention<T>& a, const AdditiveGrid& grid,
                                  int64_t block) {
  BlockPlace place{};
  place.part = block % grid.parts;
  place.row_block = block / grid.parts % grid.row_blocks;
  place.index = block / grid.parts / grid.row_blocks;
  place.batch = place.index / a.heads;
  place.head = place.index % a.heads;
  place.first = place.row_block * Shape::kOwn;
  const auto last = least_of(place.first + Shape::kOwn, grid.rows);
  place.count = static_cast<int>(last - place.first);
  const auto seen = kOwnAreQueries ? keys_of_queries(a, place.first, last)
                                   : queries_of_keys(a, place.first, last);
  place.others = {most_of(place.part * grid.others / grid.parts, seen.begin),
                  least_of((place.part + 1) * grid.others / grid.parts, seen.end)};
  return place;
}

template <typename Element>
ATTEND_DEVICE RowsAt<Element> rows_of(const HeadRows<Element>& x, const BlockPlace& place,
                                      int64_t first, int count) {
  return {x.at(place.batch, place.head) + first * x.row_stride, x.row_stride, count};
}

// ---- Pairs of a tile ----

// The query and the key of a pair.
struct Pair {
  int64_t t, s;
};
template <bool kOwnAreQueries>
ATTEND_DEVICE Pair pair_of(int64_t own, int64_t other) {
  return kOwnAreQueries ? Pair{own, other} : Pair{other, own};
}

// What is added to the score of a pair: -infinity where the query does not see the key.
template <typename T>
ATTEND_DEVICE T bias_of(const AdditiveAttention<T>& a, const BlockPlace& place, const Pair& pair) {
  const auto behind = pair.t + a.source - a.target - pair.s;
  if (a.band_left < behind || a.band_right < -behind) return hidden_score<T>();
  if (a.allowed.data != nullptr) {
    const bool* row = a.allowed.row(place.batch, place.head, pair.t);
    if (!row[pair.s * a.allowed.source_stride]) return hidden_score<T>();
  }
  if (a.bias.data == nullptr) return T{0};
  return a.bias.row(place.batch, place.head, pair.t)[pair.s * a.bias.source_stride];
}

// The biases of pairs with others [first, first + count), of each thread its own, and which rows are in
// a visible pair. Returns whether there is one, the same in all threads.
template <class Shape, bool kOwnAreQueries, class Block, typename T>
ATTEND_DEVICE bool find_visible(const Block& block, const AdditiveAttention<T>& a,
                                const BlockPlace& place, int64_t first, int count,
                                TileMemory<Shape, T>& memory, PairMemory<Shape, T>& biases) {
  block.sync();  // the last tile is done with
  for (int i = block.thread(); i < Shape::kOwn; i += kThreads) memory.own_seen[i] = false;
  for (int i = block.thread(); i < Shape::kOther; i += kThreads) memory.other_seen[i] = false;
  block.sync();
  bool any = false;
  for_each_pair<Shape>(block, [&](int own, int other) {
    const bool is_there = own < place.count && other < count;
    const T bias =
        is_there ? bias_of(a, place, pair_of<kOwnAreQueries>(place.first + own, first + other))
                 : hidden_score<T>();
    biases.of(own, other) = bias;
    if (bias == hidden_score<T>()) return;
    // Several threads may write, and all write the same.
    memory.own_seen[own] = memory.other_seen[other] = true;
    any = true;
  });
  return block.any(any);
}

// A score before the bias, and its derivative by what is in the clip.
template <typename T>
ATTEND_DEVICE ValueAndSlope<T> clipped_score(const AdditiveAttention<T>& a, const BlockPlace& place,
                                             const Pair& pair, T sum) {
  const T x = a.key_term == nullptr ? sum : sum + a.key_term[place.index * a.source + pair.s];
  if (a.score_clip == T{0}) return {x, T{1}};
  const T squashed = tanh_of(x);
  return {a.score_clip * squashed, a.score_clip * multiply_add(-squashed, squashed, T{1})};
}

// What dropout multiplies the weight of a pair with.
template <typename T>
ATTEND_DEVICE T kept_factor(const AdditiveAttention<T>& a, const BlockPlace& place,
                            const Pair& pair) {
  if (a.threshold == 0) return T{1};
  const auto element = (place.index * a.target + pair.t) * a.source + pair.s;
  return dropout_number(a.seed, element) >= a.threshold ? a.keep_scale : T{0};
}

// ---- Forward ----

template <class Shape, typename T>
struct ForwardMemory {
  TileMemory<Shape, T> tile;
  PairMemory<Shape, T> biases;
  PairMemory<Shape, T> weights;  // sums over hidden units, then scores, then weights
  T largest[Shape::kOwn], total[Shape::kOwn], rescale[Shape::kOwn];  // so far, of each query
};

// Scores become exponentials of their differences from the largest one so far; `rescale` what earlier
// ones are to be multiplied with. Of a score that is NaN or +infinity the total is NaN. A warp has a
// query at a time.
template <class Shape, class Block, typename T>
ATTEND_DEVICE void exponentials(const Block& block, ForwardMemory<Shape, T>& memory,
                                const AdditiveAttention<T>& a, const BlockPlace& place,
                                int64_t first, int count, T* scores) {
  constexpr int kWarp = 32;
  const int lane = block.thread() % kWarp;
  for (int row = block.thread() / kWarp; row < Shape::kOwn; row += kThreads / kWarp) {
    const T before = memory.largest[row];
    const auto t = place.first + row;
    T largest = before, total{0};
    for (int o = lane; o < Shape::kOther; o += kWarp) {
      const T x = memory.weights.of(row, o);
      largest = x > largest ? x : largest;
      if (scores != nullptr && row < place.count && o < count) {
        scores[(place.index * a.target + t) * a.source + first + o] = x;
      }
    }
    for (int mask = kWarp / 2; mask > 0; mask /= 2) {
      const T x = block.shuffle_xor(largest, mask);
      largest = x > largest ? x : largest;
    }
    for (int o = lane; o < Shape::kOther; o += kWarp) {
      const T x = memory.weights.of(row, o);
      if (x == hidden_score<T>()) {
        memory.weights.of(row, o) = T{0};
        continue;
      }
      const T weight = exp_of(x - largest);
      total += weight;
      memory.weights.of(row, o) = weight * kept_factor(a, place, {t, first + o});
    }
    for (int mask = kWarp / 2; mask > 0; mask /= 2) total += block.shuffle_xor(total, mask);
    if (lane == 0) {
      const T rescale = before == largest ? T{1} : exp_of(before - largest);
      memory.rescale[row] = rescale;
      memory.total[row] = multiply_add(memory.total[row], rescale, total);
      memory.largest[row] = largest;
    }
  }
}

template <class Shape, class Score, class Block, typename T>
ATTEND_DEVICE void forward_tile(const Block& block, ForwardMemory<Shape, T>& memory,
                                const AdditiveAttention<T>& a, const BlockPlace& place,
                                int64_t first, T* scores, const RowsAt<T>& output) {
  const int count = static_cast<int>(least_of(Shape::kOther, place.others.end - first));
  if (!find_visible<Shape, true>(block, a, place, first, count, memory.tile, memory.biases)) return;
  sum_pairs<Shape>(block, memory.tile, ScorePair<Score, T>{Score(a.slope)},
                   rows_of(a.query, place, place.first, place.count),
                   rows_of(a.key, place, first, count), a.vector + place.head * a.hidden_dim,
                   a.scale, a.hidden_dim, memory.weights);
  for_each_pair<Shape>(block, [&](int own, int other) {
    const T bias = memory.biases.of(own, other);
    T& x = memory.weights.of(own, other);
    x = bias == hidden_score<T>()
            ? bias
            : clipped_score(a, place, {place.first + own, first + other}, x).value + bias;
  });
  block.sync();
  exponentials<Shape>(block, memory, a, place, first, count, scores);
  block.sync();
  add_products<Shape>(block, memory.tile, memory.weights, memory.rescale,
                      rows_of(a.value, place, first, count), a.value_dim, output);
}

// From what was summed of a block's queries to their output, or to what a part has found.
template <class Shape, class Block, typename T>
ATTEND_DEVICE void finish_forward(const Block& block, const ForwardMemory<Shape, T>& memory,
                                  const AdditiveAttention<T>& a, const AdditiveGrid& grid,
                                  const BlockPlace& place, const AdditiveResult<T>& result,
                                  const RowsAt<T>& output) {
  block.sync();
  const int row = block.thread();
  if (row < place.count) {
    const T largest = memory.largest[row], total = memory.total[row];
    T* to = grid.parts == 1 ? result.sums + 2 * (place.index * a.target + place.first + row)
                            : output.row(row) - 2;
    const bool is_final = grid.parts == 1, is_empty = total == T{0};
    to[0] = is_final && is_empty ? T{0} : largest;
    to[1] = !is_final ? total : is_empty ? T{0} : T{1} / total;
  }
  if (grid.parts > 1) return;
  for_each_element<Shape>(block, a.value_dim, [&](int group, int64_t i) {
    for (int r = 0; r < Shape::kRows; ++r) {
      const int own = group * Shape::kRows + r;
      if (own >= place.count) continue;
      const T total = memory.total[own];
      output.row(own)[i] *= total == T{0} ? T{0} : T{1} / total;
    }
  });
}

/// One block of query_grid(a). `result.scores` must be filled with -infinity, and `result.parts` is not
/// null where the grid has several.
template <class Shape, class Score, class Block, typename T>
ATTEND_DEVICE void forward_block(const Block& block, ForwardMemory<Shape, T>& memory,
                                 const AdditiveGrid& grid, const AdditiveAttention<T>& a,
                                 const AdditiveResult<T>& result) {
  const auto place = place_of<Shape, true>(a, grid, block.index());
  const auto found_dim = a.value_dim + 2;
  auto output = rows_of(result.output, place, place.first, place.count);
  if (grid.parts > 1) {
    const auto row = place.index * a.target + place.first;
    output = {result.parts + (row * grid.parts + place.part) * found_dim + 2,
              grid.parts * found_dim, place.count};
  }
  for (int i = block.thread(); i < Shape::kOwn; i += kThreads) {
    memory.largest[i] = hidden_score<T>();
    memory.total[i] = T{0};
  }
  clear_rows<Shape>(block, output, a.value_dim);
  ATTEND_NO_UNROLL
  for (auto first = place.others.begin; first < place.others.end; first += Shape::kOther) {
    forward_tile<Shape, Score>(block, memory, a, place, first, result.scores, output);
  }
  finish_forward<Shape>(block, memory, a, grid, place, result, output);
}

/// After them, where there are several parts: one block for each query of B * H * T.
template <class Block, typename T>
ATTEND_DEVICE void join_block(const Block& block, const AdditiveGrid& grid,
                              const AdditiveAttention<T>& a, const AdditiveResult<T>& result) {
  const auto row = block.index(), index = row / a.target, t = row % a.target;
  const auto found_dim = a.value_dim + 2;
  const T* found = result.parts + row * grid.parts * found_dim;
  T largest = hidden_score<T>(), total{0};
  for (int64_t part = 0; part < grid.parts; ++part) {
    const T x = found[part * found_dim];
    largest = x > largest ? x : largest;
  }
  // A part without keys has a total of zero; one with a NaN makes the sum NaN, whatever the factor.
  const auto factor_of = [&](int64_t part) {
    return found[part * found_dim + 1] == T{0} ? T{0} : exp_of(found[part * found_dim] - largest);
  };
  for (int64_t part = 0; part < grid.parts; ++part) {
    total = multiply_add(factor_of(part), found[part * found_dim + 1], total);
  }
  const T scale = total == T{0} ? T{0} : T{1} / total;
  T* output = result.output.at(index / a.heads, index % a.heads) + t * result.output.row_stride;
  for (int64_t i = block.thread(); i < a.value_dim; i += kThreads) {
    T sum{0};
    for (int64_t part = 0; part < grid.parts; ++part) {
      sum = multiply_add(factor_of(part), found[part * found_dim + 2 + i], sum);
    }
    output[i] = scale * sum;
  }
  if (block.thread() > 0) return;
  result.sums[2 * row] = total == T{0} ? T{0} : largest;
  result.sums[2 * row + 1] = scale;
}

// ---- Backward ----

template <class Shape, typename T>
struct BackwardMemory {
  TileMemory<Shape, T> tile;
  PairMemory<Shape, T> biases;
  PairMemory<Shape, T> gradients;  // sums over hidden units, then their gradients
  PairMemory<Shape, T> weights;    // their gradients, then they themselves, after dropout
};

/// What the output's gradient is multiplied with the output to, first of all: a warp for each query of
/// B * H * T.
constexpr int64_t delta_rows() { return kThreads / 32; }  // of a block
template <class Block, typename T>
ATTEND_DEVICE void delta_block(const Block& block, const AdditiveAttention<T>& a,
                               const AdditiveUpstream<T>& upstream) {
  constexpr int kWarp = 32;
  const auto rows = a.batch * a.heads * a.target;
  const auto own = block.index() * delta_rows() + block.thread() / kWarp;
  const auto row = least_of(own, rows - 1);  // all threads take part in the shuffles
  const auto index = row / a.target, t = row % a.target;
  const auto of = [&](const HeadRows<const T>& x) {
    return x.at(index / a.heads, index % a.heads) + t * x.row_stride;
  };
  const T *x = of(upstream.output_gradient), *y = of(upstream.output);
  T sum{0};
  for (int64_t i = block.thread() % kWarp; i < a.value_dim; i += kWarp) {
    sum = multiply_add(x[i], y[i], sum);
  }
  for (int mask = kWarp / 2; mask > 0; mask /= 2) sum += block.shuffle_xor(sum, mask);
  if (block.thread() % kWarp == 0 && own < rows) upstream.deltas[row] = sum;
}

// What a pair adds to gradients.
template <typename T>
struct PairGradient {
  T of_score, of_sum;  // after and before key term and clip
  T weight;            // after dropout
};

// `sum` over hidden units of a pair that is seen, and the gradient of its weight, which is `product`
// before dropout.
template <typename T>
ATTEND_DEVICE PairGradient<T> pair_gradient(const AdditiveAttention<T>& a,
                                            const AdditiveUpstream<T>& upstream,
                                            const BlockPlace& place, const Pair& pair, T sum,
                                            T product, T bias) {
  const auto row = place.index * a.target + pair.t;
  const auto score = clipped_score(a, place, pair, sum);
  PairGradient<T> result{T{0}, T{0}, T{0}};
  if (upstream.output_gradient.data != nullptr) {
    const T weight =
        exp_of(score.value + bias - upstream.sums[2 * row]) * upstream.sums[2 * row + 1];
    const T kept = kept_factor(a, place, pair);
    result.weight = weight * kept;
    result.of_score = weight * multiply_add(kept, product, -upstream.deltas[row]);
  }
  if (upstream.score_gradient != nullptr) {
    result.of_score += upstream.score_gradient[row * a.source + pair.s];
  }
  result.of_sum = result.of_score * score.slope;
  return result;
}

// Queries and keys, or gradients of outputs and values: which of them are a block's own.
template <typename T>
struct Sides {
  RowsAt<const T> own, other;
};
template <bool kOwnAreQueries, typename T>
ATTEND_DEVICE Sides<T> sides_of(const BlockPlace& place, const HeadRows<const T>& of_query,
                                const HeadRows<const T>& of_key, int64_t first, int count) {
  return {rows_of(kOwnAreQueries ? of_query : of_key, place, place.first, place.count),
          rows_of(kOwnAreQueries ? of_key : of_query, place, first, count)};
}

// Fills memory.gradients and memory.weights for others [first, first + count), and those of the bias,
// unless it is null. Returns whether some pair is seen.
template <class Shape, bool kOwnAreQueries, class Score, class Block, typename T>
ATTEND_DEVICE bool tile_gradients(const Block& block, BackwardMemory<Shape, T>& memory,
                                  const AdditiveAttention<T>& a,
                                  const AdditiveUpstream<T>& upstream, const BlockPlace& place,
                                  const Score& score, int64_t first, int count, T* of_bias) {
  const bool has_output = upstream.output_gradient.data != nullptr;
  if (!find_visible<Shape, kOwnAreQueries>(block, a, place, first, count, memory.tile,
                                           memory.biases)) {
    return false;
  }
  const auto units = sides_of<kOwnAreQueries>(place, a.query, a.key, first, count);
  sum_pairs<Shape>(block, memory.tile, ScorePair<Score, T>{score}, units.own, units.other,
                   a.vector + place.head * a.hidden_dim, a.scale, a.hidden_dim, memory.gradients);
  if (has_output) {
    const auto values =
        sides_of<kOwnAreQueries>(place, upstream.output_gradient, a.value, first, count);
    sum_pairs<Shape>(block, memory.tile, ProductPair<T>{}, values.own, values.other,
                     static_cast<const T*>(nullptr), T{0}, a.value_dim, memory.weights);
  }
  for_each_pair<Shape>(block, [&](int own, int other) {
    const T bias = memory.biases.of(own, other);
    T &gradient = memory.gradients.of(own, other), &weight = memory.weights.of(own, other);
    PairGradient<T> found{T{0}, T{0}, T{0}};
    if (bias != hidden_score<T>()) {
      const auto pair = pair_of<kOwnAreQueries>(place.first + own, first + other);
      found = pair_gradient(a, upstream, place, pair, gradient, has_output ? weight : T{0}, bias);
      if (of_bias != nullptr) {
        of_bias[(place.index * a.target + pair.t) * a.source + pair.s] = found.of_score;
      }
    }
    gradient = found.of_sum;
    weight = found.weight;
  });
  block.sync();
  return true;
}

/// One block of query_grid(a): the gradients of queries, vector and bias.
template <class Shape, class Score, class Block, typename T>
ATTEND_DEVICE void query_gradient_block(const Block& block, BackwardMemory<Shape, T>& memory,
                                        const AdditiveGrid& grid, const AdditiveAttention<T>& a,
                                        const AdditiveUpstream<T>& upstream,
                                        const AdditiveQueryGradients<T>& to) {
  const auto place = place_of<Shape, true>(a, grid, block.index());
  const Score score(a.slope);
  const auto row = (place.part * grid.heads + place.index) * a.target + place.first;
  const RowsAt<T> of_query{to.query + row * a.hidden_dim, a.hidden_dim, place.count};
  T* const of_vector = to.vector + block.index() * Shape::kGroups * a.hidden_dim;
  clear_rows<Shape>(block, of_query, a.hidden_dim);
  for (int64_t i = block.thread(); i < Shape::kGroups * a.hidden_dim; i += kThreads) {
    of_vector[i] = T{0};
  }
  ATTEND_NO_UNROLL
  for (auto first = place.others.begin; first < place.others.end; first += Shape::kOther) {
    const int count = static_cast<int>(least_of(Shape::kOther, place.others.end - first));
    if (!tile_gradients<Shape, true>(block, memory, a, upstream, place, score, first, count,
                                     to.bias)) {
      continue;
    }
    const auto units = sides_of<true>(place, a.query, a.key, first, count);
    add_gradients<Shape>(block, memory.tile, memory.gradients, score, units.own, units.other,
                         a.vector + place.head * a.hidden_dim, a.scale, a.hidden_dim, of_query,
                         of_vector);
  }
}

/// One block of key_grid(a): the gradients of keys, values and key terms.
template <class Shape, class Score, class Block, typename T>
ATTEND_DEVICE void key_gradient_block(const Block& block, BackwardMemory<Shape, T>& memory,
                                      const AdditiveGrid& grid, const AdditiveAttention<T>& a,
                                      const AdditiveUpstream<T>& upstream,
                                      const AdditiveKeyGradients<T>& to) {
  const auto place = place_of<Shape, false>(a, grid, block.index());
  const Score score(a.slope);
  const auto row = (place.part * grid.heads + place.index) * a.source + place.first;
  const bool has_values = to.value != nullptr,
             has_output = upstream.output_gradient.data != nullptr;
  const RowsAt<T> of_key{to.key + row * a.hidden_dim, a.hidden_dim, place.count};
  RowsAt<T> of_value{to.value, a.value_dim, 0};
  if (has_values) of_value = {to.value + row * a.value_dim, a.value_dim, place.count};
  clear_rows<Shape>(block, of_key, a.hidden_dim);
  clear_rows<Shape>(block, of_value, a.value_dim);
  T of_term{0};  // of the key whose number is the thread's
  ATTEND_NO_UNROLL
  for (auto first = place.others.begin; first < place.others.end; first += Shape::kOther) {
    const int count = static_cast<int>(least_of(Shape::kOther, place.others.end - first));
    if (!tile_gradients<Shape, false>(block, memory, a, upstream, place, score, first, count,
                                      static_cast<T*>(nullptr))) {
      continue;
    }
    const auto units = sides_of<false>(place, a.query, a.key, first, count);
    add_gradients<Shape>(block, memory.tile, memory.gradients, score, units.own, units.other,
                         a.vector + place.head * a.hidden_dim, a.scale, a.hidden_dim, of_key,
                         static_cast<T*>(nullptr));
    if (has_values && has_output) {
      add_products<Shape>(block, memory.tile, memory.weights, static_cast<const T*>(nullptr),
                          rows_of(upstream.output_gradient, place, first, count), a.value_dim,
                          of_value);
    }
    for (int o = 0; o < Shape::kOther && block.thread() < Shape::kOwn; ++o) {
      of_term += memory.gradients.of(block.thread(), o);
    }
  }
  if (block.thread() < place.count) to.key_term[row + block.thread()] = of_term;
}

}  // namespace attend::kernels::cuda
