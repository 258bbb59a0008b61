// Pictures for the tests of the convert room, in memory that turns every overrun into a crash or a
// failed check.
#pragma once

#if defined(_WIN32)
#include "base/windows.hpp"
#else
#include <sys/mman.h>
#include <unistd.h>
#endif

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <random>
#include <vector>

#include "convert/kernels.hpp"
#include "frame/frame.hpp"

namespace kvm::test {

// `size` bytes that end right before an inaccessible page, and start after one (though not right
// after).
class GuardedBytes {
 public:
  explicit GuardedBytes(std::size_t size) : size_(size) {
    const std::size_t page = page_size();
    const std::size_t inner = (size + page - 1) / page * page;
    mapped_ = inner + 2 * page;
    base_ = reserve(mapped_);
    if (base_ == nullptr) throw std::bad_alloc();
    auto* begin = static_cast<std::uint8_t*>(base_) + page;
    if (inner != 0 && !make_usable(begin, inner)) {
      release(base_, mapped_);
      throw std::bad_alloc();
    }
    data_ = begin + (inner - size);
  }
  ~GuardedBytes() { release(base_, mapped_); }
  GuardedBytes(const GuardedBytes&) = delete;
  GuardedBytes& operator=(const GuardedBytes&) = delete;

  [[nodiscard]] std::uint8_t* data() const { return data_; }
  [[nodiscard]] std::size_t size() const { return size_; }

 private:
#if defined(_WIN32)
  static std::size_t page_size() noexcept {
    SYSTEM_INFO info{};
    GetSystemInfo(&info);
    return info.dwPageSize;
  }
  static void* reserve(std::size_t bytes) noexcept {
    return VirtualAlloc(nullptr, bytes, MEM_RESERVE, PAGE_NOACCESS);
  }
  static bool make_usable(void* begin, std::size_t bytes) noexcept {
    return VirtualAlloc(begin, bytes, MEM_COMMIT, PAGE_READWRITE) != nullptr;
  }
  static void release(void* base, std::size_t /*bytes*/) noexcept {
    VirtualFree(base, 0, MEM_RELEASE);
  }
#else
  static std::size_t page_size() noexcept {
    return static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  }
  static void* reserve(std::size_t bytes) noexcept {
    void* base = mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return base == MAP_FAILED ? nullptr : base;
  }
  static bool make_usable(void* begin, std::size_t bytes) noexcept {
    return mprotect(begin, bytes, PROT_READ | PROT_WRITE) == 0;
  }
  static void release(void* base, std::size_t bytes) noexcept { munmap(base, bytes); }
#endif

  std::size_t size_;
  std::size_t mapped_ = 0;
  void* base_ = nullptr;
  std::uint8_t* data_ = nullptr;
};

// height rows of row_bytes each, `padding` bytes between rows; nothing after the last row's last
// byte. The padding is filled with a mark that writers must leave alone.
class GuardedPlane {
 public:
  GuardedPlane(int row_bytes, int height, int padding)
      : row_bytes_(static_cast<std::size_t>(row_bytes)),
        height_(height),
        stride_(row_bytes + padding),
        bytes_(static_cast<std::size_t>(stride_ * (height - 1) + row_bytes)) {
    std::memset(bytes_.data(), kMark, bytes_.size());
  }
  [[nodiscard]] std::uint8_t* data() const { return bytes_.data(); }
  [[nodiscard]] std::uint8_t* row(int y) const { return bytes_.data() + y * stride_; }
  [[nodiscard]] std::ptrdiff_t stride() const { return stride_; }
  [[nodiscard]] bool padding_intact() const {
    for (int y = 0; y + 1 < height_; ++y) {
      for (const std::uint8_t* p = row(y) + row_bytes_; p < row(y + 1); ++p) {
        if (*p != kMark) return false;
      }
    }
    return true;
  }

 private:
  static constexpr std::uint8_t kMark = 0xA5;
  std::size_t row_bytes_;
  int height_;
  std::ptrdiff_t stride_;
  GuardedBytes bytes_;
};

class BgraPicture {
 public:
  BgraPicture(int width, int height, int padding = 0)
      : width_(width), height_(height), plane_(4 * width, height, padding) {
    planes_.data[0] = plane_.data();
    planes_.stride[0] = plane_.stride();
  }
  // Random bytes; one picture in four only of 0 and 255, where rounding and overflow would show.
  void randomize(std::mt19937& random) {
    const bool extreme = random() % 4 == 0;
    for (int y = 0; y < height_; ++y) {
      std::uint8_t* row = plane_.row(y);
      for (int i = 0; i < 4 * width_; ++i) {
        const auto value = static_cast<std::uint8_t>(random() >> 7);
        row[i] = extreme ? static_cast<std::uint8_t>(value & 1 ? 255 : 0) : value;
      }
    }
  }
  void fill(std::uint8_t b, std::uint8_t g, std::uint8_t r, std::uint8_t x) {
    for (int y = 0; y < height_; ++y) {
      for (int i = 0; i < width_; ++i) {
        const std::uint8_t pixel[4] = {b, g, r, x};
        std::memcpy(at(i, y), pixel, 4);
      }
    }
  }
  void copy_from(const BgraPicture& other) {
    for (int y = 0; y < height_; ++y) {
      std::memcpy(plane_.row(y), other.plane_.row(y), static_cast<std::size_t>(4 * width_));
    }
  }
  [[nodiscard]] std::uint8_t* at(int x, int y) const { return plane_.row(y) + 4 * x; }
  [[nodiscard]] int width() const { return width_; }
  [[nodiscard]] int height() const { return height_; }
  [[nodiscard]] const CpuPlanes& planes() const { return planes_; }
  [[nodiscard]] bool padding_intact() const { return plane_.padding_intact(); }

 private:
  int width_;
  int height_;
  GuardedPlane plane_;
  CpuPlanes planes_;
};

inline TileMap all_tiles(int width, int height) {
  TileMap tiles(width, height);
  tiles.set_all();
  return tiles;
}

// Each tile marked with a probability of percent/100.
inline TileMap random_tiles(int width, int height, unsigned percent, std::mt19937& random) {
  TileMap tiles(width, height);
  for (int row = 0; row < tiles.rows(); ++row) {
    for (int col = 0; col < tiles.cols(); ++col) tiles.set(col, row, random() % 100 < percent);
  }
  return tiles;
}

inline int uniform(std::mt19937& random, int low, int high) {
  return low + static_cast<int>(random() % static_cast<unsigned>(high - low + 1));
}

// Runs fn() on every instruction set of this machine, then frees the choice again.
template <typename Fn>
void on_every_target(Fn&& fn) {
  struct Restore {
    ~Restore() { kernels::force_target(0); }
  } restore;
  for (const std::int64_t target : kernels::targets()) {
    kernels::force_target(target);
    fn();
  }
}

}  // namespace kvm::test
