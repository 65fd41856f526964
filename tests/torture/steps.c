/* Counts the steps by which a process changes files below a folder; kills it at one of them, lets them fail, or
 * records them so that they can be replayed.
 *
 * Preloaded (LD_PRELOAD) into an export: STEPS_ROOT is the folder, STEPS_LOG a file outside it that gets one line a
 * step, STEPS_KILL the number of the step to die at, STEPS_WHEN "before" or "after". STEPS_FAIL is the number of the
 * step from which on all fail with the error number STEPS_ERRNO. Every library in the process is seen, whatever
 * language it is written in, because all of them call the C library.
 *
 * STEPS_RECORD is a file outside the folder that gets every step that succeeded, in the order in which they happened,
 * and as "say" what was written to stdout and stderr between them. A record is a line with the call, the offset (of
 * open: its flags; of ftruncate: the size) and the lengths of what follows without separators: the path, the path that
 * it was moved or linked from, the data. */
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
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define REAL(name) __typeof__(&name) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

static pthread_mutex_t counting = PTHREAD_MUTEX_INITIALIZER, recording = PTHREAD_MUTEX_INITIALIZER;
static long steps;

/* Whether the path, which is made absolute in `whole`, is the folder or below it. */
static int below(int dir, const char *path, char *whole) {
    const char *root = getenv("STEPS_ROOT");
    char link[64];
    ssize_t size = 0;
    if (root == NULL || path == NULL) return 0;
    if (path[0] != '/') {
        if (dir == AT_FDCWD) snprintf(link, sizeof link, "/proc/self/cwd");
        else snprintf(link, sizeof link, "/proc/self/fd/%d", dir);
        if ((size = readlink(link, whole, PATH_MAX - 1)) < 0) return 0;
        if (path[0] != 0) whole[size++] = '/';
    }
    snprintf(whole + size, (size_t)(PATH_MAX - size), "%s", path);
    size_t length = strlen(root);
    return strncmp(whole, root, length) == 0 && (whole[length] == 0 || whole[length] == '/');
}

static void die(void) { kill(getpid(), SIGKILL); for (;;) pause(); }

/* A full disk still lets files go; rights are asked for by name only, not of a file that is open. */
static int can_fail(const char *call, int error) {
    if (error == ENOSPC) return strcmp(call, "unlink") != 0 && strcmp(call, "rmdir") != 0;
    if (error == EACCES) return strstr(call, "sync") == NULL && strstr(call, "write") == NULL && call[0] != 'f';
    return 1;
}

static void append(const char *file, const struct iovec *parts, int count) {
    int (*real_open)(const char *, int, ...) = dlsym(RTLD_NEXT, "open");
    ssize_t (*real_write)(int, const struct iovec *, int) = dlsym(RTLD_NEXT, "writev");
    int fd = real_open(file, O_WRONLY | O_APPEND | O_CREAT, 0644);
    if (fd >= 0) { if (real_write(fd, parts, count) < 0) {} close(fd); }
}

/* Returns whether to die after the step, or -1 with errno set when it is to fail. While steps are recorded only one
 * thread at a time is between this and `done`, so that the order is the true one. */
static int step(const char *call, const char *path) {
    const char *wanted = getenv("STEPS_KILL"), *when = getenv("STEPS_WHEN"), *log = getenv("STEPS_LOG");
    int kept = errno;
    pthread_mutex_lock(&counting);
    long number = ++steps;
    if (log != NULL) {
        char line[PATH_MAX + 64];
        int size = snprintf(line, sizeof line, "%ld %s %s\n", number, call, path);
        append(log, &(struct iovec){line, (size_t)size}, 1);
    }
    int mine = wanted != NULL && atol(wanted) == number;
    if (mine && when != NULL && strcmp(when, "before") == 0) die();
    pthread_mutex_unlock(&counting);
    const char *failing = getenv("STEPS_FAIL"), *error = getenv("STEPS_ERRNO");
    if (failing != NULL && error != NULL && number >= atol(failing) && can_fail(call, atoi(error))) {
        errno = atoi(error);
        return -1;
    }
    if (getenv("STEPS_RECORD") != NULL) pthread_mutex_lock(&recording);
    errno = kept;
    return mine;
}

static void record(const char *call, const char *path, const char *from, off_t at, const void *data, size_t size) {
    char line[128];
    int length = snprintf(line, sizeof line, "%s %ld %zu %zu %zu\n", call, (long)at, strlen(path), strlen(from), size);
    struct iovec parts[] = {{line, (size_t)length}, {(void *)path, strlen(path)}, {(void *)from, strlen(from)},
                            {(void *)data, size}};
    append(getenv("STEPS_RECORD"), parts, 4);
}

/* Ends what `step` began. */
static void done(int dead, long result, const char *call, const char *path, const char *from, off_t at,
                 const void *data) {
    int kept = errno;
    if (getenv("STEPS_RECORD") != NULL) {
        if (result >= 0) record(call, path, from, at, data, data == NULL ? 0 : (size_t)result);
        pthread_mutex_unlock(&recording);
    }
    if (dead) die();
    errno = kept;
}

#define NAME_STEP(name, call, declared, given, dir, path) \
    int name declared { REAL(name); char whole[PATH_MAX]; \
        if (!below(dir, path, whole)) return real given; \
        int dead = step(call, whole); if (dead < 0) return -1; \
        int r = real given; done(dead, r, call, whole, "", 0, NULL); return r; }
#define MOVE_STEP(name, call, declared, given, from_dir, from, dir, path) \
    int name declared { REAL(name); char whole[PATH_MAX], source[PATH_MAX]; \
        if (!below(dir, path, whole)) return real given; \
        if (!below(from_dir, from, source)) source[0] = 0; \
        int dead = step(call, whole); if (dead < 0) return -1; \
        int r = real given; done(dead, r, call, whole, source, 0, NULL); return r; }
#define FILE_STEP(type, name, call, declared, given, fd, at, data) \
    type name declared { REAL(name); char whole[PATH_MAX]; \
        if (!below(fd, "", whole)) return real given; \
        int dead = step(call, whole); if (dead < 0) return -1; \
        type r = real given; done(dead, r, call, whole, "", at, data); return r; }

MOVE_STEP(rename, "rename", (const char *a, const char *b), (a, b), AT_FDCWD, a, AT_FDCWD, b)
MOVE_STEP(renameat, "rename", (int x, const char *a, int y, const char *b), (x, a, y, b), x, a, y, b)
MOVE_STEP(renameat2, "rename", (int x, const char *a, int y, const char *b, unsigned f), (x, a, y, b, f), x, a, y, b)
MOVE_STEP(link, "link", (const char *a, const char *b), (a, b), AT_FDCWD, a, AT_FDCWD, b)
MOVE_STEP(linkat, "link", (int x, const char *a, int y, const char *b, int f), (x, a, y, b, f), x, a, y, b)
NAME_STEP(unlink, "unlink", (const char *a), (a), AT_FDCWD, a)
NAME_STEP(unlinkat, f & AT_REMOVEDIR ? "rmdir" : "unlink", (int x, const char *a, int f), (x, a, f), x, a)
NAME_STEP(mkdir, "mkdir", (const char *a, mode_t m), (a, m), AT_FDCWD, a)
NAME_STEP(mkdirat, "mkdir", (int x, const char *a, mode_t m), (x, a, m), x, a)
NAME_STEP(rmdir, "rmdir", (const char *a), (a), AT_FDCWD, a)
FILE_STEP(int, fsync, "fsync", (int fd), (fd), fd, 0, NULL)
FILE_STEP(int, fdatasync, "fsync", (int fd), (fd), fd, 0, NULL)
FILE_STEP(int, ftruncate64, "ftruncate", (int fd, off64_t size), (fd, size), fd, size, NULL)
FILE_STEP(ssize_t, pwrite64, "write", (int fd, const void *data, size_t size, off64_t at), (fd, data, size, at), fd,
          at, data)

ssize_t writev(int fd, const struct iovec *parts, int count) {
    size_t size = 0;
    for (int i = 0; i < count; i++) size += parts[i].iov_len;
    char *data = malloc(size + 1), *end = data;
    for (int i = 0; i < count; i++) end = mempcpy(end, parts[i].iov_base, parts[i].iov_len);
    ssize_t r = write(fd, data, size);
    int kept = errno;
    free(data);
    errno = kept;
    return r;
}

ssize_t write(int fd, const void *data, size_t size) {
    REAL(write);
    char whole[PATH_MAX];
    if (!below(fd, "", whole)) {
        ssize_t r = real(fd, data, size);
        if (r > 0 && (fd == 1 || fd == 2) && getenv("STEPS_RECORD") != NULL) {
            pthread_mutex_lock(&recording);
            record("say", "", "", 0, data, (size_t)r);
            pthread_mutex_unlock(&recording);
        }
        return r;
    }
    int dead = step("write", whole);
    if (dead < 0) return -1;
    ssize_t r = real(fd, data, size);
    int kept = errno;
    off_t end = lseek(fd, 0, SEEK_CUR);
    errno = kept;
    done(dead, r, "write", whole, "", end - r, data);
    return r;
}

/* Copies inside the kernel are refused as a file system may refuse them: the caller then writes. */
ssize_t copy_file_range(int in, off64_t *from, int out, off64_t *to, size_t size, unsigned flags) {
    REAL(copy_file_range);
    char whole[PATH_MAX];
    if (below(out, "", whole)) { errno = EXDEV; return -1; }
    return real(in, from, out, to, size, flags);
}

ssize_t sendfile64(int out, int in, off64_t *from, size_t size) {
    REAL(sendfile64);
    char whole[PATH_MAX];
    if (below(out, "", whole)) { errno = EINVAL; return -1; }
    return real(out, in, from, size);
}

#define OPEN_STEP(name, declared, given, dir) \
    int name declared { REAL(name); mode_t mode = 0; char whole[PATH_MAX]; \
        if (flags & O_CREAT) { va_list rest; va_start(rest, flags); mode = va_arg(rest, mode_t); va_end(rest); } \
        if (!(flags & (O_CREAT | O_TRUNC)) || !below(dir, path, whole)) return real given; \
        int dead = step("open", whole); if (dead < 0) return -1; \
        int r = real given; done(dead, r, "open", whole, "", flags, NULL); return r; }

OPEN_STEP(open, (const char *path, int flags, ...), (path, flags, mode), AT_FDCWD)
OPEN_STEP(open64, (const char *path, int flags, ...), (path, flags, mode), AT_FDCWD)
OPEN_STEP(openat, (int dir, const char *path, int flags, ...), (dir, path, flags, mode), dir)
OPEN_STEP(openat64, (int dir, const char *path, int flags, ...), (dir, path, flags, mode), dir)
