/* Faults at one operation on the files below a folder: the process is killed before it or in the
 * middle of a write, or the disk is full from there on. Preloaded and armed by experiments/faults.py.
 *
 * Counted is what changes files: opening to make or cut, writing, renaming, making and removing
 * files and folders, cutting, and waiting until content is on disk.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum kind { COUNT, KILL, TORN, FULL };
enum verdict { PASS, REFUSE, TEAR };

static char folder[PATH_MAX];
static size_t folder_length;
static enum kind fault;
static long fault_at;
static int log_file = -1;
static atomic_long operations;

static void *next_of(const char *name) { return dlsym(RTLD_NEXT, name); }

#define NEXT(returns, name, ...)                                                                   \
    static returns (*next)(__VA_ARGS__);                                                           \
    if (!next) next = (returns (*)(__VA_ARGS__))next_of(name)

/* From now on: fault number `kind` at operation `at` (from 1) below `path`; every operation is a
 * line of `log`. */
void fault_arm(const char *path, int kind, long at, const char *log) {
    int (*next)(const char *, int, ...) = (int (*)(const char *, int, ...))next_of("open");
    log_file = next(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    fault = (enum kind)kind;
    fault_at = at;
    snprintf(folder, sizeof folder, "%s", path);
    folder_length = strlen(folder);
}

static int below(const char *path) {
    return !strncmp(path, folder, folder_length) &&
           (path[folder_length] == '/' || !path[folder_length]);
}

/* The absolute path of what a descriptor, or a name beside it, stands for; whether there is one. */
static int path_of(int descriptor, const char *name, char *path) {
    char link[64], base[PATH_MAX];
    if (name && name[0] == '/') return snprintf(path, PATH_MAX, "%s", name) < PATH_MAX;
    if (descriptor == AT_FDCWD) {
        if (!getcwd(base, sizeof base)) return 0;
    } else {
        snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
        ssize_t length = readlink(link, base, sizeof base - 1);
        if (length < 0) return 0;
        base[length] = 0;
    }
    return snprintf(path, PATH_MAX, "%s%s%s", base, name ? "/" : "", name ? name : "") < PATH_MAX;
}

static void die(void) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

/* Count an operation and say what becomes of it; `takes`: whether it takes room on the disk. */
static enum verdict meet(const char *operation, int descriptor, const char *name, int takes) {
    char path[PATH_MAX], line[PATH_MAX + 64];
    int error = errno;
    int ours = folder_length && path_of(descriptor, name, path) && below(path);
    errno = error;
    if (!ours) return PASS;
    long number = atomic_fetch_add(&operations, 1) + 1;
    ssize_t (*next)(int, const void *, size_t) =
        (ssize_t (*)(int, const void *, size_t))next_of("write");
    int length = snprintf(line, sizeof line, "%ld %s %s\n", number, operation, path);
    if (log_file >= 0 && next(log_file, line, (size_t)length) < 0) die();
    if (fault == KILL && number == fault_at) die();
    if (fault == TORN && number == fault_at) return TEAR;
    if (fault == FULL && number >= fault_at && takes) {
        errno = ENOSPC;
        return REFUSE;
    }
    return PASS;
}

/* Of what is no write there is no half: the process dies before it. */
#define GUARD(operation, descriptor, name, takes)                                                  \
    do {                                                                                           \
        enum verdict verdict = meet(operation, descriptor, name, takes);                           \
        if (verdict == REFUSE) return -1;                                                          \
        if (verdict == TEAR) die();                                                                \
    } while (0)

#define OPEN(symbol, descriptor, call, parameters, ...)                                            \
    int symbol parameters {                                                                        \
        NEXT(int, #symbol, __VA_ARGS__);                                                           \
        mode_t mode = 0;                                                                           \
        if (flags & (O_CREAT | __O_TMPFILE)) {                                                     \
            va_list rest;                                                                          \
            va_start(rest, flags);                                                                 \
            mode = va_arg(rest, mode_t);                                                           \
            va_end(rest);                                                                          \
        }                                                                                          \
        if (flags & (O_CREAT | O_TRUNC)) GUARD("open", descriptor, name, 1);                       \
        return call;                                                                               \
    }

OPEN(open, AT_FDCWD, next(name, flags, mode),
     (const char *name, int flags, ...), const char *, int, ...)
OPEN(open64, AT_FDCWD, next(name, flags, mode),
     (const char *name, int flags, ...), const char *, int, ...)
OPEN(openat, at, next(at, name, flags, mode),
     (int at, const char *name, int flags, ...), int, const char *, int, ...)
OPEN(openat64, at, next(at, name, flags, mode),
     (int at, const char *name, int flags, ...), int, const char *, int, ...)

#define WRITE(symbol, half, call, parameters, ...)                                                 \
    ssize_t symbol parameters {                                                                    \
        NEXT(ssize_t, #symbol, __VA_ARGS__);                                                       \
        enum verdict verdict = meet("write", file, NULL, 1);                                       \
        if (verdict == REFUSE) return -1;                                                          \
        ssize_t written = verdict == TEAR ? half : call;                                           \
        if (verdict == TEAR) die();                                                                \
        return written;                                                                            \
    }

WRITE(write, next(file, data, size / 2), next(file, data, size),
      (int file, const void *data, size_t size), int, const void *, size_t)
WRITE(pwrite, next(file, data, size / 2, at), next(file, data, size, at),
      (int file, const void *data, size_t size, off_t at), int, const void *, size_t, off_t)
WRITE(pwrite64, next(file, data, size / 2, at), next(file, data, size, at),
      (int file, const void *data, size_t size, off64_t at), int, const void *, size_t, off64_t)
WRITE(writev, next(file, parts, count / 2), next(file, parts, count),
      (int file, const struct iovec *parts, int count), int, const struct iovec *, int)

#define CHANGE(symbol, descriptor, name, takes, call, parameters, ...)                             \
    int symbol parameters {                                                                        \
        NEXT(int, #symbol, __VA_ARGS__);                                                           \
        GUARD(#symbol, descriptor, name, takes);                                                   \
        return call;                                                                               \
    }

CHANGE(rename, AT_FDCWD, to, 0, next(from, to),
       (const char *from, const char *to), const char *, const char *)
CHANGE(renameat, to_at, to, 0, next(at, from, to_at, to),
       (int at, const char *from, int to_at, const char *to), int, const char *, int, const char *)
CHANGE(renameat2, to_at, to, 0, next(at, from, to_at, to, flags),
       (int at, const char *from, int to_at, const char *to, unsigned flags),
       int, const char *, int, const char *, unsigned)
CHANGE(link, AT_FDCWD, to, 1, next(from, to),
       (const char *from, const char *to), const char *, const char *)
CHANGE(mkdir, AT_FDCWD, name, 1, next(name, mode), (const char *name, mode_t mode),
       const char *, mode_t)
CHANGE(mkdirat, at, name, 1, next(at, name, mode), (int at, const char *name, mode_t mode),
       int, const char *, mode_t)
CHANGE(unlink, AT_FDCWD, name, 0, next(name), (const char *name), const char *)
CHANGE(unlinkat, at, name, 0, next(at, name, flags), (int at, const char *name, int flags),
       int, const char *, int)
CHANGE(rmdir, AT_FDCWD, name, 0, next(name), (const char *name), const char *)
CHANGE(truncate, AT_FDCWD, name, 0, next(name, size), (const char *name, off_t size),
       const char *, off_t)
CHANGE(ftruncate, file, NULL, 0, next(file, size), (int file, off_t size), int, off_t)
CHANGE(ftruncate64, file, NULL, 0, next(file, size), (int file, off64_t size), int, off64_t)
CHANGE(fsync, file, NULL, 0, next(file), (int file), int)
CHANGE(fdatasync, file, NULL, 0, next(file), (int file), int)
