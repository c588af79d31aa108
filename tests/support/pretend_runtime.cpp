#include "support/pretend_runtime.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/detail/PrivateUse1HooksInterface.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>

#include "support/pretend_device.h"
#include "support/pretend_memory.h"

namespace attend::testing_support {
namespace {

constexpr auto kType = c10::DeviceType::PrivateUse1;

c10::Device the_device() { return {kType, 0}; }

// One device, one stream.
class PretendGuard final : public c10::impl::NoOpDeviceGuardImpl<kType> {
 public:
  c10::Device exchangeDevice(c10::Device /*device*/) const override { return the_device(); }
  c10::Device getDevice() const override { return the_device(); }
  c10::Stream getStream(c10::Device /*device*/) const noexcept override { return stream(); }
  c10::Stream getNewStream(c10::Device /*device*/, int /*priority*/) const override {
    return stream();
  }
  c10::Stream exchangeStream(c10::Stream /*stream*/) const noexcept override { return stream(); }

 private:
  static c10::Stream stream() { return c10::Stream(c10::Stream::DEFAULT, the_device()); }
};

// Draws on the CPU, where the kernels run.
class PretendGenerator final : public c10::GeneratorImpl {
 public:
  explicit PretendGenerator(at::Generator cpu)
      : GeneratorImpl(the_device(), c10::DispatchKeySet(c10::DispatchKey::PrivateUse1)),
        cpu_(std::move(cpu)) {}

  static c10::DeviceType device_type() { return kType; }
  const at::Generator& cpu() const { return cpu_; }

  void set_current_seed(uint64_t seed) override { cpu_.set_current_seed(seed); }
  uint64_t current_seed() const override { return cpu_.current_seed(); }
  uint64_t seed() override { return cpu_.seed(); }
  void set_offset(uint64_t offset) override { cpu_.set_offset(offset); }
  uint64_t get_offset() const override { return cpu_.get_offset(); }
  void set_state(const c10::TensorImpl& state) override {
    cpu_.unsafeGetGeneratorImpl()->set_state(state);
  }
  c10::intrusive_ptr<c10::TensorImpl> get_state() const override {
    return cpu_.unsafeGetGeneratorImpl()->get_state();
  }

 private:
  PretendGenerator* clone_impl() const override { return new PretendGenerator(cpu_.clone()); }

  at::Generator cpu_;
};

at::Generator new_generator() {
  return at::make_generator<PretendGenerator>(at::detail::createCPUGenerator());
}

const at::Generator& default_generator() {
  static const at::Generator generator = new_generator();
  return generator;
}

struct PretendHooks final : at::PrivateUse1HooksInterface {
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasPrimaryContext(c10::DeviceIndex /*index*/) const override { return true; }
  c10::DeviceIndex deviceCount() const override { return 1; }
  c10::DeviceIndex getCurrentDevice() const override { return 0; }
  void setCurrentDevice(c10::DeviceIndex /*index*/) const override {}
  c10::DeviceIndex exchangeDevice(c10::DeviceIndex /*index*/) const override { return 0; }
  c10::DeviceIndex maybeExchangeDevice(c10::DeviceIndex /*index*/) const override { return 0; }
  const at::Generator& getDefaultGenerator(c10::DeviceIndex /*index*/) const override {
    return default_generator();
  }
  at::Generator getNewGenerator(c10::DeviceIndex /*index*/) const override {
    return new_generator();
  }
  c10::Device getDeviceFromPtr(void* /*data*/) const override { return the_device(); }
  c10::Allocator* getPinnedMemoryAllocator() const override {
    return c10::GetDefaultCPUAllocator();
  }
};

bool& is_registered() {
  static bool registered = false;
  return registered;
}

}  // namespace

at::Generator cpu_generator_of(const std::optional<at::Generator>& generator) {
  const auto own = generator && generator->defined() ? *generator : default_generator();
  return at::check_generator<PretendGenerator>(own)->cpu();
}

bool has_pretend_device() { return is_registered(); }

void register_pretend_device() {
  if (torch::cuda::is_available() || is_registered()) return;
  static PretendHooks hooks;
  static const PretendGuard guard;
  c10::register_privateuse1_backend("pretend");
  c10::SetAllocator(kType, pretend_allocator());
  const c10::impl::DeviceGuardImplRegistrar registrar(kType, &guard);
  at::RegisterPrivateUse1HooksInterface(&hooks);
  is_registered() = true;
}

}  // namespace attend::testing_support
