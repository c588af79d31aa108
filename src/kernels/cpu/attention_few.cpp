#include "kernels/cpu/attention.h"
#include "kernels/cpu/attention_functions.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/attention_few.cpp"
#include "kernels/cpu/targets-inl.h"
// After it, since it is compiled once for each set too.
#include "kernels/cpu/attention-inl.h"

HWY_BEFORE_NAMESPACE();
namespace attend::kernels::HWY_NAMESPACE {
namespace {

// Where the numbers of a task lie, one part behind the other. Dims are rounded up to vectors.
template <typename T>
struct FewWorkspace {
  T* queries;  // [rows, D], scaled
  T* scores;   // [rows, block keys]
  T* outputs;  // [rows, Dv]
  T* sums;     // [lanes]: RowState's, of a block
  int64_t head_dim, value_dim;
  int64_t size;

  template <typename Stored>
  FewWorkspace(const Attention<T, Stored>& a, T* begin)
      : head_dim(rounded_up<T>(a.head_dim)), value_dim(rounded_up<T>(a.value_dim)) {
    const auto rows = a.target * a.group;
    queries = begin;
    scores = queries + (rows * head_dim + 15) / 16 * 16;
    outputs = scores + rows * kBlockKeys;
    sums = outputs + rows * value_dim;
    size = sums + lanes_of<T>() - begin;
  }
};

// sums [rows, Dv] += factors [rows, block keys] values, of so many keys whose values lie `stride`
// apart. The last vector of a row of values may be partial; that of the sums is not.
template <int64_t kRows, typename T, typename Stored>
HWY_INLINE void add_values(const T* factors, int64_t keys, const Stored* values, int64_t stride,
                           int64_t dim, T* sums, int64_t sums_stride) {
  const Vectors<T> d;
  const auto lanes = lanes_of<T>();
  int64_t column = 0;
  for (; column + 4 * lanes <= dim; column += 4 * lanes) {
    Tile<kRows, 4, T> tile;
    tile.zero();
    tile.multiply(factors, kBlockKeys, 1, values + column, keys, stride);
    tile.add(sums + column, sums_stride);
    tile.store(sums + column, sums_stride);
  }
  for (; column < dim; column += lanes) {
    for (int64_t r = 0; r < kRows; ++r) {
      T* const to = sums + r * sums_stride + column;
      auto sum = hn::Zero(d);
      for (int64_t s = 0; s < keys; ++s) {
        const Stored* from = values + s * stride + column;
        const auto value =
            column + lanes <= dim ? load_vector(d, from) : load_first(d, from, dim - column);
        sum = hn::MulAdd(hn::Set(d, factors[r * kBlockKeys + s]), value, sum);
      }
      hn::StoreU(hn::Add(hn::LoadU(d, to), sum), d, to);
    }
  }
}

template <typename T, typename Stored>
int64_t few_parts(const Attention<T, Stored>& a) {
  constexpr int64_t kTasks = 32, kFewestKeys = 4 * kBlockKeys;
  const auto heads = a.batch * a.kv_heads();
  return most(1, least((kTasks + heads - 1) / heads, a.source / kFewestKeys));
}

// partial [rows, 2 + Dv]: RowState's shift, the sum, and the output that is not yet divided.
template <typename T, typename Stored>
void few(const Attention<T, Stored>& a, int64_t task, T* partial, T* workspace) {
  const auto parts = few_parts(a);
  const auto part = task % parts, group = task / parts;
  const auto batch = group / a.kv_heads(), kv_head = group % a.kv_heads();
  const QueryRows rows{batch, kv_head * a.group, a.group, 0, a.target};
  const auto count = rows.rows();
  const FewWorkspace<T> w(a, workspace);
  const auto row_size = 2 + a.value_dim;
  for (int64_t r = 0; r < count; ++r) {
    const Stored* query =
        a.query.at(batch, rows.head_of(r)) + rows.query_of(r) * a.query.row_stride;
    copy_row(query, a.head_dim, w.head_dim, a.scale, w.queries + r * w.head_dim);
    partial[r * row_size] = -kInfinity<T>;
    partial[r * row_size + 1] = T{0};
  }
  clear(w.outputs, 0, count * w.value_dim);
  const auto blocks = (a.source + kBlockKeys - 1) / kBlockKeys;
  const auto own = band_of(a, rows).within(blocks * part / parts * kBlockKeys,
                                           blocks * (part + 1) / parts * kBlockKeys);
  const Stored* keys = a.key.at(batch, kv_head);
  const Stored* values = a.value.at(batch, kv_head);
  for (auto key = own.begin - own.begin % kBlockKeys; key < own.end; key += kBlockKeys) {
    const auto seen = own.within(key, key + kBlockKeys);
    const auto mask = visible(a, rows, seen.begin, seen.end);
    if (mask == Visible::kNone) continue;
    for (auto s = seen.begin; s < seen.end; ++s) {
      prefetch_row(keys + (s + kRowsAhead) * a.key.row_stride, a.head_dim);
      prefetch_row(values + s * a.value.row_stride, a.value_dim);
      for (int64_t r = 0; r < count; ++r) {
        w.scores[r * kBlockKeys + s - key] =
            dot(keys + s * a.key.row_stride, w.queries + r * w.head_dim, a.head_dim);
      }
    }
    for (int64_t r = 0; r < count; ++r) {
      T* const scores = w.scores + r * kBlockKeys;
      T& shift = partial[r * row_size];
      T& sum = partial[r * row_size + 1];
      const T before = shift;
      clear(w.sums, 0, lanes_of<T>());
      const auto range = weights_of_row<T>(
          a, rows, r, key, seen.end - key, mask == Visible::kSome,
          {shift, T{0}, w.sums, w.outputs + r * w.value_dim, w.value_dim}, scores);
      // A block is added as a whole: what is rounded to the sum of all keys is one number a block.
      if (shift != before && sum != T{0}) sum *= std::exp(before - shift);
      sum += sum_of_lanes(w.sums);
      const auto begin = range.is_empty() ? seen.end - key : range.begin;
      fill(scores, seen.begin - key, begin, T{0});
      fill(scores, range.is_empty() ? begin : range.end, seen.end - key, T{0});
    }
    const T* factors = w.scores + seen.begin - key;
    const Stored* rows_of_values = values + seen.begin * a.value.row_stride;
    const auto keys_here = seen.end - seen.begin;
    int64_t r = 0;
    for (; r + 2 <= count; r += 2) {
      add_values<2>(factors + r * kBlockKeys, keys_here, rows_of_values, a.value.row_stride,
                    a.value_dim, w.outputs + r * w.value_dim, w.value_dim);
    }
    if (r < count) {
      add_values<1>(factors + r * kBlockKeys, keys_here, rows_of_values, a.value.row_stride,
                    a.value_dim, w.outputs + r * w.value_dim, w.value_dim);
    }
  }
  for (int64_t r = 0; r < count; ++r) {
    for (int64_t i = 0; i < a.value_dim; ++i) {
      partial[r * row_size + 2 + i] = w.outputs[r * w.value_dim + i];
    }
  }
}

// By zero: zeros, also of what is not a number.
template <typename T>
HWY_INLINE void scale_values(T* values, int64_t count, T factor) {
  for (int64_t i = 0; i < count; ++i) values[i] = factor == T{0} ? T{0} : values[i] * factor;
}

// The parts of the heads [first, last) of all B * Hkv become one output; partials are used up.
template <typename T, typename Stored>
void few_joined(const Attention<T, Stored>& a, T* partials, HeadRows<Stored> output, T* sums,
                int64_t first, int64_t last) {
  const auto parts = few_parts(a), count = a.target * a.group, row_size = 2 + a.value_dim;
  for (auto group = first; group < last; ++group) {
    const QueryRows rows{group / a.kv_heads(), group % a.kv_heads() * a.group, a.group, 0,
                         a.target};
    for (int64_t r = 0; r < count; ++r) {
      const auto head = rows.head_of(r), t = rows.query_of(r);
      T* const of_row = partials + (group * parts * count + r) * row_size;
      const auto part_size = count * row_size;
      // A sink is a key without a value.
      T largest = a.sinks != nullptr ? a.sinks[head] : -kInfinity<T>;
      for (int64_t p = 0; p < parts; ++p) {
        const T of_part = of_row[p * part_size];
        if (of_part > largest) largest = of_part;
      }
      const T shift = largest == -kInfinity<T> ? T{0} : largest;
      T sum = a.sinks != nullptr ? std::exp(a.sinks[head] - shift) : T{0};
      T* const joined = of_row + 2;  // in place of the first part's
      for (int64_t p = 0; p < parts; ++p) {
        const T* from = of_row + p * part_size;
        const T factor = from[1] == T{0} ? T{0} : std::exp(from[0] - shift);
        sum += factor * from[1];
        if (p == 0) {
          scale_values(joined, a.value_dim, factor);
        } else if (factor != T{0}) {
          for (int64_t i = 0; i < a.value_dim; ++i) joined[i] += factor * from[2 + i];
        }
      }
      const T inverse = sum == T{0} ? T{0} : T{1} / sum;
      store_row(joined, a.value_dim, inverse, output.at(rows.batch, head) + t * output.row_stride);
      if (sums != nullptr) {
        store_sums(sums + 2 * ((rows.batch * a.heads + head) * a.target + t), largest, inverse);
      }
    }
  }
}

template <typename T, typename Stored>
int64_t few_workspace(const Attention<T, Stored>& a) {
  return FewWorkspace<T>(a, nullptr).size;
}

template <typename T, typename Stored = T>
FewFunctions<T, Stored> few_functions() {
  return {few<T, Stored>, few_joined<T, Stored>, few_parts<T, Stored>, few_workspace<T, Stored>};
}
FewFunctions<float> few_float() { return few_functions<float>(); }
FewFunctions<double> few_double() { return few_functions<double>(); }
FewFunctions<float, BFloat16> few_bfloat16() { return few_functions<float, BFloat16>(); }

}  // namespace
}  // namespace attend::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attend::kernels {
namespace {

HWY_EXPORT(few_float);
HWY_EXPORT(few_double);
HWY_EXPORT(few_bfloat16);

FewFunctions<float> functions_of(const Attention<float>& /*a*/) {
  return HWY_DYNAMIC_DISPATCH(few_float)();
}
FewFunctions<double> functions_of(const Attention<double>& /*a*/) {
  return HWY_DYNAMIC_DISPATCH(few_double)();
}
FewFunctions<float, BFloat16> functions_of(const Attention<float, BFloat16>& /*a*/) {
  return HWY_DYNAMIC_DISPATCH(few_bfloat16)();
}

}  // namespace

template <typename T, typename Stored>
void attention_of_few(const Attention<T, Stored>& a, int64_t task, T* partial, T* workspace) {
  functions_of(a).run(a, task, partial, workspace);
}
template <typename T, typename Stored>
void attention_of_few_joined(const Attention<T, Stored>& a, T* partials, HeadRows<Stored> output,
                             T* sums, int64_t first, int64_t last) {
  functions_of(a).join(a, partials, output, sums, first, last);
}
template <typename T, typename Stored>
int64_t attention_of_few_parts(const Attention<T, Stored>& a) {
  return functions_of(a).parts(a);
}
template <typename T, typename Stored>
int64_t attention_of_few_workspace(const Attention<T, Stored>& a) {
  return functions_of(a).workspace(a);
}

// NOLINTBEGIN(bugprone-macro-parentheses): of types
#define ATTEND_INSTANTIATE(T, Stored)                                                          \
  template void attention_of_few(const Attention<T, Stored>&, int64_t, T*, T*);                \
  template void attention_of_few_joined(const Attention<T, Stored>&, T*, HeadRows<Stored>, T*, \
                                        int64_t, int64_t);                                     \
  template int64_t attention_of_few_parts(const Attention<T, Stored>&);                        \
  template int64_t attention_of_few_workspace(const Attention<T, Stored>&);
// NOLINTEND(bugprone-macro-parentheses)
ATTEND_INSTANTIATE(float, float)
ATTEND_INSTANTIATE(double, double)
ATTEND_INSTANTIATE(float, BFloat16)
#undef ATTEND_INSTANTIATE

}  // namespace attend::kernels
#endif  // HWY_ONCE
