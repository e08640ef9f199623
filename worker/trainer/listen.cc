#include "worker/trainer/listen.h"

#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <thread>

namespace worker {

int ServeConnections(int listener, std::function<void(int fd)> serve) {
  while (true) {
    const int connection = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    if (connection < 0) {
      if (errno == EINTR || errno == ECONNABORTED) continue;
      std::fprintf(stderr, "trainer: waiting for connections: %s\n", std::strerror(errno));
      return 76;
    }
    ucred peer{};
    socklen_t length = sizeof(peer);
    if (getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0 ||
        peer.uid != getuid()) {
      close(connection);
      continue;
    }
    // Detached: the agent kills the process when it is done with it.
    std::thread([serve, connection] {
      serve(connection);
      close(connection);
    }).detach();
  }
}

}  // namespace worker
