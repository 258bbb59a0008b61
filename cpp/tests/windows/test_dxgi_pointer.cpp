// DXGI capture: the pointer, which Windows keeps out of the picture.
#include "dxgi_support.hpp"

namespace kvm {
namespace {

using namespace test;

constexpr DXGI_MODE_ROTATION kRotations[] = {
    DXGI_MODE_ROTATION_IDENTITY, DXGI_MODE_ROTATION_ROTATE90, DXGI_MODE_ROTATION_ROTATE180,
    DXGI_MODE_ROTATION_ROTATE270};

// Waits for the pointer's hot spot to be told at (x, y).
bool told_at(Stage& stage, int x, int y) {
  const std::int64_t deadline = now_ns() + kPatienceNs;
  while (now_ns() < deadline) {
    const auto& cursor = stage.viewer.cursor;
    if (cursor && cursor->x == x && cursor->y == y && stage.output.idle()) return true;
    stage.viewer.look(20 * kNsPerMs);
  }
  return false;
}

// A shape given as metadata has what can be drawn without the screen exactly; what inverts the
// screen must be opaque, what leaves it alone clear (but for an edge around what inverts).
void check_shape(const CursorShape& got, const PointerShape& shape) {
  REQUIRE(got.width == shape.width());
  REQUIRE(got.height == shape.height());
  CHECK(got.hot_x == shape.info.HotSpot.x);
  CHECK(got.hot_y == shape.info.HotSpot.y);
  REQUIRE(got.bgra.size() == static_cast<std::size_t>(got.width * got.height * 4));
  const auto pixel = [&](int x, int y) { return got.bgra.data() + (y * got.width + x) * 4; };
  const auto on = [&](int x, int y, std::uint32_t screen) {
    return under_pointer(shape, x, y, screen);
  };
  const auto inverts = [&](int x, int y) {
    if (x < 0 || y < 0 || x >= got.width || y >= got.height) return false;
    return on(x, y, 0) != on(x, y, 0xffffff) && on(x, y, 0) != 0;
  };
  int wrong = 0;
  for (int y = 0; y < got.height; ++y) {
    for (int x = 0; x < got.width; ++x) {
      const std::uint8_t* p = pixel(x, y);
      const std::uint32_t colour = p[0] | std::uint32_t{p[1]} << 8 | std::uint32_t{p[2]} << 16;
      if (on(x, y, 0) == on(x, y, 0xffffff)) {
        if (p[3] != 255 || colour != on(x, y, 0)) ++wrong;
      } else if (inverts(x, y)) {
        if (p[3] != 255) ++wrong;
      } else {
        bool edge = false;
        for (int dy = -1; dy <= 1; ++dy)
          for (int dx = -1; dx <= 1; ++dx) edge |= inverts(x + dx, y + dy);
        if (p[3] != 0 && !edge) ++wrong;
      }
    }
  }
  CHECK(wrong == 0);
}

std::vector<PointerShape> all_kinds(int width, int height) {
  return {colour_pointer(width, height, {3, 5}, 7), masked_pointer(width, height, {0, 2}, 8),
          monochrome_pointer(width, height, {6, 1}, 9)};
}

}  // namespace

TEST_CASE("a pointer-only update gives a CursorUpdate and no frame") {
  Stage stage({}, CursorMode::kMetadata);
  stage.begin();
  const PointerShape shape = colour_pointer(20, 24, {4, 6}, 3);
  stage.set_shape(shape);
  stage.move_pointer(50, 60);
  REQUIRE(told_at(stage, 54, 66));
  CHECK(stage.viewer.cursor->visible);
  REQUIRE(stage.viewer.cursor->shape);
  const std::uint32_t serial = stage.viewer.cursor->shape->serial;
  stage.move_pointer(51, 61);
  REQUIRE(told_at(stage, 55, 67));
  CHECK(stage.viewer.cursor->shape->serial == serial);
  stage.set_shape(colour_pointer(20, 24, {4, 6}, 4));
  stage.viewer.look_until_still();
  CHECK(stage.viewer.cursor->shape->serial != serial);
  stage.move_pointer(51, 61, false);
  stage.viewer.look_until_still();
  CHECK(!stage.viewer.cursor->visible);
  CHECK(stage.viewer.frames == 0);
}

TEST_CASE("a shape's serial is its own in all the process, whatever opens again") {
  std::vector<std::uint32_t> serials;
  for (int stream = 0; stream < 2; ++stream) {
    Stage stage({}, CursorMode::kMetadata);
    for (int opened = 0; opened < 3; ++opened) {
      stage.begin();
      stage.set_shape(colour_pointer(20, 24, {4, 6}, static_cast<unsigned>(opened)));
      stage.move_pointer(50 + opened, 60);
      REQUIRE(told_at(stage, 54 + opened, 66));
      stage.viewer.look_until_still();
      serials.push_back(stage.viewer.cursor->shape->serial);
    }
  }
  std::sort(serials.begin(), serials.end());
  CHECK(std::adjacent_find(serials.begin(), serials.end()) == serials.end());
}

TEST_CASE("shapes colour, masked colour, monochrome as metadata") {
  for (const auto& [width, height] : {std::pair{32, 32}, {13, 21}, {1, 1}, {64, 9}}) {
    CAPTURE(width);
    for (const PointerShape& shape : all_kinds(width, height)) {
      CAPTURE(shape.info.Type);
      Stage stage({}, CursorMode::kMetadata);
      stage.begin();
      stage.set_shape(shape);
      stage.move_pointer(90, 70);
      REQUIRE(told_at(stage, 90 + shape.info.HotSpot.x, 70 + shape.info.HotSpot.y));
      REQUIRE(stage.viewer.cursor->shape);
      check_shape(*stage.viewer.cursor->shape, shape);
      CHECK(stage.viewer.pixels() == stage.model.picture(false));
    }
  }
}

TEST_CASE("a colour shape keeps its soft edges, as metadata and drawn in") {
  const PointerShape shape = colour_pointer(32, 32, {0, 0}, 5, true);
  Stage told({}, CursorMode::kMetadata);
  told.begin();
  told.set_shape(shape);
  told.move_pointer(10, 10);
  REQUIRE(told_at(told, 10, 10));
  int wrong = 0;
  for (int y = 0; y < 32; ++y) {
    for (int x = 0; x < 32 * 4; ++x) {
      const auto at = static_cast<unsigned>(y) * shape.info.Pitch + static_cast<unsigned>(x);
      // The colour of what is clear says nothing.
      if (shape.bytes[at | 3U] != 0 &&
          told.viewer.cursor->shape->bgra[static_cast<std::size_t>(y * 32 * 4 + x)] !=
              shape.bytes[at])
        ++wrong;
    }
  }
  CHECK(wrong == 0);
  Stage drawn({}, CursorMode::kEmbedded);
  drawn.begin();
  drawn.set_shape(shape);
  drawn.move_pointer(10, 10);
  CHECK(drawn.settles(1));  // x / 255 is rounded one way or another
}

TEST_CASE("shapes colour, masked colour, monochrome drawn in: XOR is right") {
  for (const PointerShape& shape : all_kinds(27, 31)) {
    CAPTURE(shape.info.Type);
    Stage stage({}, CursorMode::kEmbedded);
    stage.begin();
    stage.set_shape(shape);
    stage.move_pointer(100, 50);
    REQUIRE(stage.settles());
    CHECK(damaged_only(stage.viewer.damage, {{100, 50, 27, 31}}));
    // Over content that changes under it, and over content that moves.
    stage.compose({Fill{{110, 60, 8, 8}, 20}});
    CHECK(stage.settles());
    stage.compose({Move{{100, 20, 80, 60}, 90, 40}});
    CHECK(stage.settles());
    stage.viewer.forget();
    // Away: what it covered is back, and damage is where it was and where it is.
    stage.move_pointer(200, 120);
    CHECK(stage.settles());
    CHECK(damaged_only(stage.viewer.damage, {{100, 50, 27, 31}, {200, 120, 27, 31}}));
    stage.move_pointer(200, 120, false);
    CHECK(stage.settles());
    CHECK(stage.viewer.pixels() == stage.model.picture(false));
    CHECK(stage.viewer.undamaged_changes == 0);
  }
}

TEST_CASE("a new shape of another size is drawn where the old one was, which leaves nothing") {
  Stage stage({}, CursorMode::kEmbedded);
  stage.begin();
  stage.set_shape(monochrome_pointer(40, 40, {0, 0}, 1));
  stage.move_pointer(60, 60);
  REQUIRE(stage.settles());
  stage.set_shape(colour_pointer(9, 9, {0, 0}, 2));
  CHECK(stage.settles());
  stage.set_shape(masked_pointer(48, 20, {0, 0}, 3));
  CHECK(stage.settles());
  CHECK(stage.viewer.undamaged_changes == 0);
}

TEST_CASE("a pointer partly outside at each edge and corner") {
  for (const PointerShape& shape : all_kinds(24, 24)) {
    CAPTURE(shape.info.Type);
    Stage stage({{0, 0, 123, 77}}, CursorMode::kEmbedded);
    stage.begin();
    stage.set_shape(shape);
    for (const auto& [x, y] : {std::pair{-10, 30},
                               {112, 30},
                               {50, -13},
                               {50, 70},
                               {-23, -23},
                               {122, -1},
                               {-1, 76},
                               {115, 70},
                               {-24, 10},
                               {123, 10},
                               {10, -24},
                               {10, 77},
                               {-500, -500},
                               {4000, 4000}}) {
      CAPTURE(x);
      CAPTURE(y);
      stage.move_pointer(x, y);
      CHECK(stage.settles());
    }
    CHECK(stage.viewer.undamaged_changes == 0);
  }
}

TEST_CASE("rotation 0, 90, 180, 270: the pointer is upright, at its place on the desktop") {
  for (const DXGI_MODE_ROTATION rotation : kRotations) {
    CAPTURE(rotation);
    Stage told({{0, 0, 150, 250}, rotation}, CursorMode::kMetadata);
    told.begin();
    const PointerShape shape = colour_pointer(20, 12, {4, 6}, 3);
    told.set_shape(shape);
    told.move_pointer(70, 200);
    REQUIRE(told_at(told, 74, 206));
    check_shape(*told.viewer.cursor->shape, shape);
    for (const PointerShape& kind : all_kinds(20, 12)) {
      Stage drawn({{0, 0, 150, 250}, rotation}, CursorMode::kEmbedded);
      drawn.begin();
      drawn.set_shape(kind);
      drawn.move_pointer(70, 200);
      CHECK(drawn.settles());
      drawn.compose({Fill{{60, 190, 20, 20}, 4}});
      CHECK(drawn.settles());
      drawn.move_pointer(-5, 244);
      CHECK(drawn.settles());
      CHECK(drawn.viewer.undamaged_changes == 0);
    }
  }
}

TEST_CASE("in a region the pointer's place counts from the region's corner") {
  Stage told({}, CursorMode::kMetadata, Start::kPicture, Rect{40, 30, 100, 80});
  told.begin();
  told.set_shape(colour_pointer(20, 12, {4, 6}, 3));
  told.move_pointer(70, 50);
  CHECK(told_at(told, 34, 26));
  Stage drawn({}, CursorMode::kEmbedded, Start::kPicture, Rect{40, 30, 100, 80});
  drawn.begin();
  drawn.set_shape(monochrome_pointer(20, 12, {4, 6}, 3));
  for (const auto& [x, y] : {std::pair{70, 50}, {30, 25}, {135, 105}, {0, 0}}) {
    drawn.move_pointer(x, y);
    CHECK(drawn.settles());
  }
  CHECK(drawn.viewer.undamaged_changes == 0);
}

TEST_CASE("a hidden cursor is neither drawn nor told") {
  Stage stage({}, CursorMode::kHidden);
  stage.begin();
  stage.set_shape(colour_pointer(20, 12, {4, 6}, 3));
  stage.move_pointer(70, 50);
  stage.viewer.look_until_still();
  CHECK(stage.viewer.frames == 0);
  CHECK(stage.viewer.cursors == 0);
  stage.compose({Fill{{60, 40, 40, 40}, 2}});
  CHECK(stage.settles());
}

TEST_CASE("an HDR desktop has its pointer in SDR colours") {
  Stage stage({{0, 0, 256, 160}, DXGI_MODE_ROTATION_IDENTITY, true, 200.0F}, CursorMode::kEmbedded);
  stage.viewer.open();
  REQUIRE(stage.settles(2));
  stage.set_shape(colour_pointer(20, 12, {4, 6}, 3));
  stage.move_pointer(70, 50);
  CHECK(stage.settles(2));
}

TEST_CASE("a pointer that was there before is told and drawn after opening") {
  for (const CursorMode mode : {CursorMode::kMetadata, CursorMode::kEmbedded}) {
    Stage stage({}, mode);
    stage.set_shape(monochrome_pointer(20, 12, {4, 6}, 3));
    stage.move_pointer(70, 50);
    stage.viewer.open();
    CHECK(stage.settles());
    if (mode == CursorMode::kMetadata) CHECK(told_at(stage, 74, 56));
  }
}

}  // namespace kvm
