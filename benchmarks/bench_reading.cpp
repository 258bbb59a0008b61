// What it costs to take a screen that changes nearly everywhere, whatever is done with it
// afterwards: the X server's copy, the search for what differs, the conversion.
//
//   bench_reading [PICTURES]
//
// One thread stands for the X server and copies rows of a 1920×1080 desktop of scrolling text to
// where the other one, the client, asks for them; both sleep in between as two processes do. CPU ms
// a picture of each:
//
//   in place   as capture/x11 does it where much changes: straight into a picture of a ring,
//   compared
//              with the one before, then converted
//   by rows    the same, compared and converted row of tiles by row of tiles
//   slots      into a few slots that stay in the cache; there compared with one lasting picture,
//              converted, and what differs is copied into that picture
//   compare, convert: of `in place`, that part alone
#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <semaphore>
#include <span>
#include <thread>
#include <vector>

#include "convert/convert.hpp"

namespace {

using namespace kvm;

constexpr int kWidth = 1920;
constexpr int kHeight = 1080;
constexpr std::size_t kRow = std::size_t{kWidth} * 4;
constexpr std::size_t kPicture = kRow * kHeight;
constexpr std::size_t kDesktops = 8;
constexpr std::size_t kSlots = 4;

double cpu_ms() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e3 + static_cast<double>(now.tv_nsec) * 1e-6;
}

// Lines of text, some of them empty; each desktop one line further.
std::vector<std::uint8_t> make_desktop(int scrolled) {
  std::vector<std::uint8_t> pixels(kPicture);
  for (int y = 0; y < kHeight; ++y) {
    const unsigned line = static_cast<unsigned>(y / kTile + scrolled);
    for (int x = 0; x < kWidth; ++x) {
      const unsigned word = static_cast<unsigned>(x / 48);
      if ((line * 7 + word * 13) % 10 >= 6) continue;
      const std::uint32_t pixel = (line * 2654435761U + static_cast<unsigned>(x) * 40503U +
                                   static_cast<unsigned>(y % kTile) * 977U) >>
                                      7 &
                                  0xFFFFFFU;
      std::memcpy(&pixels[static_cast<std::size_t>(y) * kRow + static_cast<std::size_t>(x) * 4],
                  &pixel, 4);
    }
  }
  return pixels;
}

// The X server's part, on a thread of its own.
class Server {
 public:
  explicit Server(std::span<const std::vector<std::uint8_t>> desktops)
      : desktops_(desktops), thread_([this] { run(); }) {}
  ~Server() {
    stop_ = true;
    asked_.release();
    thread_.join();
  }
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  void ask(std::size_t desktop, int y, int rows, std::uint8_t* to) {
    requests_[next_++ % requests_.size()] = {desktop, y, rows, to};
    asked_.release();
  }
  void wait() { answered_.acquire(); }
  // Of all requests that were waited for.
  [[nodiscard]] double cpu() const { return cpu_ms_; }

 private:
  struct Request {
    std::size_t desktop = 0;
    int y = 0;
    int rows = 0;
    std::uint8_t* to = nullptr;
  };

  void run() {
    for (std::size_t i = 0;; ++i) {
      asked_.acquire();
      if (stop_) return;
      const Request& request = requests_[i % requests_.size()];
      const std::uint8_t* from =
          desktops_[request.desktop].data() + static_cast<std::size_t>(request.y) * kRow;
      for (int y = 0; y < request.rows; ++y)
        std::memcpy(request.to + static_cast<std::size_t>(y) * kRow,
                    from + static_cast<std::size_t>(y) * kRow, kRow);
      cpu_ms_ = cpu_ms();
      answered_.release();
    }
  }

  std::span<const std::vector<std::uint8_t>> desktops_;
  std::array<Request, 2 * kSlots> requests_;
  std::size_t next_ = 0;
  std::counting_semaphore<> asked_{0};
  std::counting_semaphore<> answered_{0};
  std::atomic<bool> stop_{false};
  std::atomic<double> cpu_ms_{0};
  std::thread thread_;
};

CpuPlanes rows_of(std::uint8_t* picture, int y) {
  CpuPlanes planes;
  planes.data[0] = picture + static_cast<std::size_t>(y) * kRow;
  planes.stride[0] = static_cast<std::ptrdiff_t>(kRow);
  return planes;
}
CpuPlanes rows_of(const YuvPicture& picture, int y) {
  CpuPlanes planes = picture.planes();
  planes.data[0] += y * planes.stride[0];
  planes.data[1] += y / 2 * planes.stride[1];
  planes.data[2] += y / 2 * planes.stride[2];
  return planes;
}

enum class Way { kInPlace, kByRows, kBySlots, kCompare, kConvert };

class Client {
 public:
  Client(Server& server, std::size_t slot_bytes)
      : server_(server),
        slot_rows_(static_cast<int>(slot_bytes / kRow) / kTile * kTile),
        ring_(3, std::vector<std::uint8_t>(kPicture)),
        slots_(kSlots * slot_bytes),
        slot_bytes_(slot_bytes) {}

  void take(std::size_t number, Way way) {
    if (way == Way::kBySlots) return take_by_slots(number);
    std::uint8_t* now = ring_[number % ring_.size()].data();
    std::uint8_t* before = ring_[(number + ring_.size() - 1) % ring_.size()].data();
    server_.ask(number % kDesktops, 0, kHeight, now);
    server_.wait();
    const int step = way == Way::kByRows ? kTile : kHeight;
    for (int y = 0; y < kHeight; y += step) {
      TileMap changed(kWidth, std::min(step, kHeight - y));
      changed.set_all();
      if (way != Way::kConvert) trim_equal_tiles(rows_of(before, y), rows_of(now, y), changed);
      if (way != Way::kCompare)
        convert_tiles(rows_of(now, y), changed, PixelFormat::kI420, rows_of(yuv(number), y));
    }
  }

 private:
  void take_by_slots(std::size_t number) {
    const int pieces = (kHeight + slot_rows_ - 1) / slot_rows_;
    int asked = 0;
    for (int i = 0; i < pieces; ++i) {
      for (; asked < std::min(pieces, i + static_cast<int>(kSlots)); ++asked)
        server_.ask(number % kDesktops, asked * slot_rows_, rows_in(asked), slot(asked));
      server_.wait();
      for (int y = 0; y < rows_in(i); y += kTile) {
        TileMap changed(kWidth, std::min(kTile, rows_in(i) - y));
        changed.set_all();
        const CpuPlanes from = rows_of(slot(i), y);
        const CpuPlanes lasting = rows_of(ring_[0].data(), i * slot_rows_ + y);
        trim_equal_tiles(lasting, from, changed);
        convert_tiles(from, changed, PixelFormat::kI420, rows_of(yuv(number), i * slot_rows_ + y));
        copy_tiles(from, lasting, changed);
      }
    }
  }
  [[nodiscard]] int rows_in(int piece) const {
    return std::min(slot_rows_, kHeight - piece * slot_rows_);
  }
  [[nodiscard]] std::uint8_t* slot(int piece) {
    return slots_.data() + static_cast<std::size_t>(piece) % kSlots * slot_bytes_;
  }
  [[nodiscard]] YuvPicture& yuv(std::size_t number) { return yuv_[number % yuv_.size()]; }

  Server& server_;
  int slot_rows_;
  std::vector<std::vector<std::uint8_t>> ring_;
  std::vector<std::uint8_t> slots_;
  std::size_t slot_bytes_;
  std::array<YuvPicture, 2> yuv_{YuvPicture(PixelFormat::kI420, kWidth, kHeight),
                                 YuvPicture(PixelFormat::kI420, kWidth, kHeight)};
};

}  // namespace

int main(int argc, char** argv) {
  const std::size_t pictures = argc > 1 ? std::strtoul(argv[1], nullptr, 10) : 200;
  std::vector<std::vector<std::uint8_t>> desktops;
  for (std::size_t i = 0; i < kDesktops; ++i) desktops.push_back(make_desktop(static_cast<int>(i)));
  struct Case {
    const char* name;
    Way way;
    std::size_t slot_kib;
  };
  constexpr Case kCases[] = {
      {"in place", Way::kInPlace, 512},         {"by rows", Way::kByRows, 512},
      {"slots of 128 KiB", Way::kBySlots, 128}, {"slots of 512 KiB", Way::kBySlots, 512},
      {"slots of 1 MiB", Way::kBySlots, 1024},  {"compare", Way::kCompare, 512},
      {"convert", Way::kConvert, 512}};
  std::printf("| way | client ms | server ms | together |\n|---|---:|---:|---:|\n");
  for (const Case& one : kCases) {
    Server server(desktops);
    Client client(server, one.slot_kib << 10);
    for (std::size_t i = 0; i < kDesktops; ++i) client.take(i, one.way);
    const double server_begin = server.cpu();
    const double begin = cpu_ms();
    for (std::size_t i = 0; i < pictures; ++i) client.take(i, one.way);
    const auto count = static_cast<double>(pictures);
    const double ours = (cpu_ms() - begin) / count;
    const double theirs = (server.cpu() - server_begin) / count;
    std::printf("| %s | %.2f | %.2f | %.2f |\n", one.name, ours, theirs, ours + theirs);
  }
}
