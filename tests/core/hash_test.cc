#include "core/hash.h"

#include "core/file.h"
#include "core/rng.h"
#include "gtest/gtest.h"

namespace core {
namespace {

// FIPS 180-4 examples.
TEST(Sha256Test, PublishedVectors) {
  EXPECT_EQ(Sha256Hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(Sha256Hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(Sha256Hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
}

TEST(Sha256Test, PiecesHashAsTheWholeAndFilesAsTheirBytes) {
  Sha256 hash;
  for (int i = 0; i < 1000; ++i) hash.Update(std::string(1000, 'a'));
  const std::string million = "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0";
  EXPECT_EQ(hash.FinishHex(), million);
  const std::string path = testing::TempDir() + "/million";
  ASSERT_TRUE(WriteFileAtomically(path, std::string(1000000, 'a')).ok());
  EXPECT_EQ(*Sha256HexOfFile(path), million);
  EXPECT_FALSE(Sha256HexOfFile(path + ".absent").ok());
  EXPECT_FALSE(Sha256HexOfFile(testing::TempDir()).ok());  // a folder has no bytes
}

// Known answers of the authors' Random123 library for philox4x32-10.
TEST(PhiloxTest, PublishedVectors) {
  EXPECT_EQ(Philox4x32(0, 0, 0),
            (std::array<uint32_t, 4>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(Philox4x32(~uint64_t{0}, ~uint64_t{0}, ~uint64_t{0}),
            (std::array<uint32_t, 4>{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(Philox4x32(0x299f31d0a4093822, 0x0370734413198a2e, 0x85a308d3243f6a88),
            (std::array<uint32_t, 4>{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

}  // namespace
}  // namespace core
