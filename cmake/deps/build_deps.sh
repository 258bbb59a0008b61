#!/usr/bin/env bash
# build_deps.sh PREFIX: what the native wheels carry, built inside a manylinux_2_28 image: Google Highway and an
# LGPL FFmpeg that holds H.264 and MJPEG encoders and nothing else. No GPL part, no x264, no network code.
#
# Sources are pinned by git commit: the hash names the whole tree, and a moved tag is noticed.
# NVENC headers 12.1 are on purpose not newer: they ask for driver 530, 13.0 would ask for 570.
# VAAPI and QuickSync are left out: they link libva, which must be the host's own (it finds its drivers by its own
# version) and whose absence would keep the module from loading. A source build against the system's FFmpeg has them.
set -euo pipefail

PREFIX="${1:?usage: build_deps.sh PREFIX}"
JOBS="$(nproc)"
WORK="$(mktemp -d)"
trap 'rm -rf "$WORK"' EXIT

FFMPEG_TAG=n7.1.1 FFMPEG_COMMIT=db69d06eeeab4f46da15030a80d539efb4503ca8
NVHEADERS_TAG=n12.1.14.0 NVHEADERS_COMMIT=1889e62e2d35ff7aa9baca2bceb14f053785e6f1
HIGHWAY_TAG=1.2.0 HIGHWAY_COMMIT=457c891775a7397bdb0376bb1031e6e027af1c48

# KVMSTREAM_DEPS_MIRROR: folder or address with <owner>/<name>.git below it, in place of GitHub.
MIRROR="${KVMSTREAM_DEPS_MIRROR:-https://github.com}"

checkout() { # checkout OWNER/NAME TAG COMMIT FOLDER
  git clone -q --depth 1 --branch "$2" "$MIRROR/$1.git" "$4"
  local got
  got="$(git -C "$4" rev-parse HEAD)"
  if [ "$got" != "$3" ]; then
    echo "build_deps: tag $2 of $1 is commit $got, expected $3" >&2
    exit 1
  fi
}

if command -v dnf >/dev/null; then
  dnf install -y -q libxcb-devel libXau-devel nasm pkgconf-pkg-config
fi

export PKG_CONFIG_PATH="$PREFIX/lib/pkgconfig:$PREFIX/lib64/pkgconfig:${PKG_CONFIG_PATH:-}"
mkdir -p "$PREFIX/licenses"

checkout google/highway "$HIGHWAY_TAG" "$HIGHWAY_COMMIT" "$WORK/highway"
cmake -S "$WORK/highway" -B "$WORK/highway/build" -DCMAKE_BUILD_TYPE=Release -DCMAKE_INSTALL_PREFIX="$PREFIX" \
  -DBUILD_SHARED_LIBS=OFF -DCMAKE_POSITION_INDEPENDENT_CODE=ON -DHWY_ENABLE_TESTS=OFF -DHWY_ENABLE_EXAMPLES=OFF \
  -DHWY_ENABLE_CONTRIB=OFF -DBUILD_TESTING=OFF
cmake --build "$WORK/highway/build" --parallel "$JOBS"
cmake --install "$WORK/highway/build"
cp "$WORK/highway/LICENSE-BSD3" "$PREFIX/licenses/highway-BSD-3-Clause.txt"

checkout FFmpeg/nv-codec-headers "$NVHEADERS_TAG" "$NVHEADERS_COMMIT" "$WORK/nv-codec-headers"
make -C "$WORK/nv-codec-headers" PREFIX="$PREFIX" install

checkout FFmpeg/FFmpeg "$FFMPEG_TAG" "$FFMPEG_COMMIT" "$WORK/ffmpeg"
cd "$WORK/ffmpeg"
# Shared libraries: auditwheel puts them beside the module, where a user may replace them (LGPL).
./configure --prefix="$PREFIX" --enable-shared --disable-static --enable-pic \
  --disable-everything --disable-autodetect --disable-programs --disable-doc --disable-network \
  --disable-avformat --disable-avdevice --disable-avfilter --disable-swresample --disable-swscale \
  --enable-ffnvcodec --enable-nvenc --enable-encoder=h264_nvenc,mjpeg \
  --enable-bsf=extract_extradata,h264_metadata,dump_extra
make -j"$JOBS"
make install
cp COPYING.LGPLv2.1 "$PREFIX/licenses/FFmpeg-LGPL-2.1.txt"
{
  echo "FFmpeg $FFMPEG_TAG, commit $FFMPEG_COMMIT, https://github.com/FFmpeg/FFmpeg"
  echo "configured as in cmake/deps/build_deps.sh of kvmstream's source distribution"
} >"$PREFIX/licenses/FFmpeg-SOURCE.txt"

# What the README says of the licence is checked, not hoped for.
library="$(readlink -f "$PREFIX/lib/libavcodec.so")"
if grep -a -q -e '--enable-gpl' -e '--enable-nonfree' -e 'libx264' "$library"; then
  echo "build_deps: $library holds GPL or non-free parts" >&2
  exit 1
fi
echo "build_deps: done, $(du -sh "$library" | cut -f1) of libavcodec in $PREFIX"
