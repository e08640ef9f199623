# Build policy of the whole tree: language level, warnings, sanitizers, and the two
# functions every folder uses.

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE RelWithDebInfo)
endif()
# -O2 with line tables only: stack traces keep file:line, objects stay a third of the size.
# The presets of sanitizers say less -O: there building takes longer than running.
if(NOT SWEEP_SANITIZE)
  set(CMAKE_CXX_FLAGS_RELWITHDEBINFO "-O2 -g1")
endif()
set(CMAKE_CXX_FLAGS_RELEASE "-O2")

option(SWEEP_TESTS "build the tests" ON)
option(SWEEP_BENCH "build the benchmarks" ON)
set(SWEEP_CUDA AUTO CACHE STRING "AUTO: use nvcc when present; ON: require it; OFF: never")
set(SWEEP_SANITIZE "" CACHE STRING "comma-separated -fsanitize= list")

find_program(CCACHE_PROGRAM ccache)
if(CCACHE_PROGRAM AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  # The sloppiness that precompiled headers need to be cached at all.
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env CCACHE_SLOPPINESS=pch_defines,time_macros ${CCACHE_PROGRAM})
endif()
find_program(LLD_PROGRAM NAMES ld.lld ld.lld-14)
find_program(GOLD_PROGRAM NAMES ld.gold)
if(GOLD_PROGRAM AND NOT SWEEP_SANITIZE)
  add_link_options(-fuse-ld=gold)
endif()

# Programs find the libraries that scripts/bundle puts beside them, their libraries' libraries too (DT_RPATH).
set(CMAKE_BUILD_RPATH "$ORIGIN/../lib")
add_link_options(LINKER:--disable-new-dtags)

add_library(sweep_policy INTERFACE)
target_include_directories(sweep_policy INTERFACE ${CMAKE_SOURCE_DIR})
target_compile_options(sweep_policy INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Werror -Wno-unused-parameter -Wno-sign-compare -Wno-missing-field-initializers>
  $<$<COMPILE_LANG_AND_ID:CXX,GNU>:-Wno-restrict>
  $<$<COMPILE_LANG_AND_ID:CXX,Clang>:-Wthread-safety -Wthread-safety-beta>)
if(SWEEP_SANITIZE)
  target_compile_options(sweep_policy INTERFACE
    $<$<COMPILE_LANGUAGE:CXX>:-fsanitize=${SWEEP_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all -Wno-maybe-uninitialized -Wno-stringop-overflow -Wno-stringop-overread -Wno-array-bounds>)
  target_link_options(sweep_policy INTERFACE -fsanitize=${SWEEP_SANITIZE})
endif()

# sweep_library(NAME SOURCES ... [PUBLIC libs...] [PRIVATE libs...]): the one library of a folder.
function(sweep_library name)
  cmake_parse_arguments(A "" "" "SOURCES;PUBLIC;PRIVATE" ${ARGN})
  add_library(${name} STATIC ${A_SOURCES})
  target_link_libraries(${name} PUBLIC sweep_policy ${A_PUBLIC} PRIVATE ${A_PRIVATE})
endfunction()

# sweep_quick_build(TARGET): for code that parses, prints or tests and never computes: a third less time to build.
function(sweep_quick_build target)
  if(NOT SWEEP_SANITIZE)
    target_compile_options(${target} PRIVATE -O1)
  endif()
endfunction()

# What nearly every test includes, compiled once: a fifth of the time to build one. A program and not a library,
# because those compile with other flags.
function(sweep_test_headers source)
  add_executable(sweep_test_headers EXCLUDE_FROM_ALL ${source})
  target_link_libraries(sweep_test_headers PRIVATE sweep_core GTest::gtest GTest::gmock)
  sweep_quick_build(sweep_test_headers)
  target_precompile_headers(sweep_test_headers PRIVATE <gmock/gmock.h> <gtest/gtest.h> <fmt/format.h>
    <absl/status/statusor.h> <nlohmann/json.hpp>)
endfunction()

# sweep_data_tests(OUT sources...): the filter of the tests that SKIP_WITHOUT a file which tests/data does not have.
function(sweep_data_tests out)
  set(filter)
  foreach(source ${ARGN})
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${source})
    file(STRINGS ${source} lines REGEX "^TEST(_F)?\\(|SKIP_WITHOUT\\(")
    set(current)
    foreach(line ${lines})
      if(line MATCHES "^TEST(_F)?\\(([A-Za-z0-9]+), ([A-Za-z0-9]+)\\)")
        set(current ${CMAKE_MATCH_2}.${CMAKE_MATCH_3})
      elseif(line MATCHES "SKIP_WITHOUT\\(\"([^\"]+)\"")
        if(NOT EXISTS ${CMAKE_SOURCE_DIR}/tests/data/${CMAKE_MATCH_1})
          list(APPEND filter ${current})
        endif()
      endif()
    endforeach()
  endforeach()
  list(REMOVE_DUPLICATES filter)
  list(JOIN filter ":" filter)
  set(${out} "${filter}" PARENT_SCOPE)
endfunction()

# sweep_test(NAME SOURCES ... LIBS ... [LABELS unit|slow|gpu|e2e|tsan] [TIMEOUT s]): one GoogleTest program. Its tests that
# need public data from outside the tree are a test of their own, NAME with _data for _test. Where every test of one was
# skipped, ctest says Skipped.
function(sweep_test name)
  cmake_parse_arguments(A "" "TIMEOUT" "SOURCES;LIBS;LABELS;ENV" ${ARGN})
  add_executable(${name} ${A_SOURCES})
  target_link_libraries(${name} PRIVATE sweep_policy ${A_LIBS} GTest::gtest GTest::gmock GTest::gtest_main)
  sweep_quick_build(${name})
  target_precompile_headers(${name} REUSE_FROM sweep_test_headers)
  target_compile_definitions(${name} PRIVATE SWEEP_SOURCE_DIR="${CMAKE_SOURCE_DIR}" SWEEP_BINARY_DIR="${CMAKE_BINARY_DIR}")
  if(NOT A_LABELS)
    set(A_LABELS unit)
  endif()
  if(NOT A_TIMEOUT)
    set(A_TIMEOUT 120)
  endif()
  sweep_data_tests(data ${A_SOURCES})
  set(tests ${name})
  if(data STREQUAL "")
    add_test(NAME ${name} COMMAND ${name})
  else()
    add_test(NAME ${name} COMMAND ${name} --gtest_filter=-${data})
    string(REGEX REPLACE "_test$" "_data" with_data ${name})
    add_test(NAME ${with_data} COMMAND ${name} --gtest_filter=${data})
    list(APPEND tests ${with_data})
  endif()
  # To the end of the output, where failures would stand.
  set_tests_properties(${tests} PROPERTIES LABELS "${A_LABELS}" TIMEOUT ${A_TIMEOUT} ENVIRONMENT "${A_ENV}"
    SKIP_REGULAR_EXPRESSION "\\[  PASSED  \\] 0 tests\\.\n\\[  SKIPPED \\] [0-9]+ tests?, listed below:(\n\\[  SKIPPED \\] [^\n]+)+\n*$")
endfunction()
