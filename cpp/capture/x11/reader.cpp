#include "capture/x11/reader.hpp"

#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>

#include "base/error.hpp"
#include "convert/convert.hpp"

namespace kvm::x11 {
namespace {

// What is read lands in a few slots that are used over and over, so that it is still in the cache
// when it is compared; only tiles that changed go on to memory. Fresh buffers for every read cost
// twice the CPU on a scrolling terminal.
constexpr std::size_t kSlotBytes = std::size_t{512} << 10;
constexpr std::size_t kSlots = 4;  // requests on their way while one piece is compared
// Runs closer than this are read together: a request costs more than that many tiles.
constexpr int kMergeGapTiles = 4;

// From one tile in this many changed on, copying them out of the slots costs more than the slots
// save.
constexpr std::size_t kDirectShare = 6;

bool is_large(const TileMap& tiles) noexcept {
  return tiles.count() * 2 >
         static_cast<std::size_t>(tiles.cols()) * static_cast<std::size_t>(tiles.rows());
}

// A corner of a picture as a picture of its own.
CpuPlanes corner(const CpuPlanes& planes, const Rect& rect) noexcept {
  CpuPlanes part = planes;
  part.data[0] += rect.y * planes.stride[0] + std::ptrdiff_t{rect.x} * 4;
  return part;
}

std::size_t row_bytes(const Rect& rect) noexcept {
  return static_cast<std::size_t>(rect.width) * 4;
}

}  // namespace

struct Reader::Memory {
  enum class Kind { kMapped, kSysV } kind = Kind::kMapped;
  std::uint8_t* data = nullptr;
  std::size_t bytes = 0;

  Memory() = default;
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  ~Memory() {
    if (data == nullptr) return;
    if (kind == Kind::kSysV) {
      ::shmdt(data);
    } else {
      ::munmap(data, bytes);
    }
  }
};

Reader::Reader(const Connection& connection, const Rect& area, Transport best)
    : connection_(connection), area_(area) {
  const std::size_t picture =
      static_cast<std::size_t>(area.width) * static_cast<std::size_t>(area.height) * 4;
  scratch_offset_ = FramePool::kBuffers * picture;
  // A slot holds one row of tiles at least, however wide the picture is.
  slot_bytes_ = std::max(kSlotBytes, static_cast<std::size_t>(area.width) * 4 * kTile);
  const std::size_t bytes = scratch_offset_ + kSlots * slot_bytes_;
  memory_ = std::make_shared<Memory>();
  if (best == Transport::kShmFd && connection.extensions().shm_fd && attach_fd(bytes)) {
    transport_ = Transport::kShmFd;
  } else if (best != Transport::kGetImage && connection.extensions().shm && attach_sysv(bytes)) {
    transport_ = Transport::kShmSysV;
  } else {
    transport_ = Transport::kGetImage;
    void* mapped =
        ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped == MAP_FAILED) {
      throw Error(ErrorKind::kCapture, "no memory for " + std::to_string(bytes >> 20) +
                                           " MiB of capture buffers: " + std::strerror(errno) +
                                           "; capture a smaller region");
    }
    memory_->data = static_cast<std::uint8_t*>(mapped);
    memory_->bytes = bytes;
  }
  pool_.emplace(area.width, area.height, memory_->data, memory_);
}

Reader::~Reader() {
  if (segment_ != 0 && !connection_.broken()) {
    xcb_shm_detach(connection_.get(), segment_);
    xcb_flush(connection_.get());
  }
}

const char* Reader::transport() const noexcept {
  switch (transport_) {
    case Transport::kShmFd:
      return "shared memory, fd";
    case Transport::kShmSysV:
      return "shared memory, SysV";
    case Transport::kGetImage:
      break;
  }
  return "GetImage";
}

bool Reader::attach_fd(std::size_t bytes) {
  const int fd = ::memfd_create("kvmstream-capture", MFD_CLOEXEC);
  if (fd < 0) return false;
  void* mapped = MAP_FAILED;
  if (::ftruncate(fd, static_cast<off_t>(bytes)) == 0) {
    mapped = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  }
  if (mapped == MAP_FAILED) {
    ::close(fd);
    return false;
  }
  auto memory = std::make_shared<Memory>();
  memory->data = static_cast<std::uint8_t*>(mapped);
  memory->bytes = bytes;
  xcb_connection_t* c = connection_.get();
  const xcb_shm_seg_t segment = xcb_generate_id(c);
  // xcb owns the descriptor from here and closes it once sent. A remote server cannot take one and
  // answers an error.
  Reply<xcb_generic_error_t> error(
      xcb_request_check(c, xcb_shm_attach_fd_checked(c, segment, fd, 0)));
  if (error || connection_.broken()) return false;
  memory_ = std::move(memory);
  segment_ = segment;
  return true;
}

bool Reader::attach_sysv(std::size_t bytes) {
  const int id = ::shmget(IPC_PRIVATE, bytes, IPC_CREAT | 0600);
  if (id < 0) return false;
  void* mapped = ::shmat(id, nullptr, 0);
  bool attached = false;
  if (mapped != reinterpret_cast<void*>(-1)) {
    auto memory = std::make_shared<Memory>();
    memory->kind = Memory::Kind::kSysV;
    memory->data = static_cast<std::uint8_t*>(mapped);
    memory->bytes = bytes;
    xcb_connection_t* c = connection_.get();
    const xcb_shm_seg_t segment = xcb_generate_id(c);
    Reply<xcb_generic_error_t> error(xcb_request_check(
        c, xcb_shm_attach_checked(c, segment, static_cast<std::uint32_t>(id), 0)));
    attached = !error && !connection_.broken();
    if (attached) {
      memory_ = std::move(memory);
      segment_ = segment;
    }
  }
  // Removed as soon as both sides hold it (or gave up), so that no crash can leak it.
  ::shmctl(id, IPC_RMID, nullptr);
  return attached;
}

void Reader::widen(TileMap& tiles) {
  direct_ = mostly_changed_ && is_large(tiles);
  for (int row = 0; row < tiles.rows(); ++row) {
    int begin = tiles.find(row, 0);
    // Only whole rows can be read in place, which pays where much of what is read has changed
    // (video).
    if (direct_ && begin < tiles.cols()) tiles.add({0, row * kTile, tiles.width(), kTile});
    while (begin < tiles.cols()) {
      const int end = tiles.find(row, begin, false);
      begin = tiles.find(row, end);
      if (begin == tiles.cols() || begin - end >= kMergeGapTiles) continue;
      for (int gap = end; gap < begin; ++gap) tiles.set(gap, row);
    }
  }
}

std::vector<Reader::Piece> Reader::plan(const TileMap& tiles, bool direct,
                                        std::size_t buffer_offset) const {
  std::vector<Rect> rects;
  std::vector<std::size_t> open;  // rectangles that end at the row above
  std::vector<std::size_t> next;
  int current_row = -1;
  tiles.for_each_run([&](int row, int begin, int end) {
    if (row != current_row) {
      open.swap(next);
      next.clear();
      if (row != current_row + 1) open.clear();
      current_row = row;
    }
    const Rect rect = tiles.run_rect(row, begin, end);
    for (const std::size_t index : open) {
      Rect& above = rects[index];
      const bool fits =
          direct ||
          row_bytes(rect) * static_cast<std::size_t>(above.height + rect.height) <= slot_bytes_;
      if (above.x == rect.x && above.width == rect.width && above.bottom() == rect.y && fits) {
        above.height += rect.height;
        next.push_back(index);
        return;
      }
    }
    next.push_back(rects.size());
    rects.push_back(rect);
  });
  std::vector<Piece> pieces;
  pieces.reserve(rects.size());
  for (const Rect& rect : rects) {
    const std::size_t offset =
        direct ? buffer_offset + static_cast<std::size_t>(rect.y) * row_bytes(rect)
               : scratch_offset_ + pieces.size() % kSlots * slot_bytes_;
    pieces.push_back({rect, offset, direct});
  }
  return pieces;
}

void Reader::take(const Piece& piece, const FramePool::Buffer* newest, FramePool::Buffer& buffer,
                  const Decorate& decorate, TileMap& changed) const {
  const Rect& rect = piece.rect;
  CpuPlanes pixels;
  pixels.data[0] = memory_->data + piece.offset;
  pixels.stride[0] = static_cast<std::ptrdiff_t>(row_bytes(rect));
  if (decorate) decorate(pixels, rect);
  TileMap differing(rect.width, rect.height);
  differing.set_all();
  if (newest != nullptr) trim_equal_tiles(corner(newest->planes, rect), pixels, differing);
  if (!piece.direct) copy_tiles(pixels, corner(buffer.planes, rect), differing);
  differing.for_each_run([&](int row, int begin, int end) {
    const Rect run = differing.run_rect(row, begin, end);
    changed.add({rect.x + run.x, rect.y + run.y, run.width, run.height});
  });
}

bool Reader::fetch(const Piece& piece, unsigned sequence) {
  xcb_connection_t* c = connection_.get();
  xcb_generic_error_t* raw_error = nullptr;
  if (transport_ == Transport::kGetImage) {
    Reply<xcb_get_image_reply_t> reply(xcb_get_image_reply(c, {sequence}, &raw_error));
    const Reply<xcb_generic_error_t> error(raw_error);
    const std::size_t wanted = row_bytes(piece.rect) * static_cast<std::size_t>(piece.rect.height);
    if (!reply || static_cast<std::size_t>(xcb_get_image_data_length(reply.get())) < wanted)
      return false;
    std::memcpy(memory_->data + piece.offset, xcb_get_image_data(reply.get()), wanted);
    return true;
  }
  Reply<xcb_shm_get_image_reply_t> reply(xcb_shm_get_image_reply(c, {sequence}, &raw_error));
  const Reply<xcb_generic_error_t> error(raw_error);
  return reply != nullptr;
}

std::optional<TileMap> Reader::read(const TileMap& tiles, const FramePool::Buffer* newest,
                                    FramePool::Buffer& buffer, const Decorate& decorate) {
  xcb_connection_t* c = connection_.get();
  const auto buffer_offset = static_cast<std::size_t>(buffer.planes.data[0] - memory_->data);
  const std::vector<Piece> pieces = plan(tiles, direct_, buffer_offset);
  const auto request = [&](const Piece& piece) -> unsigned {
    const Rect& r = piece.rect;
    const auto x = static_cast<std::int16_t>(area_.x + r.x);
    const auto y = static_cast<std::int16_t>(area_.y + r.y);
    const auto width = static_cast<std::uint16_t>(r.width);
    const auto height = static_cast<std::uint16_t>(r.height);
    if (transport_ == Transport::kGetImage) {
      return xcb_get_image(c, XCB_IMAGE_FORMAT_Z_PIXMAP, connection_.root(), x, y, width, height,
                           0xffffffff)
          .sequence;
    }
    return xcb_shm_get_image(c, connection_.root(), x, y, width, height, 0xffffffff,
                             XCB_IMAGE_FORMAT_Z_PIXMAP, segment_,
                             static_cast<std::uint32_t>(piece.offset))
        .sequence;
  };

  TileMap changed(area_.width, area_.height);
  std::vector<unsigned> sequences;
  sequences.reserve(pieces.size());
  bool complete = true;
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    while (sequences.size() < pieces.size() && sequences.size() < i + kSlots) {
      sequences.push_back(request(pieces[sequences.size()]));
    }
    // Replies already asked for are collected even after a refusal: their slots are still being
    // written.
    if (!fetch(pieces[i], sequences[i])) complete = false;
    if (complete) take(pieces[i], newest, buffer, decorate, changed);
  }
  if (!complete) {
    buffer.stale.set_all();
    return std::nullopt;
  }
  if (newest != nullptr) {
    TileMap stale = buffer.stale;
    if (direct_) {
      stale.subtract(tiles);  // read in place
    } else {
      stale.subtract(changed);
    }
    copy_tiles(newest->planes, buffer.planes, stale);
  }
  buffer.stale.clear();
  if (is_large(tiles)) mostly_changed_ = changed.count() * kDirectShare > tiles.count();
  return changed;
}

}  // namespace kvm::x11
