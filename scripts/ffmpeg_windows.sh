#!/usr/bin/env bash
# FFmpeg for the Windows build (cmake --preset windows): static libavcodec with the encoders h264_nvenc, h264_qsv, h264_amf
# and h264_mf and nothing else, crossed by mingw-w64 into build/ffmpeg-windows. Its source and the vendors' headers are this
# system's own packages, which apt fetches and verifies, from whatever mirror it is set up with: neither root nor deb-src
# lines needed. GStreamer's source brings two of them: AMD's AMF headers, and Intel's dispatcher, which finds QuickSync's
# driver and is linked in. Made again only when this script or the compiler changes.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

prefix="$ROOT/build/ffmpeg-windows"
cross=x86_64-w64-mingw32
cc="$cross-gcc-posix"
if ! have "$cc"; then cc="$cross-gcc"; fi
cxx="${cc/-gcc/-g++}"
want="$(digest scripts/ffmpeg_windows.sh) $("$cc" -dumpfullversion)"
if [ "$(cat "$prefix/made-from" 2>/dev/null)" = "$want" ]; then exit 0; fi
rm -rf "$prefix"

have apt-get || die "FFmpeg's source comes by apt-get, which this system lacks" \
  "cross-compile FFmpeg yourself and give its prefix: cmake --preset windows -DFFMPEG_PATH=/that/prefix"
folder="$(mktemp -d)"
CLEANUP+=("rm -rf '$folder'")
cd "$folder"

say "FFmpeg for Windows: fetching its source"
# The system's sources once more, as those of source packages, with lists and caches of their own.
mkdir -p parts lists/partial cache/archives/partial
find /etc/apt -path '*/sources.list*' -name '*.list' -exec sed -nE 's/^deb[[:space:]]/&/p; s/^deb([[:space:]])/deb-src\1/p' {} + >list
find /etc/apt/sources.list.d -name '*.sources' -exec cp {} parts/ \;
find parts -type f -exec sed -i 's/^Types:.*/Types: deb deb-src/I' {} +
cat >conf <<CONF
Dir::Etc::sourcelist "$folder/list";
Dir::Etc::sourceparts "$folder/parts";
Dir::State::lists "$folder/lists";
Dir::Cache "$folder/cache";
APT::Sandbox::User "root";
CONF
export APT_CONFIG="$folder/conf"
{
  apt-get update || true # other vendors' repositories may have no sources
  apt-get source --download-only ffmpeg gst-plugins-bad1.0
  apt-get download libffmpeg-nvenc-dev
} >log 2>&1 || die "FFmpeg's source or its encoders' headers cannot be had from this system's package sources:" \
  "$(grep -E '^[EW]:' log | head -n 5)"

mkdir source made vendors dispatcher headers
tar -xf ffmpeg_*.orig.tar.?z -C source --strip-components=1
tar -xf gst-plugins-bad1.0_*.orig.tar.?z -C vendors --strip-components=2 --wildcards '*/sys/amfcodec/include' '*/sys/qsv/libmfx' ||
  die "GStreamer's source has moved AMF's headers or QuickSync's dispatcher: $(echo gst-plugins-bad1.0_*.dsc)"
# FFmpeg 6.0 and later take BGRA textures into its pools, which the tests want to see; that is one line of its table.
pools=source/libavutil/hwcontext_d3d11va.c
grep -q AV_PIX_FMT_BGRA "$pools" ||
  sed -i 's/^ *{ DXGI_FORMAT_NV12, *AV_PIX_FMT_NV12 },/&\n    { DXGI_FORMAT_B8G8R8A8_UNORM, AV_PIX_FMT_BGRA },/' "$pools"
# FFmpeg up to 7.1 never asks AMF for a keyframe, and for a picture's packet but once, at once: then it comes with the next one.
amf=source/libavcodec/amfenc
if ! grep -q forced_idr "${amf}_h264.c"; then
  idr='AMF_ASSIGN_PROPERTY_INT64(res, surface, AMF_VIDEO_ENCODER_FORCE_PICTURE_TYPE, AMF_VIDEO_ENCODER_PICTURE_TYPE_IDR);'
  sed -i "s/^ *AMF_ASSIGN_PROPERTY_INT64(res, surface, AMF_VIDEO_ENCODER_INSERT_AUD.*/&\n if (frame->pict_type == AV_PICTURE_TYPE_I) $idr/
    s/block_and_wait;/block_and_wait, polls = 0;/
    s/(ctx->hwsurfaces_in_queue >= ctx->hwsurfaces_in_queue_max)/(res_query == AMF_REPEAT \&\& ++polls < 10)/" "$amf.c"
  wait='AMF_ASSIGN_PROPERTY_INT64(res, ctx->encoder, AMF_VIDEO_ENCODER_QUERY_TIMEOUT, 50);' # ms, where the driver knows it
  sed -i "s/^ *AMF_ASSIGN_PROPERTY_BOOL(res, ctx->encoder, AMF_VIDEO_ENCODER_DE_BLOCKING_FILTER.*/&\n $wait/" "${amf}_h264.c"
fi
[ -f source/libavcodec/version_major.h ] || die "this system's FFmpeg is older than 5.1: $(echo ffmpeg_*.dsc)"
dpkg-deb -x libffmpeg-nvenc-dev_*.deb headers
include="$folder/headers/usr/include"
cp -r vendors/amfcodec/include "$include/AMF"

# FFmpeg 6.0 and later call the dispatcher as oneVPL, under its own headers. Before, it is the Media SDK's, whose functions it
# has but for plugins, which no H.264 encoder is.
if grep -q enable-libvpl source/configure; then
  quicksync=libvpl package=vpl version=2.6
  parts=(vendors/qsv/libmfx/dispatcher/{windows,vpl}/*.cpp)
  cp -r vendors/qsv/libmfx/api/vpl "$include/"
  # GStreamer has one function of the dispatcher use GLib: whether that is the number of a device, and of an adapter.
  mkdir vendors/gst
  cat >vendors/gst/gst.h <<'GST'
#include <cstring>
using gchar = char;
enum GRegexCompileFlags {};
enum GRegexMatchFlags {};
inline bool g_regex_match_simple(const char* pattern, const char* text, GRegexCompileFlags, GRegexMatchFlags) {
  const std::size_t device = std::strspn(text, "0123456789abcdefABCDEF");
  if (std::strchr(pattern, '/') == nullptr) return device > 0;
  return device > 0 && text[device] == '/' && std::strspn(text + device + 1, "0123456789") > 0;
}
GST
else
  quicksync=libmfx package=libmfx version=1.28
  parts=(vendors/qsv/libmfx/dispatcher/windows/*.cpp)
  apt-get download libmfx-dev >log 2>&1 ||
    die "the Media SDK's headers cannot be had from this system's package sources:" "$(grep -E '^[EW]:' log | head -n 5)"
  dpkg-deb -x libmfx-dev_*.deb headers
  sed -i 's/MFXVideoUSER_Load([^)]*)/MFX_ERR_UNSUPPORTED/' source/libavcodec/qsv.c
fi
mkdir -p pkgconfig
cat >"pkgconfig/$package.pc" <<PC
Name: $package
Description: QuickSync's dispatcher
Version: $version
Cflags: -I$include/vpl
Libs: -L$folder/dispatcher -lvpl -lstdc++ -lole32 -ladvapi32
PC

say "FFmpeg for Windows: building it (about a minute)"
(
  cd dispatcher &&
    printf "$folder/%s\n" "${parts[@]}" | xargs -n 1 -P "$JOBS" "$cxx" -c -O1 -w -DNDEBUG -DINITGUID \
      -I"$folder/vendors" -I"$folder/vendors/qsv/libmfx/dispatcher" -I"$folder/vendors/qsv/libmfx/api" &&
    "$cross-ar" rcs libvpl.a ./*.o
) >log 2>&1 || die "QuickSync's dispatcher does not build for Windows:" "$(grep -m 5 error log)"
cd made
export PKG_CONFIG_LIBDIR="$folder/pkgconfig:$folder/headers/usr/share/pkgconfig:$folder/headers/usr/lib/pkgconfig"
# The GPU does the work, so no assembler and little optimising: that is half the time.
configure() {
  ../source/configure --prefix="$prefix" --enable-cross-compile --cross-prefix="$cross-" --cc="$cc" --arch=x86_64 \
    --target-os=mingw32 --pkg-config=pkg-config --extra-cflags="-I$include" --optflags=-O1 \
    --disable-everything --disable-autodetect --disable-programs --disable-doc --disable-network --disable-debug \
    --disable-x86asm --disable-avformat --disable-avdevice --disable-avfilter --disable-swresample --disable-swscale \
    --enable-w32threads --enable-d3d11va --enable-ffnvcodec --enable-nvenc "--enable-$quicksync" --enable-mediafoundation \
    --enable-encoder=h264_nvenc,h264_qsv,h264_mf "$@"
}
fails() { die "FFmpeg does not build for Windows:" "$(tail -n 15 log)"; }
encoders=(NVENC QSV AMF MF) headers=(ffnvcodec AMF mfx vpl)
configure --enable-amf --enable-encoder=h264_amf >log 2>&1 || {
  grep -q 'amf requested' log || fails
  printf '\033[1;33mkvmstream: NOT BUILT: h264_amf, as this FFmpeg wants a newer AMF than that of GStreamer\033[0m\n' >&2
  encoders=(NVENC QSV MF) headers=(ffnvcodec mfx vpl)
  configure >log 2>&1 || fails
}
make -j"$JOBS" install >log 2>&1 || fails
cp "$folder/dispatcher/libvpl.a" "$prefix/lib/"
# What configure lacks something for it leaves out without a word.
for encoder in "${encoders[@]}"; do
  grep -q "CONFIG_H264_${encoder}_ENCODER 1" config*.h || die "this FFmpeg has no h264_${encoder,,}: $(echo ../ffmpeg_*.dsc)"
done
for vendor in "${headers[@]}"; do # for drivers of the tests' own
  if [ -d "$include/$vendor" ]; then cp -r "$include/$vendor" "$prefix/include/"; fi
done
echo "$want" >"$prefix/made-from"
