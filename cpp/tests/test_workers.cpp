// Helpers that share work: every piece once, also when one fails, also when there are no helpers.
#include "base/workers.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <numeric>
#include <stdexcept>

namespace kvm {
namespace {

TEST_CASE("every piece is done once, by any number of helpers") {
  for (const int helpers : {0, 1, 3, 7}) {
    CAPTURE(helpers);
    Workers workers(helpers, "test");
    for (int pieces = 0; pieces < 200; ++pieces) {
      // Plain memory: run() orders what the pieces wrote before what its caller reads.
      std::vector<int> done(static_cast<std::size_t>(pieces), 0);
      workers.run(pieces, [&](int i) { ++done[static_cast<std::size_t>(i)]; });
      CHECK(std::accumulate(done.begin(), done.end(), 0) == pieces);
      CHECK(std::all_of(done.begin(), done.end(), [](int count) { return count == 1; }));
    }
  }
}

TEST_CASE("pieces are worked on at the same time") {
  Workers workers(1, "test");
  std::atomic<int> begun = 0;
  workers.run(2, [&](int) {
    ++begun;
    const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (begun < 2 && std::chrono::steady_clock::now() < give_up) std::this_thread::yield();
    CHECK(begun == 2);
  });
}

TEST_CASE("what a piece throws is thrown when all have returned, and the next run is as good") {
  for (const int helpers : {0, 2}) {
    CAPTURE(helpers);
    Workers workers(helpers, "test");
    for (int round = 0; round < 20; ++round) {
      std::atomic<int> done = 0;
      CHECK_THROWS_WITH(workers.run(5,
                                    [&](int i) {
                                      ++done;
                                      if (i == 4) throw std::runtime_error("piece 4");
                                    }),
                        "piece 4");
      CHECK(done == 5);
      workers.run(5, [&](int) { ++done; });
      CHECK(done == 10);
    }
  }
}

}  // namespace
}  // namespace kvm
