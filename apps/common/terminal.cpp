#include "common/terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>

namespace attend::app {

Terminal terminal_of_output() {
  if (::isatty(STDOUT_FILENO) != 1) return {};
  constexpr int64_t kUsualWidth = 80;
  winsize size{};
  const bool is_known = ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  return {TerminalColor::kTrue, is_known ? size.ws_col : kUsualWidth};
}

}  // namespace attend::app
