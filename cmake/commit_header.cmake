cmake_minimum_required(VERSION 3.25)
# cmake -D SOURCE=DIR -D HEADER=FILE -P: writes the commit of DIR into FILE, and leaves FILE alone when it says so already.
# Runs with every build: the commit is provenance of every attempt, fit and registration, so a configured one is not enough.
execute_process(COMMAND git -C ${SOURCE} describe --always --dirty --abbrev=12
  OUTPUT_VARIABLE commit OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
if(NOT commit)
  set(commit unknown)
endif()
file(CONFIGURE OUTPUT ${HEADER} CONTENT "#define SWEEP_COMMIT \"@commit@\"\n" @ONLY)
