// Ownership of FFmpeg's objects, and its log lines, in C++ terms.
#pragma once

extern "C" {
#include <libavcodec/avcodec.h>
#include <libavutil/avutil.h>
#include <libavutil/buffer.h>
#include <libavutil/dict.h>
#include <libavutil/error.h>
#include <libavutil/frame.h>
#include <libavutil/log.h>
}

#include <array>
#include <cstdio>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "base/error.hpp"

static_assert(LIBAVCODEC_VERSION_INT >= AV_VERSION_INT(59, 37, 0), "FFmpeg 5.1 or newer is needed");

namespace kvm::ff {

struct ContextDeleter {
  void operator()(AVCodecContext* context) const noexcept { avcodec_free_context(&context); }
};
struct FrameDeleter {
  void operator()(AVFrame* frame) const noexcept { av_frame_free(&frame); }
};
struct PacketDeleter {
  void operator()(AVPacket* packet) const noexcept { av_packet_free(&packet); }
};
struct BufferDeleter {
  void operator()(AVBufferRef* buffer) const noexcept { av_buffer_unref(&buffer); }
};
using Context = std::unique_ptr<AVCodecContext, ContextDeleter>;
using Frame = std::unique_ptr<AVFrame, FrameDeleter>;
using Packet = std::unique_ptr<AVPacket, PacketDeleter>;
using Buffer = std::unique_ptr<AVBufferRef, BufferDeleter>;

class Dictionary {
 public:
  Dictionary() = default;
  Dictionary(const Dictionary&) = delete;
  Dictionary& operator=(const Dictionary&) = delete;
  ~Dictionary() { av_dict_free(&dictionary_); }

  void set(const std::string& key, const std::string& value) {
    if (av_dict_set(&dictionary_, key.c_str(), value.c_str(), 0) < 0) throw std::bad_alloc();
  }
  [[nodiscard]] AVDictionary** out() noexcept { return &dictionary_; }
  // The first entry still inside: what the codec did not take. "" when empty.
  [[nodiscard]] std::string first_key() const {
    const AVDictionaryEntry* entry = av_dict_get(dictionary_, "", nullptr, AV_DICT_IGNORE_SUFFIX);
    return entry == nullptr ? std::string() : std::string(entry->key);
  }

 private:
  AVDictionary* dictionary_ = nullptr;
};

[[nodiscard]] inline std::string error_text(int code) {
  std::array<char, AV_ERROR_MAX_STRING_SIZE> text{};
  av_strerror(code, text.data(), text.size());
  return text.data();
}

// While it lives, keeps the last warning or error that FFmpeg logs on this thread. Nothing of it
// reaches stderr. FFmpeg has one log callback per process; lines from threads without a LogCapture
// keep FFmpeg's own handling, so that other users of the same library are not silenced.
class LogCapture {
 public:
  LogCapture() : outer_(current()) {
    // The callback is process-wide by FFmpeg's design, so is its installation.
    static std::once_flag installed;
    std::call_once(installed, [] { av_log_set_callback(&LogCapture::on_line); });
    current() = this;
  }
  ~LogCapture() { current() = outer_; }
  LogCapture(const LogCapture&) = delete;
  LogCapture& operator=(const LogCapture&) = delete;

  [[nodiscard]] std::string_view last_line() const noexcept { return line_.data(); }
  // "what: reason of the code (last line logged)"
  [[nodiscard]] std::string explain(std::string_view what, int code) const {
    std::string text = std::string(what) + ": " + error_text(code);
    if (!last_line().empty()) text += " (" + std::string(last_line()) + ")";
    return text;
  }

 private:
  static LogCapture*& current() noexcept {
    thread_local LogCapture* capture = nullptr;
    return capture;
  }
  static void on_line(void* object, int level, const char* format, va_list arguments) {
    LogCapture* capture = current();
    if (capture == nullptr) {
      av_log_default_callback(object, level, format, arguments);
    } else if (level <= AV_LOG_WARNING) {
      std::vsnprintf(capture->line_.data(), capture->line_.size(), format, arguments);
      std::string_view line(capture->line_.data());
      while (!line.empty() && (line.back() == '\n' || line.back() == ' ')) line.remove_suffix(1);
      capture->line_[line.size()] = '\0';
    }
  }

  LogCapture* outer_;
  std::array<char, 256> line_{};
};

// Throws Error{kEncoder} when `code` is one of FFmpeg's errors.
inline int check(int code, std::string_view what, const LogCapture& log) {
  if (code < 0) throw Error(ErrorKind::kEncoder, log.explain(what, code));
  return code;
}

template <typename Handle, typename Raw>
[[nodiscard]] Handle own(Raw* raw) {
  if (raw == nullptr) throw std::bad_alloc();
  return Handle(raw);
}

}  // namespace kvm::ff
