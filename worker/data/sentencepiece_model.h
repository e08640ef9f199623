// The fence around SentencePiece: its headers declare absl::string_view their own way and cannot
// meet absl's, so this header speaks std types only. Use tokenizer.h.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace worker {

class SentencePieceModel {
 public:
  enum class PieceKind { kText, kByte, kControl };
  struct Piece {
    PieceKind kind;
    std::string text;  // as the model spells it; for kByte "<0xNN>"
  };

  // Null, and *error set, when `serialized` is no model.
  static std::unique_ptr<SentencePieceModel> Load(const std::string& serialized,
                                                  std::string* error);
  ~SentencePieceModel();
  int size() const;
  Piece piece(int id) const;
  int bos_id() const;
  // `text` must be valid UTF-8.
  std::vector<int32_t> Encode(std::string_view text) const;

  // Trains on the lines of `next`; the serialized model, or empty with *error set.
  static std::string Train(const std::unordered_map<std::string, std::string>& options,
                           const std::function<bool(std::string*)>& next, std::string* error);

 private:
  struct Impl;
  explicit SentencePieceModel(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace worker
