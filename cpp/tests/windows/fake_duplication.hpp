// Desktop Duplication without a desktop: IDXGIOutputDuplication as Microsoft documents it, on real
// textures of a real device, with tests deciding what happens on the screen. As strict as Windows:
// what is a wrong call there fails here, and what is undefined there is garbage here.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "capture/dxgi/duplicator.hpp"
#include "model_desktop.hpp"

namespace kvm::test {

class FakeDuplication;

// Of an output; another one is a mode change.
struct Mode {
  Rect bounds{0, 0, 256, 160};  // on the desktop, after rotation
  DXGI_MODE_ROTATION rotation = DXGI_MODE_ROTATION_IDENTITY;
  bool hdr = false;  // FP16, scRGB
  float sdr_white_nits = 80.0F;
};

// How a new duplication begins.
enum class Start {
  kPicture,      // with the whole picture, just presented
  kIdlePicture,  // with the whole picture, of which Windows says that it is not new, and silence
  kBlack,        // black and not new; the picture follows when something is presented
};

// One output. Any thread.
class FakeOutput {
 public:
  FakeOutput(std::string id, const Mode& mode, unsigned seed);

  // Shows all of `updates` at once. Fills outside the output are refused.
  void compose(std::span<const Update> updates);
  // Grey of so many eighths of SDR white, 1 to 255, on an HDR output.
  void light(const Rect& rect, unsigned eighths);
  void move_pointer(int x, int y, bool visible);
  void set_shape(PointerShape shape);
  // A mode change: everything is new, duplications are lost.
  void set_mode(const Mode& mode, unsigned seed);
  // Every call of the present duplication answers `code` from now on.
  void lose(HRESULT code);
  // Every new duplication is lost before its first call.
  void lose_each(bool on);
  // duplicate() answers `code` for the next `times`.
  void refuse(HRESULT code, int times);
  void start_with(Start start);
  void protect(bool on);
  // The picture outside of what is reported as moved or dirty, to whole tiles, is garbage.
  void spoil_unreported(bool on);
  // The desktop's image lies in system memory, MapDesktopSurface() works.
  void in_system_memory(bool on);

  // Nothing waits to be acquired.
  [[nodiscard]] bool idle() const;
  [[nodiscard]] bool held() const;
  [[nodiscard]] int duplicate_calls() const;
  struct Timing {
    int acquires = 0;                           // calls
    int frames = 0;                             // answered with S_OK
    std::int64_t longest_unheld_ns = 0;         // from ReleaseFrame to the next call
    std::int64_t shortest_rest_ns = INT64_MAX;  // from a time-out to the next call
    int wrong_calls = 0;                        // answered DXGI_ERROR_INVALID_CALL
    int mapped = 0;
    unsigned longest_wait_ms = 0;  // asked for
  };
  [[nodiscard]] Timing timing() const;
  void forget_timing();

 private:
  friend class FakeDuplication;
  friend class FakeDesktop;

  // What Windows gathers between two acquired frames. In the surface's pixels, un-rotated.
  struct Pending {
    std::vector<DXGI_OUTDUPL_MOVE_RECT> moves;
    std::vector<RECT> dirty;  // not overlapping
    bool coalesced = false;
    UINT frames = 0;
    LONGLONG presented = 0;
    LONGLONG pointer_moved = 0;
    bool new_shape = false;
    bool whole = false;  // all of the picture, without rectangles
  };

  void apply(const Update& update);
  void add_dirty(const RECT& rect);
  void coalesce();
  [[nodiscard]] Rect desktop_size() const noexcept;
  [[nodiscard]] Rect surface_size() const noexcept;
  [[nodiscard]] RECT to_surface(const Rect& upright) const noexcept;
  [[nodiscard]] Rect to_upright(const RECT& surface) const noexcept;
  [[nodiscard]] std::uint32_t& at(int x, int y) noexcept;
  void paint(const Rect& upright, unsigned seed);
  void begin();

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::string id_;
  Mode mode_;
  std::vector<std::uint32_t> surface_;  // 0x00RRGGBB or light() << 24, un-rotated
  Pending pending_;
  POINT pointer_{};
  bool pointer_visible_ = false;
  PointerShape shape_;
  bool protected_ = false;
  bool spoil_ = false;
  bool system_memory_ = false;
  Start start_ = Start::kPicture;
  bool black_ = false;  // until something is presented
  HRESULT refusal_ = S_OK;
  int refusals_ = 0;
  int duplicate_calls_ = 0;
  FakeDuplication* duplication_ = nullptr;  // the one that lives
  HRESULT lost_ = S_OK;
  bool loses_each_ = false;
  bool held_ = false;
  Timing timing_;
};

// The outputs of a session, and their device. Any thread, but for monitors() and duplicate().
class FakeDesktop {
 public:
  FakeDesktop();
  ~FakeDesktop();
  FakeDesktop(const FakeDesktop&) = delete;
  FakeDesktop& operator=(const FakeDesktop&) = delete;

  FakeOutput& add(const std::string& id, const Mode& mode, unsigned seed = 1);
  void remove(const std::string& id);
  void set_mode(const std::string& id, const Mode& mode, unsigned seed);
  // As when a monitor or a GPU comes or goes elsewhere.
  void make_outdated();
  // The next duplication has another device; outputs lose theirs with DEVICE_REMOVED.
  void remove_device();
  // Duplications and textures of theirs that somebody still holds.
  [[nodiscard]] int live() const;
  // References to the device and what was made on it, less those of an unused one.
  [[nodiscard]] int device_references();

  [[nodiscard]] std::vector<DisplayInfo> monitors();
  [[nodiscard]] HRESULT duplicate(const std::string& id, dxgi::Duplicated& result);
  [[nodiscard]] bool is_current() const;

 private:
  friend class FakeDuplication;
  void make_device();

  mutable std::mutex mutex_;
  std::map<std::string, std::shared_ptr<FakeOutput>> outputs_;
  bool current_ = true;
  ID3D11Device* device_ = nullptr;
  ID3D11DeviceContext* context_ = nullptr;
  int base_references_ = 0;
  std::shared_ptr<std::atomic<int>> live_ = std::make_shared<std::atomic<int>>(0);
};

// What the source under test owns.
class FakeDuplicator final : public dxgi::Duplicator {
 public:
  explicit FakeDuplicator(std::shared_ptr<FakeDesktop> desktop) : desktop_(std::move(desktop)) {}
  [[nodiscard]] std::vector<DisplayInfo> monitors() override { return desktop_->monitors(); }
  [[nodiscard]] HRESULT duplicate(const std::string& id, dxgi::Duplicated& result) override {
    return desktop_->duplicate(id, result);
  }
  [[nodiscard]] bool is_current() override { return desktop_->is_current(); }

 private:
  std::shared_ptr<FakeDesktop> desktop_;
};

// The scRGB value of an sRGB channel on an HDR output with this SDR white, and a value as FP16.
[[nodiscard]] float scrgb_of(std::uint8_t srgb, float sdr_white_nits) noexcept;
[[nodiscard]] std::uint16_t half_of(float value) noexcept;

}  // namespace kvm::test
