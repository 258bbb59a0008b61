// Names the calling thread for debuggers and top; at most 15 characters on Linux.
#pragma once

#if defined(__linux__)
#include <pthread.h>
#endif

namespace kvm {

#if defined(_WIN32)
void name_this_thread(const char* name) noexcept;
#else
inline void name_this_thread([[maybe_unused]] const char* name) noexcept {
#if defined(__linux__)
  pthread_setname_np(pthread_self(), name);
#endif
}
#endif

}  // namespace kvm
