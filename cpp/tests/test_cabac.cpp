// CABAC's arithmetic encoder against a decoder that follows ITU-T H.264, 9.3.1.2 and 9.3.3.2, bit
// by bit.
#include <doctest/doctest.h>

#include <algorithm>
#include <random>
#include <vector>

#include "encode/bits.hpp"
#include "encode/screen/cabac_residual.hpp"

namespace kvm {
namespace {

using screen::CabacContext;
using screen::CabacContexts;
using screen::CabacEngine;

class ArithmeticDecoder {
 public:
  explicit ArithmeticDecoder(std::span<const std::uint8_t> bytes) : bits_(bytes) { start(); }
  void start() {
    range_ = 510;
    offset_ = bits_.bits(9);
    CHECK(offset_ < 510);
  }
  bool decode(unsigned& state, bool& likely) {
    const std::uint32_t less = screen::kRangeLps[state][range_ >> 6 & 3];
    range_ -= less;
    bool bin = likely;
    if (offset_ >= range_) {
      offset_ -= range_;
      range_ = less;
      bin = !likely;
      if (state == 0) likely = !likely;
      state = screen::kNextLps[state];
    } else if (state < 62) {
      ++state;
    }
    renormalise();
    return bin;
  }
  bool bypass() {
    offset_ = offset_ << 1 | bits_.bits(1);
    if (offset_ < range_) return false;
    offset_ -= range_;
    return true;
  }
  bool terminate() {
    range_ -= 2;
    const bool end = offset_ >= range_;
    if (!end) renormalise();  // else the last bit that was read is that of the flush
    return end;
  }
  BitReader& bits() { return bits_; }
  void align() {
    while (bits_.position() % 8 != 0) CHECK_FALSE(bits_.flag());
  }

 private:
  void renormalise() {
    while (range_ < 256) {
      range_ <<= 1;
      offset_ = offset_ << 1 | bits_.bits(1);
    }
  }
  BitReader bits_;
  std::uint32_t range_ = 0;
  std::uint32_t offset_ = 0;
};

enum class Step { kContext, kBypass, kGoOn };
struct Bin {
  Step step;
  std::size_t context;
  std::uint32_t value;
  int count;
};

// Bins whose likelihood differs by context, from hardly ever to hardly never.
std::vector<Bin> some_bins(std::mt19937& random, std::size_t contexts, int count) {
  std::vector<Bin> bins;
  for (int i = 0; i < count; ++i) {
    const auto kind = random() % 20;
    if (kind == 0) {
      bins.push_back({Step::kGoOn, 0, 0, 0});
    } else if (kind < 4) {
      const int bits = static_cast<int>(random() % 17);
      // Long runs of ones are those that carries pass through.
      const auto value = random() % 2 == 0 ? 0xffffU : static_cast<std::uint32_t>(random());
      bins.push_back({Step::kBypass, 0, value & ((1U << bits) - 1), bits});
    } else {
      const std::size_t context = random() % contexts;
      const bool likely = context % 2 == 0;
      bins.push_back({Step::kContext, context,
                      (random() % 64 < context % 32 ? !likely : likely) ? 1U : 0U, 0});
    }
  }
  return bins;
}

void encode(CabacEngine& engine, std::vector<CabacContext>& contexts,
            const std::vector<Bin>& bins) {
  engine.reserve(bins.size() * 4);
  CabacEngine::Run out(engine);
  for (const Bin& bin : bins) {
    switch (bin.step) {
      case Step::kContext:
        out.encode(contexts[bin.context], bin.value != 0);
        break;
      case Step::kBypass:
        out.bypass(bin.value, bin.count);
        break;
      case Step::kGoOn:
        out.terminate(false);
        break;
    }
  }
}

void end(CabacEngine& engine) {
  engine.reserve(64);
  {
    CabacEngine::Run out(engine);
    out.terminate(true);
  }
  engine.flush();
}

class Contexts {
 public:
  explicit Contexts(const std::vector<CabacContext>& from) : all_(from) {}
  bool decode(ArithmeticDecoder& decoder, std::size_t index) {
    unsigned state = all_[index] >> 1;
    bool likely = (all_[index] & 1) != 0;
    const bool bin = decoder.decode(state, likely);
    all_[index] = static_cast<CabacContext>(state << 1 | (likely ? 1U : 0U));
    return bin;
  }

 private:
  std::vector<CabacContext> all_;
};

void check(ArithmeticDecoder& decoder, Contexts& contexts, const std::vector<Bin>& bins) {
  for (std::size_t i = 0; i < bins.size(); ++i) {
    CAPTURE(i);
    const Bin& bin = bins[i];
    switch (bin.step) {
      case Step::kContext:
        REQUIRE(contexts.decode(decoder, bin.context) == (bin.value != 0));
        break;
      case Step::kBypass:
        for (int bit = bin.count - 1; bit >= 0; --bit)
          REQUIRE(decoder.bypass() == ((bin.value >> bit & 1U) != 0));
        break;
      case Step::kGoOn:
        REQUIRE_FALSE(decoder.terminate());
        break;
    }
  }
}

std::vector<CabacContext> fresh_contexts() {
  std::vector<CabacContext> contexts;
  for (unsigned state = 0; state < 63; ++state) {
    contexts.push_back(static_cast<CabacContext>(state << 1));
    contexts.push_back(static_cast<CabacContext>(state << 1 | 1));
  }
  return contexts;
}

}  // namespace

TEST_CASE("a decoder finds every bin, with raw bytes in between, and ends at the last bit") {
  CabacEngine engine;
  for (unsigned seed = 0; seed < 400; ++seed) {
    CAPTURE(seed);
    std::mt19937 random(seed);
    const std::vector<CabacContext> fresh = fresh_contexts();
    std::vector<CabacContext> contexts = fresh;
    const auto before = some_bins(random, contexts.size(), static_cast<int>(seed * 3 % 700));
    const auto after = some_bins(random, contexts.size(), 50);
    engine.clear();
    encode(engine, contexts, before);
    end(engine);
    engine.reserve(16);
    for (std::uint8_t byte = 0; byte < 16; ++byte) engine.put_byte(byte);
    encode(engine, contexts, after);
    end(engine);

    ArithmeticDecoder decoder(engine.bytes());
    Contexts theirs(fresh);
    check(decoder, theirs, before);
    REQUIRE(decoder.terminate());
    decoder.align();
    for (std::uint32_t byte = 0; byte < 16; ++byte) REQUIRE(decoder.bits().bits(8) == byte);
    decoder.start();
    check(decoder, theirs, after);
    REQUIRE(decoder.terminate());
    CHECK(decoder.bits().ok());
    // rbsp_stop_one_bit was the last one read.
    decoder.align();
    CHECK(decoder.bits().position() == engine.bytes().size() * 8);
  }
}

TEST_CASE("what is taken back leaves nothing behind, whatever carries it caused") {
  int carried = 0;
  for (unsigned seed = 0; seed < 3000; ++seed) {
    CAPTURE(seed);
    std::mt19937 random(seed);
    std::vector<CabacContext> contexts = fresh_contexts();
    CabacEngine engine;
    engine.clear();
    std::vector<Bin> bins = some_bins(random, contexts.size(), static_cast<int>(random() % 120));
    // Up to five whole bytes of ones at its end.
    for (unsigned i = 0; i < seed % 6; ++i) bins.push_back({Step::kBypass, 0, 0xff, 8});
    encode(engine, contexts, bins);
    const std::vector<CabacContext> kept = contexts;
    const CabacEngine::Mark mark = engine.mark();
    const std::vector<std::uint8_t> written(engine.bytes().begin(), engine.bytes().end());
    const std::size_t bits = engine.bit_count();
    encode(engine, contexts, some_bins(random, contexts.size(), 100));
    carried += std::equal(written.begin(), written.end(), engine.bytes().begin()) ? 0 : 1;
    engine.take_back(mark);
    CHECK(engine.bit_count() == bits);
    REQUIRE(std::vector<std::uint8_t>(engine.bytes().begin(), engine.bytes().end()) == written);
    contexts = kept;
    const auto after = some_bins(random, contexts.size(), 60);
    encode(engine, contexts, after);
    end(engine);
    ArithmeticDecoder decoder(engine.bytes());
    Contexts theirs(fresh_contexts());
    check(decoder, theirs, bins);
    check(decoder, theirs, after);
    REQUIRE(decoder.terminate());
  }
  CHECK(carried > 20);
}

TEST_CASE("contexts begin as 9.3.1.1 says") {
  // mb_skip_flag, ctxIdx 11 of table 9-13: m = 23, n = 33.
  CabacContexts contexts;
  screen::start_contexts(contexts, false, 26);
  CHECK(contexts[11] == (((23 * 26 / 16 + 33 - 64) << 1) | 1));
  screen::start_contexts(contexts, true, 40);
  // mb_type, ctxIdx 7: m = -23, n = 104, rounded down.
  CHECK(contexts[7] == ((63 - (-58 + 104)) << 1));
  // Never further than state 62.
  for (int quantiser = 0; quantiser < 52; ++quantiser) {
    for (const bool intra : {false, true}) {
      screen::start_contexts(contexts, intra, quantiser);
      for (const CabacContext context : contexts) CHECK((context >> 1) <= 62);
    }
  }
}

}  // namespace kvm
