# kvm_missing(<what> <Debian packages> <Fedora packages>): stop, and name the command that brings it.
function(kvm_missing what debian fedora)
  if(CMAKE_HOST_WIN32)
    message(FATAL_ERROR
      "kvmstream: ${what} was not found, so the native core cannot be built.\n"
      "  Visual Studio 2022 or its Build Tools, with \"Desktop development with C++\", bring a compiler; "
      "python.org's Python brings its headers.\n"
      "  Or set KVMSTREAM_PURE=1 to install the pure-Python fallback (slower).")
  endif()
  message(FATAL_ERROR
    "kvmstream: ${what} was not found, so the native core cannot be built.\n"
    "  Debian/Ubuntu: sudo apt-get install ${debian}\n"
    "  Fedora:        sudo dnf install ${fedora}\n"
    "  or set KVMSTREAM_PURE=1 to install the pure-Python fallback (slower).")
endfunction()
