// Helpers that share the pieces of a piece of work with the thread that has it.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "base/error.hpp"

namespace kvm {

// Owned by the thread that calls run(). The helpers sleep in between; the destructor joins them.
class Workers {
 public:
  // 0 helpers: run() does everything itself.
  Workers(int helpers, const char* thread_name);
  ~Workers();
  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;

  // Calls work(0) … work(pieces - 1), each once, here and on the helpers, and returns when all have
  // returned. Throws what one of them threw.
  void run(int pieces, const std::function<void(int)>& work);

 private:
  void help();
  // Does pieces as long as there are any; mutex_ held, but not while working.
  void take_pieces(std::unique_lock<std::mutex>& lock);

  std::mutex mutex_;
  std::condition_variable more_;
  std::condition_variable done_;
  // Of the work in hand.
  const std::function<void(int)>* work_ = nullptr;
  int next_ = 0;
  int pieces_ = 0;
  int unfinished_ = 0;
  Outcome failed_;

  bool stop_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace kvm
