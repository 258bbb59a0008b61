#!/usr/bin/env bash
# FFmpeg for the Windows build (cmake --preset windows): static libavcodec with the encoders h264_nvenc and h264_mf and
# nothing else, crossed by mingw-w64 into build/ffmpeg-windows. Its source and NVENC's headers are this system's own
# packages, which apt fetches and verifies, from whatever mirror it is set up with: neither root nor deb-src lines needed.
# Made again only when this script or the compiler changes.
# h264_qsv and h264_amf are not in it: Debian has no AMF headers, and of QuickSync no dispatcher for mingw-w64.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

prefix="$ROOT/build/ffmpeg-windows"
cross=x86_64-w64-mingw32
cc="$cross-gcc-posix"
if ! have "$cc"; then cc="$cross-gcc"; fi
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
  apt-get source --download-only ffmpeg
  apt-get download libffmpeg-nvenc-dev
} >log 2>&1 || die "FFmpeg's source or NVENC's headers cannot be had from this system's package sources:" \
  "$(grep -E '^[EW]:' log | head -n 5)"

mkdir source made
tar -xf ffmpeg_*.orig.tar.?z -C source --strip-components=1
# FFmpeg 6.0 and later take BGRA textures into its pools, which the tests want to see; that is one line of its table.
pools=source/libavutil/hwcontext_d3d11va.c
grep -q AV_PIX_FMT_BGRA "$pools" ||
  sed -i 's/^ *{ DXGI_FORMAT_NV12, *AV_PIX_FMT_NV12 },/&\n    { DXGI_FORMAT_B8G8R8A8_UNORM, AV_PIX_FMT_BGRA },/' "$pools"
[ -f source/libavcodec/version_major.h ] || die "this system's FFmpeg is older than 5.1: $(echo ffmpeg_*.dsc)"
dpkg-deb -x libffmpeg-nvenc-dev_*.deb headers

say "FFmpeg for Windows: building it (about a minute)"
cd made
export PKG_CONFIG_LIBDIR="$folder/headers/usr/share/pkgconfig:$folder/headers/usr/lib/pkgconfig"
{
  # The GPU does the work, so no assembler and little optimising: that is half the time.
  ../source/configure --prefix="$prefix" --enable-cross-compile --cross-prefix="$cross-" --cc="$cc" --arch=x86_64 \
    --target-os=mingw32 --pkg-config=pkg-config --extra-cflags="-I$folder/headers/usr/include" --optflags=-O1 \
    --disable-everything --disable-autodetect --disable-programs --disable-doc --disable-network --disable-debug \
    --disable-x86asm --disable-avformat --disable-avdevice --disable-avfilter --disable-swresample --disable-swscale \
    --enable-w32threads --enable-d3d11va --enable-ffnvcodec --enable-nvenc --enable-mediafoundation \
    --enable-encoder=h264_nvenc,h264_mf &&
    make -j"$JOBS" install &&
    cp -r "$folder/headers/usr/include/ffnvcodec" "$prefix/include/" # for a driver of the tests' own
} >log 2>&1 || die "FFmpeg does not build for Windows:" "$(tail -n 15 log)"
echo "$want" >"$prefix/made-from"
