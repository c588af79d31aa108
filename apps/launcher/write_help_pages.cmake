# cmake -D PROGRAM=<file> -D OUTPUT=<file> -P write_help_pages.cmake
# Writes what PROGRAM prints for `--help` and `SUBCOMMAND --help` as the source of help_pages.h.
function(_attend_help_page subcommand out)
  execute_process(COMMAND "${PROGRAM}" ${subcommand} --help OUTPUT_VARIABLE text COMMAND_ERROR_IS_FATAL ANY)
  string(APPEND pages "    {\"${subcommand}\", R\"page(${text})page\"},\n")
  set(pages "${pages}" PARENT_SCOPE)
  set(${out} "${text}" PARENT_SCOPE)
endfunction()

_attend_help_page("" overview)
string(FIND "${overview}" "\nSubcommands:" heading)
set(lines "")
if(NOT heading EQUAL -1)
  string(SUBSTRING "${overview}" ${heading} -1 listed)
  string(REGEX MATCHALL "\n  [a-z0-9-]+" lines "${listed}")
endif()
foreach(line IN LISTS lines)
  string(STRIP "${line}" subcommand)
  _attend_help_page("${subcommand}" page)
endforeach()
file(WRITE "${OUTPUT}" "#include \"launcher/help_pages.h\"

namespace attend::app {

std::span<const HelpPage> help_pages() {
  static constexpr HelpPage kPages[] = {
${pages}  };
  return kPages;
}

}  // namespace attend::app
")
