// The clipboard against another user of it: this thread, by Windows' own calls.
#include <doctest/doctest.h>

#include <chrono>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/error.hpp"
#include "base/windows.hpp"
#include "clipboard/win32.hpp"

namespace kvm {
namespace {

using namespace std::chrono_literals;

// What the clipboard told.
class Heard {
 public:
  Clipboard::OnText listener() {
    return [this](std::string text, std::size_t too_long) {
      const std::lock_guard lock(mutex_);
      texts_.emplace_back(std::move(text), too_long);
      came_.notify_all();
    };
  }
  std::optional<std::pair<std::string, std::size_t>> next(std::chrono::milliseconds patience = 5s) {
    std::unique_lock lock(mutex_);
    if (!came_.wait_for(lock, patience, [&] { return !texts_.empty(); })) return std::nullopt;
    auto first = std::move(texts_.front());
    texts_.erase(texts_.begin());
    return first;
  }

 private:
  std::mutex mutex_;
  std::condition_variable came_;
  std::vector<std::pair<std::string, std::size_t>> texts_;
};

bool open_patiently() {
  for (int i = 0; i < 200; ++i) {
    if (OpenClipboard(nullptr)) return true;
    std::this_thread::sleep_for(10ms);
  }
  return false;
}

void copy(std::wstring_view text, UINT format = CF_UNICODETEXT, bool with_end = true) {
  REQUIRE(open_patiently());
  EmptyClipboard();
  const std::size_t bytes = (text.size() + (with_end ? 1 : 0)) * sizeof(wchar_t);
  const HGLOBAL memory = GlobalAlloc(GMEM_MOVEABLE | GMEM_ZEROINIT, bytes);
  std::memcpy(GlobalLock(memory), text.data(), text.size() * sizeof(wchar_t));
  GlobalUnlock(memory);
  CHECK(SetClipboardData(format, memory) != nullptr);
  CloseClipboard();
}

std::wstring paste() {
  REQUIRE(open_patiently());
  std::wstring out;
  if (const HGLOBAL memory = GetClipboardData(CF_UNICODETEXT)) {
    out = static_cast<const wchar_t*>(GlobalLock(memory));
    GlobalUnlock(memory);
  }
  CloseClipboard();
  return out;
}

bool pasted(std::wstring_view text) {
  for (int i = 0; i < 150; ++i) {
    if (paste() == text) return true;
    std::this_thread::sleep_for(20ms);
  }
  return false;
}

std::string of_size(std::size_t size) {
  std::string out;
  while (out.size() + 16 <= size) out += "01234 \xc3\xa4\xf0\x9f\x99\x82 x\n";
  out.resize(size, 'x');
  return out;
}

}  // namespace

TEST_CASE("line ends change sides, and nothing else does") {
  CHECK(to_clipboard("a\nb\r\nc\rd\n\n") == L"a\r\nb\r\nc\rd\r\n\r\n");
  CHECK(from_clipboard(L"a\r\nb\nc\rd\r\n\r\n\r") == "a\nb\nc\rd\n\n\r");
  CHECK(to_clipboard("") == L"");
  CHECK(from_clipboard(L"") == "");
  const std::string all = "Grüße, Ёжик, 漢字, 🙂\ttab\n";
  CHECK(from_clipboard(to_clipboard(all)) == all);
  CHECK(from_clipboard(std::wstring_view(L"\xd83d!", 2)) == "\xef\xbf\xbd!");  // half a pair
}

TEST_CASE("what is there at the start and what others copy is reported") {
  copy(L"was there before");
  Heard heard;
  const Clipboard clipboard(heard.listener());
  auto text = heard.next();
  REQUIRE(text);
  CHECK(text->first == "was there before");
  for (const std::size_t size :
       {std::size_t{1}, std::size_t{1000}, std::size_t{200'000}, kClipboardBytes}) {
    CAPTURE(size);
    const std::string wanted = of_size(size);
    copy(to_clipboard(wanted));
    text = heard.next();
    REQUIRE(text);
    CHECK(text->second == 0);
    CHECK(text->first == wanted);
  }
  copy(L"without an end", CF_UNICODETEXT, false);  // Windows puts one in the last place
  text = heard.next();
  REQUIRE(text);
  CHECK(text->first.starts_with("without an en"));
}

TEST_CASE("what we write can be pasted, and does not come back") {
  copy(L"before");
  Heard heard;
  Clipboard clipboard(heard.listener());
  REQUIRE(heard.next());
  for (const std::string& wanted :
       {std::string("Grüße\nЁжик 🙂"), of_size(kClipboardBytes), std::string("x")}) {
    clipboard.write(wanted);
    CHECK(pasted(to_clipboard(wanted)));
    CHECK_FALSE(heard.next(300ms));
  }
  copy(L"x");  // a clipboard manager that takes over what is there
  CHECK_FALSE(heard.next(300ms));
  copy(L"theirs");
  const auto text = heard.next();
  REQUIRE(text);
  CHECK(text->first == "theirs");
}

TEST_CASE("too long is said and not handed on, either way") {
  copy(L"short");
  Heard heard;
  Clipboard clipboard(heard.listener());
  REQUIRE(heard.next());
  copy(std::wstring(kClipboardBytes + 1, L'x'));
  auto text = heard.next();
  REQUIRE(text);
  CHECK(text->first.empty());
  CHECK(text->second == kClipboardBytes + 1);
  CHECK_THROWS_AS(clipboard.write(std::string(kClipboardBytes + 1, 'x')), Error);
  copy(L"short again");
  text = heard.next();
  REQUIRE(text);
  CHECK(text->first == "short again");
}

TEST_CASE("what is no text is passed over") {
  copy(L"text");
  Heard heard;
  const Clipboard clipboard(heard.listener());
  REQUIRE(heard.next());
  copy(L"bytes", RegisterClipboardFormatW(L"kvmstream test"));
  CHECK_FALSE(heard.next(300ms));
}

TEST_CASE("a clipboard that another program holds is tried again") {
  copy(L"first");
  Heard heard;
  Clipboard clipboard(heard.listener());
  REQUIRE(heard.next());
  REQUIRE(open_patiently());
  clipboard.write("patient");
  std::this_thread::sleep_for(300ms);
  CloseClipboard();
  CHECK(pasted(L"patient"));
  CHECK_FALSE(heard.next(200ms));
}

TEST_CASE("one that is never given back is a problem that is told, and the next write works") {
  Heard heard;
  Heard problems;
  Clipboard clipboard(heard.listener(),
                      [tell = problems.listener()](std::string text) { tell(std::move(text), 0); });
  heard.next(500ms);
  REQUIRE(open_patiently());
  clipboard.write("in vain");
  const auto problem = problems.next();
  CloseClipboard();
  REQUIRE(problem);
  CHECK(problem->first.find("2 s") != std::string::npos);
  clipboard.write("again");
  CHECK(pasted(L"again"));
}

TEST_CASE("what was written stays when the clipboard object has gone") {
  {
    Clipboard clipboard([](const std::string&, std::size_t) {});
    clipboard.write("stays");
  }
  CHECK(paste() == L"stays");
}

}  // namespace kvm
