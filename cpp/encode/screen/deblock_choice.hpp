// Where the deblocking filter runs.
#pragma once

#include <span>

#include "encode/screen/macroblock_map.hpp"
#include "frame/geometry.hpp"

namespace kvm::screen {

// From these quantisers on it brings more than it takes, measured at equal bits: of films, and of
// keyframes, that may be all text. What was coded finer than a coarse film is never touched.
inline constexpr int kCoarseFilm = 30;
inline constexpr int kCoarseKeyframe = 32;

struct SliceTiles {
  int first_row = 0;  // of macroblocks: the slice is these rows
  int end_row = 0;
  const TileMap& changed;
  const TileMap& sharpened;
  std::span<const Vector> displacements;  // where copies may come from
};

// Whether a slice of a P picture shows a coarse film and nothing that the filter could spoil. It
// goes over all macroblocks of a slice, those that are copied and those that stand still beside a
// coded one, too: so none of these may be fine. Asked before the slice is coded.
[[nodiscard]] bool is_coarse_film(const MacroblockMap& map, const SliceTiles& slice) noexcept;

}  // namespace kvm::screen
