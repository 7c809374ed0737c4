/* The first process of a container that asked for one (docker's --init). */
#define _GNU_SOURCE
#include "run.h"

int main(int argc, char **argv) {
  if (argc > 1 && strcmp(argv[1], "--") == 0)
    argv++, argc--;
  if (argc < 2) {
    fprintf(stderr, "usage: %s [--] PROGRAM [ARGUMENT...]\n", argv[0]);
    return 2;
  }
  return supervise(argv[1], argv + 1);
}
