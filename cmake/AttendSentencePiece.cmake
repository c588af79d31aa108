# Finds the SentencePiece that cmake/sentencepiece builds, and makes the imported target
# `attend_sentencepiece`. No other will do: one whose flags are visible writes over LibTorch's.
#
# Reads: ATTEND_SENTENCEPIECE_ROOT, the prefix it was installed to; by default the one that scripts/setup
#        makes, searched for as the private LibTorch is.
# Sets:  ATTEND_SENTENCEPIECE_PREFIX, empty where there is none.
set(ATTEND_SENTENCEPIECE_ROOT "" CACHE PATH
  "Where cmake/sentencepiece was installed to; empty for the one that scripts/setup makes")

set(_attend_prefixes "${ATTEND_SENTENCEPIECE_ROOT}")
if(NOT ATTEND_SENTENCEPIECE_ROOT)
  set(_attend_prefixes "${CMAKE_CURRENT_BINARY_DIR}/sentencepiece"
    "${CMAKE_CURRENT_BINARY_DIR}/../sentencepiece" "${PROJECT_SOURCE_DIR}/build/sentencepiece")
endif()
set(ATTEND_SENTENCEPIECE_PREFIX "")
foreach(_attend_prefix IN LISTS _attend_prefixes)
  if(EXISTS "${_attend_prefix}/lib/libattend_sentencepiece.a")
    get_filename_component(ATTEND_SENTENCEPIECE_PREFIX "${_attend_prefix}" ABSOLUTE)
    break()
  endif()
endforeach()

if(ATTEND_SENTENCEPIECE_PREFIX AND NOT TARGET attend_sentencepiece)
  add_library(attend_sentencepiece STATIC IMPORTED GLOBAL)
  set_target_properties(attend_sentencepiece PROPERTIES
    IMPORTED_LOCATION "${ATTEND_SENTENCEPIECE_PREFIX}/lib/libattend_sentencepiece.a"
    INTERFACE_INCLUDE_DIRECTORIES "${ATTEND_SENTENCEPIECE_PREFIX}/include"
    INTERFACE_LINK_LIBRARIES Threads::Threads)
endif()
