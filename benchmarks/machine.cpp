#include "machine.h"

#include <climits>
#include <cstdlib>

#ifdef __GLIBC__
#include <malloc.h>
#endif

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "machine.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace attend::benchmarks::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;
using Floats = hn::CappedTag<float, 16>;

int64_t multiply_adds(int64_t rounds) {
  constexpr int64_t kSums = 12;  // more than a unit's latency times their number
  const Floats d;
  // All different, else a compiler would see one sum.
  const auto start = [&](float x) HWY_ATTR { return hn::Set(d, x); };
  auto s0 = start(0), s1 = start(1), s2 = start(2), s3 = start(3), s4 = start(4), s5 = start(5),
       s6 = start(6), s7 = start(7), s8 = start(8), s9 = start(9), s10 = start(10), s11 = start(11);
  const auto factor = hn::Set(d, 0.5F);
  const auto term = hn::Set(d, 1.0F);
  for (int64_t i = 0; i < rounds; ++i) {
    s0 = hn::MulAdd(s0, factor, term);
    s1 = hn::MulAdd(s1, factor, term);
    s2 = hn::MulAdd(s2, factor, term);
    s3 = hn::MulAdd(s3, factor, term);
    s4 = hn::MulAdd(s4, factor, term);
    s5 = hn::MulAdd(s5, factor, term);
    s6 = hn::MulAdd(s6, factor, term);
    s7 = hn::MulAdd(s7, factor, term);
    s8 = hn::MulAdd(s8, factor, term);
    s9 = hn::MulAdd(s9, factor, term);
    s10 = hn::MulAdd(s10, factor, term);
    s11 = hn::MulAdd(s11, factor, term);
  }
  const auto sum = hn::Add(hn::Add(hn::Add(s0, s1), hn::Add(s2, s3)),
                           hn::Add(hn::Add(hn::Add(s4, s5), hn::Add(s6, s7)),
                                   hn::Add(hn::Add(s8, s9), hn::Add(s10, s11))));
  const volatile float kept = hn::GetLane(sum);  // so that they are computed
  static_cast<void>(kept);
  return rounds * kSums * static_cast<int64_t>(hn::Lanes(d));
}

float read(const float* from, int64_t count) {
  constexpr int64_t kStreams = 4;
  const Floats d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const auto stream = count / kStreams / lanes * lanes;
  auto s0 = hn::Zero(d), s1 = s0, s2 = s0, s3 = s0;
  for (int64_t i = 0; i < stream; i += lanes) {
    s0 = hn::Add(s0, hn::LoadU(d, from + i));
    s1 = hn::Add(s1, hn::LoadU(d, from + i + stream));
    s2 = hn::Add(s2, hn::LoadU(d, from + i + 2 * stream));
    s3 = hn::Add(s3, hn::LoadU(d, from + i + 3 * stream));
  }
  return hn::GetLane(hn::SumOfLanes(d, hn::Add(hn::Add(s0, s1), hn::Add(s2, s3))));
}

}  // namespace
}  // namespace attend::benchmarks::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attend::benchmarks {

HWY_EXPORT(multiply_adds);
HWY_EXPORT(read);

void prepare() {
  // NOLINTNEXTLINE(concurrency-mt-unsafe): nobody sets them.
  const auto is_set = [](const char* name) { return std::getenv(name) != nullptr; };
#ifdef __GLIBC__
  if (!is_set("ATTEND_BENCHMARK_DEFAULT_MALLOC")) {
    mallopt(M_MMAP_THRESHOLD, 1 << 30);
    mallopt(M_TRIM_THRESHOLD, INT_MAX);
  }
#endif
  if (is_set("ATTEND_BENCHMARK_AVX2")) hwy::SetSupportedTargetsForTest(HWY_AVX2);
}

int64_t multiply_add(int64_t rounds) { return HWY_DYNAMIC_DISPATCH(multiply_adds)(rounds); }

float read_memory(const float* from, int64_t count) {
  return HWY_DYNAMIC_DISPATCH(read)(from, count);
}

}  // namespace attend::benchmarks
#endif  // HWY_ONCE
