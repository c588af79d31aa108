# Finds LibTorch and makes the imported targets `attend::torch`, its CPU half, and, where it has one,
# `attend::torch_cuda`, which adds the CUDA half.
#
# Used twice: by attend's own build and, installed beside attendConfig.cmake, by every consumer.
#
# The search order is: what the user names (Torch_DIR, CMAKE_PREFIX_PATH; as CMake variables, then
# from the environment), the torch package of the active Python, the private environments listed in
# ATTEND_TORCH_FALLBACK_PREFIXES (attend's build lists the one that scripts/setup makes), and
# ATTEND_TORCH_BUILT_WITH (an installed attend names the LibTorch that it was built with). A
# LibTorch of the wrong version is an error where the user names it, and passed over elsewhere.
#
# The target is made from the headers and libraries themselves, never through LibTorch's own
# find_package(Torch): that one ends in a fatal error when LibTorch was built with CUDA and the
# machine has no CUDA toolkit, although nothing of the toolkit is needed to link against it.
#
# Reads: ATTEND_TORCH_SERIES (optional, set by an installed attend): the only major.minor accepted.
# Sets:  ATTEND_TORCH_PREFIX, ATTEND_TORCH_VERSION, ATTEND_TORCH_SOURCE, ATTEND_TORCH_HAS_CUDA,
#        ATTEND_TORCH_CUDA_VERSION (major.minor, empty where it is not known).

set(ATTEND_TORCH_MINIMUM_VERSION 2.11.0)

# An error of attend's build, or the reason why find_package(attend) did not find it.
macro(_attend_torch_fail message)
  if(CMAKE_FIND_PACKAGE_NAME STREQUAL "attend")
    set(attend_FOUND FALSE)
    set(attend_NOT_FOUND_MESSAGE "${message}")
    return()
  endif()
  message(FATAL_ERROR "${message}")
endmacro()

# The LibTorch prefix (the folder that holds include/, lib/ and share/) below `directory`, which may
# be that prefix, torch.utils.cmake_prefix_path, or a folder that holds torch/ or libtorch/.
function(_attend_torch_prefix_below directory out)
  set(${out} "" PARENT_SCOPE)
  foreach(config IN ITEMS
      share/cmake/Torch Torch torch/share/cmake/Torch libtorch/share/cmake/Torch)
    if(EXISTS "${directory}/${config}/TorchConfig.cmake")
      get_filename_component(prefix "${directory}/${config}/../../.." ABSOLUTE)
      set(${out} "${prefix}" PARENT_SCOPE)
      return()
    endif()
  endforeach()
endfunction()

# The version of a LibTorch, empty where it does not tell.
function(_attend_torch_read_version prefix out)
  set(${out} "" PARENT_SCOPE)
  set(file "${prefix}/share/cmake/Torch/TorchConfigVersion.cmake")
  if(EXISTS "${file}")
    file(STRINGS "${file}" line REGEX "set\\(PACKAGE_VERSION \"" LIMIT_COUNT 1)
    if(line MATCHES "\"([0-9]+\\.[0-9]+\\.[0-9]+)")
      set(${out} "${CMAKE_MATCH_1}" PARENT_SCOPE)
    endif()
  endif()
endfunction()

# The CUDA version that a LibTorch was built with: the wheel and the archive tell it differently.
function(_attend_torch_read_cuda_version prefix out)
  set(${out} "" PARENT_SCOPE)
  if(EXISTS "${prefix}/version.py")
    file(STRINGS "${prefix}/version.py" line REGEX "^cuda" LIMIT_COUNT 1)
    if(line MATCHES "'([0-9]+\\.[0-9]+)")
      set(${out} "${CMAKE_MATCH_1}" PARENT_SCOPE)
    endif()
  elseif(EXISTS "${prefix}/build-version")
    file(STRINGS "${prefix}/build-version" line LIMIT_COUNT 1)
    if(line MATCHES "\\+cu([0-9]+)([0-9])$")
      set(${out} "${CMAKE_MATCH_1}.${CMAKE_MATCH_2}" PARENT_SCOPE)
    endif()
  endif()
endfunction()

# What the user names; `error` says what is wrong with it.
function(_attend_torch_named out source error)
  set(${out} "" PARENT_SCOPE)
  set(${error} "" PARENT_SCOPE)
  set(torch_dir "${Torch_DIR}")
  if(NOT torch_dir)
    set(torch_dir "$ENV{Torch_DIR}")
  endif()
  if(torch_dir)
    set(${source} "named by Torch_DIR" PARENT_SCOPE)
    if(NOT EXISTS "${torch_dir}/TorchConfig.cmake")
      set(${error} "attend: expected Torch_DIR to hold TorchConfig.cmake, got ${torch_dir}" PARENT_SCOPE)
      return()
    endif()
    get_filename_component(prefix "${torch_dir}/../../.." ABSOLUTE)
    set(${out} "${prefix}" PARENT_SCOPE)
    return()
  endif()
  set(directories "$ENV{CMAKE_PREFIX_PATH}")
  string(REPLACE ":" ";" directories "${directories}")
  foreach(directory IN LISTS CMAKE_PREFIX_PATH directories)
    _attend_torch_prefix_below("${directory}" prefix)
    if(prefix)
      set(${out} "${prefix}" PARENT_SCOPE)
      set(${source} "named by CMAKE_PREFIX_PATH" PARENT_SCOPE)
      return()
    endif()
  endforeach()
endfunction()

# The torch package of the active Python, without importing it (an import costs seconds).
function(_attend_torch_of_python out)
  set(${out} "" PARENT_SCOPE)
  find_program(python NAMES python3 python NO_CACHE NO_CMAKE_PATH NO_CMAKE_ENVIRONMENT_PATH)
  if(NOT python)
    return()
  endif()
  execute_process(
    COMMAND "${python}" -c
      "import importlib.util as u; s = u.find_spec('torch'); print(list(s.submodule_search_locations)[0] if s else '')"
    OUTPUT_VARIABLE prefix OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE failed)
  if(NOT failed AND EXISTS "${prefix}/share/cmake/Torch/TorchConfig.cmake")
    set(${out} "${prefix}" PARENT_SCOPE)
  endif()
endfunction()

# The private environment, once scripts/setup has completed it.
function(_attend_torch_of_environment root out)
  set(${out} "" PARENT_SCOPE)
  file(GLOB packages "${root}/lib/python3*/site-packages")
  if(packages AND EXISTS "${root}/.attend-complete")
    list(GET packages 0 packages)
    _attend_torch_prefix_below("${packages}" prefix)
    set(${out} "${prefix}" PARENT_SCOPE)
  endif()
endfunction()

# Why a LibTorch cannot be used; empty where it can.
function(_attend_torch_check prefix source out)
  set(${out} "" PARENT_SCOPE)
  _attend_torch_read_version("${prefix}" version)
  set(got "'${version}' in ${prefix} (${source})")
  if(version STREQUAL "" OR version VERSION_LESS ATTEND_TORCH_MINIMUM_VERSION)
    set(${out} "expected LibTorch ${ATTEND_TORCH_MINIMUM_VERSION} or later, got ${got}" PARENT_SCOPE)
  elseif(ATTEND_TORCH_SERIES AND NOT version MATCHES "^${ATTEND_TORCH_SERIES}\\.")
    set(${out} "expected LibTorch ${ATTEND_TORCH_SERIES}, which attend was built with, got ${got}"
      PARENT_SCOPE)
  else()
    foreach(library IN ITEMS torch_cpu c10)
      if(NOT EXISTS "${prefix}/lib/lib${library}.so")
        set(${out} "expected ${prefix}/lib/lib${library}.so, got no such file (${source})" PARENT_SCOPE)
      endif()
    endforeach()
  endif()
endfunction()

if(NOT TARGET attend::torch)
  set(ATTEND_TORCH_PREFIX "")
  set(_attend_passed_over "")
  _attend_torch_named(_attend_prefix ATTEND_TORCH_SOURCE _attend_error)
  if(_attend_prefix)
    _attend_torch_check("${_attend_prefix}" "${ATTEND_TORCH_SOURCE}" _attend_error)
    if(_attend_error)
      string(PREPEND _attend_error "attend: ")
    endif()
  endif()
  if(_attend_error)
    _attend_torch_fail("${_attend_error}")
  endif()
  set(ATTEND_TORCH_PREFIX "${_attend_prefix}")

  # The places that the user did not name, in order.
  set(_attend_places python ${ATTEND_TORCH_FALLBACK_PREFIXES} built_with)
  foreach(_attend_place IN LISTS _attend_places)
    if(ATTEND_TORCH_PREFIX)
      break()
    endif()
    if(_attend_place STREQUAL "python")
      _attend_torch_of_python(_attend_prefix)
      set(ATTEND_TORCH_SOURCE "the active Python")
    elseif(_attend_place STREQUAL "built_with")
      set(_attend_prefix "")
      if(ATTEND_TORCH_BUILT_WITH)
        _attend_torch_prefix_below("${ATTEND_TORCH_BUILT_WITH}" _attend_prefix)
      endif()
      set(ATTEND_TORCH_SOURCE "the one attend was built with")
    else()
      _attend_torch_of_environment("${_attend_place}" _attend_prefix)
      set(ATTEND_TORCH_SOURCE "the private environment of scripts/setup")
    endif()
    if(_attend_prefix)
      _attend_torch_check("${_attend_prefix}" "${ATTEND_TORCH_SOURCE}" _attend_error)
      if(_attend_error)
        message(STATUS "attend: passed over a LibTorch: ${_attend_error}")
        string(APPEND _attend_passed_over " Passed over: ${_attend_error}.")
      else()
        set(ATTEND_TORCH_PREFIX "${_attend_prefix}")
      endif()
    endif()
  endforeach()
  if(NOT ATTEND_TORCH_PREFIX)
    set(_attend_error "attend: expected LibTorch ${ATTEND_TORCH_MINIMUM_VERSION} or later, got none. Run")
    string(APPEND _attend_error " scripts/setup in attend's sources, or activate a Python that has torch,"
      " or pass -DTorch_DIR=<libtorch>/share/cmake/Torch.${_attend_passed_over}")
    _attend_torch_fail("${_attend_error}")
  endif()

  _attend_torch_read_version("${ATTEND_TORCH_PREFIX}" ATTEND_TORCH_VERSION)
  set(ATTEND_TORCH_HAS_CUDA OFF)
  set(ATTEND_TORCH_CUDA_VERSION "")
  set(_attend_cuda "built without CUDA")
  if(EXISTS "${ATTEND_TORCH_PREFIX}/lib/libtorch_cuda.so")
    set(ATTEND_TORCH_HAS_CUDA ON)
    _attend_torch_read_cuda_version("${ATTEND_TORCH_PREFIX}" ATTEND_TORCH_CUDA_VERSION)
    set(_attend_cuda "built with CUDA ${ATTEND_TORCH_CUDA_VERSION}")
  endif()
  message(STATUS "attend: LibTorch ${ATTEND_TORCH_VERSION} from ${ATTEND_TORCH_PREFIX} "
    "(${ATTEND_TORCH_SOURCE}; ${_attend_cuda})")

  find_package(Threads REQUIRED)
  add_library(attend::torch INTERFACE IMPORTED GLOBAL)
  # The CPU half alone: libtorch.so would load libtorch_cuda.so and eleven libraries of NVIDIA's at the
  # start of every program. Every program names both libraries, used or not: libattend.so needs
  # them, and the loader looks for them through the program's run path only where the program names
  # them.
  set_target_properties(attend::torch PROPERTIES
    INTERFACE_INCLUDE_DIRECTORIES
      "${ATTEND_TORCH_PREFIX}/include;${ATTEND_TORCH_PREFIX}/include/torch/csrc/api/include"
    INTERFACE_LINK_LIBRARIES
      "-Wl,--push-state,--no-as-needed;${ATTEND_TORCH_PREFIX}/lib/libtorch_cpu.so;${ATTEND_TORCH_PREFIX}/lib/libc10.so;-Wl,--pop-state;Threads::Threads"
    INTERFACE_COMPILE_FEATURES cxx_std_20)
  if(ATTEND_TORCH_HAS_CUDA)
    # No symbol of it is used, so the linker would drop it as unneeded.
    add_library(attend::torch_cuda INTERFACE IMPORTED GLOBAL)
    set_target_properties(attend::torch_cuda PROPERTIES INTERFACE_LINK_LIBRARIES
      "attend::torch;-Wl,--push-state,--no-as-needed;${ATTEND_TORCH_PREFIX}/lib/libtorch_cuda.so;-Wl,--pop-state")
  endif()
endif()
