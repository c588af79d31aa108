# For the other scripts, which source it: the project's root, and how to build there.
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Presets that name no generator, and a new build folder: Ninja where there is one.
if command -v ninja >/dev/null; then export CMAKE_GENERATOR=${CMAKE_GENERATOR:-Ninja}; fi

# A compiler takes up to 2 GB for a file that includes LibTorch, so memory may be what limits the jobs.
if [[ -z ${CMAKE_BUILD_PARALLEL_LEVEL:-} ]]; then
  jobs=$(nproc)
  by_memory=$(awk '/^MemAvailable:/ { print int($2 / 2097152) }' /proc/meminfo)
  if [[ ${by_memory:-1} -lt $jobs ]]; then jobs=$((by_memory > 1 ? by_memory : 1)); fi
  export CMAKE_BUILD_PARALLEL_LEVEL=$jobs
fi

# configure PRESET [CMAKE-ARGUMENT...]: quick where nothing changed.
configure() {
  local preset=$1
  shift
  cmake --preset "$preset" "$@" || { echo "$0: the configure step failed" >&2; exit 1; }
}
