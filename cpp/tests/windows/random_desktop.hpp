// A long random sequence of what a desktop can do. KVM_TEST_SEED: another one than the usual one.
// KVM_TEST_STEPS: another length.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <random>

#include "dxgi_support.hpp"

namespace kvm::test {

inline constexpr int kMostWidth = 256;
inline constexpr int kMostHeight = 160;

inline unsigned setting(const char* name, unsigned usual) {
  const char* text = std::getenv(name);
  return text == nullptr ? usual : static_cast<unsigned>(std::strtoul(text, nullptr, 10));
}

class Dice {
 public:
  explicit Dice(unsigned seed) : engine_(seed) {}
  // 0 … below-1
  int roll(int below) { return static_cast<int>(engine_() % static_cast<unsigned>(below)); }
  bool once_in(int n) { return roll(n) == 0; }
  unsigned seed() { return static_cast<unsigned>(engine_()); }
  Rect rect(int width, int height) {
    const int w = 1 + roll(once_in(8) ? width : std::min(width, 60));
    const int h = 1 + roll(once_in(8) ? height : std::min(height, 40));
    return {roll(width - w + 1), roll(height - h + 1), w, h};
  }

 private:
  std::mt19937 engine_;
};

class Play {
 public:
  Play(Monitor& stage, unsigned seed) : stage_(stage), dice_(seed) {}

  void step() {
    const int kind = dice_.roll(1000);
    if (kind < 430) {
      stage_.compose({fill()});
    } else if (kind < 640) {
      stage_.compose({move()});
    } else if (kind < 740) {
      stage_.compose({move(), fill(), move(), move(), fill()});
    } else if (kind < 900) {
      stage_.move_pointer(dice_.roll(width() + 60) - 30, dice_.roll(height() + 60) - 30,
                          !dice_.once_in(6));
    } else if (kind < 985) {
      stage_.set_shape(shape());
    } else if (kind < 995) {
      lose();
    } else {
      change_mode();
    }
  }
  [[nodiscard]] int roll(int below) { return dice_.roll(below); }

 private:
  [[nodiscard]] int width() const { return stage_.model.width(); }
  [[nodiscard]] int height() const { return stage_.model.height(); }
  Fill fill() { return {dice_.rect(width(), height()), dice_.seed()}; }
  Move move() {
    const Rect to = dice_.rect(width(), height());
    return {to, dice_.roll(width() - to.width + 1), dice_.roll(height() - to.height + 1)};
  }
  PointerShape shape() {
    const int w = 1 + dice_.roll(40);
    const int h = 1 + dice_.roll(40);
    const POINT hot{dice_.roll(w), dice_.roll(h)};
    switch (dice_.roll(3)) {
      case 0:
        return colour_pointer(w, h, hot, dice_.seed());
      case 1:
        return masked_pointer(w, h, hot, dice_.seed());
      default:
        return monochrome_pointer(w, h, hot, dice_.seed());
    }
  }
  void lose() {
    constexpr HRESULT kCodes[] = {DXGI_ERROR_ACCESS_LOST, DXGI_ERROR_ACCESS_DENIED, E_ACCESSDENIED,
                                  static_cast<HRESULT>(WAIT_ABANDONED),
                                  DXGI_ERROR_SESSION_DISCONNECTED};
    stage_.output.start_with(dice_.once_in(4) ? Start::kIdlePicture : Start::kPicture);
    if (dice_.once_in(8)) stage_.output.refuse(E_ACCESSDENIED, 1);
    stage_.output.lose(kCodes[dice_.roll(5)]);
  }
  void change_mode() {
    Mode mode = stage_.output_mode;
    if (dice_.once_in(2)) mode.rotation = static_cast<DXGI_MODE_ROTATION>(1 + dice_.roll(4));
    if (dice_.once_in(2)) {
      mode.bounds.width = 1 + dice_.roll(kMostWidth);
      mode.bounds.height = 1 + dice_.roll(kMostHeight);
    }
    mode.bounds.x = dice_.roll(400) - 200;
    stage_.set_mode(mode, dice_.seed());
  }

  Monitor& stage_;
  Dice dice_;
};

}  // namespace kvm::test
