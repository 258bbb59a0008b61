// A kvmstream-probe that does what its argument says, for test_probe_win32.
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "base/windows.hpp"

namespace {

// Exists while one that hangs at a helper's place is alive, or its parent.
constexpr const wchar_t* kHelperIsUp = L"kvmstream-misbehaving-probe-helper";

// Another of this program, which hangs and keeps the output open.
void start_helper() {
  wchar_t path[MAX_PATH];
  GetModuleFileNameW(nullptr, path, MAX_PATH);
  std::wstring command = L"\"" + std::wstring(path) + L"\" helper";
  STARTUPINFOW start{};
  start.cb = sizeof start;
  PROCESS_INFORMATION child{};
  const HANDLE up = CreateEventW(nullptr, TRUE, FALSE, kHelperIsUp);
  if (!CreateProcessW(path, command.data(), nullptr, nullptr, TRUE, 0, nullptr, nullptr, &start,
                      &child) ||
      WaitForSingleObject(up, 10'000) != WAIT_OBJECT_0) {
    std::puts("no helper");
    std::exit(1);
  }
}

void say(const char* text) {
  std::puts(text);
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view what = argc == 2 ? argv[1] : "";
  if (what == "ok") {
    say("ok");
  } else if (what == "chatter") {
    say("chatter\nok");
  } else if (what == "reason") {
    say("no session left");
    return 1;
  } else if (what == "exit3") {
    return 3;
  } else if (what == "ok-exit3") {
    say("ok");
    return 3;
  } else if (what == "crash") {
    say("ok");
    // Windows does as much for whoever is in the probe's job; Wine 8 would start a debugger.
    SetUnhandledExceptionFilter(
        [](EXCEPTION_POINTERS*) -> LONG { return EXCEPTION_EXECUTE_HANDLER; });
    RaiseException(static_cast<DWORD>(EXCEPTION_ACCESS_VIOLATION), EXCEPTION_NONCONTINUABLE, 0,
                   nullptr);
  } else if (what == "abort") {
    TerminateProcess(GetCurrentProcess(), 0xc0000409);  // what a broken stack guard ends with
  } else if (what == "hang") {
    Sleep(INFINITE);
  } else if (what == "helper") {
    SetEvent(OpenEventW(EVENT_MODIFY_STATE, FALSE, kHelperIsUp));
    Sleep(INFINITE);
  } else if (what == "helper-ok") {
    start_helper();
    say("ok");
  } else if (what == "helper-hang") {
    start_helper();
    say("hanging");
    Sleep(INFINITE);
  } else if (what == "endless") {
    for (;;) say("ok");
  } else if (what.starts_with("handle")) {
    // Whether a handle of the parent, given by its number, came along.
    const auto number = std::strtoull(what.data() + 6, nullptr, 16);
    const bool came = SetEvent(reinterpret_cast<HANDLE>(number)) != 0;
    say(came ? "it came along" : "ok");
    return came ? 1 : 0;
  }
  return 0;
}
