#include "client_connections.h"

#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>

#include <charconv>
#include <filesystem>
#include <vector>

namespace attend::app {
namespace {

struct Endpoint {
  std::string address;
  int port = -1;
};

using AddressOf = int (*)(int, sockaddr*, socklen_t*);

// By getpeername or getsockname; without a port where it is no socket, or not connected.
Endpoint endpoint_of(int descriptor, AddressOf address_of) {
  sockaddr_storage storage{};
  auto* address = reinterpret_cast<sockaddr*>(&storage);
  socklen_t size = sizeof(storage);
  if (address_of(descriptor, address, &size) != 0) return {};
  char host[NI_MAXHOST], port[NI_MAXSERV];
  if (getnameinfo(address, size, host, sizeof(host), port, sizeof(port),
                  NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
    return {};
  }
  Endpoint endpoint{host, -1};
  const std::string_view digits = port;
  std::from_chars(digits.data(), digits.data() + digits.size(), endpoint.port);
  return endpoint;
}

std::vector<int> open_descriptors() {
  std::vector<int> found;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    const auto name = entry.path().filename().string();
    int descriptor = -1;
    std::from_chars(name.data(), name.data() + name.size(), descriptor);
    found.push_back(descriptor);
  }
  return found;
}

}  // namespace

int client_socket(const std::string& address, int port) {
  for (const int descriptor : open_descriptors()) {
    const auto peer = endpoint_of(descriptor, getpeername);
    if (peer.port == port && peer.address == address) return descriptor;
  }
  return -1;
}

bool has_hung_up(int socket) {
  pollfd polled{.fd = socket, .events = POLLRDHUP, .revents = 0};
  return poll(&polled, 1, 0) > 0 && (polled.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

void end_reading(int socket) { (void)shutdown(socket, SHUT_RD); }

void end_reading_at(int local_port) {
  for (const int descriptor : open_descriptors()) {
    if (endpoint_of(descriptor, getsockname).port == local_port &&
        endpoint_of(descriptor, getpeername).port >= 0) {
      end_reading(descriptor);
    }
  }
}

}  // namespace attend::app
