# Switches C++ on. Asked for first, so that a machine without a compiler hears which package brings one.
include(CheckLanguage)
check_language(CXX)
if(NOT CMAKE_CXX_COMPILER)
  if(DEFINED ENV{CXX})
    kvm_missing("a C++20 compiler (CXX=$ENV{CXX})" "g++" "gcc-c++")
  endif()
  kvm_missing("a C++20 compiler" "g++" "gcc-c++")
endif()
enable_language(CXX)

if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 11)
  kvm_missing("GCC 11 or newer (found ${CMAKE_CXX_COMPILER_VERSION})" "g++" "gcc-c++")
endif()
