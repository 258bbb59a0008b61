#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>
#include <utility>

#include "fake_duplication.hpp"

namespace kvm::test {
namespace {

// As many as Windows is likely to list; more become one that has unmodified pixels, too.
constexpr std::size_t kMostDirty = 24;
constexpr std::size_t kMostMoves = 8;

LONGLONG query_counter() {
  LARGE_INTEGER now{};
  QueryPerformanceCounter(&now);
  return now.QuadPart;
}

bool empty(const RECT& r) {
  return r.left >= r.right || r.top >= r.bottom;
}

RECT overlap(const RECT& a, const RECT& b) {
  return {std::max(a.left, b.left), std::max(a.top, b.top), std::min(a.right, b.right),
          std::min(a.bottom, b.bottom)};
}

// `a` without `b`, in up to four pieces.
std::vector<RECT> without(const RECT& a, const RECT& b) {
  const RECT hole = overlap(a, b);
  if (empty(hole)) return {a};
  std::vector<RECT> pieces;
  for (const RECT& piece :
       {RECT{a.left, a.top, a.right, hole.top}, RECT{a.left, hole.bottom, a.right, a.bottom},
        RECT{a.left, hole.top, hole.left, hole.bottom},
        RECT{hole.right, hole.top, a.right, hole.bottom}}) {
    if (!empty(piece)) pieces.push_back(piece);
  }
  return pieces;
}

}  // namespace

FakeOutput::FakeOutput(std::string id, const Mode& mode, unsigned seed) : id_(std::move(id)) {
  set_mode(mode, seed);
}

Rect FakeOutput::desktop_size() const noexcept {
  return {0, 0, mode_.bounds.width, mode_.bounds.height};
}

Rect FakeOutput::surface_size() const noexcept {
  const bool on_side = mode_.rotation == DXGI_MODE_ROTATION_ROTATE90 ||
                       mode_.rotation == DXGI_MODE_ROTATION_ROTATE270;
  const Rect size = desktop_size();
  return on_side ? Rect{0, 0, size.height, size.width} : size;
}

// Windows turns the surface clockwise by `rotation` to show it.
RECT FakeOutput::to_surface(const Rect& r) const noexcept {
  const int w = mode_.bounds.width;
  const int h = mode_.bounds.height;
  switch (mode_.rotation) {
    case DXGI_MODE_ROTATION_ROTATE90:
      return {r.y, w - r.right(), r.bottom(), w - r.x};
    case DXGI_MODE_ROTATION_ROTATE180:
      return {w - r.right(), h - r.bottom(), w - r.x, h - r.y};
    case DXGI_MODE_ROTATION_ROTATE270:
      return {h - r.bottom(), r.x, h - r.y, r.right()};
    default:
      return {r.x, r.y, r.right(), r.bottom()};
  }
}

Rect FakeOutput::to_upright(const RECT& s) const noexcept {
  const int w = mode_.bounds.width;
  const int h = mode_.bounds.height;
  const int across = s.right - s.left;
  const int down = s.bottom - s.top;
  switch (mode_.rotation) {
    case DXGI_MODE_ROTATION_ROTATE90:
      return {w - s.bottom, s.left, down, across};
    case DXGI_MODE_ROTATION_ROTATE180:
      return {w - s.right, h - s.bottom, across, down};
    case DXGI_MODE_ROTATION_ROTATE270:
      return {s.top, h - s.right, down, across};
    default:
      return {s.left, s.top, across, down};
  }
}

std::uint32_t& FakeOutput::at(int x, int y) noexcept {
  return surface_[static_cast<std::size_t>(y * surface_size().width + x)];
}

void FakeOutput::paint(const Rect& upright, unsigned seed) {
  for (int y = upright.y; y < upright.bottom(); ++y) {
    for (int x = upright.x; x < upright.right(); ++x) {
      const RECT to = to_surface({x, y, 1, 1});
      at(to.left, to.top) = colour_at(x, y, seed);
    }
  }
}

void FakeOutput::add_dirty(const RECT& rect) {
  std::vector<RECT> pieces{rect};
  for (const RECT& known : pending_.dirty) {
    std::vector<RECT> left;
    for (const RECT& piece : pieces) {
      const auto rest = without(piece, known);
      left.insert(left.end(), rest.begin(), rest.end());
    }
    pieces = std::move(left);
  }
  pending_.dirty.insert(pending_.dirty.end(), pieces.begin(), pieces.end());
}

void FakeOutput::coalesce() {
  if (pending_.moves.size() > kMostMoves) {
    const auto moves = std::move(pending_.moves);
    pending_.moves.clear();
    for (const auto& move : moves) add_dirty(move.DestinationRect);
  }
  if (pending_.dirty.size() <= kMostDirty) return;
  RECT all = pending_.dirty.front();
  for (const RECT& r : pending_.dirty) {
    all = {std::min(all.left, r.left), std::min(all.top, r.top), std::max(all.right, r.right),
           std::max(all.bottom, r.bottom)};
  }
  pending_.dirty = {all};
  pending_.coalesced = true;
}

// The client applies moves to the picture it has, and then copies what is dirty. So what a move
// takes out of a dirty part is dirty where it arrives.
void FakeOutput::apply(const Update& update) {
  if (const auto* fill = std::get_if<Fill>(&update)) {
    if (intersect(fill->rect, desktop_size()) != fill->rect || fill->rect.empty())
      throw std::logic_error("a fill outside the output");
    paint(fill->rect, fill->seed);
    add_dirty(to_surface(fill->rect));
    return;
  }
  const Move& move = std::get<Move>(update);
  const RECT to = to_surface(move.to);
  const RECT from = to_surface({move.from_x, move.from_y, move.to.width, move.to.height});
  const std::vector<std::uint32_t> before = surface_;
  const int stride = surface_size().width;
  for (LONG y = 0; y < to.bottom - to.top; ++y) {
    for (LONG x = 0; x < to.right - to.left; ++x) {
      at(to.left + x, to.top + y) =
          before[static_cast<std::size_t>((from.top + y) * stride + from.left + x)];
    }
  }
  pending_.moves.push_back({{from.left, from.top}, to});
  const std::vector<RECT> dirty = pending_.dirty;
  for (const RECT& rect : dirty) {
    RECT part = overlap(rect, from);
    if (empty(part)) continue;
    OffsetRect(&part, to.left - from.left, to.top - from.top);
    add_dirty(part);
  }
}

void FakeOutput::compose(std::span<const Update> updates) {
  const std::lock_guard lock(mutex_);
  for (const Update& update : updates) apply(update);
  coalesce();
  ++pending_.frames;
  pending_.presented = query_counter();
  if (std::exchange(black_, false)) pending_.whole = true;
  changed_.notify_all();
}

void FakeOutput::light(const Rect& rect, unsigned eighths) {
  const std::lock_guard lock(mutex_);
  const RECT to = to_surface(rect);
  for (LONG y = to.top; y < to.bottom; ++y)
    for (LONG x = to.left; x < to.right; ++x) at(x, y) = eighths << 24;
  add_dirty(to);
  ++pending_.frames;
  pending_.presented = query_counter();
  changed_.notify_all();
}

void FakeOutput::move_pointer(int x, int y, bool visible) {
  const std::lock_guard lock(mutex_);
  pointer_ = {x, y};
  pointer_visible_ = visible;
  pending_.pointer_moved = query_counter();
  changed_.notify_all();
}

void FakeOutput::set_shape(PointerShape shape) {
  const std::lock_guard lock(mutex_);
  shape_ = std::move(shape);
  pending_.pointer_moved = query_counter();
  pending_.new_shape = true;
  changed_.notify_all();
}

void FakeOutput::set_mode(const Mode& mode, unsigned seed) {
  const std::lock_guard lock(mutex_);
  mode_ = mode;
  const Rect size = surface_size();
  surface_.assign(static_cast<std::size_t>(size.width) * static_cast<std::size_t>(size.height), 0);
  paint(desktop_size(), seed);
  lost_ = DXGI_ERROR_ACCESS_LOST;
  changed_.notify_all();
}

void FakeOutput::lose(HRESULT code) {
  const std::lock_guard lock(mutex_);
  lost_ = code;
  changed_.notify_all();
}

void FakeOutput::lose_each(bool on) {
  const std::lock_guard lock(mutex_);
  loses_each_ = on;
}

void FakeOutput::refuse(HRESULT code, int times) {
  const std::lock_guard lock(mutex_);
  refusal_ = code;
  refusals_ = times;
}

void FakeOutput::start_with(Start start) {
  const std::lock_guard lock(mutex_);
  start_ = start;
}

void FakeOutput::protect(bool on) {
  const std::lock_guard lock(mutex_);
  protected_ = on;
}

void FakeOutput::spoil_unreported(bool on) {
  const std::lock_guard lock(mutex_);
  spoil_ = on;
}

void FakeOutput::in_system_memory(bool on) {
  const std::lock_guard lock(mutex_);
  system_memory_ = on;
}

// Of a new duplication.
void FakeOutput::begin() {
  lost_ = loses_each_ ? DXGI_ERROR_ACCESS_LOST : S_OK;
  held_ = false;
  pending_ = {};
  pending_.whole = true;
  pending_.pointer_moved = query_counter();
  pending_.new_shape = !shape_.bytes.empty();
  black_ = start_ == Start::kBlack;
  if (start_ == Start::kPicture) {
    pending_.frames = 1;
    pending_.presented = query_counter();
  }
}

bool FakeOutput::idle() const {
  const std::lock_guard lock(mutex_);
  return duplication_ != nullptr && lost_ == S_OK && pending_.frames == 0 &&
         pending_.pointer_moved == 0 && !pending_.whole;
}

bool FakeOutput::held() const {
  const std::lock_guard lock(mutex_);
  return held_;
}

int FakeOutput::duplicate_calls() const {
  const std::lock_guard lock(mutex_);
  return duplicate_calls_;
}

FakeOutput::Timing FakeOutput::timing() const {
  const std::lock_guard lock(mutex_);
  return timing_;
}

void FakeOutput::forget_timing() {
  const std::lock_guard lock(mutex_);
  timing_ = {};
}

float scrgb_of(std::uint8_t srgb, float sdr_white_nits) noexcept {
  const float c = static_cast<float>(srgb) / 255.0F;
  const float linear = c <= 0.04045F ? c / 12.92F : std::pow((c + 0.055F) / 1.055F, 2.4F);
  return linear * sdr_white_nits / 80.0F;
}

// Rounded to the nearest; what is too small for a normal number is 0, what is too large the
// largest.
std::uint16_t half_of(float value) noexcept {
  std::uint32_t bits = 0;
  std::memcpy(&bits, &value, sizeof bits);
  const std::uint32_t sign = bits >> 16 & 0x8000U;
  bits &= 0x7fffffffU;
  if (bits < 0x38800000U) return static_cast<std::uint16_t>(sign);
  if (bits >= 0x47800000U) return static_cast<std::uint16_t>(sign | 0x7bffU);
  return static_cast<std::uint16_t>(sign | ((bits - 0x38000000U + 0x1000U) >> 13));
}

}  // namespace kvm::test
