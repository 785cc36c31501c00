/* SPDX-License-Identifier: Apache-2.0 */
/*
 * host-init.c - /init of an emulated KVM host: runs one command for the program outside that started QEMU.
 *
 * Both talk over a virtio-serial port, in frames of a type, a length and up to FRAME_MAX bytes. What the command prints
 * travels in frames of its own type, so nothing it prints can be taken for its exit status.
 *
 *	to us    'g' start: a byte that says whether on a terminal ('t') or on pipes ('p'), eight bytes of wall-clock
 *	             seconds; mount the payload disk and run /job/.command
 *	         'i' standard input; 'e' its end
 *	from us  'r' ready; 's' the command starts; 'o' standard output; 'E' standard error;
 *	         'x' exit status, four bytes, little endian
 *
 * The host's state may be saved once 'r' is out and restored many times: no guest and no payload exist by then. When
 * the other side goes away the host powers off.
 */
#include <dirent.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <net/if.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define PORT_NAME "cvmm.host"
#define PAYLOAD_DISK "/dev/vda"
#define FRAME_MAX 4096

struct frame {
	uint8_t type;
	uint8_t len[2]; /* little endian */
	char data[FRAME_MAX];
} __attribute__((packed));

enum { FRAME_HEADER = 3 };

/* The command and the ends of its standard streams that are ours: three pipes, or one terminal in the first two. */
struct command {
	pid_t pid;
	int in, out, err; /* -1: closed */
	char pending[FRAME_MAX];
	size_t pending_len, pending_at; /* input that it has not taken yet */
	bool in_ended, terminal;
};

static void __attribute__((noreturn)) power_off(void)
{
	reboot(RB_POWER_OFF);
	_exit(1);
}

/* The console is the host's log, shown when something goes wrong. */
static void __attribute__((noreturn)) fail(const char *what)
{
	printf("host-init: %s: %m\n", what);
	fflush(stdout);
	power_off();
}

/* ---- setting up ------------------------------------------------------------------------------------------------ */

static void mount_all(void)
{
	static const struct {
		const char *type, *path;
	} mounts[] = {
		{ "devtmpfs", "/dev" },   { "proc", "/proc" },     { "sysfs", "/sys" },
		{ "tmpfs", "/tmp" },      { "tmpfs", "/run" },     { "debugfs", "/sys/kernel/debug" },
		{ "devpts", "/dev/pts" }, { "tmpfs", "/dev/shm" }, { "tracefs", "/sys/kernel/tracing" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(mounts); i++) {
		mkdir(mounts[i].path, 0755);
		if (mount(mounts[i].type, mounts[i].path, mounts[i].type, 0, NULL) < 0 && errno != EBUSY)
			printf("host-init: mount %s: %m\n", mounts[i].path);
	}
	symlink("/proc/self/fd", "/dev/fd");
}

static void load_modules(void)
{
	FILE *list = fopen("/modules/host", "re");
	char path[128], name[64];

	while (list && fscanf(list, "%63s", name) == 1) {
		int fd;

		snprintf(path, sizeof(path), "/modules/%s.ko", name);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0 || (syscall(SYS_finit_module, fd, "", 0) < 0 && errno != EEXIST))
			printf("host-init: module %s: %m\n", name);
		if (fd >= 0)
			close(fd);
	}
	if (list)
		fclose(list);
}

static void write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		printf("host-init: %s: %m\n", path);
	if (fd >= 0)
		close(fd);
}

static void loopback_up(void)
{
	struct ifreq req = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &req) < 0)
		printf("host-init: lo: %m\n");
	if (fd >= 0)
		close(fd);
}

static int run_and_wait(const char *path, char *const argv[])
{
	int status = -1;
	pid_t pid = fork();

	if (!pid) {
		execv(path, argv);
		_exit(127);
	}
	waitpid(pid, &status, 0);
	return status;
}

static int port_open(void)
{
	char path[300], name[32];
	DIR *dir = opendir("/sys/class/virtio-ports");
	int fd = -1;

	for (struct dirent *entry; dir && fd < 0 && (entry = readdir(dir));) {
		FILE *file;

		snprintf(path, sizeof(path), "/sys/class/virtio-ports/%s/name", entry->d_name);
		file = fopen(path, "re");
		if (!file)
			continue;
		if (fscanf(file, "%31s", name) == 1 && !strcmp(name, PORT_NAME)) {
			snprintf(path, sizeof(path), "/dev/%s", entry->d_name);
			fd = open(path, O_RDWR | O_CLOEXEC);
		}
		fclose(file);
	}
	if (dir)
		closedir(dir);
	return fd;
}

/* ---- frames ---------------------------------------------------------------------------------------------------- */

static void send_frame(int port, char type, const void *data, size_t len)
{
	struct frame frame = { .type = (uint8_t)type, .len = { (uint8_t)len, (uint8_t)(len >> 8) } };
	size_t at = 0;

	memcpy(frame.data, data, len);
	while (at < FRAME_HEADER + len) {
		ssize_t done = write(port, (char *)&frame + at, FRAME_HEADER + len - at);

		if (done <= 0)
			fail("port: write");
		at += (size_t)done;
	}
}

static void read_all(int port, void *data, size_t len)
{
	for (size_t at = 0; at < len;) {
		ssize_t done = read(port, (char *)data + at, len - at);

		if (done <= 0)
			power_off();
		at += (size_t)done;
	}
}

/* The sender writes whole frames, so what has begun is soon complete: waiting for the rest is fine. */
static size_t receive_frame(int port, struct frame *frame)
{
	size_t len;

	read_all(port, frame, FRAME_HEADER);
	len = frame->len[0] | (size_t)frame->len[1] << 8;
	if (len > FRAME_MAX)
		fail("port: bad frame");
	read_all(port, frame->data, len);
	return len;
}

/* ---- the command ----------------------------------------------------------------------------------------------- */

static void exec_command(void)
{
	static char *const argv[] = { "/bin/sh", "/job/.command", NULL };
	static char *const envp[] = { "PATH=/job:/bin", "HOME=/tmp", "TERM=linux", NULL };
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	if (!chdir("/job"))
		execve(argv[0], argv, envp);
	dprintf(2, "host-init: %s: %m\n", argv[1]);
	_exit(127);
}

static void start_on_terminal(struct command *cmd)
{
	cmd->pid = forkpty(&cmd->out, NULL, NULL, NULL);
	if (!cmd->pid)
		exec_command();
	cmd->in = dup(cmd->out);
	cmd->err = -1;
}

static void start_on_pipes(struct command *cmd)
{
	int in[2], out[2], err[2];

	if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0)
		fail("pipe");
	cmd->pid = fork();
	if (!cmd->pid) {
		setsid();
		dup2(in[0], 0);
		dup2(out[1], 1);
		dup2(err[1], 2);
		exec_command();
	}
	close(in[0]);
	close(out[1]);
	close(err[1]);
	cmd->in = in[1];
	cmd->out = out[0];
	cmd->err = err[0];
}

static void start_command(struct command *cmd, bool terminal)
{
	*cmd = (struct command){ .terminal = terminal };
	if (terminal)
		start_on_terminal(cmd);
	else
		start_on_pipes(cmd);
	if (cmd->pid < 0)
		fail("fork");
	fcntl(cmd->in, F_SETFL, O_NONBLOCK);
	fcntl(cmd->out, F_SETFL, O_NONBLOCK);
	if (cmd->err >= 0)
		fcntl(cmd->err, F_SETFL, O_NONBLOCK);
}

static void close_stream(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* Pass on what the command wrote; false when there is nothing more for now. A terminal without users reads as EIO. */
static bool forward_output(int port, char type, int *fd)
{
	char data[FRAME_MAX];
	ssize_t len = *fd < 0 ? 0 : read(*fd, data, sizeof(data));

	if (len > 0)
		send_frame(port, type, data, (size_t)len);
	else if (len == 0 || errno != EAGAIN)
		close_stream(fd);
	return len > 0;
}

/* Give pending input to the command; what it will not read any more is dropped. */
static void forward_input(struct command *cmd)
{
	while (cmd->pending_at < cmd->pending_len) {
		ssize_t done = cmd->in < 0 ? -1
		                           : write(cmd->in, cmd->pending + cmd->pending_at,
		                                   cmd->pending_len - cmd->pending_at);

		if (done < 0 && cmd->in >= 0 && errno == EAGAIN)
			return;
		if (done < 0) {
			close_stream(&cmd->in);
			break;
		}
		cmd->pending_at += (size_t)done;
	}
	cmd->pending_at = cmd->pending_len = 0;
	if (cmd->in_ended && !cmd->terminal)
		close_stream(&cmd->in);
}

static void take_frame(int port, struct command *cmd)
{
	static struct frame frame;
	size_t len = receive_frame(port, &frame);

	if (frame.type == 'i') {
		memcpy(cmd->pending, frame.data, len);
		cmd->pending_len = len;
	} else if (frame.type == 'e') {
		cmd->in_ended = true;
	}
	forward_input(cmd);
}

/* Whether the command has ended; collects other orphans on the way, as process 1 must. */
static bool command_ended(const struct command *cmd, int *status)
{
	int this;

	for (pid_t pid; (pid = waitpid(-1, &this, WNOHANG)) > 0;) {
		if (pid == cmd->pid) {
			*status = WIFEXITED(this) ? WEXITSTATUS(this) : 128 + WTERMSIG(this);
			return true;
		}
	}
	return false;
}

/* Carry bytes both ways until the command ends, then what is left of its output. Returns its exit status. */
static int serve_command(int port, int child_fd, struct command *cmd)
{
	struct signalfd_siginfo info;
	int status;

	while (!command_ended(cmd, &status)) {
		bool has_pending = cmd->pending_len > 0;
		struct pollfd fds[] = {
			{ .fd = child_fd, .events = POLLIN },
			{ .fd = has_pending ? -1 : port, .events = POLLIN },
			{ .fd = has_pending ? cmd->in : -1, .events = POLLOUT },
			{ .fd = cmd->out, .events = POLLIN },
			{ .fd = cmd->err, .events = POLLIN },
		};

		if (poll(fds, ARRAY_SIZE(fds), -1) < 0)
			continue;
		while (read(child_fd, &info, sizeof(info)) > 0)
			continue;
		if (fds[1].revents)
			take_frame(port, cmd);
		if (fds[2].revents)
			forward_input(cmd);
		if (fds[3].revents)
			forward_output(port, 'o', &cmd->out);
		if (fds[4].revents)
			forward_output(port, 'E', &cmd->err);
	}
	while (forward_output(port, 'o', &cmd->out))
		continue;
	while (forward_output(port, 'E', &cmd->err))
		continue;
	return status;
}

/* The disk had other contents, or none, when the state was saved: forget what the kernel read of them. */
static void mount_payload(void)
{
	int fd = open(PAYLOAD_DISK, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || ioctl(fd, BLKFLSBUF, 0) < 0)
		fail(PAYLOAD_DISK);
	close(fd);
	mkdir("/job", 0755);
	if (mount(PAYLOAD_DISK, "/job", "ext4", MS_NOATIME, NULL) < 0)
		fail("mount /job");
}

/* A restored host believes that it is still the time at which its state was saved. */
static void set_clock(const char *seconds)
{
	uint64_t wall;
	struct timeval now;

	memcpy(&wall, seconds, sizeof(wall));
	now = (struct timeval){ .tv_sec = (time_t)le64toh(wall) };
	if (settimeofday(&now, NULL) < 0)
		printf("host-init: settimeofday: %m\n");
}

static int child_signals(void)
{
	sigset_t child;

	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigprocmask(SIG_BLOCK, &child, NULL);
	signal(SIGPIPE, SIG_IGN);
	return signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
}

int main(void)
{
	static char *const busybox[] = { "busybox", "--install", "-s", "/bin", NULL };
	static struct command cmd;
	static struct frame frame;
	int port, child_fd, status;

	setvbuf(stdout, NULL, _IOLBF, 0);
	mount_all();
	load_modules();
	write_text("/proc/sys/vm/overcommit_memory", "1");
	loopback_up();
	run_and_wait("/bin/busybox", busybox);
	child_fd = child_signals();
	port = port_open();
	if (port < 0)
		fail("no port " PORT_NAME);
	send_frame(port, 'r', "", 0);

	do
		receive_frame(port, &frame);
	while (frame.type != 'g');
	set_clock(frame.data + 1);
	mount_payload();
	send_frame(port, 's', "", 0);
	start_command(&cmd, frame.data[0] == 't');
	status = htole32(serve_command(port, child_fd, &cmd));
	send_frame(port, 'x', &status, sizeof(status));
	for (;;)
		receive_frame(port, &frame); /* we are ended from outside, or power off when the other side is gone */
}
