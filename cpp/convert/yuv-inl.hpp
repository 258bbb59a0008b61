// BGRA → YUV over one rectangle. The arithmetic is bt709.hpp's; only its order is chosen here.
// Included once per target by foreach_target.h, hence the guard that toggles.
#if defined(KVM_CONVERT_YUV_INL_HPP) == defined(HWY_TARGET_TOGGLE)
#ifdef KVM_CONVERT_YUV_INL_HPP
#undef KVM_CONVERT_YUV_INL_HPP
#else
#define KVM_CONVERT_YUV_INL_HPP
#endif

#include <cstddef>
#include <cstdint>

#include "convert/bt709.hpp"
#include "convert/simd-inl.hpp"
#include "frame/frame.hpp"
#include "hwy/cache_control.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace kvm::kernels::HWY_NAMESPACE {

// A pair of source rows and where it goes. For an odd last row `src1` is `src0`: the row is
// repeated.
struct RowPair {
  const std::uint8_t* HWY_RESTRICT src0;
  const std::uint8_t* HWY_RESTRICT src1;
  std::uint8_t* HWY_RESTRICT y0;
  std::uint8_t* HWY_RESTRICT y1;
  std::uint8_t* HWY_RESTRICT u;  // NV12: U and V in turn. 4:4:4: the first row
  std::uint8_t* HWY_RESTRICT v;
  std::uint8_t* HWY_RESTRICT u1;  // 4:4:4: the second row
  std::uint8_t* HWY_RESTRICT v1;
  std::ptrdiff_t next_src;  // distance in bytes to the pair below; 0 when there is none
  std::ptrdiff_t next_y;
};

// Columns x and min(x + 1, last) of both rows; x is even.
template <PixelFormat kFormat>
HWY_INLINE void convert_2x2(const RowPair& rows, int x, int last) {
  const int x1 = x < last ? x + 1 : last;
  const std::uint8_t* p[4] = {rows.src0 + 4 * x, rows.src0 + 4 * x1, rows.src1 + 4 * x,
                              rows.src1 + 4 * x1};
  std::uint8_t* y[2] = {rows.y0 + x, rows.y1 + x};
  for (int i = 0; i < 4; ++i) y[i / 2][i % 2] = bt709::luma(p[i][0], p[i][1], p[i][2]);
  if constexpr (kFormat == PixelFormat::kI444) {
    std::uint8_t* u[2] = {rows.u + x, rows.u1 + x};
    std::uint8_t* v[2] = {rows.v + x, rows.v1 + x};
    for (int i = 0; i < 4; ++i) {
      u[i / 2][i % 2] = bt709::chroma(bt709::kU, p[i][0], p[i][1], p[i][2], 0);
      v[i / 2][i % 2] = bt709::chroma(bt709::kV, p[i][0], p[i][1], p[i][2], 0);
    }
  } else {
    const int b = p[0][0] + p[1][0] + p[2][0] + p[3][0];
    const int g = p[0][1] + p[1][1] + p[2][1] + p[3][1];
    const int r = p[0][2] + p[1][2] + p[2][2] + p[3][2];
    const std::uint8_t u = bt709::chroma(bt709::kU, b, g, r, 2);
    const std::uint8_t v = bt709::chroma(bt709::kV, b, g, r, 2);
    if constexpr (kFormat == PixelFormat::kNv12) {
      rows.u[x] = u;
      rows.u[x + 1] = v;
    } else {
      rows.u[x / 2] = u;
      rows.v[x / 2] = v;
    }
  }
}

#if HWY_TARGET != HWY_SCALAR

// As many pixels as D8 has bytes: four vectors of BGRA per row. A vector is looked at as 16-bit
// pairs (B, R) and (G, X), so that a colour is two multiply-adds of pairs, X having weight 0.
template <class D8>
class YuvGroup {
  using D16 = hn::Repartition<std::int16_t, D8>;
  using D32 = hn::Repartition<std::int32_t, D8>;
  using V8 = hn::Vec<D8>;
  using V16 = hn::Vec<D16>;
  using V32 = hn::Vec<D32>;

  struct Pixels {
    V16 br;
    V16 gx;
  };

  static constexpr int kLanes = static_cast<int>(hn::MaxLanes(D8()));

  static HWY_INLINE V16 pairs(int low, int high) {
    const auto word =
        static_cast<std::uint32_t>(low & 0xFFFF) | (static_cast<std::uint32_t>(high) << 16);
    return hn::BitCast(D16(), hn::Set(D32(), static_cast<std::int32_t>(word)));
  }

  // The weights of U in even and of V in odd 32-bit lanes.
  static HWY_INLINE V16 uv_pairs(int u_low, int u_high, int v_low, int v_high) {
    return hn::BitCast(D16(), hn::OddEven(hn::BitCast(D32(), pairs(v_low, v_high)),
                                          hn::BitCast(D32(), pairs(u_low, u_high))));
  }

  static HWY_INLINE Pixels load(const std::uint8_t* src) {
    const hn::RebindToUnsigned<D16> du16;
    const auto words = hn::BitCast(du16, hn::LoadU(D8(), src));
    return {hn::BitCast(D16(), hn::And(words, hn::Set(du16, 0xFF))),
            hn::BitCast(D16(), hn::ShiftRight<8>(words))};
  }

  static HWY_INLINE V32 colour(const Pixels& p, V16 w_br, V16 w_gx, V32 bias) {
    return pair_mul_add(D32(), p.gx, w_gx, pair_mul_add(D32(), p.br, w_br, bias));
  }

  static HWY_INLINE V32 luma(const Pixels& p) {
    using namespace bt709;
    return hn::ShiftRight<kLumaShift>(
        colour(p, pairs(kY.b, kY.r), pairs(kY.g, 0), hn::Set(D32(), kLumaBias)));
  }

  static HWY_INLINE V32 full_chroma(const Pixels& p, const bt709::Weights& w) {
    return hn::ShiftRight<bt709::kChromaShift>(
        colour(p, pairs(w.b, w.r), pairs(w.g, 0),
               hn::Set(D32(), bt709::chroma_bias(bt709::kChromaShift))));
  }

  static HWY_INLINE void store_full_chroma(const Pixels& p0, const Pixels& p1, const Pixels& p2,
                                           const Pixels& p3, std::uint8_t* u, std::uint8_t* v) {
    using bt709::kU, bt709::kV;
    const D8 d8;
    hn::StoreU(pack_bytes(d8, full_chroma(p0, kU), full_chroma(p1, kU), full_chroma(p2, kU),
                          full_chroma(p3, kU)),
               d8, u);
    hn::StoreU(pack_bytes(d8, full_chroma(p0, kV), full_chroma(p1, kV), full_chroma(p2, kV),
                          full_chroma(p3, kV)),
               d8, v);
  }

  // U of the first pixel pair, V of it, U of the second, …: both lanes of a pair get the pair's sum
  // first.
  static HWY_INLINE V32 mean_chroma(const Pixels& row0, const Pixels& row1) {
    using namespace bt709;
    constexpr int kShift = kChromaShift + 2;
    const Pixels sum{over_pair(hn::Add(row0.br, row1.br)), over_pair(hn::Add(row0.gx, row1.gx))};
    return hn::ShiftRight<kShift>(colour(sum, uv_pairs(kU.b, kU.r, kV.b, kV.r),
                                         uv_pairs(kU.g, 0, kV.g, 0),
                                         hn::Set(D32(), chroma_bias(kShift))));
  }

  static HWY_INLINE V16 over_pair(V16 sum) {
    return hn::Add(sum, hn::BitCast(D16(), hn::Shuffle2301(hn::BitCast(D32(), sum))));
  }

 public:
  template <PixelFormat kFormat>
  static HWY_INLINE void convert(const RowPair& rows, int x) {
    const D8 d8;
    constexpr int kStep = kLanes;  // bytes of one vector: 4·kStep bytes are kStep pixels
    const std::uint8_t* src0 = rows.src0 + 4 * x;
    const std::uint8_t* src1 = rows.src1 + 4 * x;
    // Hardware prefetchers stop at page ends and see no pattern in a run of few tiles: fetch what
    // the next pair of rows will touch here. Saves a fifth on a picture that comes from memory.
    for (int i = 0; i < 4 * kStep; i += 64) {
      hwy::Prefetch(src0 + rows.next_src + i);
      hwy::Prefetch(src1 + rows.next_src + i);
    }
    hwy::Prefetch(rows.y0 + x + rows.next_y);
    hwy::Prefetch(rows.y1 + x + rows.next_y);

    const Pixels a0 = load(src0), a1 = load(src0 + kStep), a2 = load(src0 + 2 * kStep),
                 a3 = load(src0 + 3 * kStep);
    const Pixels b0 = load(src1), b1 = load(src1 + kStep), b2 = load(src1 + 2 * kStep),
                 b3 = load(src1 + 3 * kStep);
    hn::StoreU(pack_bytes(d8, luma(a0), luma(a1), luma(a2), luma(a3)), d8, rows.y0 + x);
    hn::StoreU(pack_bytes(d8, luma(b0), luma(b1), luma(b2), luma(b3)), d8, rows.y1 + x);
    if constexpr (kFormat == PixelFormat::kI444) {
      store_full_chroma(a0, a1, a2, a3, rows.u + x, rows.v + x);
      store_full_chroma(b0, b1, b2, b3, rows.u1 + x, rows.v1 + x);
    } else {
      const V8 uv = pack_bytes(d8, mean_chroma(a0, b0), mean_chroma(a1, b1), mean_chroma(a2, b2),
                               mean_chroma(a3, b3));
      if constexpr (kFormat == PixelFormat::kNv12) {
        hn::StoreU(uv, d8, rows.u + x);
      } else {
        const hn::Half<D8> half;
        const hn::RebindToUnsigned<D16> du16;
        const auto words = hn::BitCast(du16, uv);
        const V16 u = hn::BitCast(D16(), hn::And(words, hn::Set(du16, 0xFF)));
        const V16 v = hn::BitCast(D16(), hn::ShiftRight<8>(words));
        hn::StoreU(hn::DemoteTo(half, u), half, rows.u + x / 2);
        hn::StoreU(hn::DemoteTo(half, v), half, rows.v + x / 2);
      }
    }
  }
};

#endif  // HWY_TARGET != HWY_SCALAR

template <PixelFormat kFormat>
HWY_INLINE void convert_row_pair(const RowPair& rows, int width) {
  int x = 0;
#if HWY_TARGET != HWY_SCALAR
  constexpr int kFull = static_cast<int>(hn::MaxLanes(FullBytes()));
  constexpr int kBlock = 16;
  const int even = width & ~1;
  for (; x + kFull <= even; x += kFull) YuvGroup<FullBytes>::template convert<kFormat>(rows, x);
  for (; x + kBlock <= even; x += kBlock) YuvGroup<Block>::template convert<kFormat>(rows, x);
  // The rest once more together with pixels before it: the same values are written again.
  if (x < even && even >= kBlock) {
    YuvGroup<Block>::template convert<kFormat>(rows, even - kBlock);
    x = even;
  }
#endif
  for (; x < width; x += 2) convert_2x2<kFormat>(rows, x, width - 1);
}

template <PixelFormat kFormat>
void convert_format(const std::uint8_t* src, std::ptrdiff_t stride, int width, int height,
                    const CpuPlanes& dst) {
  constexpr bool kFullChroma = kFormat == PixelFormat::kI444;
  constexpr bool kPlanar = kFormat != PixelFormat::kNv12;
  RowPair rows{};
  for (int y = 0; y < height; y += 2) {
    const std::ptrdiff_t chroma_y = kFullChroma ? y : y / 2;
    rows.next_src = y + 3 < height ? 2 * stride : 0;
    rows.next_y = y + 3 < height ? 2 * dst.stride[0] : 0;
    rows.src0 = src + y * stride;
    rows.src1 = y + 1 < height ? rows.src0 + stride : rows.src0;
    rows.y0 = dst.data[0] + y * dst.stride[0];
    rows.y1 = rows.y0 + dst.stride[0];
    rows.u = dst.data[1] + chroma_y * dst.stride[1];
    if constexpr (kPlanar) rows.v = dst.data[2] + chroma_y * dst.stride[2];
    if constexpr (kFullChroma) {
      rows.u1 = rows.u + dst.stride[1];
      rows.v1 = rows.v + dst.stride[2];
    }
    convert_row_pair<kFormat>(rows, width);
  }
}

HWY_NOINLINE void convert_rect_impl(PixelFormat format, const std::uint8_t* src,
                                    std::ptrdiff_t stride, int width, int height,
                                    const CpuPlanes& dst) {
  switch (format) {
    case PixelFormat::kNv12:
      return convert_format<PixelFormat::kNv12>(src, stride, width, height, dst);
    case PixelFormat::kI420:
      return convert_format<PixelFormat::kI420>(src, stride, width, height, dst);
    case PixelFormat::kI444:
      return convert_format<PixelFormat::kI444>(src, stride, width, height, dst);
    case PixelFormat::kBgra:
      return;  // YuvPicture refuses it
  }
}

}  // namespace kvm::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // toggled guard
