#include "encode/screen/cabac_residual.hpp"

#include <algorithm>
#include <bit>
#include <cstdlib>

#include "encode/screen/transform.hpp"

namespace kvm::screen {
namespace {

// ctxIdxOffset of a block's elements in frames (table 9-34), and what is added for its kind
// (table 9-40).
constexpr std::size_t kFlags = 85;
constexpr std::size_t kSignificant = 105;
constexpr std::size_t kLast = 166;
constexpr std::size_t kLevels = 227;
struct Offsets {
  std::size_t flag = 0;
  std::size_t map = 0;  // significance, and which is the last
  std::size_t level = 0;
};
constexpr std::array<Offsets, 5> kOffsets{
    {{0, 0, 0}, {4, 15, 10}, {8, 29, 20}, {12, 44, 30}, {16, 47, 39}}};
// Of what kDc, kAc and kWhole have of each: those of Cb and Cr.
constexpr std::size_t kFlagCount = 12;
constexpr std::size_t kMapCount = 44;
constexpr std::size_t kLevelCount = 30;
static_assert(kFlagCount + 2 * kMapCount + kLevelCount == kPlaneContexts);

struct Places {
  std::size_t flag = 0;
  std::size_t significant = 0;
  std::size_t last = 0;
  std::size_t level = 0;
};
constexpr auto kPlaces = [] {
  std::array<std::array<Places, kOffsets.size()>, 3> all{};
  for (std::size_t kind = 0; kind < kOffsets.size(); ++kind) {
    const Offsets& offsets = kOffsets[kind];
    all[0][kind] = {kFlags + offsets.flag, kSignificant + offsets.map, kLast + offsets.map,
                    kLevels + offsets.level};
    for (std::size_t plane = 1; plane < 3; ++plane) {
      const std::size_t first = kContextStarts + (plane - 1) * kPlaneContexts;
      all[plane][kind] = {first + offsets.flag, first + kFlagCount + offsets.map,
                          first + kFlagCount + kMapCount + offsets.map,
                          first + kFlagCount + 2 * kMapCount + offsets.level};
    }
  }
  return all;
}();

}  // namespace

void start_contexts(CabacContexts& contexts, bool intra, int quantiser) noexcept {
  const auto& starts = intra ? kIntraStarts : kInterStarts;
  for (std::size_t i = 0; i < kContextStarts; ++i)
    contexts[i] = start_context(starts[i], quantiser);
  for (std::size_t plane = 1; plane < 3; ++plane) {
    const Places& luma = kPlaces[0][0];
    const Places& own = kPlaces[plane][0];
    const auto copy = [&](std::size_t from, std::size_t to, std::size_t count) {
      std::copy_n(contexts.begin() + static_cast<std::ptrdiff_t>(from), count,
                  contexts.begin() + static_cast<std::ptrdiff_t>(to));
    };
    copy(luma.flag, own.flag, kFlagCount);
    copy(luma.significant, own.significant, kMapCount);
    copy(luma.last, own.last, kMapCount);
    copy(luma.level, own.level, kLevelCount);
  }
}

void write_residual(CabacEngine& engine, CabacContexts& contexts, const BlockLevels& block,
                    CabacKind kind, std::size_t plane, bool left, bool top) noexcept {
  CabacEngine::Run out(engine);
  const Places& places = kPlaces[plane][static_cast<std::size_t>(kind)];
  const std::size_t near = (left ? 1U : 0U) + (top ? 2U : 0U);
  out.encode(contexts[places.flag + near], block.nonzero != 0);
  if (block.nonzero == 0) return;

  const bool chroma_dc = kind == CabacKind::kChromaDc;
  const bool ac = kind == CabacKind::kAc || kind == CabacKind::kChromaAc;
  const std::uint32_t marks = ac ? block.nonzero >> 1 : block.nonzero;
  const std::uint32_t end = chroma_dc ? 3 : ac ? 14 : 15;  // the last place, which goes unsaid
  const auto last = static_cast<std::uint32_t>(std::bit_width(marks)) - 1;
  for (std::uint32_t i = 0; i < std::min(last + 1, end); ++i) {
    const bool significant = (marks >> i & 1U) != 0;
    out.encode(contexts[places.significant + i], significant);
    if (significant) out.encode(contexts[places.last + i], i == last);
  }

  constexpr std::uint32_t kPrefix = 14;
  std::uint32_t ones = 0;
  std::uint32_t greater = 0;
  for (std::uint32_t rest = block.nonzero; rest != 0;) {  // highest frequency first
    const auto place = static_cast<std::uint32_t>(std::bit_width(rest)) - 1;
    rest ^= 1U << place;
    const int level = block.levels[(chroma_dc ? static_cast<std::ptrdiff_t>(place)
                                              : std::ptrdiff_t{kZigzag[place]}) *
                                   block.stride];
    const auto more = static_cast<std::uint32_t>(std::abs(level)) - 1;
    // 9.3.3.1.3; of four chroma DC levels no more than three come before one.
    out.encode(contexts[places.level + (greater != 0 ? 0 : std::min(4U, 1 + ones))], more != 0);
    if (more == 0) {
      ++ones;
    } else {
      CabacContext& context = contexts[places.level + 5 + std::min(4U, greater)];
      for (std::uint32_t i = 1; i < std::min(more, kPrefix); ++i) out.encode(context, true);
      if (more < kPrefix) {
        out.encode(context, false);
      } else {
        out.exp_golomb(more - kPrefix, 0);
      }
      ++greater;
    }
    out.bypass(level < 0 ? 1 : 0, 1);
  }
}

}  // namespace kvm::screen
