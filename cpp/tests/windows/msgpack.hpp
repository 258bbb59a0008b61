// MessagePack, as much of it as the messages of docs/protocol.md take that a source of pictures
// sends and gets.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace kvm::test {

inline void put_big_endian(std::vector<std::uint8_t>& out, std::uint64_t value, int bytes) {
  for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8)
    out.push_back(static_cast<std::uint8_t>(value >> shift & 0xff));
}

// One message: its fields in the order of the calls, and how many there will be said first.
class Packer {
 public:
  Packer(std::string_view name, std::size_t fields) {
    map(fields + 1);
    text("t", name);
  }
  // The pairs that follow belong to it.
  Packer& map(std::size_t pairs) {
    put_big_endian(bytes_, 0xdf, 1);
    put_big_endian(bytes_, pairs, 4);
    return *this;
  }
  Packer& array(std::string_view key, std::size_t values) {
    text(key);
    put_big_endian(bytes_, 0xdd, 1);
    put_big_endian(bytes_, values, 4);
    return *this;
  }
  Packer& text(std::string_view key, std::string_view value) {
    text(key);
    text(value);
    return *this;
  }
  Packer& integer(std::string_view key, std::int64_t value) {
    text(key);
    put_big_endian(bytes_, 0xd3, 1);
    put_big_endian(bytes_, static_cast<std::uint64_t>(value), 8);
    return *this;
  }
  Packer& boolean(std::string_view key, bool value) {
    text(key);
    put_big_endian(bytes_, value ? 0xc3 : 0xc2, 1);
    return *this;
  }
  [[nodiscard]] std::span<const std::uint8_t> bytes() const noexcept { return bytes_; }

 private:
  void text(std::string_view value) {
    put_big_endian(bytes_, 0xdb, 1);
    put_big_endian(bytes_, value.size(), 4);
    bytes_.insert(bytes_.end(), value.begin(), value.end());
  }

  std::vector<std::uint8_t> bytes_;
};

// The fields of one message that are no lists, maps or bytes; those are passed over.
class Unpacked {
 public:
  // Throws std::runtime_error for what is not one map.
  explicit Unpacked(std::span<const std::uint8_t> bytes) : left_(bytes) {
    const std::size_t pairs = map_size(take());
    for (std::size_t i = 0; i < pairs; ++i) {
      const Value key = value(0);
      const auto* name = std::get_if<std::string>(&key);
      if (name == nullptr)
        throw std::runtime_error("a key that is no text in a message of the hub");
      fields_[*name] = value(0);
    }
    if (!left_.empty()) throw std::runtime_error("bytes behind a message of the hub");
  }
  [[nodiscard]] std::string text(const std::string& key) const { return get<std::string>(key); }
  [[nodiscard]] bool boolean(const std::string& key) const { return get<bool>(key); }
  [[nodiscard]] std::int64_t integer(const std::string& key) const {
    return get<std::int64_t>(key);
  }
  // Also of one that the sender wrote as an integer.
  [[nodiscard]] double number(const std::string& key) const {
    const auto found = fields_.find(key);
    if (found != fields_.end() && std::holds_alternative<double>(found->second))
      return std::get<double>(found->second);
    return static_cast<double>(integer(key));
  }

 private:
  using Value = std::variant<std::monostate, bool, std::int64_t, double, std::string>;
  static constexpr int kDeepest = 8;

  template <typename T>
  [[nodiscard]] const T& get(const std::string& key) const {
    const auto found = fields_.find(key);
    const T* value = found == fields_.end() ? nullptr : std::get_if<T>(&found->second);
    if (value == nullptr) throw std::runtime_error("a message of the hub lacks \"" + key + "\"");
    return *value;
  }
  std::uint64_t take(std::size_t bytes = 1) {
    if (left_.size() < bytes) throw std::runtime_error("a message of the hub ends too soon");
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < bytes; ++i) value = value << 8 | left_[i];
    left_ = left_.subspan(bytes);
    return value;
  }
  std::string take_text(std::uint64_t size) {
    if (left_.size() < size) throw std::runtime_error("a message of the hub ends too soon");
    std::string text(left_.begin(), left_.begin() + static_cast<std::ptrdiff_t>(size));
    left_ = left_.subspan(static_cast<std::size_t>(size));
    return text;
  }
  Value take_signed(std::size_t bytes) {
    const unsigned unused = 64 - 8 * static_cast<unsigned>(bytes);
    return static_cast<std::int64_t>(take(bytes) << unused) >> unused;
  }
  [[nodiscard]] std::size_t map_size(std::uint64_t kind) {
    if (kind >= 0x80 && kind <= 0x8f) return kind & 0x0f;
    if (kind == 0xde) return static_cast<std::size_t>(take(2));
    if (kind == 0xdf) return static_cast<std::size_t>(take(4));
    throw std::runtime_error("a message of the hub is no map");
  }
  Value pass_over(std::uint64_t values, int depth) {
    if (depth == kDeepest) throw std::runtime_error("a message of the hub is nested too deep");
    for (std::uint64_t i = 0; i < values; ++i) value(depth + 1);
    return {};
  }
  Value value(int depth) {
    const std::uint64_t kind = take();
    if (kind <= 0x7f) return static_cast<std::int64_t>(kind);
    if (kind >= 0xe0) return static_cast<std::int64_t>(kind) - 0x100;
    if (kind <= 0x8f || kind >= 0xde) return pass_over(2 * std::uint64_t{map_size(kind)}, depth);
    if (kind <= 0x9f) return pass_over(kind & 0x0f, depth);
    if (kind <= 0xbf) return take_text(kind & 0x1f);
    switch (kind) {
      case 0xc0:
        return {};
      case 0xc2:
        return false;
      case 0xc3:
        return true;
      case 0xc4:
      case 0xc5:
      case 0xc6:
        take_text(take(std::size_t{1} << (kind - 0xc4)));
        return {};
      case 0xcb: {
        const std::uint64_t bits = take(8);
        double number = 0;
        std::memcpy(&number, &bits, sizeof number);
        return number;
      }
      case 0xcc:
      case 0xcd:
      case 0xce:
      case 0xcf:
        return static_cast<std::int64_t>(take(std::size_t{1} << (kind - 0xcc)));
      case 0xd0:
      case 0xd1:
      case 0xd2:
      case 0xd3:
        return take_signed(std::size_t{1} << (kind - 0xd0));
      case 0xd9:
      case 0xda:
      case 0xdb:
        return take_text(take(std::size_t{1} << (kind - 0xd9)));
      case 0xdc:
      case 0xdd:
        return pass_over(take(std::size_t{2} << (kind - 0xdc)), depth);
      default:
        throw std::runtime_error("a message of the hub has a kind of value that none has");
    }
  }

  std::span<const std::uint8_t> left_;
  std::map<std::string, Value> fields_;
};

}  // namespace kvm::test
