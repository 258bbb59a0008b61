# Finds what libkvmstream links. Each missing piece is named together with the command that brings it.
find_package(Threads REQUIRED)

# FFMPEG_PATH (environment or CMake variable): prefix of another FFmpeg than the system's.
if(NOT FFMPEG_PATH AND DEFINED ENV{FFMPEG_PATH})
  set(FFMPEG_PATH "$ENV{FFMPEG_PATH}")
endif()
if(WIN32)
  include(WindowsFFmpeg)
  if(CMAKE_CROSSCOMPILING)
    include(HighwayHeaders)
  else()
    include(WindowsPackages)
  endif()
  return()
endif()
find_package(PkgConfig QUIET)

if(NOT PKG_CONFIG_FOUND)
  kvm_missing("pkg-config" "pkg-config" "pkgconf-pkg-config")
endif()

if(FFMPEG_PATH)
  file(GLOB_RECURSE _kvm_ffmpeg_pc "${FFMPEG_PATH}/lib*/libavcodec.pc")
  if(NOT _kvm_ffmpeg_pc)
    message(FATAL_ERROR "kvmstream: FFMPEG_PATH=${FFMPEG_PATH} holds no lib/pkgconfig/libavcodec.pc. "
                        "Point it at the prefix that FFmpeg was installed to.")
  endif()
  list(GET _kvm_ffmpeg_pc 0 _kvm_ffmpeg_pc)
  get_filename_component(_kvm_ffmpeg_pc_dir "${_kvm_ffmpeg_pc}" DIRECTORY)
  set(ENV{PKG_CONFIG_PATH} "${_kvm_ffmpeg_pc_dir}:$ENV{PKG_CONFIG_PATH}")
  set(CMAKE_INSTALL_RPATH_USE_LINK_PATH ON)  # that FFmpeg, not the system's, at run time too
endif()

pkg_check_modules(FFMPEG QUIET IMPORTED_TARGET libavcodec>=59.37 libavutil>=57.28)
if(NOT FFMPEG_FOUND)
  kvm_missing("FFmpeg (libavcodec >= 59.37, that is FFmpeg 5.1)" "libavcodec-dev libavutil-dev"
              "ffmpeg-free-devel")
endif()
set(KVM_FFMPEG PkgConfig::FFMPEG)
message(STATUS "kvmstream: FFmpeg libavcodec ${FFMPEG_libavcodec_VERSION} from ${FFMPEG_libavcodec_PREFIX}")

# Optional: x264 itself, which costs about half the CPU of x264 through libavcodec (it is told what has not changed).
pkg_check_modules(X264 QUIET IMPORTED_TARGET x264)
if(X264_FOUND)
  message(STATUS "kvmstream: x264 ${X264_VERSION}, used directly (GPL)")
else()
  message(STATUS "kvmstream: libx264-dev not found, so x264 is reached through libavcodec, at about twice the CPU")
endif()

pkg_check_modules(HWY QUIET IMPORTED_TARGET libhwy)
if(NOT HWY_FOUND)
  kvm_missing("Google Highway (libhwy)" "libhwy-dev" "highway-devel")
endif()
set(KVM_HIGHWAY PkgConfig::HWY)

if(UNIX AND NOT APPLE)
  pkg_check_modules(XCB QUIET IMPORTED_TARGET xcb>=1.13 xcb-shm xcb-damage xcb-xfixes xcb-randr xcb-xinput xau)
  if(NOT XCB_FOUND)
    kvm_missing("libxcb (xcb, xcb-shm, xcb-damage, xcb-xfixes, xcb-randr, xcb-xinput, xau)"
                "libxcb1-dev libxcb-shm0-dev libxcb-damage0-dev libxcb-xfixes0-dev libxcb-randr0-dev libxcb-xinput-dev libxau-dev"
                "libxcb-devel libXau-devel")
  endif()
endif()
