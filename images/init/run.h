/* What the first process of a container does that is not the program itself: it
 * starts the program, passes signals on to it, reaps what the container's
 * processes leave behind, and ends as the program did. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Signals that a process raises by its own faults, and those of a terminal's
 * background, are not passed on. */
static const int own[] = {SIGFPE, SIGILL, SIGSEGV, SIGBUS, SIGABRT, SIGTRAP, SIGSYS, SIGTTIN, SIGTTOU};

static void run(const char *path, char **argv, const sigset_t *mask) {
  setpgid(0, 0);
  if (isatty(0)) {
    signal(SIGTTOU, SIG_IGN);
    tcsetpgrp(0, getpid());
    signal(SIGTTOU, SIG_DFL);
  }
  sigprocmask(SIG_SETMASK, mask, NULL);
  execvp(path, argv);
  fprintf(stderr, "starting %s: %s\n", path, strerror(errno));
  _exit(errno == ENOENT ? 127 : 126);
}

/* reap returns the program's exit status once it has ended, else -1. */
static int reap(pid_t program) {
  int status, code = -1;
  pid_t pid;
  while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
    if (pid == program)
      code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return code;
}

/* supervise runs the program at path and returns its exit status. */
static int supervise(const char *path, char **argv) {
  sigset_t all, before;
  sigfillset(&all);
  for (size_t i = 0; i < sizeof own / sizeof *own; i++)
    sigdelset(&all, own[i]);
  sigprocmask(SIG_BLOCK, &all, &before);
  pid_t program = fork();
  if (program < 0) {
    perror("starting a process");
    return 126;
  }
  if (program == 0)
    run(path, argv, &before);
  for (;;) {
    siginfo_t info;
    int sig = sigwaitinfo(&all, &info);
    if (sig == SIGCHLD) {
      int code = reap(program);
      if (code >= 0)
        return code;
    } else if (sig > 0) {
      kill(program, sig);
    }
  }
}
