#include "base/error.hpp"
#include "bindings/bindings.hpp"

namespace kvm::python {
namespace {

const char* class_name(ErrorKind kind) noexcept {
  switch (kind) {
    case ErrorKind::kConfig:
      return "ConfigError";
    case ErrorKind::kCapture:
      return "CaptureError";
    case ErrorKind::kEncoder:
      return "EncoderError";
    case ErrorKind::kEncoderUnavailable:
      return "EncoderUnavailable";
    case ErrorKind::kClosed:
      return "StreamClosed";
  }
  return "KvmStreamError";
}

}  // namespace

void bind_errors(nb::module_&) {
  nb::register_exception_translator([](const std::exception_ptr& thrown, void*) {
    try {
      std::rethrow_exception(thrown);
    } catch (const Error& error) {
      const nb::object type =
          nb::module_::import_("kvmstream.errors").attr(class_name(error.kind()));
      PyErr_SetString(type.ptr(), error.what());
    }
  });
}

SourceKind parse_source(const std::string& source) {
  if (source == "screen") return SourceKind::kScreen;
  if (source == "pattern") return SourceKind::kPattern;
  throw Error(ErrorKind::kConfig, "source = '" + source + "': must be 'screen' or 'pattern'");
}

CursorMode parse_cursor(const std::string& cursor) {
  if (cursor == "embedded") return CursorMode::kEmbedded;
  if (cursor == "metadata") return CursorMode::kMetadata;
  if (cursor == "hidden") return CursorMode::kHidden;
  throw Error(ErrorKind::kConfig,
              "cursor = '" + cursor + "': must be 'embedded', 'metadata' or 'hidden'");
}

Chroma parse_chroma(const std::string& chroma) {
  if (chroma == "420") return Chroma::k420;
  if (chroma == "444") return Chroma::k444;
  throw Error(ErrorKind::kConfig, "chroma = '" + chroma + "': must be '420' or '444'");
}

}  // namespace kvm::python
