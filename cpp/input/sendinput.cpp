#include "input/sendinput.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <tuple>
#include <utility>

#include "base/utf_win32.hpp"
#include "input/absolute.hpp"
#include "input/scan_codes.hpp"

namespace kvm::input {
namespace {

constexpr unsigned kLeftControl = 29, kRightControl = 97, kLeftShift = 42, kRightShift = 54;
constexpr unsigned kLeftAlt = 56, kRightAlt = 100, kLeftMeta = 125, kRightMeta = 126;
constexpr unsigned kCapsLock = 58, kNumLock = 69, kScrollLock = 70;
constexpr unsigned kPrintScreen = 99, kPause = 119;
constexpr std::array kModifiers{kLeftControl, kRightControl, kLeftShift, kRightShift,
                                kLeftAlt,     kRightAlt,     kLeftMeta,  kRightMeta};
constexpr unsigned kLeft = 0x110, kRight = 0x111, kMiddle = 0x112, kBack = 0x113, kForward = 0x114;
constexpr WORD kExtended = 0xe000;
constexpr KeyRow kSysRq{kPrintScreen, 0x54, VK_SNAPSHOT};
constexpr KeyRow kBreak{kPause, 0xe046, VK_CANCEL};
constexpr std::int64_t kSettleNs = 250 * kNsPerMs;  // between two attempts to release what is owed
constexpr std::size_t kBatch = 256;  // events of a text at a time, so that others get their turn

constexpr bool is_button(unsigned code) noexcept {
  return code >= kLeft && code <= kForward;
}

constexpr bool repeats(unsigned code) noexcept {
  return std::ranges::find(kModifiers, code) == kModifiers.end() && code != kCapsLock &&
         code != kNumLock && code != kScrollLock && code != kPause && !is_button(code);
}

// Windows looks at the scan code alone, Wine 8 at the virtual key alone.
INPUT scan_press(Desktop& desktop, const KeyRow& row) noexcept {
  INPUT event{};
  event.type = INPUT_KEYBOARD;
  event.ki.wVk = row.virtual_key != 0 ? row.virtual_key : desktop.virtual_key(row.scan);
  event.ki.wScan = row.scan & 0xff;
  event.ki.dwFlags = KEYEVENTF_SCANCODE;
  if ((row.scan & kExtended) == kExtended) event.ki.dwFlags |= KEYEVENTF_EXTENDEDKEY;
  return event;
}

INPUT unicode_press(WORD unit) noexcept {
  INPUT event{};
  event.type = INPUT_KEYBOARD;
  event.ki.wScan = unit;
  event.ki.dwFlags = KEYEVENTF_UNICODE;
  return event;
}

INPUT mouse(DWORD flags, int dx, int dy, DWORD data = 0) noexcept {
  INPUT event{};
  event.type = INPUT_MOUSE;
  event.mi.dx = dx;
  event.mi.dy = dy;
  event.mi.mouseData = data;
  event.mi.dwFlags = flags;
  return event;
}

INPUT button_press(unsigned code, bool swapped) noexcept {
  if (swapped && (code == kLeft || code == kRight)) code = code == kLeft ? kRight : kLeft;
  switch (code) {
    case kLeft:
      return mouse(MOUSEEVENTF_LEFTDOWN, 0, 0);
    case kRight:
      return mouse(MOUSEEVENTF_RIGHTDOWN, 0, 0);
    case kMiddle:
      return mouse(MOUSEEVENTF_MIDDLEDOWN, 0, 0);
    default:
      return mouse(MOUSEEVENTF_XDOWN, 0, 0, code == kBack ? XBUTTON1 : XBUTTON2);
  }
}

// Each MOUSEEVENTF_…UP is the bit above its DOWN.
static_assert(MOUSEEVENTF_LEFTUP == MOUSEEVENTF_LEFTDOWN << 1 &&
              MOUSEEVENTF_RIGHTUP == MOUSEEVENTF_RIGHTDOWN << 1 &&
              MOUSEEVENTF_MIDDLEUP == MOUSEEVENTF_MIDDLEDOWN << 1 &&
              MOUSEEVENTF_XUP == MOUSEEVENTF_XDOWN << 1);

INPUT release_of(INPUT press) noexcept {
  if (press.type == INPUT_MOUSE) {
    press.mi.dwFlags <<= 1;
  } else {
    press.ki.dwFlags |= KEYEVENTF_KEYUP;
  }
  return press;
}

// The code of a key that programs expect in the place of this character; 0 for none.
constexpr unsigned key_of(wchar_t unit) noexcept {
  switch (unit) {
    case L'\n':
    case L'\r':
      return 28;  // Enter
    case L'\t':
      return 15;
    case L'\b':
      return 14;
    case L'\x1b':
      return 1;  // Escape
    case L'\x7f':
      return 111;  // Delete
    default:
      return 0;
  }
}

}  // namespace

SendInputInjector::SendInputInjector(std::unique_ptr<Desktop> desktop)
    : desktop_(std::move(desktop)) {}

SendInputInjector::~SendInputInjector() {
  release_all();
}

std::string SendInputInjector::key(unsigned code, bool down, std::int64_t now) {
  if (is_button(code) || find_key(code) == nullptr)
    return "key " + std::to_string(code) + " has no scan code on Windows; leave it out";
  return set(code, down, now);
}

std::string SendInputInjector::button(unsigned code, bool down, std::int64_t now) {
  if (!is_button(code)) {
    char name[16];
    std::snprintf(name, sizeof name, "%#x", code);
    return std::string("button ") + name + " is none of left, right, middle, back and forward";
  }
  return set(code, down, now);
}

std::string SendInputInjector::move(int x, int y) {
  const Rect all = desktop_->bounds();
  const INPUT event = mouse(MOUSEEVENTF_MOVE | MOUSEEVENTF_ABSOLUTE | MOUSEEVENTF_VIRTUALDESK,
                            to_absolute(x, all.x, all.width), to_absolute(y, all.y, all.height));
  return send({&event, 1}, Aim::kPointer);
}

std::string SendInputInjector::move_by(int dx, int dy) {
  const INPUT event = mouse(MOUSEEVENTF_MOVE, dx, dy);
  return send({&event, 1}, Aim::kPointer);
}

std::string SendInputInjector::wheel(int dx, int dy) {
  std::vector<INPUT> events;
  // Away from the user is positive here.
  if (dy != 0) events.push_back(mouse(MOUSEEVENTF_WHEEL, 0, 0, static_cast<DWORD>(-dy)));
  if (dx != 0) events.push_back(mouse(MOUSEEVENTF_HWHEEL, 0, 0, static_cast<DWORD>(dx)));
  return events.empty() ? std::string() : send(events, Aim::kPointer);
}

std::string SendInputInjector::text(std::string_view utf8) {
  // A modifier that is held would turn the text into shortcuts.
  std::vector<INPUT> events;
  std::vector<INPUT> again;
  for (const Held& held : held_) {
    if (std::ranges::find(kModifiers, held.code) == kModifiers.end()) continue;
    events.push_back(held.up);
    again.push_back(held.up);
    again.back().ki.dwFlags &= ~static_cast<DWORD>(KEYEVENTF_KEYUP);
  }
  typematic_.stop();
  wchar_t before = 0;
  for (const wchar_t unit : to_utf16(utf8)) {
    if (!(unit == L'\n' && before == L'\r')) {
      const unsigned code = key_of(unit);
      const INPUT press = code != 0 ? scan_press(*desktop_, *find_key(code))
                                    : unicode_press(static_cast<WORD>(unit));
      events.push_back(press);
      events.push_back(release_of(press));
    }
    before = unit;
  }
  events.insert(events.end(), again.begin(), again.end());
  std::string failure;
  for (std::size_t done = 0; done < events.size(); done += kBatch) {
    const auto part = std::span(events).subspan(done, std::min(kBatch, events.size() - done));
    if (std::string now = send(part, Aim::kKeyboard); failure.empty()) failure = std::move(now);
  }
  return failure;
}

std::string SendInputInjector::locks(std::optional<bool> caps, std::optional<bool> num,
                                     std::optional<bool> scroll) {
  const std::tuple<unsigned, int, std::optional<bool>> all[] = {
      {kCapsLock, VK_CAPITAL, caps}, {kNumLock, VK_NUMLOCK, num}, {kScrollLock, VK_SCROLL, scroll}};
  std::string failure;
  for (const auto& [code, virtual_key, wanted] : all) {
    const bool pressed = std::ranges::find(held_, code, &Held::code) != held_.end();
    if (!wanted || pressed || desktop_->locked_on(virtual_key) == *wanted) continue;
    const INPUT press = scan_press(*desktop_, *find_key(code));
    const INPUT stroke[] = {press, release_of(press)};
    if (std::string now = send(stroke, Aim::kKeyboard); failure.empty()) failure = std::move(now);
  }
  return failure;
}

std::string SendInputInjector::renew(std::span<const unsigned> codes, std::int64_t now) {
  std::string failure;
  for (const unsigned code : held()) {
    if (std::ranges::find(codes, code) != codes.end()) continue;
    if (std::string one = set(code, false, now); failure.empty()) failure = std::move(one);
  }
  for (Held& held : held_) held.since = now;
  return failure;
}

std::string SendInputInjector::tick(std::int64_t now) {
  std::string failure = settle();
  for (const unsigned code : held()) {
    const auto late = std::ranges::find(held_, code, &Held::code);
    if (late->since + kLeaseNs > now) continue;
    if (std::string one = let_go(late); failure.empty()) failure = std::move(one);
  }
  if (const auto code = typematic_.take(now)) {
    const auto held = std::ranges::find(held_, *code, &Held::code);
    INPUT press = held->up;
    press.ki.dwFlags &= ~static_cast<DWORD>(KEYEVENTF_KEYUP);
    if (std::string one = send({&press, 1}, Aim::kKeyboard); failure.empty())
      failure = std::move(one);
  }
  return failure;
}

std::int64_t SendInputInjector::next_tick() const noexcept {
  std::int64_t next = typematic_.due();
  for (const Held& held : held_) next = std::min(next, held.since + kLeaseNs);
  return std::min(next, settle_at_);
}

std::string SendInputInjector::release_all() {
  std::string failure;
  while (!held_.empty()) {
    if (std::string one = let_go(std::prev(held_.end())); failure.empty()) failure = std::move(one);
  }
  if (std::string one = settle(); failure.empty()) failure = std::move(one);
  return failure;
}

std::vector<unsigned> SendInputInjector::held() const {
  std::vector<unsigned> codes;
  for (const Held& held : held_) codes.push_back(held.code);
  return codes;
}

bool SendInputInjector::any_held(unsigned left, unsigned right) const noexcept {
  return std::ranges::any_of(
      held_, [&](const Held& held) { return held.code == left || held.code == right; });
}

INPUT SendInputInjector::press_of(unsigned code) const {
  if (is_button(code)) return button_press(code, desktop_->buttons_swapped());
  if (code == kPause && any_held(kLeftControl, kRightControl)) return scan_press(*desktop_, kBreak);
  if (code == kPause) {
    // E1 1D 45 is no single scan code, and 45 alone is Num Lock: only its virtual key names this
    // one.
    INPUT press{};
    press.type = INPUT_KEYBOARD;
    press.ki.wVk = VK_PAUSE;
    press.ki.wScan = find_key(kPause)->scan;
    return press;
  }
  // What a keyboard sends with Alt; E0 37 else, as 37 alone is the numpad's *.
  if (code == kPrintScreen && any_held(kLeftAlt, kRightAlt)) return scan_press(*desktop_, kSysRq);
  return scan_press(*desktop_, *find_key(code));
}

std::string SendInputInjector::set(unsigned code, bool down, std::int64_t now) {
  const auto found = std::ranges::find(held_, code, &Held::code);
  if (!down) return found == held_.end() ? std::string() : let_go(found);
  if (found != held_.end()) return {};
  const INPUT press = press_of(code);
  held_.push_back({code, release_of(press), now});
  if (repeats(code)) {
    const KeyRepeat repeat = desktop_->key_repeat();
    typematic_.set_rate(repeat.delay, repeat.speed);
    typematic_.press(code, now);
  }
  return send({&press, 1}, is_button(code) ? Aim::kPointer : Aim::kKeyboard);
}

std::string SendInputInjector::let_go(std::vector<Held>::iterator key) {
  const Held held = *key;
  held_.erase(key);
  typematic_.release(held.code);
  std::string failure = send({&held.up, 1}, is_button(held.code) ? Aim::kPointer : Aim::kKeyboard);
  // Windows goes on believing that it is down, in whatever window comes next.
  if (!failure.empty()) {
    owed_.push_back(held.up);
    settle_at_ = now_ns() + kSettleNs;
  }
  return failure;
}

std::string SendInputInjector::send(std::span<const INPUT> events, Aim aim) {
  const bool out_of_reach = desktop_->out_of_reach(aim);
  const std::size_t taken = desktop_->send(events);
  if (out_of_reach) {
    return aim == Aim::kKeyboard
               ? "the window in front runs with higher rights than kvmstream, so Windows keeps the "
                 "keyboard from it (UIPI); run the agent as administrator, or bring another window "
                 "to the front"
               : "the window under the pointer runs with higher rights than kvmstream, so Windows "
                 "keeps the mouse from it (UIPI); run the agent as administrator, or move on";
  }
  if (taken == events.size()) return {};
  return last_error(("Windows took " + std::to_string(taken) + " of " +
                     std::to_string(events.size()) + " events")
                        .c_str()) +
         "; the lock screen and questions of UAC take input from a process of SYSTEM only";
}

std::string SendInputInjector::settle() {
  if (owed_.empty()) return {};
  const std::vector<INPUT> owed = std::exchange(owed_, {});
  settle_at_ = kNever;
  std::string failure;
  for (const INPUT& up : owed) {
    std::string one = send({&up, 1}, up.type == INPUT_MOUSE ? Aim::kPointer : Aim::kKeyboard);
    if (one.empty()) continue;
    owed_.push_back(up);
    settle_at_ = now_ns() + kSettleNs;
    failure = std::move(one);
  }
  return failure;
}

}  // namespace kvm::input
