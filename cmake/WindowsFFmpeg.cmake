# FFmpeg for Windows, by include/ and lib/ below FFMPEG_PATH: there need be no pkg-config. Sets KVM_FFMPEG to the target to
# link; without FFmpeg it stays unset, and our own encoder is the only one.
if(NOT FFMPEG_PATH)
  message(STATUS "kvmstream: FFMPEG_PATH is not set, so there are no hardware encoders")
  return()
endif()
foreach(name avcodec avutil)
  find_library(_kvm_${name} NAMES ${name} PATHS "${FFMPEG_PATH}/lib" NO_DEFAULT_PATH NO_CMAKE_FIND_ROOT_PATH NO_CACHE)
endforeach()
if(NOT _kvm_avcodec OR NOT _kvm_avutil OR NOT EXISTS "${FFMPEG_PATH}/include/libavcodec/avcodec.h")
  if(CMAKE_CROSSCOMPILING)  # the preset names a folder that scripts/ffmpeg_windows.sh fills
    message(STATUS "kvmstream: ${FFMPEG_PATH} holds no FFmpeg, so there are no hardware encoders; "
                   "scripts/ffmpeg_windows.sh makes it")
    return()
  endif()
  message(FATAL_ERROR "kvmstream: FFMPEG_PATH=${FFMPEG_PATH} holds no include/libavcodec/avcodec.h or no avcodec and "
                      "avutil in lib/. Point it at the prefix that FFmpeg was installed to.")
endif()
add_library(kvm_ffmpeg INTERFACE)
target_include_directories(kvm_ffmpeg SYSTEM INTERFACE "${FFMPEG_PATH}/include")
# What a static libavcodec asks of Windows: Media Foundation's names, COM, random numbers.
target_link_libraries(kvm_ffmpeg INTERFACE "${_kvm_avcodec}" "${_kvm_avutil}" bcrypt mfuuid ole32 strmiids user32)
foreach(dispatcher vpl libmfx mfx)  # of a static FFmpeg with QuickSync
  find_library(_kvm_dispatcher NAMES ${dispatcher} PATHS "${FFMPEG_PATH}/lib" NO_DEFAULT_PATH NO_CMAKE_FIND_ROOT_PATH NO_CACHE)
  if(_kvm_dispatcher)
    target_link_libraries(kvm_ffmpeg INTERFACE "${_kvm_dispatcher}")
    break()
  endif()
endforeach()
set(KVM_FFMPEG kvm_ffmpeg)
message(STATUS "kvmstream: FFmpeg from ${FFMPEG_PATH}")
