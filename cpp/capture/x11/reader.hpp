// Reads parts of the root window into the frame pool: shared memory by file descriptor, by SysV id,
// or plain GetImage.
#pragma once

#include <xcb/shm.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "capture/frame_pool.hpp"
#include "capture/x11/connection.hpp"

namespace kvm::x11 {

// Capture thread only.
class Reader {
 public:
  enum class Transport { kShmFd, kShmSysV, kGetImage };  // best first

  // `area`: what is captured, in the root window. Throws Error{kCapture} when memory cannot be had.
  // Nothing better than `best` is tried; tests ask for less.
  Reader(const Connection& connection, const Rect& area, Transport best = Transport::kShmFd);
  ~Reader();
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;

  [[nodiscard]] FramePool& pool() noexcept { return *pool_; }
  [[nodiscard]] const char* transport() const noexcept;

  // Called with every rectangle that was read, before it is compared: draws the cursor in. `planes`
  // begin at the rectangle's corner.
  using Decorate = std::function<void(const CpuPlanes& planes, const Rect& rect)>;

  // Grows `tiles` to what read() will touch: neighbouring runs are cheaper read together.
  void widen(TileMap& tiles);
  // Reads `tiles` (after widen()) and makes `buffer` the picture of now: tiles that differ from
  // `newest` come from the server, its stale ones from `newest` (null = there is none, all tiles
  // count as changed). Returns the tiles that differ; nothing when the server refused (geometry
  // changed, connection gone).
  [[nodiscard]] std::optional<TileMap> read(const TileMap& tiles, const FramePool::Buffer* newest,
                                            FramePool::Buffer& buffer, const Decorate& decorate);

 private:
  struct Memory;  // the mapping; outlives the reader while frames are leased
  // One request: a rectangle of whole tiles.
  struct Piece {
    Rect rect;               // in the picture
    std::size_t offset = 0;  // of its pixels in the mapping
    bool direct = false;  // whole rows, straight into the buffer; else packed into a scratch slot
  };

  [[nodiscard]] std::vector<Piece> plan(const TileMap& tiles, bool direct,
                                        std::size_t buffer_offset) const;
  [[nodiscard]] bool fetch(const Piece& piece, unsigned sequence);
  // Compares, marks and (unless direct) copies one piece that has arrived.
  void take(const Piece& piece, const FramePool::Buffer* newest, FramePool::Buffer& buffer,
            const Decorate& decorate, TileMap& changed) const;
  bool attach_fd(std::size_t bytes);
  bool attach_sysv(std::size_t bytes);

  const Connection& connection_;
  Rect area_;
  Transport transport_ = Transport::kGetImage;
  xcb_shm_seg_t segment_ = 0;
  std::shared_ptr<Memory> memory_;
  std::size_t scratch_offset_ = 0;  // of the slots in the mapping, behind the pool's buffers
  std::size_t slot_bytes_ = 0;
  bool direct_ = false;         // this read
  bool mostly_changed_ = true;  // of the last large read
  std::optional<FramePool> pool_;
};

}  // namespace kvm::x11
