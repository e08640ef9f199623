// What a SentencePiece model file says of itself, read without SentencePiece, whose protobuf cannot
// share a process with the one that gRPC uses.
#pragma once

#include <cstdint>
#include <string_view>

#include "absl/status/statusor.h"

namespace sweeps {

// Pieces of a serialised model: its vocabulary. INVALID_ARGUMENT when it is no such model.
// Source: sentencepiece_model.proto, ModelProto: `repeated SentencePiece pieces = 1`.
absl::StatusOr<int64_t> PiecesOfModel(std::string_view model);

}  // namespace sweeps
