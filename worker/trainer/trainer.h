// The native trainer: a process that speaks proto/sweep/v1/trainer.proto.
#pragma once

// Reads ToTrainer frames from `fd` and trains until end-of-file; returns the process's exit code.
// Sends Ready first. The calling process does nothing else.
int TrainerMain(int fd);
