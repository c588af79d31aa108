#pragma once

#include <string>

namespace attend::app {

/// The clients' sockets of this process, which cpp-httplib does not tell its handlers. They are found
/// among the open files by their addresses.

/// The socket that is connected to a client; -1 if there is none.
int client_socket(const std::string& address, int port);

/// Whether the other side has ended the connection, or its half of it.
bool has_hung_up(int socket);

/// Nothing more is read from a client; what is written still reaches it.
void end_reading(int socket);

/// The same for all connections to a port of this machine.
void end_reading_at(int local_port);

}  // namespace attend::app
