#include "core/hash.h"

#include <openssl/evp.h>

#include <fstream>
#include <vector>

#include "core/check.h"
#include "fmt/format.h"

namespace core {

struct Sha256::State {
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  ~State() { EVP_MD_CTX_free(context); }
};

Sha256::Sha256() : state_(std::make_unique<State>()) {
  SWEEP_CHECK(EVP_DigestInit_ex(state_->context, EVP_sha256(), nullptr) == 1);
}
Sha256::~Sha256() = default;

void Sha256::Update(const void* data, size_t size) {
  SWEEP_CHECK(EVP_DigestUpdate(state_->context, data, size) == 1);
}

std::string Sha256::FinishHex() {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  SWEEP_CHECK(EVP_DigestFinal_ex(state_->context, digest, &size) == 1);
  std::string hex;
  for (unsigned int i = 0; i < size; ++i) hex += fmt::format("{:02x}", digest[i]);
  return hex;
}

std::string Sha256Hex(std::string_view bytes) {
  Sha256 hash;
  hash.Update(bytes);
  return hash.FinishHex();
}

absl::StatusOr<std::string> Sha256HexOfFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return absl::NotFoundError(fmt::format("cannot hash '{}': no such readable file", path));
  Sha256 hash;
  std::vector<char> buffer(1 << 20);
  while (in.read(buffer.data(), buffer.size()) || in.gcount() > 0)
    hash.Update(buffer.data(), in.gcount());
  if (in.bad()) return absl::UnavailableError(fmt::format("reading '{}' to hash it failed", path));
  return hash.FinishHex();
}

}  // namespace core
