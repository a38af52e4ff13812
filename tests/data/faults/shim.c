/* Faults for a program that is loaded with LD_PRELOAD: system calls on files fail, or do half of what they are asked, and
 * the clock is another one. What happens is in the environment, read once:
 *
 *   FAULT_PATH    a call counts where the file's path contains this
 *   FAULT_CALLS   of these calls, separated by commas: open, read, write, sync, truncate, rename
 *   FAULT_ERRNO   the error that they get; 0 lets reads and writes do half of what they are asked
 *   FAULT_AFTER   as many calls go through first (default 0)
 *   FAULT_COUNT   as many calls fail then (default: all)
 *   FAULT_CLOCK   a file with the seconds that the wall clock is off; read at every look at the clock
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static const char *path_part, *calls, *clock_file;
static int error_number;
static long after, most = LONG_MAX;
static atomic_long seen;

__attribute__((constructor)) static void start(void) {
    path_part = getenv("FAULT_PATH");
    calls = getenv("FAULT_CALLS");
    clock_file = getenv("FAULT_CLOCK");
    const char *text = getenv("FAULT_ERRNO");
    error_number = text ? atoi(text) : EIO;
    text = getenv("FAULT_AFTER");
    after = text ? atol(text) : 0;
    text = getenv("FAULT_COUNT");
    most = text ? atol(text) : LONG_MAX;
}

/* Whether this call of this path is one that fails. */
static int fails(const char *call, const char *path) {
    if (!path_part || !calls || !path || !strstr(path, path_part) || !strstr(calls, call)) return 0;
    long number = atomic_fetch_add(&seen, 1);
    return number >= after && number - after < most;
}

static int fd_fails(const char *call, int fd) {
    if (!path_part || !calls || !strstr(calls, call)) return 0;
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = syscall(SYS_readlink, link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return fails(call, path);
}

#define REAL(name) \
    static __typeof__(name) *real; \
    if (!real) real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

/* Half of it, and at least a byte. */
#define HALF(count) ((count) > 1 ? (count) / 2 : (count))

#define FAIL(value) \
    do { \
        errno = error_number; \
        return value; \
    } while (0)

ssize_t read(int fd, void *buffer, size_t count) {
    REAL(read);
    if (fd_fails("read", fd)) {
        if (error_number) FAIL(-1);
        count = HALF(count);
    }
    return real(fd, buffer, count);
}

ssize_t write(int fd, const void *buffer, size_t count) {
    REAL(write);
    if (fd_fails("write", fd)) {
        if (error_number) FAIL(-1);
        count = HALF(count);
    }
    return real(fd, buffer, count);
}

#define POSITIONED(name, offset_type) \
    ssize_t name(int fd, BUFFER *buffer, size_t count, offset_type offset) { \
        REAL(name); \
        if (fd_fails(CALL, fd)) { \
            if (error_number) FAIL(-1); \
            count = HALF(count); \
        } \
        return real(fd, buffer, count, offset); \
    }
#define BUFFER void
#define CALL "read"
POSITIONED(pread, off_t)
POSITIONED(pread64, off64_t)
#undef BUFFER
#undef CALL
#define BUFFER const void
#define CALL "write"
POSITIONED(pwrite, off_t)
POSITIONED(pwrite64, off64_t)

ssize_t writev(int fd, const struct iovec *parts, int count) {
    REAL(writev);
    if (fd_fails("write", fd)) {
        if (error_number) FAIL(-1);
        count = HALF(count);
    }
    return real(fd, parts, count);
}

/* The program falls back to reading and writing, which is what is to fail. */
ssize_t copy_file_range(int in, off64_t *in_at, int out, off64_t *out_at, size_t count, unsigned flags) {
    (void)in, (void)in_at, (void)out, (void)out_at, (void)count, (void)flags;
    errno = ENOSYS;
    return -1;
}

ssize_t sendfile64(int out, int in, off64_t *at, size_t count) {
    (void)in, (void)at, (void)out, (void)count;
    errno = ENOSYS;
    return -1;
}

#define ON_FD(name, call) \
    int name(int fd) { \
        REAL(name); \
        if (fd_fails(call, fd) && error_number) FAIL(-1); \
        return real(fd); \
    }
ON_FD(fsync, "sync")
ON_FD(fdatasync, "sync")

int ftruncate(int fd, off_t length) {
    REAL(ftruncate);
    if (fd_fails("truncate", fd) && error_number) FAIL(-1);
    return real(fd, length);
}

int ftruncate64(int fd, off64_t length) {
    REAL(ftruncate64);
    if (fd_fails("truncate", fd) && error_number) FAIL(-1);
    return real(fd, length);
}

int rename(const char *from, const char *to) {
    REAL(rename);
    if (fails("rename", to) && error_number) FAIL(-1);
    return real(from, to);
}

#define OPENING(name) \
    int name(const char *path, int flags, ...) { \
        REAL(name); \
        va_list rest; \
        va_start(rest, flags); \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
        va_end(rest); \
        if (fails("open", path) && error_number) FAIL(-1); \
        return real(path, flags, mode); \
    }
OPENING(open)
OPENING(open64)

int clock_gettime(clockid_t clock, struct timespec *now) {
    int result = syscall(SYS_clock_gettime, clock, now);
    if (result != 0 || clock != CLOCK_REALTIME || !clock_file) return result;
    int fd = syscall(SYS_openat, AT_FDCWD, clock_file, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return result;
    char text[32] = {0};
    if (syscall(SYS_read, fd, text, sizeof text - 1) > 0) now->tv_sec += atol(text);
    syscall(SYS_close, fd);
    return result;
}
