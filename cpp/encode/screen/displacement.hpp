// Finds where changed content came from: scrolled text, a moved window. Compares the new source
// picture with the old one, never with the decoder's, so that a hit is exact.
#pragma once

#include <cstdint>
#include <vector>

#include "encode/screen/planes.hpp"
#include "frame/geometry.hpp"

namespace kvm::screen {

class DisplacementSearch {
 public:
  // Vectors from new content to its place in `old`, most votes first; at most kMost.
  // `now` and `old` are luma planes of the same size; `damage` says where they may differ.
  [[nodiscard]] const std::vector<Vector>& find(const Plane& now, const Plane& old,
                                                const TileMap& damage, int vertical_reach);
  static constexpr std::size_t kMost = 4;
  // What moves goes on as it did: most pictures are explained by vectors of those before, which is
  // found with a few looks. So often at least the whole search is made, for what begins to move
  // beside it.
  static constexpr int kSearchEvery = 8;  // pictures

 private:
  // A place where a pattern was seen, by the pattern's hash. Open addressing; a pattern that is
  // seen twice says nothing.
  struct Seen {
    std::uint64_t hash = 0;
    std::int16_t x = 0;
    std::int16_t y = 0;
    std::uint32_t round = 0;  // of find(); others are empty
    bool twice = false;
  };
  struct Votes {
    Vector vector;
    int count = 0;
  };
  static constexpr std::size_t kTableSize = 1U << 14;

  [[nodiscard]] bool recall(const Plane& now, const Plane& old, const TileMap& damage,
                            int vertical_reach);
  void search(const Plane& now, const Plane& old, const TileMap& damage, int vertical_reach);
  // Empties the table and makes room for so many patterns.
  void begin_table(std::size_t patterns);
  void remember(std::uint64_t hash, int x, int y);
  [[nodiscard]] const Seen* lookup(std::uint64_t hash) const;
  void vote(Vector vector);
  void vote_vertical(const Plane& now, const Plane& old, const TileMap& damage, int vertical_reach);
  void vote_windows(const Plane& now, const Plane& old, const TileMap& damage, int vertical_reach);

  std::vector<Seen> table_ = std::vector<Seen>(kTableSize);
  std::size_t slots_ = kTableSize;  // in use; a power of two: a small table stays in the cache
  std::uint32_t round_ = 0;
  std::size_t remembered_ = 0;
  std::vector<std::uint64_t> rows_now_;
  std::vector<std::uint64_t> rows_old_;
  std::vector<Votes> votes_;
  int probes_ = 0;  // patterns of the new picture that were looked up
  std::vector<Vector> found_;
  std::vector<Vector> recent_;  // of the last pictures, the newest first
  int recalled_ = 0;            // pictures since the last search, this one too
};

}  // namespace kvm::screen
