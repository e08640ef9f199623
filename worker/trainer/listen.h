// A trainer process that serves many connections of one agent.
#pragma once

#include <functional>

namespace worker {

// Accepts connections of this user on a listening Unix socket and serves each on a thread of its
// own. Ends only when the process is killed, or (76) when the socket is broken.
int ServeConnections(int listener, std::function<void(int fd)> serve);

}  // namespace worker
