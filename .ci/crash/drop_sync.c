/* Preloaded into the server by the power-cut rig: fsync and fdatasync of files below SEPTUM_DROP_SYNC_UNDER succeed
   without doing anything. All others work. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int dropped(int fd) {
    const char *under = getenv("SEPTUM_DROP_SYNC_UNDER");
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (under == NULL || length <= 0) return 0;
    path[length] = 0;
    return strncmp(path, under, strlen(under)) == 0;
}

int fsync(int fd) { return dropped(fd) ? 0 : (int)syscall(SYS_fsync, fd); }
int fdatasync(int fd) { return dropped(fd) ? 0 : (int)syscall(SYS_fdatasync, fd); }
