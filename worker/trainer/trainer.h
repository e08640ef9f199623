// The trainer process: speaks proto/sweep/v1/trainer.proto on a socket, trains one trial at a time,
// exits at end of file. It never speaks to the coordinator and links no gRPC.
#pragma once

namespace worker {

// Serves the agent on `fd` until it closes. Returns the process's exit code: 0 after end of file,
// 70 when this machine lacks what the kernels need, 76 when the agent broke the protocol.
int TrainerMain(int fd);

}  // namespace worker
