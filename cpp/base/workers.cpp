#include "base/workers.hpp"

#include "base/thread_name.hpp"

namespace kvm {

Workers::Workers(int helpers, const char* thread_name) {
  threads_.reserve(static_cast<std::size_t>(helpers));
  for (int i = 0; i < helpers; ++i) {
    threads_.emplace_back([this, thread_name] {
      name_this_thread(thread_name);
      help();
    });
  }
}

Workers::~Workers() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  more_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void Workers::run(int pieces, const std::function<void(int)>& work) {
  if (threads_.empty() || pieces <= 1) {
    for (int i = 0; i < pieces; ++i) work(i);
    return;
  }
  std::unique_lock lock(mutex_);
  work_ = &work;
  next_ = 0;
  pieces_ = unfinished_ = pieces;
  failed_.reset();
  more_.notify_all();
  take_pieces(lock);
  done_.wait(lock, [this] { return unfinished_ == 0; });
  if (failed_) throw Error(*failed_);
}

void Workers::help() {
  std::unique_lock lock(mutex_);
  for (;;) {
    more_.wait(lock, [this] { return stop_ || next_ < pieces_; });
    if (stop_) return;
    take_pieces(lock);
  }
}

void Workers::take_pieces(std::unique_lock<std::mutex>& lock) {
  while (next_ < pieces_) {
    const int piece = next_++;
    const std::function<void(int)>& work = *work_;
    lock.unlock();
    Outcome failed;
    try {
      work(piece);
    } catch (...) {
      failed = current_error(ErrorKind::kEncoder);
    }
    lock.lock();
    if (failed) failed_ = failed;
    if (--unfinished_ == 0) done_.notify_one();
  }
}

}  // namespace kvm
