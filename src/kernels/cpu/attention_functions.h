#pragma once

#include <cstdint>

#include "kernels/cpu/attention.h"

namespace attend::kernels {

/// What the file of each pass has for one dtype and one instruction set: Highway's tables hold
/// functions, not templates.
template <typename T, typename Stored = T>
struct ForwardFunctions {
  using A = Attention<T, Stored>;
  void (*run)(const A&, HeadRows<Stored>, T*, int64_t, T*);
  int64_t (*tasks)(const A&);
  int64_t (*workspace)(const A&);
};

template <typename T, typename Stored = T>
struct FewFunctions {
  using A = Attention<T, Stored>;
  void (*run)(const A&, int64_t, T*, T*);
  void (*join)(const A&, T*, HeadRows<Stored>, T*, int64_t, int64_t);
  int64_t (*parts)(const A&);
  int64_t (*workspace)(const A&);
};

template <typename T, typename Stored = T>
struct WeightsFunctions {
  using A = Attention<T, Stored>;
  void (*run)(const A&, const T*, const WeightsView<T>&, int64_t, T*);
  int64_t (*tasks)(const A&, const WeightsView<T>&);
  void (*deltas)(const A&, const T*, const WeightsView<const T>&, T*, int64_t, T*);
  int64_t (*delta_tasks)(const A&);
  int64_t (*workspace)(const A&);
};

template <typename T, typename Stored = T>
struct BackwardFunctions {
  using A = Attention<T, Stored>;
  void (*run)(const A&, const AttentionBackward<T, Stored>&, int64_t, T*);
  void (*deltas)(const A&, HeadRows<const Stored>, HeadRows<const Stored>, T*, int64_t, int64_t);
  int64_t (*tasks)(const A&, const BiasGradient<T>&);
  int64_t (*bias_parts)(const A&, const BiasGradient<T>&);
  int64_t (*key_parts)(const A&);
  int64_t (*workspace)(const A&);
};

}  // namespace attend::kernels
