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

# Three components: core, toolkit, programs. `cmake --install` without one installs all of them, and
# nothing at all where something was not built.
set(_attend_components core)
set(_attend_built_core attend)
if(TARGET attend_toolkit)
  list(APPEND _attend_components toolkit)
  set(_attend_built_toolkit attend_toolkit)
endif()
if(ATTEND_BUILD_APPS AND TARGET attend_toolkit)
  _attend_programs("${PROJECT_SOURCE_DIR}/apps" _attend_built_programs)
  if(_attend_built_programs)
    list(APPEND _attend_components programs)
  endif()
endif()
list(JOIN _attend_components " | " _attend_component_names)
install(CODE "set(_attend_absent \"\")" ALL_COMPONENTS)
foreach(_attend_component IN LISTS _attend_components)
  foreach(_attend_target IN LISTS _attend_built_${_attend_component})
    install(CODE "if(NOT EXISTS \"$<TARGET_FILE:${_attend_target}>\")
    list(APPEND _attend_absent \"$<TARGET_FILE:${_attend_target}> (component ${_attend_component})\")
  endif()" COMPONENT ${_attend_component})
  endforeach()
endforeach()
install(CODE "if(_attend_absent)
    list(JOIN _attend_absent \", \" _attend_absent)
    message(FATAL_ERROR \"attend: expected what is to be installed to be built, got no \${_attend_absent}. \"
      \"Build it (cmake --build ${PROJECT_BINARY_DIR}), or install one component: \"
      \"--component ${_attend_component_names}\")
  endif()" ALL_COMPONENTS)

set(_attend_package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/attend")

# Each library with an export file of its own, since the package may be without the second.
function(_attend_install_library target component export)
  # A library finds its neighbour; LibTorch it gets from the program, so that the two never disagree.
  set_target_properties(${target} PROPERTIES INSTALL_RPATH "$ORIGIN")
  install(TARGETS ${target}
    EXPORT ${export}
    LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}" COMPONENT ${component}
    ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}" COMPONENT ${component}
    FILE_SET HEADERS DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}" COMPONENT ${component}
    FILE_SET generated DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}" COMPONENT ${component})
  install(EXPORT ${export} NAMESPACE attend:: DESTINATION "${_attend_package_dir}" COMPONENT ${component})
endfunction()
_attend_install_library(attend core attendTargets)
foreach(_attend_module IN ITEMS attend_cuda attend_graphs)
  if(TARGET ${_attend_module})
    set_target_properties(${_attend_module} PROPERTIES INSTALL_RPATH "$ORIGIN")
    install(TARGETS ${_attend_module} LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}" COMPONENT core)
  endif()
endforeach()
if(TARGET attend_toolkit)
  _attend_install_library(attend_toolkit toolkit attendToolkitTargets)
  if(TARGET attend_nccl)
    set_target_properties(attend_nccl PROPERTIES INSTALL_RPATH "$ORIGIN")
    install(TARGETS attend_nccl LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}" COMPONENT toolkit)
  endif()
  install(FILES "${ATTEND_SENTENCEPIECE_PREFIX}/LICENSE.sentencepiece"
    DESTINATION "${CMAKE_INSTALL_DOCDIR}" COMPONENT toolkit)
  if(NOT BUILD_SHARED_LIBS)
    install(FILES "$<TARGET_FILE:attend_sentencepiece>"
      DESTINATION "${CMAKE_INSTALL_LIBDIR}" COMPONENT toolkit)
  endif()
endif()

# The apps keep the run path to LibTorch, which lies outside the prefix. It is named here because
# INSTALL_RPATH_USE_LINK_PATH passes over what lies in the source tree, as build/env does.
if(_attend_built_programs)
  set(_attend_launchers ${_attend_built_programs})
  list(FILTER _attend_launchers EXCLUDE REGEX "-program$")
  set(_attend_launched ${_attend_built_programs})
  list(FILTER _attend_launched INCLUDE REGEX "-program$")
  cmake_path(SET _attend_program_folder NORMALIZE
    "${CMAKE_INSTALL_FULL_BINDIR}/${ATTEND_PROGRAM_FOLDER}")
  file(RELATIVE_PATH _attend_to_libraries "${_attend_program_folder}" "${CMAKE_INSTALL_FULL_LIBDIR}")
  set_target_properties(${_attend_launched} PROPERTIES
    INSTALL_RPATH "$ORIGIN/${_attend_to_libraries};${ATTEND_TORCH_PREFIX}/lib")
  install(TARGETS ${_attend_launchers}
    RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}" COMPONENT programs)
  install(TARGETS ${_attend_launched}
    RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}/${ATTEND_PROGRAM_FOLDER}" COMPONENT programs)
  get_property(_attend_pages GLOBAL PROPERTY ATTEND_PAGES)
  foreach(_attend_page_folder IN LISTS _attend_pages)
    install(DIRECTORY "${_attend_page_folder}/man1"
      DESTINATION "${CMAKE_INSTALL_MANDIR}" COMPONENT programs)
    install(DIRECTORY "${_attend_page_folder}/bash/"
      DESTINATION "${CMAKE_INSTALL_DATADIR}/bash-completion/completions" COMPONENT programs)
    install(DIRECTORY "${_attend_page_folder}/zsh/"
      DESTINATION "${CMAKE_INSTALL_DATADIR}/zsh/site-functions" COMPONENT programs)
    install(DIRECTORY "${_attend_page_folder}/fish/"
      DESTINATION "${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d" COMPONENT programs)
  endforeach()
endif()

string(REGEX MATCH "^[0-9]+\\.[0-9]+" ATTEND_TORCH_SERIES "${ATTEND_TORCH_VERSION}")
configure_package_config_file(
  "${PROJECT_SOURCE_DIR}/cmake/attendConfig.cmake.in"
  "${CMAKE_CURRENT_BINARY_DIR}/attendConfig.cmake"
  INSTALL_DESTINATION "${_attend_package_dir}"
  PATH_VARS CMAKE_INSTALL_LIBDIR
  NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file(
  "${CMAKE_CURRENT_BINARY_DIR}/attendConfigVersion.cmake"
  VERSION ${PROJECT_VERSION} COMPATIBILITY SameMinorVersion)
install(FILES
  "${CMAKE_CURRENT_BINARY_DIR}/attendConfig.cmake"
  "${CMAKE_CURRENT_BINARY_DIR}/attendConfigVersion.cmake"
  "${PROJECT_SOURCE_DIR}/cmake/AttendTorch.cmake"
  DESTINATION "${_attend_package_dir}" COMPONENT core)
install(FILES "${PROJECT_SOURCE_DIR}/LICENSE" DESTINATION "${CMAKE_INSTALL_DOCDIR}" COMPONENT core)
