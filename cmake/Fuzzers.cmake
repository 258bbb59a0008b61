# One executable per cpp/tests/fuzz_*.cpp. Ours and the core's code is instrumented by
# KVMSTREAM_SANITIZE=…,fuzzer-no-link (preset "fuzz"); only the targets link libFuzzer's main.
if(NOT CMAKE_CXX_COMPILER_ID MATCHES "Clang")
  kvm_missing("clang (libFuzzer is part of it; found ${CMAKE_CXX_COMPILER_ID})" "clang" "clang compiler-rt")
endif()

file(GLOB fuzz_sources CONFIGURE_DEPENDS "${CMAKE_SOURCE_DIR}/cpp/tests/fuzz_*.cpp")
foreach(source ${fuzz_sources})
  get_filename_component(name ${source} NAME_WE)
  add_executable(${name} ${source})
  target_link_libraries(${name} PRIVATE libkvmstream PkgConfig::FFMPEG)
  kvm_target(${name})
  target_link_options(${name} PRIVATE -fsanitize=fuzzer)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/fuzz")
endforeach()
