#include <gtest/gtest.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <fstream>
#include <functional>
#include <set>

#include "core/hash.h"
#include "tests/worker/fixture_data.h"
#include "worker/data/dataset.h"
#include "worker/data/documents.h"
#include "worker/data/near_duplicates.h"
#include "worker/data/order.h"
#include "worker/data/tokenizer.h"

namespace worker {
namespace {

void Write(const std::string& path, const std::string& text) {
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  std::ofstream(path, std::ios::binary) << text;
}

TEST(OrderTest, PermutationIsABijectionForEverySize) {
  for (uint64_t n : {1, 2, 3, 5, 64, 1000, 1025}) {
    std::set<uint64_t> seen;
    for (uint64_t i = 0; i < n; ++i) {
      const uint64_t x = Permute(n, 42, 7, i);
      ASSERT_LT(x, n);
      seen.insert(x);
    }
    EXPECT_EQ(seen.size(), n);
  }
  int fixed = 0;
  for (uint64_t i = 0; i < 1000; ++i) fixed += Permute(1000, 42, 7, i) == i;
  EXPECT_LT(fixed, 20) << "it must shuffle";
}

TEST(OrderTest, EachEpochOfASourceUsesEveryWindowOnce) {
  const DataOrder order({100, 30}, {0.8, 0.2}, 5);
  std::vector<std::vector<int>> count(2, std::vector<int>(100));
  int64_t from[2] = {0, 0};
  for (int64_t i = 0; i < 20 * 1024; ++i) {
    const WindowRef ref = order.At(i);
    ++from[ref.source];
    if (ref.epoch == 0) ++count[ref.source][ref.window];
  }
  for (int w = 0; w < 100; ++w) EXPECT_EQ(count[0][w], 1);
  for (int w = 0; w < 30; ++w) EXPECT_EQ(count[1][w], 1);
  EXPECT_NEAR(static_cast<double>(from[0]) / (20 * 1024), 0.8, 0.001);
}

TEST(OrderTest, ARunIsAPrefixOfOneStream) {
  const DataOrder a({100}, {1}, 5), b({100}, {1}, 5), other({100}, {1}, 6);
  int differ = 0;
  for (int64_t i = 0; i < 500; ++i) {
    EXPECT_EQ(a.At(i).window, b.At(i).window);
    differ += a.At(i).window != other.At(i).window;
  }
  EXPECT_GT(differ, 400);
}

TEST(DocumentsTest, PatternsMatchAsDocumented) {
  EXPECT_TRUE(MatchesPattern("**/*.c", "a/b/c.c"));
  EXPECT_TRUE(MatchesPattern("**/*.c", "c.c"));
  EXPECT_FALSE(MatchesPattern("*.c", "a/c.c"));
  EXPECT_TRUE(MatchesPattern("a/?.c", "a/x.c"));
  EXPECT_TRUE(MatchesPattern("a/**", "a/b/c"));
  EXPECT_FALSE(MatchesPattern("a/*.h", "a/x.c"));
}

TEST(DocumentsTest, ReadsTextJsonLinesGzipAndZstd) {
  TempDir dir;
  Write(dir.path() + "/a.txt", "plain");
  Write(dir.path() + "/b.jsonl", "{\"text\": \"one\"}\n\n{\"text\": \"t\\u00e9\", \"other\": 1}\n");
  gzFile gz = gzopen((dir.path() + "/c.txt.gz").c_str(), "wb");
  gzwrite(gz, "zipped", 6);
  gzclose(gz);
  std::string packed(1000, '\0');
  const std::string json = "{\"text\": \"packed\"}\n";
  packed.resize(ZSTD_compress(packed.data(), packed.size(), json.data(), json.size(), 3));
  Write(dir.path() + "/d.jsonl.zst", packed);
  std::vector<std::string> seen;
  const auto files = ListFiles(dir.path(), {"**"});
  ASSERT_TRUE(files.ok());
  for (const std::string& file : *files) {
    ASSERT_TRUE(ForEachDocument(dir.path(), file, [&](Document d) {
                  seen.push_back(d.id + "=" + d.text);
                  return absl::OkStatus();
                }).ok());
  }
  EXPECT_EQ(seen, (std::vector<std::string>{"a.txt=plain", "b.jsonl#1=one", "b.jsonl#3=t\xC3\xA9",
                                            "c.txt.gz=zipped", "d.jsonl.zst#1=packed"}));
}

TEST(DocumentsTest, BadInputNamesFileAndLine) {
  TempDir dir;
  Write(dir.path() + "/b.jsonl", "{\"text\": \"one\"}\n{\"txt\": 1}\n");
  Write(dir.path() + "/c.gz", "not gzip at all, really not\x1f\x8b");
  Write(dir.path() + "/d.zst", "not zstd");
  auto ignore = [](Document) { return absl::OkStatus(); };
  EXPECT_NE(ForEachDocument(dir.path(), "b.jsonl", ignore).message().find("b.jsonl:2"),
            absl::string_view::npos);
  EXPECT_EQ(ForEachDocument(dir.path(), "d.zst", ignore).code(), absl::StatusCode::kDataLoss);
  const auto none = ListFiles(dir.path(), {"**/*.xyz"});
  EXPECT_EQ(none.status().code(), absl::StatusCode::kNotFound);
  EXPECT_NE(none.status().message().find("*.xyz"), absl::string_view::npos);
}

TEST(NearDuplicatesTest, TwinIsFoundAndStrangerIsNot) {
  const std::string text = SyntheticText(1, 600);
  SketchIndex index;
  index.Add(MakeSketch(text));
  EXPECT_TRUE(index.ContainsNear(MakeSketch(text + " one more line at the end"), 0.6));
  EXPECT_FALSE(index.ContainsNear(
      MakeSketch(SyntheticText(2, 600) + "completely different words follow here"), 0.9));
}

TEST(PrepareTest, TwinsOfHeldoutDocumentsLeaveTheTrainingData) {
  TempDir dir;
  core::Rng rng(8);
  auto prose = [&](int seed) {
    core::Rng words(seed);
    std::string text;
    for (int i = 0; i < 300; ++i) text += "w" + std::to_string(words.Below(5000)) + " ";
    return text;
  };
  for (int i = 0; i < 30; ++i) {
    Write(dir.path() + "/text/a" + std::to_string(i) + ".txt", prose(i));
    Write(dir.path() + "/text/b" + std::to_string(i) + ".txt", prose(i) + "and a little more");
  }
  PrepareOptions options;
  options.root = dir.path() + "/text";
  options.sources = {{"prose", {"*.txt"}}};
  options.tokenizer_kind = "bytes";
  options.holdout_fraction = 0.1;
  const auto report = PrepareData(options, dir.path() + "/data", [](const std::string&, double) {});
  ASSERT_TRUE(report.ok()) << report.status();
  // Every held-out document has exactly one twin, on the other side or held out as well.
  EXPECT_GT(report->dropped_near_duplicates, 0);
  EXPECT_LE(report->dropped_near_duplicates, report->heldout_documents);
  EXPECT_EQ(report->documents, 60);
  EXPECT_EQ(report->manifest.sources[0].documents + report->manifest.heldout.documents +
                report->dropped_near_duplicates,
            60);
  const auto again = PrepareData(options, dir.path() + "/data", [](const std::string&, double) {});
  ASSERT_TRUE(again.ok());
  EXPECT_TRUE(again->reused);
  EXPECT_EQ(again->manifest.EvalHash(), report->manifest.EvalHash());

  // Damage of either kind is found, named and mended.
  const std::string shard = dir.path() + "/data/" + report->manifest.sources[0].shards[0].path;
  const auto bytes = std::filesystem::file_size(shard);
  const auto spoil = {
      std::function<void()>([&] { std::filesystem::resize_file(shard, bytes - 9); }),
      std::function<void()>(
          [&] { std::fstream(shard, std::ios::in | std::ios::out).seekp(2000).put('~'); })};
  for (const auto& damage : spoil) {
    damage();
    const auto mended =
        PrepareData(options, dir.path() + "/data", [](const std::string&, double) {});
    ASSERT_TRUE(mended.ok()) << mended.status();
    EXPECT_FALSE(mended->reused);
    EXPECT_NE(mended->replaced.find(shard), std::string::npos) << mended->replaced;
    EXPECT_EQ(core::Sha256HexOfFile(shard).value(), report->manifest.sources[0].shards[0].sha256);
  }
}

TEST(PrepareTest, MoreThreadsGiveTheSameBytes) {
  TempDir dir;
  core::Rng rng(5);
  for (int i = 0; i < 40; ++i) {
    std::string text;
    for (int w = 0; w < 2000; ++w)
      text += "word" + std::to_string(rng.Below(300)) + (w % 9 ? " " : "\n");
    Write(dir.path() + "/text/" + std::to_string(i) + ".txt", text);
  }
  std::vector<std::string> hashes;
  for (const int threads : {1, 2, 7}) {
    PrepareOptions options;
    options.root = dir.path() + "/text";
    options.sources = {{"prose", {"*.txt"}}};
    options.vocab_size = 280;
    options.holdout_fraction = 0.1;
    options.threads = threads;
    const auto report = PrepareData(options, dir.path() + "/data" + std::to_string(threads),
                                    [](const std::string&, double) {});
    ASSERT_TRUE(report.ok()) << report.status();
    EXPECT_FALSE(report->reused);
    hashes.push_back(report->manifest.sources[0].shards[0].sha256 +
                     report->manifest.heldout.shards[0].sha256);
  }
  EXPECT_EQ(hashes[1], hashes[0]);
  EXPECT_EQ(hashes[2], hashes[0]);
}

TEST(PrepareTest, TokenShardsArePreparedAsTheyAre) {
  TempDir dir;
  const PrepareReport text = PrepareSynthetic(dir.path());
  PrepareOptions options;
  options.root = dir.path() + "/data";
  options.sources = {{"code", {"code-*.bin"}}};
  options.tokenizer_kind = "bytes";
  options.near_duplicate_threshold = 1.1;
  options.holdout_fraction = 0.1;
  auto nothing = [](const std::string&, double) {};
  const auto report = PrepareData(options, dir.path() + "/again", nothing);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->documents, text.manifest.sources[0].documents);
  EXPECT_EQ(report->manifest.sources[0].tokens + report->manifest.heldout.tokens,
            text.manifest.sources[0].tokens);
  options.tokenizer_kind = "sentencepiece";
  options.vocab_size = 512;
  const auto refused = PrepareData(options, dir.path() + "/never", nothing);
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(refused.status().message().find("tokenizer made it"), absl::string_view::npos);
}

TEST(PrepareTest, AShardOfAnotherTokenizerThanItsManifestNamesIsRefused) {
  TempDir dir;
  Manifest manifest = PrepareSynthetic(dir.path()).manifest;
  manifest.tokenizer.hash = std::string(64, 'e');
  ASSERT_TRUE(WriteManifest(manifest, dir.path() + "/data").ok());
  PrepareOptions options;
  options.root = dir.path() + "/data";
  options.sources = {{"code", {"code-*.bin"}}};
  options.tokenizer_kind = "bytes";
  auto nothing = [](const std::string&, double) {};
  const auto refused = PrepareData(options, dir.path() + "/never", nothing);
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kInvalidArgument);
  for (const std::string& hash : {std::string(16, 'e'), ByteTokenizer()->hash().substr(0, 16)})
    EXPECT_NE(refused.status().message().find(hash), absl::string_view::npos) << refused.status();
}

TEST(ShardTest, WideTokensRoundTripAndOutsideIdsAreRefused) {
  TempDir dir;
  for (const bool wide : {false, true}) {
    const std::string path = dir.path() + (wide ? "/wide.bin" : "/narrow.bin");
    auto writer = ShardWriter::Create(path, wide);
    ASSERT_TRUE(writer.ok());
    ASSERT_TRUE((*writer)->Append({0, 65535, wide ? 128255 : 7}).ok());
    ASSERT_TRUE((*writer)->Finish().ok());
    const auto shard = Shard::Open(path);
    ASSERT_TRUE(shard.ok()) << shard.status();
    EXPECT_EQ(shard->tokens(), 3);
    EXPECT_EQ(shard->at(1), 65535);
    EXPECT_EQ(shard->at(2), wide ? 128255 : 7);
  }
  PrepareOptions options;
  options.root = dir.path();
  options.sources = {{"x", {"wide.bin"}}};
  options.tokenizer_kind = "bytes";
  const auto refused = PrepareData(options, dir.path() + "/out", [](const std::string&, double) {});
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(refused.status().message().find("65535"), absl::string_view::npos);
}

TEST(PrepareTest, HoldoutByDirectorySplitsNoFolder) {
  TempDir dir;
  PrepareSynthetic(dir.path());
  PrepareOptions options;
  options.root = dir.path() + "/text";
  options.sources = {{"code", {"**/*.c"}}};
  options.tokenizer_kind = "bytes";
  options.holdout_by = "directory";
  options.holdout_fraction = 0.15;
  options.near_duplicate_threshold = 1.1;  // nothing is a twin
  const auto report =
      PrepareData(options, dir.path() + "/data2", [](const std::string&, double) {});
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->heldout_documents, 8) << "one folder of five, with all of its 8 files";
}

TEST(PrepareTest, ImpossibleRequestsAreRefused) {
  TempDir dir;
  Write(dir.path() + "/text/only.txt", "one document");
  PrepareOptions options;
  options.root = dir.path() + "/text";
  options.sources = {{"x", {"*.txt"}}};
  options.tokenizer_kind = "bytes";
  auto nothing = [](const std::string&, double) {};
  EXPECT_EQ(PrepareData(options, dir.path() + "/d", nothing).status().code(),
            absl::StatusCode::kInvalidArgument);
  options.holdout_fraction = 0;
  EXPECT_EQ(PrepareData(options, dir.path() + "/d", nothing).status().code(),
            absl::StatusCode::kInvalidArgument);
  options.holdout_fraction = 0.1;
  options.root = dir.path() + "/absent";
  EXPECT_EQ(PrepareData(options, dir.path() + "/d", nothing).status().code(),
            absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace worker
