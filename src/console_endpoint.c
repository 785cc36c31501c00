// SPDX-License-Identifier: Apache-2.0
#include "src/console_endpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <termios.h>

#include "src/base/error.h"
#include "src/base/util.h"

/* ---- descriptors that others use too ----------------------------------------------------------------------------- */

/*
 * O_NONBLOCK belongs to the open file, which the user's shell shares: open it anew where that is possible (terminals,
 * pipes). Regular files never block and keep their position and O_APPEND; sockets are told call by call.
 */
static int open_nonblocking(int fd, int flags, bool *owned, bool *socket)
{
	struct stat st;
	*owned = *socket = false;
	if (fstat(fd, &st) < 0)
		return -errno;
	*socket = S_ISSOCK(st.st_mode);
	if (*socket || S_ISREG(st.st_mode))
		return fd;
	char name[32];
	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	int again = open(name, flags | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (again < 0) /* no /proc, or no right to open it again: use it as it is */
		return fd;
	*owned = true;
	return again;
}

static int endpoint_open_fds(struct endpoint *end, int in_fd, int out_fd, struct cvmm_error *err)
{
	end->kind = ENDPOINT_FDS;
	if (out_fd >= 0) {
		end->out_fd = open_nonblocking(out_fd, O_WRONLY, &end->out_owned, &end->out_socket);
		if (end->out_fd < 0)
			return err_set(err, end->out_fd, "console %s: standard output is closed or unusable: %s",
			               end->name, strerror(-end->out_fd));
	}
	if (in_fd >= 0 && fcntl(in_fd, F_GETFD) >= 0) { /* closed input is no input */
		end->in_fd = open_nonblocking(in_fd, O_RDONLY, &end->in_owned, &end->in_socket);
		end->in_fd = MAX(end->in_fd, -1);
	}
	return 0;
}

/* ---- file ------------------------------------------------------------------------------------------------------- */

static int endpoint_open_file(struct endpoint *end, const char *path, struct cvmm_error *err)
{
	enum { FLAGS = O_WRONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, MODE = 0644 };
	end->kind = ENDPOINT_FILE;
	end->path = strdup(path);
	if (!end->path)
		return err_set(err, -ENOMEM, "console: out of memory");
	end->out_fd = open(path, FLAGS | O_CREAT | O_EXCL, MODE);
	end->created = end->out_fd >= 0;
	if (end->out_fd < 0 && errno == EEXIST)
		end->out_fd = open(path, FLAGS);
	end->out_owned = true;
	if (end->out_fd < 0) {
		int code = -errno;
		return err_set(err, code, "console %s: %s", end->name, strerror(-code));
	}
	return 0;
}

static int truncate_file(const struct endpoint *end, struct cvmm_error *err)
{
	struct stat st;
	if (fstat(end->out_fd, &st) < 0 || (S_ISREG(st.st_mode) && ftruncate(end->out_fd, 0) < 0))
		return err_set(err, -errno, "console %s: %m", end->name);
	return 0;
}

/* Each direction is watched by itself, and so has a descriptor of its own. */
static void attach_both_ways(struct endpoint *end, int fd)
{
	end->in_fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	end->out_fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	end->in_owned = end->out_owned = true;
}

/* ---- pty -------------------------------------------------------------------------------------------------------- */

static int endpoint_open_pty(struct endpoint *end, struct cvmm_error *err)
{
	end->kind = ENDPOINT_PTY;
	end->reattaches = end->keeps_newest = true;
	end->pty_fd = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
	char name[64];
	struct termios tio;
	if (end->pty_fd < 0 || grantpt(end->pty_fd) < 0 || unlockpt(end->pty_fd) < 0 ||
	    ptsname_r(end->pty_fd, name, sizeof(name)) || tcgetattr(end->pty_fd, &tio) < 0)
		return err_set(err, -errno, "console pty: %m");
	cfmakeraw(&tio); /* the guest's tty does the echoing and line editing */
	tcsetattr(end->pty_fd, TCSANOW, &tio);
	/* a slave that was never opened does not report a hang-up: open it once */
	cleanup_close(&(int){ open(name, O_RDWR | O_NOCTTY | O_CLOEXEC) });
	end->path = strdup(name);
	return end->path ? 0 : err_set(err, -ENOMEM, "console pty: out of memory");
}

static bool pty_in_use(int fd)
{
	struct pollfd poll_pty = { .fd = fd, .events = POLLIN };
	return poll(&poll_pty, 1, 0) >= 0 && !(poll_pty.revents & POLLHUP);
}

/* ---- unix socket ------------------------------------------------------------------------------------------------ */

/* A socket file that nobody listens on is left from a run that was killed. */
static int remove_stale_socket(const struct sockaddr_un *addr)
{
	struct stat st;
	if (lstat(addr->sun_path, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return -EEXIST;
	CLEANUP_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) == 0 || errno != ECONNREFUSED)
		return -EADDRINUSE;
	return unlink(addr->sun_path) < 0 ? -errno : 0;
}

static int endpoint_open_unix(struct endpoint *end, const char *path, struct cvmm_error *err)
{
	end->kind = ENDPOINT_UNIX;
	end->reattaches = end->keeps_newest = true;
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	if (!*path || strlen(path) >= sizeof(addr.sun_path))
		return err_set(err, -EINVAL, "console %s: a socket's name has 1 to %zu bytes", end->name,
		               sizeof(addr.sun_path) - 1);
	memcpy(addr.sun_path, path, strlen(path));
	int ret = remove_stale_socket(&addr);
	if (ret < 0)
		return err_set(err, ret, "console %s: %s", end->name, strerror(-ret));
	end->path = strdup(path);
	if (!end->path)
		return err_set(err, -ENOMEM, "console: out of memory");
	end->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (end->listen_fd < 0 || bind(end->listen_fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0)
		return err_set(err, -errno, "console %s: %m", end->name);
	end->created = true;
	if (listen(end->listen_fd, 1) < 0)
		return err_set(err, -errno, "console %s: %m", end->name);
	return 0;
}

static bool unix_try_attach(struct endpoint *end)
{
	int fd = accept4(end->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0)
		return false;
	if (end->out_fd >= 0) { /* one at a time */
		close(fd);
		return false;
	}
	attach_both_ways(end, fd);
	close(fd);
	end->in_socket = end->out_socket = true;
	return true;
}

/* ---- all kinds -------------------------------------------------------------------------------------------------- */

static int endpoint_open_kind(struct endpoint *end, const struct config *config, struct cvmm_error *err)
{
	const char *console = config->console;
	if (config->console_fds)
		return endpoint_open_fds(end, config->console_in_fd, config->console_out_fd, err);
	if (!console || !strcmp(console, "none"))
		return 0;
	if (!strcmp(console, "stdio"))
		return endpoint_open_fds(end, STDIN_FILENO, STDOUT_FILENO, err);
	if (!strcmp(console, "pty"))
		return endpoint_open_pty(end, err);
	if (!strncmp(console, "file=", 5))
		return endpoint_open_file(end, console + 5, err);
	if (!strncmp(console, "unix=", 5))
		return endpoint_open_unix(end, console + 5, err);
	return err_set(err, -EINVAL, "console: expected stdio, file=PATH, pty, unix=PATH or none, not %s", console);
}

int endpoint_open(struct endpoint *end, const struct config *config, struct cvmm_error *err)
{
	*end = (struct endpoint){ .kind = ENDPOINT_NONE, .in_fd = -1, .out_fd = -1, .listen_fd = -1, .pty_fd = -1 };
	snprintf(end->name, sizeof(end->name), "%s", config->console_fds ? "(descriptor)" : config->console);
	int ret = endpoint_open_kind(end, config, err);
	if (ret < 0)
		endpoint_close(end);
	return ret;
}

int endpoint_start(struct endpoint *end, struct cvmm_error *err)
{
	int ret = end->kind == ENDPOINT_FILE ? truncate_file(end, err) : 0;
	end->started = ret == 0;
	return ret;
}

void endpoint_close(struct endpoint *end)
{
	endpoint_detach(end);
	cleanup_close(&end->listen_fd);
	cleanup_close(&end->pty_fd);
	bool remove = end->created && (end->kind == ENDPOINT_UNIX || !end->started);
	if (remove)
		unlink(end->path);
	free(end->path);
	*end = (struct endpoint){ .kind = ENDPOINT_NONE, .in_fd = -1, .out_fd = -1, .listen_fd = -1, .pty_fd = -1 };
}

bool endpoint_needs_polling(const struct endpoint *end)
{
	return end->kind == ENDPOINT_PTY;
}

bool endpoint_try_attach(struct endpoint *end)
{
	if (end->kind == ENDPOINT_UNIX)
		return unix_try_attach(end);
	if (!pty_in_use(end->pty_fd))
		return false;
	attach_both_ways(end, end->pty_fd);
	return end->out_fd >= 0;
}

void endpoint_detach(struct endpoint *end)
{
	if (end->in_owned)
		cleanup_close(&end->in_fd);
	if (end->out_owned)
		cleanup_close(&end->out_fd);
	end->in_fd = end->out_fd = -1;
}

ssize_t endpoint_read(struct endpoint *end, void *buf, size_t len)
{
	ssize_t got;
	do
		got = end->in_socket ? recv(end->in_fd, buf, len, MSG_DONTWAIT) : read(end->in_fd, buf, len);
	while (got < 0 && errno == EINTR);
	return got < 0 ? -errno : got;
}

ssize_t endpoint_write(struct endpoint *end, const void *buf, size_t len)
{
	ssize_t wrote;
	do
		wrote = end->out_socket ? send(end->out_fd, buf, len, MSG_DONTWAIT | MSG_NOSIGNAL) :
		                          write(end->out_fd, buf, len);
	while (wrote < 0 && errno == EINTR);
	return wrote < 0 ? -errno : wrote;
}
