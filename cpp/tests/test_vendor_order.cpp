// Which encoder Windows' ladder tries first.
#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "encode/gpus.hpp"

namespace kvm {
namespace {

constexpr auto kQualcomm = static_cast<GpuVendor>(0x4d4f4351);

Gpu shows(GpuVendor vendor) {
  return {vendor, 1, true, ""};
}
Gpu beside(GpuVendor vendor) {
  return {vendor, 1, false, ""};
}

std::string joined(const std::vector<std::string_view>& names) {
  std::string text;
  for (const std::string_view name : names) text += (text.empty() ? "" : " ") + std::string(name);
  return text;
}

TEST_CASE("the GPU that shows what is captured encodes it, Media Foundation is the last resort") {
  using enum GpuVendor;
  struct Case {
    const char* what;
    std::vector<Gpu> gpus;
    const char* order;
  };
  const std::vector<Case> cases{
      {"no adapter", {}, "h264_nvenc h264_qsv h264_amf h264_mf"},
      {"NVIDIA", {shows(kNvidia)}, "h264_nvenc h264_qsv h264_amf h264_mf"},
      {"Intel", {shows(kIntel)}, "h264_qsv h264_nvenc h264_amf h264_mf"},
      {"AMD", {shows(kAmd)}, "h264_amf h264_nvenc h264_qsv h264_mf"},
      {"a laptop whose Intel shows",
       {shows(kIntel), beside(kNvidia)},
       "h264_qsv h264_nvenc h264_amf h264_mf"},
      {"the same, named in the other order",
       {beside(kNvidia), shows(kIntel)},
       "h264_qsv h264_nvenc h264_amf h264_mf"},
      {"a laptop whose AMD shows",
       {beside(kNvidia), shows(kAmd)},
       "h264_amf h264_nvenc h264_qsv h264_mf"},
      {"nothing shows: the system's order",
       {beside(kAmd), beside(kIntel)},
       "h264_amf h264_qsv h264_nvenc h264_mf"},
      {"two of one vendor",
       {beside(kAmd), shows(kAmd), beside(kNvidia)},
       "h264_amf h264_nvenc h264_qsv h264_mf"},
      {"a vendor without an encoder of its own",
       {shows(kQualcomm)},
       "h264_nvenc h264_qsv h264_amf h264_mf"},
      {"an unknown one shows, AMD is beside it",
       {shows(kQualcomm), beside(kAmd)},
       "h264_amf h264_nvenc h264_qsv h264_mf"},
      {"one of each",
       {beside(kIntel), beside(kAmd), shows(kNvidia)},
       "h264_nvenc h264_qsv h264_amf h264_mf"},
  };
  for (const Case& each : cases) {
    CAPTURE(each.what);
    CHECK(joined(vendor_order(each.gpus)) == each.order);
  }
}

TEST_CASE("this machine's adapters are the same when asked twice") {
  const auto first = list_gpus();
  const auto again = list_gpus();
  REQUIRE(first.size() == again.size());
  for (std::size_t i = 0; i < first.size(); ++i) {
    CHECK(first[i].vendor == again[i].vendor);
    CHECK(first[i].device == again[i].device);
    CHECK(first[i].driver == again[i].driver);
    CHECK(first[i].vendor != GpuVendor{});
  }
  const auto lost = list_gpus("no monitor of that name");
  CHECK(std::none_of(lost.begin(), lost.end(), [](const Gpu& gpu) { return gpu.shows; }));
}

}  // namespace
}  // namespace kvm
