// Errors that leave libkvmstream. Python sees each kind as the class of the same name in
// kvmstream.errors.
#pragma once

#include <exception>
#include <optional>
#include <string>
#include <utility>

namespace kvm {

enum class ErrorKind { kConfig, kCapture, kEncoder, kEncoderUnavailable, kClosed };

// A copy shares nothing: threads hand errors to each other by value.
class Error : public std::exception {
 public:
  Error(ErrorKind kind, std::string message) : kind_(kind), message_(std::move(message)) {}
  [[nodiscard]] ErrorKind kind() const noexcept { return kind_; }
  [[nodiscard]] const char* what() const noexcept override { return message_.c_str(); }

 private:
  ErrorKind kind_;
  std::string message_;
};

// What came of work on another thread. Not a std::exception_ptr: whoever lets go last would free
// what the other has just read, and ThreadSanitizer cannot see why that is in order.
using Outcome = std::optional<Error>;

// The exception that is being handled; `otherwise` when it is none of ours.
[[nodiscard]] inline Error current_error(ErrorKind otherwise) {
  try {
    throw;
  } catch (const Error& error) {
    return error;
  } catch (const std::exception& error) {
    return {otherwise, error.what()};
  }
}

}  // namespace kvm
