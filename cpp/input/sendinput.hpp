// Keyboard and mouse on Windows: one controller's hands, which never leave a key down.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.hpp"
#include "input/desktop.hpp"
#include "input/typematic.hpp"

namespace kvm::input {

inline constexpr std::int64_t kLeaseNs = 3 * kNsPerSec;  // LEASE_SECONDS in wire/limits.py

// Belongs to one thread. Codes are evdev's, as on the wire: keys below 0x100, BTN_LEFT … BTN_EXTRA
// from 0x110 on. What returns a string says in it what could not be done; it is empty when all went
// well.
class SendInputInjector {
 public:
  explicit SendInputInjector(std::unique_ptr<Desktop> desktop = make_desktop());
  ~SendInputInjector();  // everything up
  SendInputInjector(const SendInputInjector&) = delete;
  SendInputInjector& operator=(const SendInputInjector&) = delete;

  // A key that is down already is left so: its repeats are made here.
  std::string key(unsigned code, bool down, std::int64_t now = now_ns());
  std::string button(unsigned code, bool down, std::int64_t now = now_ns());
  // To a pixel of the virtual desktop.
  std::string move(int x, int y);
  // By so many counts of a mouse; the user's acceleration applies.
  std::string move_by(int dx, int dy);
  // 120 is one notch, down and right are positive. Windows takes fractions.
  std::string wheel(int dx, int dy);
  // UTF-8, whatever the layout has; held modifiers are let go of meanwhile.
  std::string text(std::string_view utf8);
  // The locks become so; none leaves one alone.
  std::string locks(std::optional<bool> caps, std::optional<bool> num,
                    std::optional<bool> scroll = std::nullopt);

  // The holder says what is down: what is not in it goes up, and nothing goes down.
  std::string renew(std::span<const unsigned> codes, std::int64_t now = now_ns());
  // Repeats the key that is held, and lets go of what nobody has renewed within the lease and of
  // what an elevated window has kept down. Call it at next_tick().
  std::string tick(std::int64_t now = now_ns());
  [[nodiscard]] std::int64_t next_tick() const noexcept;

  // Everything up.
  std::string release_all();
  [[nodiscard]] std::vector<unsigned> held() const;

 private:
  struct Held {
    unsigned code;
    INPUT up;  // the release belongs to what was pressed, whatever modifiers have changed since
    std::int64_t since;
  };

  [[nodiscard]] INPUT press_of(unsigned code) const;
  [[nodiscard]] bool any_held(unsigned left, unsigned right) const noexcept;
  std::string set(unsigned code, bool down, std::int64_t now);
  std::string let_go(std::vector<Held>::iterator key);
  std::string send(std::span<const INPUT> events, Aim aim);
  std::string settle();

  std::unique_ptr<Desktop> desktop_;
  Typematic typematic_;
  std::vector<Held> held_;  // in the order of their presses
  std::int64_t settle_at_ = kNever;
  std::vector<INPUT> owed_;  // releases that did not arrive
};

}  // namespace kvm::input
