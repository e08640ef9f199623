// Propagation of absl::Status: RETURN_IF_ERROR(expr) and ASSIGN_OR_RETURN(lhs, expr).
// The error kinds and the wording of messages: STYLE.md, "Errors".
#pragma once

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#define SWEEP_CONCAT_INNER(a, b) a##b
#define SWEEP_CONCAT(a, b) SWEEP_CONCAT_INNER(a, b)

#define RETURN_IF_ERROR(expr)                                                             \
  do {                                                                                    \
    if (::absl::Status sweep_status_ = (expr); !sweep_status_.ok()) return sweep_status_; \
  } while (false)

#define ASSIGN_OR_RETURN(lhs, expr) \
  SWEEP_ASSIGN_OR_RETURN_IMPL(SWEEP_CONCAT(sweep_status_or_, __LINE__), lhs, expr)

#define SWEEP_ASSIGN_OR_RETURN_IMPL(tmp, lhs, expr) \
  auto tmp = (expr);                                \
  if (!tmp.ok()) return tmp.status();               \
  lhs = *std::move(tmp)
