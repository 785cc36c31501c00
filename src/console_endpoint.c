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
 * pipes). Regular files never block and keep their position and O_APPEND; sockets are told call by call. What cannot be
 * opened again (there is no /proc, or it is another user's) is used as it is, with care.
 */
static int way_open(struct endpoint_way *way, int fd, int flags)
{
	struct stat st;
	char name[32];
	if (fstat(fd, &st) < 0)
		return -errno;
	*way = (struct endpoint_way){ .fd = fd, .socket = S_ISSOCK(st.st_mode), .tty = isatty(fd) };
	if (way->socket || S_ISREG(st.st_mode))
		return 0;
	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	int again = open(name, flags | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	way->owned = again >= 0;
	way->blocks = again < 0 && !(fcntl(fd, F_GETFL) & O_NONBLOCK);
	way->fd = again < 0 ? fd : again;
	return 0;
}

static bool way_is_ready(const struct endpoint_way *way, short events)
{
	struct pollfd ready = { .fd = way->fd, .events = events };
	return !way->blocks || poll(&ready, 1, 0) > 0;
}

static void way_close(struct endpoint_way *way)
{
	if (way->owned)
		cleanup_close(&way->fd);
	*way = (struct endpoint_way){ .fd = -1 };
}

static int endpoint_open_fds(struct endpoint *end, int in_fd, int out_fd, struct cvmm_error *err)
{
	end->kind = ENDPOINT_FDS;
	int ret = out_fd >= 0 ? way_open(&end->out, out_fd, O_WRONLY) : 0;
	if (ret < 0)
		return err_set(err, ret, "console %s: standard output is closed or unusable: %s", end->name,
		               strerror(-ret));
	if (in_fd >= 0)
		way_open(&end->in, in_fd, O_RDONLY); /* closed input is no input */
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
	end->out.owned = true;
	end->out.fd = open(path, FLAGS | O_CREAT | O_EXCL, MODE);
	end->created = end->out.fd >= 0;
	if (end->out.fd < 0 && errno == EEXIST)
		end->out.fd = open(path, FLAGS);
	if (end->out.fd < 0) {
		int code = -errno;
		return err_set(err, code, "console %s: %s", end->name, strerror(-code));
	}
	return 0;
}

static int truncate_file(const struct endpoint *end, struct cvmm_error *err)
{
	struct stat st;
	if (fstat(end->out.fd, &st) < 0 || (S_ISREG(st.st_mode) && ftruncate(end->out.fd, 0) < 0))
		return err_set(err, -errno, "console %s: %m", end->name);
	return 0;
}

/* Each direction is watched by itself, and so has a descriptor of its own. */
static int attach_both_ways(struct endpoint *end, int fd, bool socket)
{
	end->in = (struct endpoint_way){ .fd = fcntl(fd, F_DUPFD_CLOEXEC, 3), .owned = true, .socket = socket };
	end->out = (struct endpoint_way){ .fd = fcntl(fd, F_DUPFD_CLOEXEC, 3), .owned = true, .socket = socket };
	if (end->in.fd >= 0 && end->out.fd >= 0)
		return 1;
	int code = -errno;
	endpoint_detach(end);
	return code;
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
	/* a slave that was never opened does not report a hang-up: open it once */
	CLEANUP_CLOSE int once = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (once < 0 || tcsetattr(once, TCSANOW, &tio) < 0)
		return err_set(err, -errno, "console pty: %m");
	end->path = strdup(name);
	return end->path ? 0 : err_set(err, -ENOMEM, "console pty: out of memory");
}

static bool pty_in_use(int fd)
{
	struct pollfd poll_pty = { .fd = fd, .events = POLLIN };
	return poll(&poll_pty, 1, 0) >= 0 && !(poll_pty.revents & POLLHUP);
}

/* ---- unix socket ------------------------------------------------------------------------------------------------ */

/*
 * A socket file that belongs to no socket is left from a run that was killed. Whether it does is asked with a socket of
 * another type, to which the owner is of the wrong type: it notices nothing, as it would of a client that comes and goes
 * and takes its output along.
 */
static int remove_stale_socket(const struct sockaddr_un *addr)
{
	struct stat st;
	if (lstat(addr->sun_path, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return -EEXIST;
	CLEANUP_CLOSE int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) == 0 || errno != ECONNREFUSED)
		return -EADDRINUSE;
	return unlink(addr->sun_path) < 0 ? -errno : 0;
}

static int endpoint_open_unix(struct endpoint *end, const char *path, struct cvmm_error *err)
{
	enum { BACKLOG = 16 }; /* those who come in quick succession */
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
	if (listen(end->listen_fd, BACKLOG) < 0)
		return err_set(err, -errno, "console %s: %m", end->name);
	return 0;
}

static int unix_try_attach(struct endpoint *end)
{
	CLEANUP_CLOSE int fd = accept4(end->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0)
		return errno == EAGAIN || errno == ECONNABORTED ? 0 : -errno;
	return end->out.fd < 0 ? attach_both_ways(end, fd, true) : 0; /* one at a time */
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

static const struct endpoint no_endpoint = {
	.kind = ENDPOINT_NONE, .in.fd = -1, .out.fd = -1, .listen_fd = -1, .pty_fd = -1
};

int endpoint_open(struct endpoint *end, const struct config *config, struct cvmm_error *err)
{
	*end = no_endpoint;
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
	*end = no_endpoint;
}

bool endpoint_needs_polling(const struct endpoint *end)
{
	return end->kind == ENDPOINT_PTY;
}

int endpoint_try_attach(struct endpoint *end)
{
	if (end->kind == ENDPOINT_UNIX)
		return unix_try_attach(end);
	return pty_in_use(end->pty_fd) ? attach_both_ways(end, end->pty_fd, false) : 0;
}

void endpoint_detach(struct endpoint *end)
{
	way_close(&end->in);
	way_close(&end->out);
}

bool endpoint_hung_up(const struct endpoint *end, ssize_t code)
{
	return code == -EIO && end->out.tty;
}

bool endpoint_in_background(const struct endpoint *end)
{
	pid_t foreground = end->in.tty ? tcgetpgrp(end->in.fd) : -1;
	return foreground >= 0 && foreground != getpgrp();
}

ssize_t endpoint_read(struct endpoint *end, void *buf, size_t len)
{
	const struct endpoint_way *in = &end->in;
	if (!way_is_ready(in, POLLIN))
		return -EAGAIN;
	ssize_t got;
	do
		got = in->socket ? recv(in->fd, buf, len, MSG_DONTWAIT) : read(in->fd, buf, len);
	while (got < 0 && errno == EINTR);
	return got < 0 ? -errno : got;
}

ssize_t endpoint_write(struct endpoint *end, const void *buf, size_t len)
{
	enum { LITTLE = 256 }; /* has room in a pipe, or a terminal, that is ready for any */
	const struct endpoint_way *out = &end->out;
	if (!way_is_ready(out, POLLOUT))
		return -EAGAIN;
	if (out->blocks)
		len = MIN(len, (size_t)LITTLE);
	ssize_t wrote;
	do
		wrote = out->socket ? send(out->fd, buf, len, MSG_DONTWAIT | MSG_NOSIGNAL) : write(out->fd, buf, len);
	while (wrote < 0 && errno == EINTR);
	return wrote < 0 ? -errno : wrote;
}
