// Box means of a BGRA picture, for thumbnails.
#pragma once

#include <cstdint>
#include <vector>

#include "frame/frame.hpp"

namespace kvm {

struct Bgr {
  std::uint32_t b = 0;
  std::uint32_t g = 0;
  std::uint32_t r = 0;
};

// Source rows or columns [begin, end) that fall into each destination one: at least one, all of
// them used when shrinking.
struct Span {
  int begin;
  int end;
};
[[nodiscard]] Span box(int index, int src, int dst);

// One row of box means; `columns` has a span for each pixel of `out`.
void shrink_row(const CpuPlanes& bgra, Span rows, const std::vector<Span>& columns,
                std::vector<Bgr>& out);

// Throws Error{kEncoder} unless all are positive.
void check_thumbnail_size(int width, int height, int max_width);
// The height that keeps the aspect ratio at that width, 1 at least.
[[nodiscard]] int shrunk_height(int width, int height, int shrunk_width);

}  // namespace kvm
