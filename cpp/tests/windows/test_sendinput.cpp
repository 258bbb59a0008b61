// SendInput into a window that remembers what arrived. Where Wine is not Windows the test says so.
#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <tuple>

#include "input/scan_codes.hpp"
#include "input/sendinput.hpp"
#include "recorder.hpp"

namespace kvm {
namespace {

using input::SendInputInjector;
using test::Message;
using test::Recorder;

constexpr unsigned kA = 30, kControl = 29, kShift = 42, kAlt = 56, kAltGr = 100, kRightControl = 97;
constexpr unsigned kPause = 119, kPrintScreen = 99, kNumLock = 69;
constexpr Rect kPlace{0, 0, 400, 300};
constexpr std::chrono::milliseconds kQuiet{150};

// Of the US layout with Num Lock off, by evdev code; those without a key on it are left out.
const std::map<unsigned, unsigned> kVirtualKeys{{1, VK_ESCAPE},
                                                {2, '1'},
                                                {11, '0'},
                                                {12, VK_OEM_MINUS},
                                                {13, VK_OEM_PLUS},
                                                {14, VK_BACK},
                                                {15, VK_TAB},
                                                {16, 'Q'},
                                                {25, 'P'},
                                                {26, VK_OEM_4},
                                                {27, VK_OEM_6},
                                                {28, VK_RETURN},
                                                {29, VK_CONTROL},
                                                {30, 'A'},
                                                {38, 'L'},
                                                {39, VK_OEM_1},
                                                {40, VK_OEM_7},
                                                {41, VK_OEM_3},
                                                {42, VK_SHIFT},
                                                {43, VK_OEM_5},
                                                {44, 'Z'},
                                                {50, 'M'},
                                                {51, VK_OEM_COMMA},
                                                {52, VK_OEM_PERIOD},
                                                {53, VK_OEM_2},
                                                {54, VK_SHIFT},
                                                {55, VK_MULTIPLY},
                                                {56, VK_MENU},
                                                {57, VK_SPACE},
                                                {58, VK_CAPITAL},
                                                {59, VK_F1},
                                                {68, VK_F10},
                                                {69, VK_NUMLOCK},
                                                {70, VK_SCROLL},
                                                {71, VK_HOME},
                                                {74, VK_SUBTRACT},
                                                {76, VK_CLEAR},
                                                {78, VK_ADD},
                                                {82, VK_INSERT},
                                                {83, VK_DELETE},
                                                {86, VK_OEM_102},
                                                {87, VK_F11},
                                                {88, VK_F12},
                                                {96, VK_RETURN},
                                                {97, VK_CONTROL},
                                                {98, VK_DIVIDE},
                                                {99, VK_SNAPSHOT},
                                                {100, VK_MENU},
                                                {102, VK_HOME},
                                                {103, VK_UP},
                                                {104, VK_PRIOR},
                                                {105, VK_LEFT},
                                                {106, VK_RIGHT},
                                                {107, VK_END},
                                                {108, VK_DOWN},
                                                {109, VK_NEXT},
                                                {110, VK_INSERT},
                                                {111, VK_DELETE},
                                                {113, VK_VOLUME_MUTE},
                                                {119, VK_PAUSE},
                                                {125, VK_LWIN},
                                                {126, VK_RWIN},
                                                {127, VK_APPS},
                                                {142, VK_SLEEP},
                                                {158, VK_BROWSER_BACK},
                                                {164, VK_MEDIA_PLAY_PAUSE},
                                                {183, VK_F13},
                                                {194, VK_F24},
                                                {217, VK_BROWSER_SEARCH}};

std::vector<Message> keys(std::vector<Message> messages) {
  std::erase_if(messages, [](const Message& m) { return !m.goes_down() && !m.goes_up(); });
  return messages;
}

std::u16string characters(const std::vector<Message>& messages) {
  std::u16string out;
  for (const Message& m : messages) {
    if (m.kind == WM_CHAR) out.push_back(static_cast<char16_t>(m.wide));
  }
  return out;
}

std::function<bool(const std::vector<Message>&)> typed(std::size_t count) {
  return [count](const auto& messages) { return characters(messages).size() >= count; };
}

std::function<bool(const std::vector<Message>&)> ups(std::ptrdiff_t count) {
  return [count](const auto& messages) {
    return std::ranges::count_if(messages, [](const Message& m) { return m.goes_up(); }) >= count;
  };
}

bool anything_down() {
  for (int key = 1; key < 255; ++key) {
    if ((GetAsyncKeyState(key) & 0x8000) != 0) return true;
  }
  return false;
}

}  // namespace

TEST_CASE("every key of the table arrives with its scan code, extended bit and virtual key") {
  Recorder window(kPlace);
  SendInputInjector hands;
  hands.locks(false, false, false);
  window.take_after(kQuiet);
  for (const input::KeyRow& row : input::kScanCodes) {
    CAPTURE(row.code);
    CHECK(hands.key(row.code, true) == "");
    CHECK(hands.key(row.code, false) == "");
    const auto got = keys(window.take(ups(1)));
    REQUIRE(got.size() == 2);
    CHECK(got[0].goes_down());
    CHECK(got[1].goes_up());
    for (const Message& message : got) {
      CHECK(message.scan() == (row.scan & 0xffU));
      // Windows calls Num Lock extended and Pause not, Wine neither.
      if (row.code != kNumLock) CHECK(message.extended() == ((row.scan & 0xe000) == 0xe000));
      if (const auto known = kVirtualKeys.find(row.code); known != kVirtualKeys.end())
        CHECK(message.wide == known->second);
    }
  }
  hands.locks(false, false, false);
  CHECK(hands.key(129, true).find("129") != std::string::npos);
  CHECK(hands.held().empty());
  CHECK_FALSE(anything_down());
}

TEST_CASE("modifiers work together with keys, left and right apart") {
  Recorder window(kPlace);
  SendInputInjector hands;
  hands.locks(false, false, false);
  window.take_after(kQuiet);
  hands.key(kShift, true);
  hands.key(kA, true);
  hands.key(kA, false);
  hands.key(kShift, false);
  CHECK(characters(window.take(ups(2))) == u"A");

  hands.key(kControl, true);
  hands.key(kRightControl, true);
  hands.key(kControl, false);
  window.take(ups(1));
  CHECK((GetAsyncKeyState(VK_RCONTROL) & 0x8000) != 0);
  CHECK((GetAsyncKeyState(VK_LCONTROL) & 0x8000) == 0);
  hands.key(kA, true);
  hands.key(kA, false);
  CHECK(characters(window.take(ups(1))) == u"\x01");
  hands.key(kRightControl, false);
  window.take(ups(1));

  hands.key(kAltGr, true);
  window.take(1);
  CHECK((GetAsyncKeyState(VK_RMENU) & 0x8000) != 0);
  CHECK((GetAsyncKeyState(VK_LMENU) & 0x8000) == 0);
  hands.key(kA, true);
  hands.key(kA, false);
  const auto with_alt = keys(window.take(ups(1)));
  REQUIRE(with_alt.size() == 2);
  CHECK(with_alt[0].kind == WM_SYSKEYDOWN);
  CHECK(with_alt[0].wide == 'A');
  hands.key(kAltGr, false);
  window.take(ups(1));
  CHECK_FALSE(anything_down());
}

TEST_CASE(
    "Pause becomes Break with Control, PrintScreen SysRq with Alt; the release fits the press") {
  Recorder window(kPlace);
  SendInputInjector hands;
  window.take_after(kQuiet);
  hands.key(kControl, true);
  hands.key(kPause, true);
  hands.key(kControl, false);
  hands.key(kPause, false);
  auto got = keys(window.take(ups(2)));
  REQUIRE(got.size() == 4);
  for (const Message& message : {got[1], got[3]}) {
    CHECK(message.wide == VK_CANCEL);
    CHECK(message.scan() == 0x46);
    CHECK(message.extended());
  }
  hands.key(kAlt, true);
  hands.key(kPrintScreen, true);
  hands.key(kPrintScreen, false);
  hands.key(kAlt, false);
  got = keys(window.take(ups(2)));
  REQUIRE(got.size() == 4);
  CHECK(got[1].wide == VK_SNAPSHOT);
  CHECK(got[1].scan() == 0x54);
}

TEST_CASE("text arrives in any script; line ends and tabs as keys; held modifiers are out of it") {
  Recorder window(kPlace);
  SendInputInjector hands;
  hands.locks(true, std::nullopt);  // must not turn letters around
  window.take_after(kQuiet);
  const std::u16string wanted = u"Grüße, Ёжик, Ωμέγα, 漢字, 🙂!";
  CHECK(hands.text("Grüße, Ёжик, Ωμέγα, 漢字, 🙂!") == "");
  CHECK(characters(window.take(typed(wanted.size()))) == wanted);
  hands.locks(false, std::nullopt);
  window.take_after(kQuiet);

  CHECK(hands.text("a\r\nb\tc\n") == "");
  const auto lines = window.take(ups(6));
  CHECK(characters(lines) == u"a\rb\tc\r");
  CHECK(std::ranges::count_if(lines, [](const Message& m) {
          return m.kind == WM_KEYDOWN && m.wide == VK_RETURN;
        }) == 2);

  hands.key(kShift, true);
  hands.key(kControl, true);
  window.take(2);
  CHECK(hands.text("x") == "");
  const auto between = window.take([](const auto& m) { return keys(m).size() >= 6; });
  CHECK(characters(between) == u"x");
  CHECK((GetAsyncKeyState(VK_SHIFT) & 0x8000) != 0);
  CHECK((GetAsyncKeyState(VK_CONTROL) & 0x8000) != 0);
  hands.release_all();
  window.take(ups(2));
  CHECK_FALSE(anything_down());

  std::string longest;
  for (int i = 0; i < 600; ++i) longest += "äж🙂";  // 2,400 UTF-16 units, ten batches
  CHECK(hands.text(longest) == "");
  CHECK(characters(window.take(typed(2'400), std::chrono::seconds(40))).size() == 2'400);
}

TEST_CASE("motion, all five buttons and both wheels arrive in the window") {
  Recorder window(kPlace);
  SendInputInjector hands;
  hands.move(50, 60);
  window.take_after(kQuiet);
  hands.move(70, 80);
  const auto moved = window.take(1);
  REQUIRE(moved.size() == 1);
  CHECK(moved[0].kind == WM_MOUSEMOVE);
  CHECK(moved[0].x() == 70);
  CHECK(moved[0].y() == 80);

  const std::tuple<unsigned, UINT, UINT, unsigned> buttons[] = {
      {0x110, WM_LBUTTONDOWN, WM_LBUTTONUP, 0},
      {0x111, WM_RBUTTONDOWN, WM_RBUTTONUP, 0},
      {0x112, WM_MBUTTONDOWN, WM_MBUTTONUP, 0},
      {0x113, WM_XBUTTONDOWN, WM_XBUTTONUP, XBUTTON1},
      {0x114, WM_XBUTTONDOWN, WM_XBUTTONUP, XBUTTON2}};
  for (const auto& [code, down, up, which] : buttons) {
    CAPTURE(code);
    CHECK(hands.button(code, true) == "");
    CHECK(hands.button(code, false) == "");
    const auto got = window.take(2);
    REQUIRE(got.size() == 2);
    CHECK(got[0].kind == down);
    CHECK(got[1].kind == up);
    CHECK(HIWORD(got[0].wide) == which);
    CHECK(got[0].x() == 70);
  }
  CHECK(hands.button(0x115, true).find("0x115") != std::string::npos);

  hands.wheel(0, 240);  // two notches down
  hands.wheel(-30, -120);
  const auto turned = window.take(3);
  REQUIRE(turned.size() == 3);
  CHECK(turned[0].kind == WM_MOUSEWHEEL);
  CHECK(GET_WHEEL_DELTA_WPARAM(turned[0].wide) == -240);
  CHECK(turned[1].kind == WM_MOUSEWHEEL);
  CHECK(GET_WHEEL_DELTA_WPARAM(turned[1].wide) == 120);
  CHECK(turned[2].kind == WM_MOUSEHWHEEL);
  CHECK(GET_WHEEL_DELTA_WPARAM(turned[2].wide) == -30);
}

TEST_CASE("the locks become what the other side says, and are left alone when nothing is said") {
  Recorder window(kPlace);
  SendInputInjector hands;
  const auto desktop = input::make_desktop();
  const auto now = [&] {
    return std::array{desktop->locked_on(VK_CAPITAL), desktop->locked_on(VK_NUMLOCK),
                      desktop->locked_on(VK_SCROLL)};
  };
  hands.locks(false, false, false);
  CHECK(now() == std::array{false, false, false});
  hands.locks(true, std::nullopt, std::nullopt);
  CHECK(now() == std::array{true, false, false});
  hands.locks(true, true, true);  // twice the same changes nothing
  CHECK(now() == std::array{true, true, true});
  hands.locks(false, std::nullopt, false);
  CHECK(now() == std::array{false, true, false});
  hands.locks(false, false, false);
  CHECK(now() == std::array{false, false, false});
}

TEST_CASE("a held key repeats at the user's rate, and everything goes up when the hands end") {
  Recorder window(kPlace);
  {
    SendInputInjector hands;
    hands.move(50, 60);
    window.take_after(kQuiet);
    const std::int64_t now = 1'000'000'000;
    hands.key(kShift, true, now);
    hands.key(kA, true, now);
    hands.button(0x110, true, now);
    const std::int64_t first = hands.next_tick();
    CHECK(first - now >= 250 * kNsPerMs);
    CHECK(first - now <= 1000 * kNsPerMs);
    hands.tick(first - 1);  // not yet
    for (int i = 0; i < 5; ++i) hands.tick(hands.next_tick());
    const auto got = keys(window.take([](const auto& m) { return keys(m).size() >= 7; }));
    REQUIRE(got.size() == 7);
    CHECK_FALSE(got[1].was_down());
    for (std::size_t i = 2; i < 7; ++i) {
      CHECK(got[i].wide == 'A');
      CHECK(got[i].goes_down());
      CHECK(got[i].was_down());
    }
    CHECK(anything_down());
  }
  const auto released = [](const std::vector<Message>& messages) {
    return std::ranges::count_if(
        messages, [](const Message& m) { return m.goes_up() || m.kind == WM_LBUTTONUP; });
  };
  CHECK(released(window.take([&](const auto& m) { return released(m) >= 3; })) == 3);
  CHECK_FALSE(anything_down());
}

}  // namespace kvm
