# Highway by its headers alone, with one instruction set instead of a choice at run time: for targets that the
# system has no built libhwy for. Also sets KVM_HOST_INCLUDE for other header-only libraries of the build machine.
# DOCTEST_INCLUDE is set when tests are built.
find_path(KVM_HOST_INCLUDE hwy/highway.h PATHS /usr/include /usr/local/include NO_DEFAULT_PATH)
if(NOT KVM_HOST_INCLUDE)
  kvm_missing("Google Highway (hwy/highway.h)" "libhwy-dev" "highway-devel")
endif()
# kvm_host_headers(<name>): a folder with that one folder of the build machine's headers. The whole of /usr/include
# would hide the target's own.
function(kvm_host_headers name)
  set(only "${CMAKE_BINARY_DIR}/host-include/${name}")
  file(MAKE_DIRECTORY "${only}")
  file(CREATE_LINK "${KVM_HOST_INCLUDE}/${name}" "${only}/${name}" SYMBOLIC)
endfunction()
kvm_host_headers(hwy)
add_library(kvm_highway INTERFACE)
target_include_directories(kvm_highway SYSTEM INTERFACE "${CMAKE_BINARY_DIR}/host-include/hwy")
target_compile_definitions(kvm_highway INTERFACE HWY_COMPILE_ONLY_STATIC)
if(NOT MSVC)
  target_compile_options(kvm_highway INTERFACE -mssse3)
endif()
set(KVM_HIGHWAY kvm_highway)
if(KVMSTREAM_BUILD_TESTS)
  kvm_host_headers(doctest)
  set(DOCTEST_INCLUDE "${CMAKE_BINARY_DIR}/host-include/doctest")
endif()
