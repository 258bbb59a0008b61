# Highway, and doctest for the tests, where Windows itself is what builds: those that find_package() finds (vcpkg's, say),
# else their sources from GitHub, pinned by hash. Highway is the version of cmake/deps/build_deps.sh.
include(FetchContent)

find_package(hwy CONFIG QUIET)
if(hwy_FOUND)
  set(KVM_HIGHWAY hwy::hwy)
else()
  FetchContent_Declare(highway
    URL https://github.com/google/highway/archive/refs/tags/1.2.0.tar.gz
    URL_HASH SHA256=7e0be78b8318e8bdbf6fa545d2ecb4c90f947df03f7aadc42c1967f019e63343)
  foreach(part CONTRIB EXAMPLES INSTALL TESTS)
    set(HWY_ENABLE_${part} OFF CACHE BOOL "" FORCE)
  endforeach()
  set(HWY_FORCE_STATIC_LIBS ON CACHE BOOL "" FORCE)
  FetchContent_MakeAvailable(highway)
  # Its headers are not ours to warn about.
  get_target_property(_kvm_highway_headers hwy INTERFACE_INCLUDE_DIRECTORIES)
  set_target_properties(hwy PROPERTIES INTERFACE_SYSTEM_INCLUDE_DIRECTORIES "${_kvm_highway_headers}")
  set(KVM_HIGHWAY hwy)
  if(SKBUILD)  # it is linked statically
    install(FILES "${highway_SOURCE_DIR}/LICENSE-BSD3" DESTINATION "${SKBUILD_METADATA_DIR}/licenses"
            RENAME highway-BSD-3-Clause.txt)
  endif()
endif()
if(NOT MSVC)  # GCC keeps no stack aligned for AVX on Windows (its bug 54412)
  add_library(kvm_highway INTERFACE)
  target_link_libraries(kvm_highway INTERFACE ${KVM_HIGHWAY})
  target_compile_definitions(kvm_highway INTERFACE HWY_COMPILE_ONLY_STATIC)
  target_compile_options(kvm_highway INTERFACE -mssse3)
  set(KVM_HIGHWAY kvm_highway)
endif()

if(KVMSTREAM_BUILD_TESTS)
  find_path(DOCTEST_INCLUDE doctest/doctest.h)
  if(NOT DOCTEST_INCLUDE)
    FetchContent_Declare(doctest
      URL https://github.com/doctest/doctest/archive/refs/tags/v2.4.12.tar.gz
      URL_HASH SHA256=73381c7aa4dee704bd935609668cf41880ea7f19fa0504a200e13b74999c2d70
      SOURCE_SUBDIR none)  # a header is all that is wanted of it, so its CMakeLists.txt is not read
    FetchContent_MakeAvailable(doctest)
    set(DOCTEST_INCLUDE "${doctest_SOURCE_DIR}")
  endif()
endif()
