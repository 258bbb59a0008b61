#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "base/utf_win32.hpp"
#include "base/windows.hpp"
#include "encode/last_line.hpp"
#include "encode/probe_process.hpp"

namespace kvm {
namespace {

using Clock = std::chrono::steady_clock;

class Handle {
 public:
  Handle() = default;
  explicit Handle(HANDLE handle) noexcept : handle_(handle) {}
  Handle(Handle&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Handle& operator=(Handle&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }
  ~Handle() { reset(); }
  void reset() noexcept {
    if (*this) CloseHandle(handle_);
    handle_ = nullptr;
  }
  [[nodiscard]] explicit operator bool() const noexcept {
    return handle_ != nullptr && handle_ != INVALID_HANDLE_VALUE;
  }
  [[nodiscard]] HANDLE get() const noexcept { return handle_; }
  [[nodiscard]] HANDLE* put() noexcept { return &handle_; }

 private:
  HANDLE handle_ = nullptr;
};

// What the child inherits: these handles and none that the host program left inheritable.
class OnlyThese {
 public:
  explicit OnlyThese(std::array<HANDLE, 2> handles) : handles_(handles) {
    SIZE_T bytes = 0;
    InitializeProcThreadAttributeList(nullptr, 1, 0, &bytes);
    storage_.resize((bytes + sizeof(void*) - 1) / sizeof(void*));
    made_ = InitializeProcThreadAttributeList(list(), 1, 0, &bytes) != 0;
    set_ =
        made_ && UpdateProcThreadAttribute(list(), 0, PROC_THREAD_ATTRIBUTE_HANDLE_LIST,
                                           handles_.data(), sizeof handles_, nullptr, nullptr) != 0;
  }
  ~OnlyThese() {
    if (made_) DeleteProcThreadAttributeList(list());
  }
  OnlyThese(const OnlyThese&) = delete;
  OnlyThese& operator=(const OnlyThese&) = delete;
  [[nodiscard]] explicit operator bool() const noexcept { return set_; }
  [[nodiscard]] LPPROC_THREAD_ATTRIBUTE_LIST list() noexcept {
    return reinterpret_cast<LPPROC_THREAD_ATTRIBUTE_LIST>(storage_.data());
  }

 private:
  std::array<HANDLE, 2> handles_;
  std::vector<void*> storage_;  // for its alignment
  bool made_ = false;
  bool set_ = false;
};

// Ends all that is in it when its last handle is closed, which Windows does for a parent that died.
// A crash in it opens no window that waits for a click.
[[nodiscard]] Handle make_job() {
  Handle job(CreateJobObjectW(nullptr, nullptr));
  JOBOBJECT_EXTENDED_LIMIT_INFORMATION limits{};
  limits.BasicLimitInformation.LimitFlags =
      JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE | JOB_OBJECT_LIMIT_DIE_ON_UNHANDLED_EXCEPTION;
  if (job && !SetInformationJobObject(job.get(), JobObjectExtendedLimitInformation, &limits,
                                      sizeof limits))
    job.reset();
  return job;
}

// The child, inside `job` before its first instruction. Its standard output and error are `output`
// and `nothing`. Throws nothing: `why` says what failed.
[[nodiscard]] Handle spawn(const std::string& executable, std::string_view encoder, HANDLE output,
                           HANDLE nothing, HANDLE job, std::string& why) {
  OnlyThese inherited({output, nothing});
  if (!inherited) {
    why = last_error("no list of handles");
    return {};
  }
  STARTUPINFOEXW start{};
  start.StartupInfo.cb = sizeof start;
  start.StartupInfo.dwFlags = STARTF_USESTDHANDLES;
  start.StartupInfo.hStdInput = nothing;
  start.StartupInfo.hStdOutput = output;
  start.StartupInfo.hStdError = nothing;
  start.lpAttributeList = inherited.list();
  const std::wstring path = to_utf16(executable);
  std::wstring command = L"\"" + path + L"\" " + to_utf16(encoder);
  PROCESS_INFORMATION child{};
  if (!CreateProcessW(path.c_str(), command.data(), nullptr, nullptr, TRUE,
                      CREATE_SUSPENDED | CREATE_NO_WINDOW | EXTENDED_STARTUPINFO_PRESENT, nullptr,
                      nullptr, &start.StartupInfo, &child)) {
    why = last_error((executable + " cannot be started").c_str());
    return {};
  }
  Handle process(child.hProcess);
  const Handle thread(child.hThread);
  if (!AssignProcessToJobObject(job, process.get()) ||
      ResumeThread(thread.get()) == static_cast<DWORD>(-1)) {
    why = last_error((executable + " cannot be watched").c_str());
    TerminateProcess(process.get(), 1);
    return {};
  }
  return process;
}

[[nodiscard]] bool wait_until(HANDLE process, Clock::time_point deadline) {
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
  return WaitForSingleObject(process, static_cast<DWORD>(std::max<long long>(left.count(), 0))) ==
         WAIT_OBJECT_0;
}

// What is in the pipe now. A read without looking first would wait for whoever holds the other end.
void read_available(HANDLE pipe, std::string& output) {
  constexpr std::size_t kMostOutput = 4096;
  constexpr int kMostReads = 64;  // a child that writes for ever must not keep us here
  for (int i = 0; i < kMostReads; ++i) {
    std::array<char, 1024> chunk{};
    DWORD available = 0;
    DWORD got = 0;
    if (!PeekNamedPipe(pipe, nullptr, 0, nullptr, &available, nullptr) || available == 0) return;
    const DWORD want = std::min(available, static_cast<DWORD>(chunk.size()));
    if (!ReadFile(pipe, chunk.data(), want, &got, nullptr) || got == 0) return;
    if (output.size() < kMostOutput) output.append(chunk.data(), got);
  }
}

}  // namespace

std::optional<std::string> run_probe(const std::string& executable, std::string_view encoder,
                                     std::chrono::milliseconds timeout) {
  constexpr auto kSlice = std::chrono::milliseconds(5);
  constexpr auto kReapTime = std::chrono::seconds(1);
  const auto deadline = Clock::now() + timeout;
  SECURITY_ATTRIBUTES inheritable{sizeof inheritable, nullptr, TRUE};
  Handle reader;
  Handle writer;
  if (!CreatePipe(reader.put(), writer.put(), &inheritable, 0)) return last_error("no pipe");
  const Handle nothing(CreateFileW(L"NUL", GENERIC_READ | GENERIC_WRITE,
                                   FILE_SHARE_READ | FILE_SHARE_WRITE, &inheritable, OPEN_EXISTING,
                                   0, nullptr));
  Handle job = make_job();
  if (!nothing || !job) return last_error("no job for the test encode");
  std::string why;
  const Handle process = spawn(executable, encoder, writer.get(), nothing.get(), job.get(), why);
  if (!process) return why;
  writer.reset();

  std::string output;
  bool ended = false;
  while (!ended && Clock::now() < deadline) {
    ended = wait_until(process.get(), std::min(Clock::now() + kSlice, deadline));
    read_available(reader.get(), output);
  }
  DWORD status = 0;
  if (ended) GetExitCodeProcess(process.get(), &status);
  // Helpers that a driver started end as well. What is stuck in the kernel ends only when that lets
  // go of it; it must not take us along.
  TerminateJobObject(job.get(), 1);
  (void)wait_until(process.get(), Clock::now() + kReapTime);
  if (!ended) {
    return "the test encode did not end within " + std::to_string(timeout.count()) + " ms";
  }
  constexpr DWORD kLeastException = 0xc0000000;  // an NTSTATUS of the worst kind
  if (status >= kLeastException)
    return "the test encode crashed (" + hex(static_cast<HRESULT>(status)) + ")";
  const std::string said = last_line(std::move(output));
  if (said == "ok" && status == 0) return std::nullopt;
  if (!said.empty() && said != "ok") return said;
  return "the test encode exited with status " + std::to_string(status);
}

}  // namespace kvm
