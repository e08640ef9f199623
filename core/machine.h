// What this process may use of its machine: CPU cores and memory, with the limits of its control
// groups (containers, Slurm jobs, systemd) and its CPU affinity. Read anew at every call; cannot
// fail: what cannot be read limits nothing.
// Source: Linux, Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst.
#pragma once

#include <cstdint>
#include <string>

namespace core {

struct Machine {
  // Cores this process can keep busy: the CPUs it may run on, at most the whole CPUs of the
  // smallest quota above it (1.5 counts as 1: a second thread would be throttled). At least 1.
  int cores = 1;
  // Memory that can still be had: what the system has left, at most what the tightest group above
  // has left below its limit; file cache that would be dropped counts as free. 0: unknown.
  int64_t available_bytes = 0;
  // All there is: of the machine, or the smallest limit of a group above. 0: unknown.
  int64_t total_bytes = 0;
};

// `root` stands before /proc and /sys, for tests; `cpus` CPUs this process may run on, 0: ask the
// kernel.
Machine ReadMachine(const std::string& root = "", int cpus = 0);

}  // namespace core
