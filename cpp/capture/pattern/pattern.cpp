#include "capture/pattern/pattern.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "base/error.hpp"
#include "convert/convert.hpp"

namespace kvm {
namespace {

constexpr int kBoxSide = 128;    // pixels
constexpr int kCounterBit = 16;  // pixels per bit, so that a bit survives any encoder
constexpr int kCounterBits = 24;

void put(const CpuPlanes& planes, int x, int y, int blue, int green, int red) noexcept {
  std::uint8_t* pixel = planes.data[0] + y * planes.stride[0] + x * 4;
  pixel[0] = static_cast<std::uint8_t>(blue);
  pixel[1] = static_cast<std::uint8_t>(green);
  pixel[2] = static_cast<std::uint8_t>(red);
  pixel[3] = 0;
}

// A position that bounces between 0 and `room`.
int bounce(std::uint32_t step, int room) noexcept {
  if (room <= 0) return 0;
  const auto period = static_cast<std::uint32_t>(2 * room);
  const auto phase = static_cast<int>(step % period);
  return phase <= room ? phase : 2 * room - phase;
}

bool parse_size(const std::string& text, int& width, int& height) {
  const std::size_t cross = text.find('x');
  if (cross == std::string::npos || cross == 0 || cross > 5 || text.size() - cross > 6)
    return false;
  const std::string left = text.substr(0, cross);
  const std::string right = text.substr(cross + 1);
  const auto digits = [](const std::string& s) {
    return !s.empty() &&
           std::all_of(s.begin(), s.end(), [](char c) { return c >= '0' && c <= '9'; });
  };
  if (!digits(left) || !digits(right)) return false;
  width = std::stoi(left);
  height = std::stoi(right);
  return true;
}

}  // namespace

void PatternSource::open(const StreamConfig& config) {
  width_ = config.region ? config.region->width : 1920;
  height_ = config.region ? config.region->height : 1080;
  fast_ = config.display == "fast";
  if (!fast_ && !config.display.empty() && !parse_size(config.display, width_, height_)) {
    throw Error(ErrorKind::kConfig,
                "display = '" + config.display +
                    "': the pattern source takes '', 'fast' or a size such as '1280x720'");
  }
  if (width_ < 1 || height_ < 1 || width_ > kMaxSide || height_ > kMaxSide) {
    throw Error(ErrorKind::kConfig, "pattern size " + std::to_string(width_) + "x" +
                                        std::to_string(height_) + ": each side must be from 1 to " +
                                        std::to_string(kMaxSide));
  }
  index_ = 0;
  auto memory = std::make_shared<std::vector<std::uint8_t>>(FramePool::kBuffers *
                                                            static_cast<std::size_t>(width_) *
                                                            static_cast<std::size_t>(height_) * 4);
  std::uint8_t* start = memory->data();
  pool_.emplace(width_, height_, start, std::move(memory));
}

Rect PatternSource::box_at(std::uint32_t index) const noexcept {
  const int side = std::max(1, std::min({kBoxSide, width_ / 2, height_ / 2}));
  return {bounce(index * 7, width_ - side), bounce(index * 5, height_ - side), side, side};
}

void PatternSource::paint_background(const CpuPlanes& planes, const Rect& rect) const noexcept {
  for (int y = rect.y; y < rect.bottom(); ++y) {
    for (int x = rect.x; x < rect.right(); ++x) {
      put(planes, x, y, 64 + (x * 128) / width_, 64 + (y * 128) / height_,
          ((x / 32 + y / 32) & 1) * 48 + 80);
    }
  }
}

void PatternSource::paint_box(const CpuPlanes& planes, const Rect& box,
                              std::uint32_t index) const noexcept {
  for (int y = box.y; y < box.bottom(); ++y) {
    for (int x = box.x; x < box.right(); ++x) {
      const int ring =
          std::max(std::abs(2 * (x - box.x) - box.width), std::abs(2 * (y - box.y) - box.height));
      const int shade = (ring + static_cast<int>(index % 256) * 2) & 255;
      put(planes, x, y, 255 - shade, 128, shade);
    }
  }
}

void PatternSource::paint_counter(const CpuPlanes& planes, std::uint32_t index) const noexcept {
  for (int bit = 0; bit < kCounterBits; ++bit) {
    const int level = ((index >> bit) & 1U) != 0 ? 240 : 16;
    const Rect cell =
        intersect({bit * kCounterBit, 0, kCounterBit, kCounterBit}, {0, 0, width_, height_});
    for (int y = cell.y; y < cell.bottom(); ++y) {
      for (int x = cell.x; x < cell.right(); ++x) put(planes, x, y, level, level, level);
    }
  }
}

SourceEvent PatternSource::wait(std::int64_t not_before_ns, std::int64_t deadline_ns) {
  if (fast_ && not_before_ns != std::numeric_limits<std::int64_t>::max()) not_before_ns = 0;
  const std::int64_t until = std::min(not_before_ns, deadline_ns);
  if (until > now_ns() && wake_.wait(-1, until)) return Timeout{};
  if (not_before_ns > deadline_ns) return Timeout{};
  FramePool::Buffer* buffer = pool_->free_buffer();
  while (buffer == nullptr) {  // a thumbnail or the encode thread holds the others for a moment
    if (wake_.wait(-1, now_ns() + kNsPerMs)) return Timeout{};
    buffer = pool_->free_buffer();
  }

  const std::int64_t damaged = now_ns();
  TileMap changed(width_, height_);
  const Rect box = box_at(index_);
  if (pool_->newest() == nullptr) {
    paint_background(buffer->planes, {0, 0, width_, height_});
    changed.set_all();
  } else {
    const Rect before = box_at(index_ - 1);
    copy_tiles(pool_->newest()->planes, buffer->planes, buffer->stale);
    paint_background(buffer->planes, before);
    changed.add(before);
    changed.add(box);
    changed.add({0, 0, kCounterBit * kCounterBits, kCounterBit});
  }
  paint_box(buffer->planes, box, index_);
  paint_counter(buffer->planes, index_);
  ++index_;
  Frame frame = pool_->publish(*buffer, std::move(changed));
  frame.times.damaged = damaged;
  frame.times.captured = now_ns();
  return frame;
}

}  // namespace kvm
