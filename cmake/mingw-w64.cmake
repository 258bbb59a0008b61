# Cross-compiles for 64-bit Windows with mingw-w64. Debian's default variant lacks std::thread, hence "-posix".
set(CMAKE_SYSTEM_NAME Windows)
set(CMAKE_SYSTEM_PROCESSOR x86_64)
find_program(_kvm_mingw_cxx NAMES x86_64-w64-mingw32-g++-posix x86_64-w64-mingw32-g++)
if(NOT _kvm_mingw_cxx)
  message(FATAL_ERROR "kvmstream: no C++ compiler for Windows was found.\n"
                      "  Debian/Ubuntu: sudo apt-get install g++-mingw-w64-x86-64-posix\n"
                      "  Fedora:        sudo dnf install mingw64-gcc-c++")
endif()
set(CMAKE_CXX_COMPILER "${_kvm_mingw_cxx}")
find_program(CMAKE_RC_COMPILER x86_64-w64-mingw32-windres)
# Neither a test nor the module must look for GCC's DLLs.
set(CMAKE_EXE_LINKER_FLAGS_INIT "-static")
set(CMAKE_MODULE_LINKER_FLAGS_INIT "-static")
set(CMAKE_CROSSCOMPILING_EMULATOR wine)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
