# The warnings of attend's own code, as a target that is linked privately and never installed.
add_library(attend_warnings INTERFACE)
# GCC's -Wshadow, unlike Clang's, also minds a constructor's argument with the name of a member.
set(_attend_shadow $<IF:$<CXX_COMPILER_ID:GNU>,-Wshadow=local,-Wshadow>)
target_compile_options(attend_warnings INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wpedantic ${_attend_shadow} -Wconversion -Wno-sign-conversion
    -Wnon-virtual-dtor -Woverloaded-virtual>)
# GCC 12 takes a unity batch's sources for headers, and blames the standard library's own code once
# it is inlined.
target_compile_options(attend_warnings INTERFACE
  $<$<COMPILE_LANG_AND_ID:CXX,GNU>:-Wno-subobject-linkage -Wno-stringop-overflow
    -Wno-stringop-overread -Wno-array-bounds -Wno-restrict -Wno-maybe-uninitialized>)
if(ATTEND_WERROR)
  target_compile_options(attend_warnings INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Werror>)
endif()
