# `cmake --install`: the libraries, their headers, the CMake package and the apps. Nothing of it holds
# the path of the prefix, so an installed attend can be moved.
include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

option(ATTEND_INSTALL "Make attend's install rules" ${PROJECT_IS_TOP_LEVEL})
if(NOT ATTEND_INSTALL)
  return()
endif()

# The programs that the folders below `directory` build.
function(_attend_programs directory out)
  set(programs "")
  get_property(targets DIRECTORY "${directory}" PROPERTY BUILDSYSTEM_TARGETS)
  foreach(target IN LISTS targets)
    get_target_property(type ${target} TYPE)
    if(type STREQUAL "EXECUTABLE")
      list(APPEND programs ${target})
    endif()
  endforeach()
  get_property(subdirectories DIRECTORY "${directory}" PROPERTY SUBDIRECTORIES)
  foreach(subdirectory IN LISTS subdirectories)
    _attend_programs("${subdirectory}" more)
    list(APPEND programs ${more})
  endforeach()
  set(${out} "${programs}" PARENT_SCOPE)
endfunction()

set(_attend_libraries attend)
if(TARGET attend_toolkit)
  list(APPEND _attend_libraries attend_toolkit)
endif()
set(_attend_package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/attend")

# A library finds its neighbour; LibTorch it gets from the program, so that the two never disagree.
set_target_properties(${_attend_libraries} PROPERTIES INSTALL_RPATH "$ORIGIN")
install(TARGETS ${_attend_libraries}
  EXPORT attendTargets
  LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}"
  ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}"
  FILE_SET HEADERS DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}"
  FILE_SET generated DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
install(EXPORT attendTargets NAMESPACE attend:: DESTINATION "${_attend_package_dir}")

# The apps keep the run path to LibTorch, which lies outside the prefix. It is named here because
# INSTALL_RPATH_USE_LINK_PATH passes over what lies in the source tree, as build/env does.
if(ATTEND_BUILD_APPS AND TARGET attend_toolkit)
  _attend_programs("${PROJECT_SOURCE_DIR}/apps" _attend_apps)
  if(_attend_apps)
    file(RELATIVE_PATH _attend_to_libraries
      "${CMAKE_INSTALL_FULL_BINDIR}" "${CMAKE_INSTALL_FULL_LIBDIR}")
    set_target_properties(${_attend_apps} PROPERTIES
      INSTALL_RPATH "$ORIGIN/${_attend_to_libraries};${ATTEND_TORCH_PREFIX}/lib")
    install(TARGETS ${_attend_apps} RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}")
  endif()
endif()

string(REGEX MATCH "^[0-9]+\\.[0-9]+" ATTEND_TORCH_SERIES "${ATTEND_TORCH_VERSION}")
configure_package_config_file(
  "${PROJECT_SOURCE_DIR}/cmake/attendConfig.cmake.in"
  "${CMAKE_CURRENT_BINARY_DIR}/attendConfig.cmake"
  INSTALL_DESTINATION "${_attend_package_dir}"
  NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file(
  "${CMAKE_CURRENT_BINARY_DIR}/attendConfigVersion.cmake"
  VERSION ${PROJECT_VERSION} COMPATIBILITY SameMinorVersion)
install(FILES
  "${CMAKE_CURRENT_BINARY_DIR}/attendConfig.cmake"
  "${CMAKE_CURRENT_BINARY_DIR}/attendConfigVersion.cmake"
  "${PROJECT_SOURCE_DIR}/cmake/AttendTorch.cmake"
  DESTINATION "${_attend_package_dir}")
install(FILES "${PROJECT_SOURCE_DIR}/LICENSE" DESTINATION "${CMAKE_INSTALL_DOCDIR}")
