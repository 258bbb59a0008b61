// Names and places of monitors, on layouts that no machine at hand has.
#include <doctest/doctest.h>

#include <vector>

#include "capture/find_monitor.hpp"

namespace kvm {
namespace {

DisplayInfo monitor(const char* id, const Rect& bounds, bool primary) {
  DisplayInfo info;
  info.id = id;
  info.bounds = bounds;
  info.primary = primary;
  return info;
}

// The primary one is at the origin; the others are left of it and above it.
const std::vector<DisplayInfo> kThree{monitor("LEFT", {-1920, 120, 1920, 1080}, false),
                                      monitor("MAIN", {0, 0, 2560, 1440}, true),
                                      monitor("2", {320, -1080, 1920, 1080}, false)};

}  // namespace

TEST_CASE("a monitor is found by its name, then by its number; none is the primary one") {
  CHECK(find_monitor(kThree, "")->id == "MAIN");
  CHECK(find_monitor(kThree, "LEFT")->bounds == Rect{-1920, 120, 1920, 1080});
  CHECK(find_monitor(kThree, "0")->id == "LEFT");
  CHECK(find_monitor(kThree, "1")->id == "MAIN");
  // A name that looks like a number is a name first.
  CHECK(find_monitor(kThree, "2")->bounds.y == -1080);
  CHECK(find_monitor(kThree, "3") == nullptr);
  CHECK(find_monitor(kThree, "9999") == nullptr);
  CHECK(find_monitor(kThree, "-1") == nullptr);
  CHECK(find_monitor(kThree, "left") == nullptr);
}

TEST_CASE("without a primary monitor the first one counts, and without any there is none") {
  CHECK(find_monitor({kThree[2], kThree[0]}, "")->id == "2");
  CHECK(find_monitor({}, "") == nullptr);
  CHECK(find_monitor({}, "0") == nullptr);
}

TEST_CASE("messages name every monitor with its size and place") {
  CHECK(describe(kThree) ==
        "LEFT (1920x1080+-1920+120), MAIN (2560x1440+0+0), 2 (1920x1080+320+-1080)");
  CHECK(describe({}).empty());
}

}  // namespace kvm
