#include "worker/data/sentencepiece_model.h"

#include <sentencepiece_processor.h>
#include <sentencepiece_trainer.h>

namespace worker {
namespace {

class Lines : public sentencepiece::SentenceIterator {
 public:
  explicit Lines(const std::function<bool(std::string*)>& next) : next_(next) { Next(); }
  bool done() const override { return done_; }
  void Next() override { done_ = !next_(&line_); }
  const std::string& value() const override { return line_; }
  sentencepiece::util::Status status() const override { return {}; }

 private:
  const std::function<bool(std::string*)>& next_;
  std::string line_;
  bool done_ = false;
};

}  // namespace

struct SentencePieceModel::Impl {
  sentencepiece::SentencePieceProcessor processor;
};

SentencePieceModel::SentencePieceModel(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
SentencePieceModel::~SentencePieceModel() = default;

std::unique_ptr<SentencePieceModel> SentencePieceModel::Load(const std::string& serialized,
                                                             std::string* error) {
  auto impl = std::make_unique<Impl>();
  const auto status = impl->processor.LoadFromSerializedProto(serialized);
  if (!status.ok()) {
    *error = status.ToString();
    return nullptr;
  }
  return std::unique_ptr<SentencePieceModel>(new SentencePieceModel(std::move(impl)));
}

int SentencePieceModel::size() const { return impl_->processor.GetPieceSize(); }
int SentencePieceModel::bos_id() const { return impl_->processor.bos_id(); }

SentencePieceModel::Piece SentencePieceModel::piece(int id) const {
  const auto& p = impl_->processor;
  const PieceKind kind = p.IsByte(id)                         ? PieceKind::kByte
                         : p.IsControl(id) || p.IsUnknown(id) ? PieceKind::kControl
                                                              : PieceKind::kText;
  return {kind, p.IdToPiece(id)};
}

std::vector<int32_t> SentencePieceModel::Encode(std::string_view text) const {
  std::vector<int> ids;
  (void)impl_->processor.Encode({text.data(), text.size()}, &ids);
  return {ids.begin(), ids.end()};
}

std::string SentencePieceModel::Train(const std::unordered_map<std::string, std::string>& options,
                                      const std::function<bool(std::string*)>& next,
                                      std::string* error) {
  Lines lines(next);
  std::string model;
  const auto status = sentencepiece::SentencePieceTrainer::Train(options, &lines, &model);
  if (!status.ok()) *error = status.ToString();
  return status.ok() ? model : std::string();
}

}  // namespace worker
