// A COM object with ownership.
#pragma once

#include <utility>

#include "base/windows.hpp"

namespace kvm {

template <typename T>
class ComPtr {
 public:
  ComPtr() = default;
  ~ComPtr() { reset(); }
  ComPtr(const ComPtr& other) noexcept : object_(other.object_) {
    if (object_ != nullptr) object_->AddRef();
  }
  ComPtr(ComPtr&& other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
  ComPtr& operator=(ComPtr other) noexcept {
    std::swap(object_, other.object_);
    return *this;
  }

  [[nodiscard]] T* get() const noexcept { return object_; }
  [[nodiscard]] T* operator->() const noexcept { return object_; }
  [[nodiscard]] T& operator*() const noexcept { return *object_; }
  [[nodiscard]] explicit operator bool() const noexcept { return object_ != nullptr; }
  void reset() noexcept {
    if (T* object = std::exchange(object_, nullptr)) object->Release();
  }
  // For functions that return an object by a parameter.
  [[nodiscard]] T** put() noexcept {
    reset();
    return &object_;
  }
  // Null when the object has no such interface.
  template <typename U>
  [[nodiscard]] ComPtr<U> as() const noexcept {
    ComPtr<U> other;
    if (object_ != nullptr)
      object_->QueryInterface(__uuidof(U), reinterpret_cast<void**>(other.put()));
    return other;
  }

 private:
  T* object_ = nullptr;
};

}  // namespace kvm
