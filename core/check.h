// CHECK for our own bugs only: unreachable from any input file, RPC or data (STYLE.md, "Errors").
#pragma once

#include <cstdio>
#include <cstdlib>

#define SWEEP_CHECK(condition)                                                           \
  do {                                                                                   \
    if (!(condition)) {                                                                  \
      std::fprintf(stderr, "%s:%d: check failed: %s\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                                      \
    }                                                                                    \
  } while (false)
