/* Runs a command on the node's own root file system, which the container has at
 * /host: it enters that root, takes the user, and runs the command in the
 * sandbox, which MESOS_SANDBOX names. /proc, /dev and /sys stay the container's
 * where the kernel lets us put them there, and so do its names of hosts. */
#define _GNU_SOURCE
#include "../init/run.h"
#include <fcntl.h>
#include <ftw.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#define ROOT "/host"
#define GROUPS_MAX 256

static uid_t uid;
static gid_t gid;

static int fail(const char *doing, const char *what) {
  fprintf(stderr, "%s %s: %s\n", doing, what, strerror(errno));
  return 125;
}

/* enter makes the node's root ours, with the container's own /proc, /dev, /sys and
 * names in it. */
static int enter(void) {
  static const char *const dirs[] = {"/proc", "/dev", "/sys"};
  static const char *const files[] = {"/etc/resolv.conf", "/etc/hosts", "/etc/hostname"};
  int fds[sizeof files / sizeof *files];
  for (size_t i = 0; i < sizeof dirs / sizeof *dirs; i++) {
    char to[64];
    snprintf(to, sizeof to, ROOT "%s", dirs[i]);
    mount(dirs[i], to, NULL, MS_BIND | MS_REC, NULL); /* else the node's stays */
  }
  for (size_t i = 0; i < sizeof files / sizeof *files; i++)
    fds[i] = open(files[i], O_PATH | O_CLOEXEC);
  if (chroot(ROOT) < 0 || chdir("/") < 0)
    return fail("entering", "the node's root");
  for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
    char from[64];
    if (fds[i] < 0)
      continue;
    snprintf(from, sizeof from, "/proc/self/fd/%d", fds[i]);
    mount(from, files[i], NULL, MS_BIND, NULL);
    close(fds[i]);
  }
  return 0;
}

/* find returns the user's line of the node's /etc/passwd, NULL where there is none.
 * It is read as a file: a static program has no other sources of names. */
static struct passwd *find(const char *user, int number) {
  FILE *f = fopen("/etc/passwd", "re");
  struct passwd *p = NULL;
  if (f == NULL)
    return NULL;
  while ((p = fgetpwent(f)) != NULL)
    if (number ? p->pw_uid == uid : strcmp(p->pw_name, user) == 0)
      break;
  fclose(f);
  return p;
}

/* groups are the user's by the node's /etc/group. */
static size_t groups(const char *user, gid_t *out) {
  size_t n = 0;
  FILE *f = fopen("/etc/group", "re");
  struct group *g;
  out[n++] = gid;
  while (f != NULL && n < GROUPS_MAX && (g = fgetgrent(f)) != NULL)
    for (char **m = g->gr_mem; *m != NULL; m++)
      if (strcmp(*m, user) == 0 && n < GROUPS_MAX)
        out[n++] = g->gr_gid;
  if (f != NULL)
    fclose(f);
  return n;
}

static int own_it(const char *path, const struct stat *st, int type, struct FTW *at) {
  return lchown(path, uid, gid);
}

/* become takes the user; the sandbox is theirs. */
static int become(const char *user, const char *sandbox) {
  gid_t all[GROUPS_MAX];
  struct stat st;
  char *end;
  unsigned long number = strtoul(user, &end, 10);
  int numeric = *user >= '0' && *user <= '9' && *end == '\0';
  uid = gid = number;
  struct passwd *p = find(user, numeric);
  if (p == NULL && !numeric) {
    fprintf(stderr, "user %s is not in the node's /etc/passwd\n", user);
    return 125;
  }
  if (p != NULL)
    uid = p->pw_uid, gid = p->pw_gid;
  if (stat(sandbox, &st) == 0 && st.st_uid != uid && nftw(sandbox, own_it, 16, FTW_PHYS | FTW_MOUNT) < 0)
    return fail("giving the user", sandbox);
  const char *home = getenv("HOME");
  if (home == NULL || strcmp(home, "/root") == 0 || strcmp(home, "/") == 0)
    setenv("HOME", p != NULL ? p->pw_dir : "/", 1);
  if (p != NULL)
    setenv("USER", p->pw_name, 0);
  if (setgroups(p != NULL ? groups(p->pw_name, all) : 0, all) < 0 || setgid(gid) < 0 || setuid(uid) < 0)
    return fail("becoming user", user);
  return 0;
}

int main(int argc, char **argv) {
  const char *user = "root", *path = NULL;
  int option, code;
  while ((option = getopt(argc, argv, "+u:p:")) != -1)
    switch (option) {
    case 'u':
      user = optarg;
      break;
    case 'p':
      path = optarg;
      break;
    default:
      return 125;
    }
  const char *sandbox = getenv("MESOS_SANDBOX");
  if (optind >= argc || sandbox == NULL) {
    fprintf(stderr, "usage: MESOS_SANDBOX=DIRECTORY %s [-u USER] [-p PROGRAM] -- ARGUMENT0 [ARGUMENT...]\n", argv[0]);
    return 125;
  }
  if ((code = enter()) != 0)
    return code;
  if (chdir(sandbox) < 0)
    return fail("entering the sandbox", sandbox);
  prctl(PR_CAPBSET_DROP, CAP_SYS_ADMIN); /* it was for the mounts */
  if ((code = become(user, sandbox)) != 0)
    return code;
  setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 0);
  return supervise(path != NULL ? path : argv[optind], argv + optind);
}
