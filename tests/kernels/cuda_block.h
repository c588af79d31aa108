#pragma once

#include <setjmp.h>
#include <ucontext.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <random>
#include <stdexcept>
#include <vector>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ATTEND_FIBRES_UNDER_ASAN
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define ATTEND_FIBRES_UNDER_ASAN
#endif
#ifdef ATTEND_FIBRES_UNDER_ASAN
#include <sanitizer/common_interface_defs.h>
#endif

namespace attend::kernels_test {

// Which of the threads that could go on does so first.
enum class Schedule { kFirst, kLast, kRandom };

// Runs the threads of a CUDA block on the host, as fibres: one goes on until it has to wait for others.
// What depends on the order in which threads come to a barrier, or lacks one, differs between
// schedules, and threads that wait for each other in vain are an error.
class Fibres {
 public:
  static constexpr int kWarp = 32;

  Fibres(int threads, Schedule schedule) : schedule_(schedule), fibres_(size(threads)) {
    for (auto& fibre : fibres_) fibre = std::make_unique<Fibre>();
  }

  // body(thread) for each thread of one block.
  void run(const std::function<void(int)>& body) {
    body_ = &body;
    for (auto& fibre : fibres_) fibre->state = State::kReady;
    ready_.resize(fibres_.size());
    for (size_t i = 0; i < ready_.size(); ++i) ready_[i] = static_cast<int>(i);
    while (!ready_.empty()) {
      resume(take_ready());
      if (ready_.empty()) release_block();
    }
  }

  // What threads call.
  bool wait_for_block(int thread, bool vote) {
    at(thread).vote = vote;
    at(thread).state = State::kAtBarrier;
    ++waiting_;
    leave(thread);
    return vote_;
  }
  double shuffle_xor(int thread, double value, int mask) {
    at(thread).value = value;
    at(thread).mask = mask;
    at(thread).state = State::kAtShuffle;
    release_warp(thread / kWarp * kWarp);
    leave(thread);
    return at(thread).value;
  }

 private:
  enum class State { kReady, kAtBarrier, kAtShuffle, kDone };
  static constexpr size_t kStack = size_t{1} << 17U;

  struct Fibre {
    State state = State::kReady;
    bool is_started = false, vote = false;
    double value = 0.0;
    int mask = 0;
    jmp_buf where;
    ucontext_t start;
    void* fake_stack = nullptr;
    std::unique_ptr<char[]> stack = std::make_unique_for_overwrite<char[]>(kStack);
  };

  static size_t size(int i) { return static_cast<size_t>(i); }
  Fibre& at(int thread) { return *fibres_[size(thread)]; }

  int take_ready() {
    size_t i = 0;
    if (schedule_ == Schedule::kRandom) i = random_() % ready_.size();
    for (size_t j = 0; j < ready_.size() && schedule_ != Schedule::kRandom; ++j) {
      const bool is_before = ready_[j] < ready_[i];
      if (is_before == (schedule_ == Schedule::kFirst)) i = j;
    }
    const int thread = ready_[i];
    ready_[i] = ready_.back();
    ready_.pop_back();
    return thread;
  }

  // Once 32 threads have come to one shuffle they may go on, each with what another brought.
  void release_warp(int first) {
    double values[kWarp];
    for (int i = 0; i < kWarp; ++i) {
      const auto& fibre = at(first + i);
      if (fibre.state != State::kAtShuffle || fibre.mask != at(first).mask) return;
      values[i] = fibre.value;
    }
    for (int i = 0; i < kWarp; ++i) {
      auto& fibre = at(first + i);
      fibre.value = values[i ^ fibre.mask];
      fibre.state = State::kReady;
      ready_.push_back(first + i);
    }
  }

  // All threads wait, or have ended.
  void release_block() {
    size_t done = 0;
    for (const auto& fibre : fibres_) done += fibre->state == State::kDone ? 1 : 0;
    if (done == fibres_.size()) return;
    if (waiting_ != fibres_.size()) throw std::logic_error("threads of a block wait in vain");
    waiting_ = 0;
    vote_ = false;
    for (size_t i = 0; i < fibres_.size(); ++i) {
      vote_ = vote_ || fibres_[i]->vote;
      fibres_[i]->state = State::kReady;
      ready_.push_back(static_cast<int>(i));
    }
  }

  // Switches. Not by swapcontext, which makes two system calls.
  void resume(int thread) {
    auto& fibre = at(thread);
    current_ = thread;
    before_switch(&fake_stack_, fibre.stack.get(), kStack);
    if (_setjmp(scheduler_) == 0) {
      if (fibre.is_started) _longjmp(fibre.where, 1);
      start(fibre);
    }
    after_switch(fake_stack_);
  }
  void start(Fibre& fibre) {
    fibre.is_started = true;
    getcontext(&fibre.start);
    fibre.start.uc_stack.ss_sp = fibre.stack.get();
    fibre.start.uc_stack.ss_size = kStack;
    fibre.start.uc_link = nullptr;
    const auto self = reinterpret_cast<uintptr_t>(this);
    makecontext(&fibre.start, reinterpret_cast<void (*)()>(&Fibres::enter), 2,
                static_cast<unsigned>(self >> 32U), static_cast<unsigned>(self));
    setcontext(&fibre.start);
  }
  // makecontext passes numbers of 32 bits.
  static void enter(unsigned high, unsigned low) {
    auto& self = *reinterpret_cast<Fibres*>(uintptr_t{high} << 32U | low);
    self.arrived(self.current_);
    for (;;) {
      const int thread = self.current_;
      (*self.body_)(thread);
      self.at(thread).state = State::kDone;
      self.leave(thread);
    }
  }
  void leave(int thread) {
    auto& fibre = at(thread);
    before_switch(&fibre.fake_stack, scheduler_stack_, scheduler_size_);
    if (_setjmp(fibre.where) == 0) _longjmp(scheduler_, 1);
    arrived(thread);
  }

#ifdef ATTEND_FIBRES_UNDER_ASAN
  static void before_switch(void** fake_stack, const void* stack, size_t bytes) {
    __sanitizer_start_switch_fiber(fake_stack, stack, bytes);
  }
  static void after_switch(void* fake_stack) {
    __sanitizer_finish_switch_fiber(fake_stack, nullptr, nullptr);
  }
  void arrived(int thread) {
    __sanitizer_finish_switch_fiber(at(thread).fake_stack, &scheduler_stack_, &scheduler_size_);
  }
#else
  static void before_switch(void** /*fake_stack*/, const void* /*stack*/, size_t /*bytes*/) {}
  static void after_switch(void* /*fake_stack*/) {}
  void arrived(int /*thread*/) {}
#endif

  Schedule schedule_;
  std::vector<std::unique_ptr<Fibre>> fibres_;
  std::vector<int> ready_;
  const std::function<void(int)>* body_ = nullptr;
  int current_ = 0;
  size_t waiting_ = 0;
  bool vote_ = false;
  std::mt19937 random_{7};
  jmp_buf scheduler_;
  void* fake_stack_ = nullptr;
  const void* scheduler_stack_ = nullptr;
  size_t scheduler_size_ = 0;
};

// A thread's view of its block; kernels/cuda/device-inl.h says what it has to have.
class HostBlock {
 public:
  HostBlock(Fibres& fibres, int64_t index, int thread)
      : fibres_(&fibres), index_(index), thread_(thread) {}

  int thread() const { return thread_; }
  int64_t index() const { return index_; }
  void sync() const { fibres_->wait_for_block(thread_, false); }
  bool any(bool vote) const { return fibres_->wait_for_block(thread_, vote); }
  template <typename T>
  T shuffle_xor(T x, int mask) const {
    return static_cast<T>(fibres_->shuffle_xor(thread_, double{x}, mask));
  }

 private:
  Fibres* fibres_;
  int64_t index_;
  int thread_;
};

// body(block, memory) for each thread of `blocks` blocks; `memory`, a Memory, is what a block's
// threads share, and holds what is not a number before any of them writes to it.
template <class Memory>
void launch(Fibres& fibres, int64_t blocks,
            const std::function<void(const HostBlock&, Memory&)>& body) {
  for (int64_t index = 0; index < blocks; ++index) {
    const auto memory = std::make_unique<Memory>();
    auto* bytes = reinterpret_cast<unsigned char*>(memory.get());
    for (size_t i = 0; i < sizeof(Memory); ++i) bytes[i] = 0xFF;
    fibres.run([&](int thread) { body(HostBlock(fibres, index, thread), *memory); });
  }
}

}  // namespace attend::kernels_test
