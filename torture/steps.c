/* Counts the steps by which a process changes files below a folder, and kills it before or after one of them.
 *
 * Preloaded (LD_PRELOAD) into an export: STEPS_ROOT is the folder, STEPS_LOG a file outside it that gets one line a
 * step, STEPS_KILL the number of the step to die at, STEPS_WHEN "before" or "after". STEPS_FAIL is the number of the
 * step from which on all fail with the error number STEPS_ERRNO. Every library in the process is seen, whatever
 * language it is written in, because all of them call the C library. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static long steps;

static int below(const char *path) {
    const char *root = getenv("STEPS_ROOT");
    if (root == NULL || path == NULL) return 0;
    if (path[0] == '/') return strncmp(path, root, strlen(root)) == 0;
    char here[PATH_MAX];
    return getcwd(here, sizeof here) != NULL && strncmp(here, root, strlen(root)) == 0;
}

static int below_fd(int fd, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, PATH_MAX - 1);
    if (size < 0) return 0;
    path[size] = 0;
    return below(path);
}

static void die(void) { kill(getpid(), SIGKILL); for (;;) pause(); }

/* A full disk still lets files go; rights are asked for by name only, not of a file that is open. */
static int can_fail(const char *call, int error) {
    if (error == ENOSPC) return strcmp(call, "unlink") != 0 && strcmp(call, "rmdir") != 0;
    if (error == EACCES) return strstr(call, "sync") == NULL && strstr(call, "write") == NULL && call[0] != 'f';
    return 1;
}

/* Returns whether to die after the step, or -1 with errno set when it is to fail. */
static int step(const char *call, const char *path) {
    int (*real_open)(const char *, int, ...) = dlsym(RTLD_NEXT, "open");
    ssize_t (*real_write)(int, const void *, size_t) = dlsym(RTLD_NEXT, "write");
    const char *wanted = getenv("STEPS_KILL"), *when = getenv("STEPS_WHEN"), *log = getenv("STEPS_LOG");
    pthread_mutex_lock(&lock);
    long number = ++steps;
    if (log != NULL) {
        char line[PATH_MAX + 64];
        int size = snprintf(line, sizeof line, "%ld %s %s\n", number, call, path);
        int fd = real_open(log, O_WRONLY | O_APPEND | O_CREAT, 0644);
        if (fd >= 0) { if (real_write(fd, line, (size_t)size) < 0) {} close(fd); }
    }
    int mine = wanted != NULL && atol(wanted) == number;
    if (mine && when != NULL && strcmp(when, "before") == 0) die();
    pthread_mutex_unlock(&lock);
    const char *failing = getenv("STEPS_FAIL"), *error = getenv("STEPS_ERRNO");
    if (failing != NULL && error != NULL && number >= atol(failing) && can_fail(call, atoi(error))) {
        errno = atoi(error);
        return -1;
    }
    return mine;
}

#define REAL(name) __typeof__(&name) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)
#define AFTER(result) do { if (dead) die(); return result; } while (0)
#define PATH_STEP(type, name, declared, given, path) \
    type name declared { REAL(name); int dead = below(path) ? step(#name, path) : 0; \
        if (dead < 0) return -1; type r = real given; AFTER(r); }
#define FD_STEP(type, name, declared, given, fd) \
    type name declared { REAL(name); char path[PATH_MAX]; int kept = errno; \
        int dead = below_fd(fd, path) ? step(#name, path) : 0; \
        if (dead < 0) return -1; errno = kept; type r = real given; AFTER(r); }

PATH_STEP(int, rename, (const char *a, const char *b), (a, b), b)
PATH_STEP(int, renameat, (int x, const char *a, int y, const char *b), (x, a, y, b), b)
PATH_STEP(int, renameat2, (int x, const char *a, int y, const char *b, unsigned f), (x, a, y, b, f), b)
PATH_STEP(int, link, (const char *a, const char *b), (a, b), b)
PATH_STEP(int, linkat, (int x, const char *a, int y, const char *b, int f), (x, a, y, b, f), b)
PATH_STEP(int, unlink, (const char *a), (a), a)
PATH_STEP(int, mkdir, (const char *a, mode_t m), (a, m), a)
PATH_STEP(int, mkdirat, (int x, const char *a, mode_t m), (x, a, m), a)
PATH_STEP(int, rmdir, (const char *a), (a), a)
FD_STEP(int, fsync, (int fd), (fd), fd)
FD_STEP(int, fdatasync, (int fd), (fd), fd)
FD_STEP(ssize_t, write, (int fd, const void *data, size_t size), (fd, data, size), fd)
FD_STEP(ssize_t, pwrite64, (int fd, const void *data, size_t size, off64_t at), (fd, data, size, at), fd)
FD_STEP(ssize_t, writev, (int fd, const struct iovec *v, int n), (fd, v, n), fd)
FD_STEP(int, ftruncate64, (int fd, off64_t size), (fd, size), fd)

static int opens(const char *call, const char *path, int flags) {
    return (flags & (O_CREAT | O_TRUNC)) && below(path) ? step(call, path) : 0;
}

#define OPEN_STEP(name) \
    int name(const char *path, int flags, ...) { REAL(name); mode_t mode = 0; \
        if (flags & O_CREAT) { va_list rest; va_start(rest, flags); mode = va_arg(rest, mode_t); va_end(rest); } \
        int dead = opens(#name, path, flags); if (dead < 0) return -1; int r = real(path, flags, mode); AFTER(r); }
#define OPENAT_STEP(name) \
    int name(int dir, const char *path, int flags, ...) { REAL(name); mode_t mode = 0; \
        if (flags & O_CREAT) { va_list rest; va_start(rest, flags); mode = va_arg(rest, mode_t); va_end(rest); } \
        int dead = opens(#name, path, flags); if (dead < 0) return -1; int r = real(dir, path, flags, mode); AFTER(r); }

OPEN_STEP(open)
OPEN_STEP(open64)
OPENAT_STEP(openat)
OPENAT_STEP(openat64)
