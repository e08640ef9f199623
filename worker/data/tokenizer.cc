#include "worker/data/tokenizer.h"

#include <algorithm>
#include <array>
#include <unordered_map>

#include "core/hash.h"
#include "fmt/format.h"
#include "worker/data/sentencepiece_model.h"

namespace worker {
namespace {

class ByteLevel final : public Tokenizer {
 public:
  ByteLevel() {
    for (int i = 0; i < 256; ++i) bytes_[i] = std::string(1, static_cast<char>(i));
  }
  int64_t vocab_size() const override { return 257; }
  int32_t separator() const override { return 256; }
  std::vector<int32_t> Encode(std::string_view text) const override {
    std::vector<int32_t> ids;
    for (unsigned char c : text) ids.push_back(c);
    return ids;
  }
  const std::string& Bytes(int32_t id) const override { return bytes_[id]; }
  std::string kind() const override { return "bytes"; }
  std::string hash() const override { return core::Sha256Hex("bytes-1"); }

 private:
  std::array<std::string, 257> bytes_;
};

constexpr std::string_view kSpace = "\xE2\x96\x81";  // U+2581, how SentencePiece spells a space

// Length of the valid UTF-8 sequence at text[0], 0 when there is none. Surrogates and overlong
// forms are not valid.
size_t Utf8Length(std::string_view text) {
  const unsigned char a = text[0];
  auto continues = [&](size_t i) {
    return i < text.size() && (static_cast<unsigned char>(text[i]) & 0xC0) == 0x80;
  };
  const unsigned char b = text.size() > 1 ? text[1] : 0;
  if (a < 0x80) return 1;
  if (a >= 0xC2 && a <= 0xDF) return continues(1) ? 2 : 0;
  if (a >= 0xE0 && a <= 0xEF) {
    if ((a == 0xE0 && b < 0xA0) || (a == 0xED && b > 0x9F)) return 0;
    return continues(1) && continues(2) ? 3 : 0;
  }
  if (a >= 0xF0 && a <= 0xF4) {
    if ((a == 0xF0 && b < 0x90) || (a == 0xF4 && b > 0x8F)) return 0;
    return continues(1) && continues(2) && continues(3) ? 4 : 0;
  }
  return 0;
}

class SentencePieceBpe final : public Tokenizer {
 public:
  static absl::StatusOr<std::unique_ptr<Tokenizer>> Create(const std::string& model) {
    auto t = std::make_unique<SentencePieceBpe>();
    std::string error;
    t->model_ = SentencePieceModel::Load(model, &error);
    if (t->model_ == nullptr)
      return absl::InvalidArgumentError(fmt::format("not a SentencePiece model: {}", error));
    t->hash_ = core::Sha256Hex(model);
    t->byte_ids_.fill(-1);
    for (int id = 0; id < t->model_->size(); ++id) {
      const SentencePieceModel::Piece piece = t->model_->piece(id);
      std::string bytes;
      if (piece.kind == SentencePieceModel::PieceKind::kByte) {
        const int value = std::stoi(piece.text.substr(3, 2), nullptr, 16);
        bytes = std::string(1, static_cast<char>(value));
        t->byte_ids_[value] = id;
      } else if (piece.kind == SentencePieceModel::PieceKind::kText) {
        bytes = piece.text;
        for (size_t at = 0; (at = bytes.find(kSpace, at)) != std::string::npos; ++at)
          bytes.replace(at, kSpace.size(), " ");
      }
      t->bytes_.push_back(bytes);
    }
    for (int id : t->byte_ids_) {
      if (id < 0)
        return absl::InvalidArgumentError(
            "the SentencePiece model has no byte fallback; train it with --byte_fallback=true");
    }
    t->separator_ = t->model_->bos_id();
    if (t->separator_ < 0)
      return absl::InvalidArgumentError(
          "the SentencePiece model has no <s> to separate documents; train it with --bos_id");
    // Probes of what breaks round trips: a normaliser, a dummy prefix, whitespace folding.
    for (const char* probe : {"a", " a", "a  b ", "\n\n\ta", "\xEF\xAC\x81\xC2\xBD", "A\r\n"}) {
      if (t->Decode(t->EncodeValid(probe)) != probe) {
        return absl::InvalidArgumentError(
            fmt::format("the SentencePiece model does not keep text as it is ('{}' comes back "
                        "changed); train it with "
                        "--normalization_rule_name=identity --add_dummy_prefix=false "
                        "--remove_extra_whitespaces=false",
                        probe));
      }
    }
    return t;
  }

  int64_t vocab_size() const override { return static_cast<int64_t>(bytes_.size()); }
  int32_t separator() const override { return separator_; }
  const std::string& Bytes(int32_t id) const override { return bytes_[id]; }
  std::string kind() const override { return "sentencepiece"; }
  std::string hash() const override { return hash_; }

  std::vector<int32_t> Encode(std::string_view text) const override {
    std::vector<int32_t> ids;
    size_t begin = 0;  // start of the run that SentencePiece can hold
    auto flush = [&](size_t end) {
      // Line by line: the model's cost grows faster than the length of its input.
      while (begin < end) {
        size_t stop = text.find('\n', begin);
        stop = stop == std::string_view::npos || stop >= end ? end : stop + 1;
        const std::string_view run = text.substr(begin, stop - begin);
        std::vector<int32_t> piece_ids = EncodeValid(run);
        if (Decode(piece_ids) != run)
          piece_ids = Spell(run);  // the guarantee, whatever the model holds
        ids.insert(ids.end(), piece_ids.begin(), piece_ids.end());
        begin = stop;
      }
    };
    for (size_t i = 0; i < text.size();) {
      const size_t length = Utf8Length(text.substr(i));
      const bool special = length == 0 || text[i] == '\0' || text.substr(i, 3) == kSpace;
      if (!special) {
        i += length;
        continue;
      }
      flush(i);
      const size_t spelled = length == 0 ? 1 : length;
      const std::vector<int32_t> bytes = Spell(text.substr(i, spelled));
      ids.insert(ids.end(), bytes.begin(), bytes.end());
      i += spelled;
      begin = i;
    }
    flush(text.size());
    return ids;
  }

 private:
  std::vector<int32_t> EncodeValid(std::string_view text) const { return model_->Encode(text); }
  std::vector<int32_t> Spell(std::string_view text) const {
    std::vector<int32_t> ids;
    for (unsigned char c : text) ids.push_back(byte_ids_[c]);
    return ids;
  }

  std::unique_ptr<SentencePieceModel> model_;
  std::vector<std::string> bytes_;
  std::array<int32_t, 256> byte_ids_;
  int32_t separator_ = -1;
  std::string hash_;
};

// Share of the text that its `limit` most frequent characters make up, at most 0.9995:
// SentencePiece gives every character within the coverage a piece, and a small vocabulary must keep
// room for merges. The rest is spelt in bytes. At least 0.98, for SentencePiece takes no less;
// where that is too much for the vocabulary, training says so.
double CharacterCoverage(const std::vector<std::string>& lines, int64_t limit) {
  std::unordered_map<std::string_view, int64_t> counts;
  int64_t total = 0;
  for (const std::string& line : lines) {
    for (size_t i = 0; i < line.size();) {
      const size_t length = std::max<size_t>(1, Utf8Length(std::string_view(line).substr(i)));
      ++counts[std::string_view(line).substr(i, length)];
      ++total;
      i += length;
    }
  }
  std::vector<int64_t> sorted;
  for (const auto& [character, count] : counts) sorted.push_back(count);
  std::sort(sorted.rbegin(), sorted.rend());
  int64_t covered = 0;
  for (int64_t i = 0; i < std::min<int64_t>(limit, static_cast<int64_t>(sorted.size())); ++i)
    covered += sorted[i];
  return total == 0 ? 0.9995
                    : std::clamp(static_cast<double>(covered) / static_cast<double>(total) - 1e-6,
                                 0.98, 0.9995);
}

}  // namespace

std::string Tokenizer::Decode(const std::vector<int32_t>& ids) const {
  std::string text;
  for (int32_t id : ids) text += Bytes(id);
  return text;
}

std::unique_ptr<Tokenizer> ByteTokenizer() { return std::make_unique<ByteLevel>(); }

absl::StatusOr<std::unique_ptr<Tokenizer>> SentencePieceTokenizer(const std::string& model) {
  return SentencePieceBpe::Create(model);
}

absl::StatusOr<std::string> TrainSentencePiece(int64_t vocab_size,
                                               const std::function<bool(std::string*)>& next) {
  if (vocab_size < 264) {
    return absl::InvalidArgumentError(
        fmt::format("a SentencePiece vocabulary of {} cannot hold 256 byte pieces and the symbols; "
                    "ask for at least 264, or use `bytes`",
                    vocab_size));
  }
  std::vector<std::string> lines;
  for (std::string line; next(&line);) lines.push_back(std::move(line));
  const std::string coverage =
      fmt::format("{:.7f}", CharacterCoverage(lines, (vocab_size - 260) / 3));
  size_t at = 0;
  const std::function<bool(std::string*)> replay = [&](std::string* line) {
    if (at >= lines.size()) return false;
    *line = std::move(lines[at++]);
    return true;
  };
  const std::unordered_map<std::string, std::string> options = {
      {"model_type", "bpe"},
      {"vocab_size", std::to_string(vocab_size)},
      {"normalization_rule_name", "identity"},
      {"add_dummy_prefix", "false"},
      {"remove_extra_whitespaces", "false"},
      {"byte_fallback", "true"},
      {"allow_whitespace_only_pieces", "true"},
      {"split_digits", "true"},
      {"user_defined_symbols", "\n,\t"},
      {"num_threads", "1"},
      {"unk_id", "0"},
      {"bos_id", "1"},
      {"eos_id", "-1"},
      {"pad_id", "-1"},
      {"character_coverage", coverage},
      {"max_sentence_length", "1000000"},
      {"hard_vocab_limit", "true"},
      {"shuffle_input_sentence", "false"},
      {"minloglevel", "2"}};
  std::string error;
  std::string model = SentencePieceModel::Train(options, replay, &error);
  if (model.empty()) {
    return absl::InvalidArgumentError(
        fmt::format("training a SentencePiece model of {} pieces failed: {}", vocab_size, error));
  }
  return model;
}

}  // namespace worker
