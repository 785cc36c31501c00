// SPDX-License-Identifier: Apache-2.0
/*
 * What cvmm asks of the system fails on demand: linked into a cvmm of its own with -Wl,--wrap, this counts the calls of
 * the functions below and lets number CVMM_FAULT fail, as the system might. At the end it says on CVMM_FAULT_REPORT
 * (a descriptor) how many there were, which one failed, and what the process still held.
 */
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

static atomic_int calls;
static int fault;
static const char *failed = "nothing";

static bool fails(const char *name, int code)
{
	if (atomic_fetch_add(&calls, 1) + 1 != fault)
		return false;
	failed = name;
	errno = code;
	return true;
}

/* NOLINTBEGIN(bugprone-macro-parentheses): types and lists of parameters cannot stand in them */
/* A function of @params that returns @failure with errno @code when its turn has come. */
#define FAULTY(type, name, params, args, failure, code)                                                                \
	type __real_##name params;                                                                                     \
	type __wrap_##name params;                                                                                     \
	type __wrap_##name params                                                                                      \
	{                                                                                                              \
		return fails(#name, code) ? failure : __real_##name args;                                              \
	}

FAULTY(void *, malloc, (size_t size), (size), NULL, ENOMEM)
FAULTY(void *, calloc, (size_t count, size_t size), (count, size), NULL, ENOMEM)
FAULTY(char *, strdup, (const char *text), (text), NULL, ENOMEM)
FAULTY(void *, mmap64, (void *at, size_t len, int prot, int flags, int fd, off_t off), (at, len, prot, flags, fd, off),
       MAP_FAILED, ENOMEM)
FAULTY(int, open64, (const char *path, int flags, mode_t mode), (path, flags, mode), -1, EMFILE)
FAULTY(int, fcntl64, (int fd, int cmd, long arg), (fd, cmd, arg), -1, EMFILE)
FAULTY(int, fstat64, (int fd, struct stat *st), (fd, st), -1, EIO)
FAULTY(int, lstat64, (const char *path, struct stat *st), (path, st), -1, EIO)
FAULTY(int, ioctl, (int fd, unsigned long request, long arg), (fd, request, arg), -1, ENOSPC)
FAULTY(int, eventfd, (unsigned start, int flags), (start, flags), -1, EMFILE)
FAULTY(int, epoll_create1, (int flags), (flags), -1, EMFILE)
FAULTY(int, epoll_ctl, (int epoll, int op, int fd, struct epoll_event *event), (epoll, op, fd, event), -1, ENOSPC)
FAULTY(int, signalfd, (int fd, const sigset_t *set, int flags), (fd, set, flags), -1, EMFILE)
FAULTY(int, socket, (int domain, int type, int protocol), (domain, type, protocol), -1, EMFILE)
FAULTY(int, bind, (int fd, const struct sockaddr *addr, socklen_t len), (fd, addr, len), -1, ENOSPC)
FAULTY(int, listen, (int fd, int backlog), (fd, backlog), -1, EOPNOTSUPP)
FAULTY(int, posix_openpt, (int flags), (flags), -1, ENOSPC)
FAULTY(int, grantpt, (int fd), (fd), -1, EACCES)
FAULTY(int, ptsname_r, (int fd, char *name, size_t size), (fd, name, size), ENOTTY, ENOTTY)
FAULTY(int, tcgetattr, (int fd, struct termios *tio), (fd, tio), -1, EIO)
FAULTY(int, tcsetattr, (int fd, int when, const struct termios *tio), (fd, when, tio), -1, EIO)
FAULTY(int, ftruncate64, (int fd, off_t len), (fd, len), -1, EIO)
FAULTY(ssize_t, pread64, (int fd, void *buf, size_t len, off_t off), (fd, buf, len, off), -1, EIO)
FAULTY(int, pthread_create, (pthread_t * thread, const pthread_attr_t *attr, void *(*fn)(void *), void *opaque),
       (thread, attr, fn, opaque), EAGAIN, EAGAIN)

/* NOLINTEND(bugprone-macro-parentheses) */

static int number_of(const char *text)
{
	return text ? (int)strtol(text, NULL, 10) : -1;
}

/* What a folder of /proc/self lists, without descriptors 0 to 2, that of the report and our own. */
static int count_self(const char *path, int report)
{
	DIR *dir = opendir(path);
	int count = 0;
	for (struct dirent *entry; dir && (entry = readdir(dir));) {
		int number = number_of(entry->d_name); /* 0 for "." and ".." */
		count += number > 2 && number != report && number != dirfd(dir);
	}
	if (dir)
		closedir(dir);
	return count;
}

__attribute__((constructor)) static void begin(void)
{
	fault = number_of(getenv("CVMM_FAULT"));
}

__attribute__((destructor)) static void end(void)
{
	int fd = number_of(getenv("CVMM_FAULT_REPORT"));
	if (fd >= 0)
		dprintf(fd, "%d %s %d %d\n", atomic_load(&calls), failed, count_self("/proc/self/fd", fd),
		        count_self("/proc/self/task", -1));
}
