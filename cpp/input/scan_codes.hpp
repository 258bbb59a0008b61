// Keys by evdev code, as the wire carries them, and the PS/2 set-1 scan codes that Windows knows
// them by: 0xe0.. are the extended ones. "Keyboard Input Overview", Scan codes
// (learn.microsoft.com). src/kvmstream/agent/_scan_codes.py holds the same numbers;
// tests/test_sendinput.py compares the two.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

namespace kvm::input {

struct KeyRow {
  std::uint16_t code;
  std::uint16_t scan;
  // Where no layout has a say; 0xff for none. 0: whatever the layout has there.
  std::uint8_t virtual_key = 0;
};

// Sorted by code. Again, Select, Open and Find (129, 132, 134, 136) have no scan code on Windows.
// clang-format off: one key a line says less
inline constexpr auto kScanCodes = std::to_array<KeyRow>({
    // Escape … NumpadDecimal: evdev took its numbers from this very set.
    {1, 0x01}, {2, 0x02}, {3, 0x03}, {4, 0x04}, {5, 0x05}, {6, 0x06},
    {7, 0x07}, {8, 0x08}, {9, 0x09}, {10, 0x0a}, {11, 0x0b}, {12, 0x0c},
    {13, 0x0d}, {14, 0x0e}, {15, 0x0f}, {16, 0x10}, {17, 0x11}, {18, 0x12},
    {19, 0x13}, {20, 0x14}, {21, 0x15}, {22, 0x16}, {23, 0x17}, {24, 0x18},
    {25, 0x19}, {26, 0x1a}, {27, 0x1b}, {28, 0x1c}, {29, 0x1d}, {30, 0x1e},
    {31, 0x1f}, {32, 0x20}, {33, 0x21}, {34, 0x22}, {35, 0x23}, {36, 0x24},
    {37, 0x25}, {38, 0x26}, {39, 0x27}, {40, 0x28}, {41, 0x29}, {42, 0x2a},
    {43, 0x2b}, {44, 0x2c}, {45, 0x2d}, {46, 0x2e}, {47, 0x2f}, {48, 0x30},
    {49, 0x31}, {50, 0x32}, {51, 0x33}, {52, 0x34}, {53, 0x35}, {54, 0x36},
    {55, 0x37, 0x6a}, {56, 0x38}, {57, 0x39}, {58, 0x3a}, {59, 0x3b}, {60, 0x3c},
    {61, 0x3d}, {62, 0x3e}, {63, 0x3f}, {64, 0x40}, {65, 0x41}, {66, 0x42},
    {67, 0x43}, {68, 0x44}, {69, 0x45}, {70, 0x46}, {71, 0x47}, {72, 0x48},
    {73, 0x49}, {74, 0x4a}, {75, 0x4b}, {76, 0x4c}, {77, 0x4d}, {78, 0x4e},
    {79, 0x4f}, {80, 0x50}, {81, 0x51}, {82, 0x52}, {83, 0x53},
    // Lang5, IntlBackslash, F11, F12, IntlRo, Lang3, Lang4, Convert, KanaMode, NonConvert
    {85, 0x76}, {86, 0x56}, {87, 0x57}, {88, 0x58}, {89, 0x73}, {90, 0x78},
    {91, 0x77}, {92, 0x79}, {93, 0x70}, {94, 0x7b},
    // NumpadEnter, ControlRight, NumpadDivide, PrintScreen, AltRight
    {96, 0xe01c}, {97, 0xe01d}, {98, 0xe035, 0x6f}, {99, 0xe037, 0x2c}, {100, 0xe038},
    // Home, ArrowUp, PageUp, ArrowLeft, ArrowRight, End, ArrowDown, PageDown, Insert, Delete
    {102, 0xe047}, {103, 0xe048}, {104, 0xe049}, {105, 0xe04b}, {106, 0xe04d}, {107, 0xe04f},
    {108, 0xe050}, {109, 0xe051}, {110, 0xe052}, {111, 0xe053},
    // AudioVolumeMute, AudioVolumeDown, AudioVolumeUp, Power, NumpadEqual
    {113, 0xe020, 0xad}, {114, 0xe02e, 0xae}, {115, 0xe030, 0xaf}, {116, 0xe05e, 0xff}, {117, 0x59},
    // Pause: the keyboard's E1 1D 45; sendinput.cpp knows how Windows wants it.
    {119, 0x45, 0x13},
    // NumpadComma, Lang1, Lang2, IntlYen, MetaLeft, MetaRight, ContextMenu
    {121, 0x7e}, {122, 0x72}, {123, 0x71}, {124, 0x7d}, {125, 0xe05b}, {126, 0xe05c},
    {127, 0xe05d},
    // BrowserStop, Undo, Copy, Paste, Cut, Help, LaunchApp2, Sleep, WakeUp
    {128, 0xe068, 0xa9}, {131, 0xe008, 0xff}, {133, 0xe018, 0xff}, {135, 0xe00a, 0xff}, {137, 0xe017, 0xff}, {138, 0xe03b, 0x2f},
    {140, 0xe021, 0xb7}, {142, 0xe05f, 0x5f}, {143, 0xe063, 0xff},
    // LaunchMail, BrowserFavorites, BrowserBack, BrowserForward, Eject
    {155, 0xe06c, 0xb4}, {156, 0xe066, 0xab}, {158, 0xe06a, 0xa6}, {159, 0xe069, 0xa7}, {161, 0xe02c, 0xff},
    // MediaTrackNext, MediaPlayPause, MediaTrackPrevious, MediaStop, BrowserHome, BrowserRefresh
    {163, 0xe019, 0xb0}, {164, 0xe022, 0xb3}, {165, 0xe010, 0xb1}, {166, 0xe024, 0xb2}, {172, 0xe032, 0xac}, {173, 0xe067, 0xa8},
    // F13 … F24
    {183, 0x64, 0x7c}, {184, 0x65, 0x7d}, {185, 0x66, 0x7e}, {186, 0x67, 0x7f}, {187, 0x68, 0x80}, {188, 0x69, 0x81},
    {189, 0x6a, 0x82}, {190, 0x6b, 0x83}, {191, 0x6c, 0x84}, {192, 0x6d, 0x85}, {193, 0x6e, 0x86}, {194, 0x76, 0x87},
    // BrowserSearch
    {217, 0xe065, 0xaa},
});
// clang-format on

static_assert(std::ranges::is_sorted(kScanCodes, {}, &KeyRow::code));

// Null for a key that Windows does not know.
[[nodiscard]] constexpr const KeyRow* find_key(unsigned code) noexcept {
  const auto* row = std::ranges::lower_bound(kScanCodes, code, {}, &KeyRow::code);
  return row != kScanCodes.end() && row->code == code ? row : nullptr;
}

}  // namespace kvm::input
