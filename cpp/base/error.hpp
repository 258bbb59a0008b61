// Errors that leave libkvmstream. Python sees each kind as the class of the same name in
// kvmstream.errors.
#pragma once

#include <stdexcept>
#include <string>

namespace kvm {

enum class ErrorKind { kConfig, kCapture, kEncoder, kEncoderUnavailable, kClosed };

class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& message) : std::runtime_error(message), kind_(kind) {}
  [[nodiscard]] ErrorKind kind() const noexcept { return kind_; }

 private:
  ErrorKind kind_;
};

}  // namespace kvm
