// The data of a sweep: prepared once, then part of every plan's identity.
#pragma once

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "recipes/plan.h"
#include "sweeps/expand.h"
#include "sweeps/sweep_file.h"
#include "worker/data/prepare_request.h"

namespace sweepctl {

struct SweepData {
  std::string data_dir;  // absolute
  recipes::DataSpec spec;
  worker::PrepareReport report;
};

// What the file's data section asks for, below `data_root` (empty: the folder of the file).
absl::StatusOr<worker::PrepareOptions> PrepareOptionsOf(const sweeps::SweepFile& file,
                                                        const std::string& data_root);

// Prepares, or finds what was prepared before, below `store_dir` in a folder named after the
// request. Progress on stderr. Errors point at the file's key.
absl::StatusOr<SweepData> PrepareSweepData(const sweeps::SweepFile& file,
                                           const std::string& data_root,
                                           const std::string& store_dir);

// What `launch` would find prepared already.
struct FoundData {
  std::optional<recipes::DataSpec> spec;  // absent: not prepared
  std::string data_dir;                   // of the spec
  std::string reason;                     // why it is absent, and what to do
  bool unprepared = false;                // that it is not prepared yet is all
};

// Looks and prepares nothing. Cannot fail: whatever is wrong is the reason.
FoundData FindSweepData(const sweeps::SweepFile& file, const std::string& data_root,
                        const std::string& store_dir);

// The data section of plans for this file on a prepared folder.
recipes::DataSpec DataSpecOf(const sweeps::SweepFile& file, const worker::Manifest& manifest);

// INVALID_ARGUMENT at the source's key when a plan passes over it more often than max_epochs.
absl::Status CheckEpochs(const sweeps::SweepFile& file, const recipes::Plan& plan);

}  // namespace sweepctl
