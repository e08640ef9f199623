#include "sweeps/tokenizer_model.h"

namespace sweeps {
namespace {

// Takes a varint off the front; false when there is none.
bool TakeVarint(std::string_view* bytes, uint64_t* value) {
  *value = 0;
  for (int shift = 0; shift < 64 && !bytes->empty(); shift += 7) {
    const auto byte = static_cast<uint8_t>(bytes->front());
    bytes->remove_prefix(1);
    *value |= static_cast<uint64_t>(byte & 0x7f) << shift;
    if (byte < 0x80) return true;
  }
  return false;
}

}  // namespace

absl::StatusOr<int64_t> PiecesOfModel(std::string_view model) {
  const absl::Status no_model = absl::InvalidArgumentError("not a SentencePiece model");
  int64_t pieces = 0;
  while (!model.empty()) {
    uint64_t tag = 0, size = 0;
    if (!TakeVarint(&model, &tag)) return no_model;
    switch (tag & 7) {  // the wire type; the field's number is above it
      case 0:
        if (!TakeVarint(&model, &size)) return no_model;
        size = 0;
        break;
      case 1:
        size = 8;
        break;
      case 2:
        if (!TakeVarint(&model, &size)) return no_model;
        pieces += tag >> 3 == 1;
        break;
      case 5:
        size = 4;
        break;
      default:
        return no_model;
    }
    if (size > model.size()) return no_model;
    model.remove_prefix(size);
  }
  if (pieces == 0) return no_model;
  return pieces;
}

}  // namespace sweeps
