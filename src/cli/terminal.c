// SPDX-License-Identifier: Apache-2.0
#include "src/cli/terminal.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <termios.h>
#include <unistd.h>

/* Writable globals, as a signal handler gets no argument: the terminal (-1: unchanged) and its two modes. */
static volatile sig_atomic_t terminal_fd = -1;
static struct termios cooked, raw;

/* Those that kill and that nobody handles; the others are cmd_run.c's. */
static const int fatal_signals[] = { SIGABRT, SIGALRM, SIGBUS,  SIGFPE,    SIGILL,  SIGSEGV, SIGSYS,
	                             SIGTRAP, SIGUSR1, SIGUSR2, SIGVTALRM, SIGXCPU, SIGXFSZ };
enum { FATAL_SIGNALS = sizeof(fatal_signals) / sizeof(fatal_signals[0]) };
static struct sigaction actions_before[FATAL_SIGNALS];

/* A job in the background leaves the terminal to whoever has it now. */
static int is_foreground(int fd)
{
	pid_t owner = tcgetpgrp(fd); /* fails where the terminal does not control us: then nobody shares it */
	return owner < 0 || owner == getpgrp();
}

static void set_mode(const struct termios *mode)
{
	int fd = terminal_fd;
	if (fd < 0 || !is_foreground(fd))
		return;
	while (tcsetattr(fd, TCSANOW, mode) < 0 && errno == EINTR)
		;
}

void terminal_restore(void)
{
	set_mode(&cooked);
}

void terminal_resume(void)
{
	set_mode(&raw);
}

/* Restore, then die of the signal as if it had not been handled (it is blocked until this returns). */
static void die_restored(int signal)
{
	terminal_restore();
	for (size_t i = 0; i < FATAL_SIGNALS; i++)
		if (fatal_signals[i] == signal)
			sigaction(signal, &actions_before[i], NULL);
	raise(signal);
}

static void catch_fatal_signals(void)
{
	const struct sigaction action = { .sa_handler = die_restored };
	for (size_t i = 0; i < FATAL_SIGNALS; i++) {
		sigaction(fatal_signals[i], NULL, &actions_before[i]);
		if (actions_before[i].sa_handler != SIG_IGN)
			sigaction(fatal_signals[i], &action, NULL);
	}
}

int terminal_raw(int fd)
{
	if (tcgetattr(fd, &cooked) < 0)
		return -errno;
	raw = cooked;
	raw.c_iflag &= (tcflag_t) ~(IGNBRK | BRKINT | PARMRK | ISTRIP | INLCR | IGNCR | ICRNL | IXON);
	raw.c_oflag |= OPOST; /* our own lines keep their carriage returns */
	raw.c_lflag &= (tcflag_t) ~(ECHO | ECHONL | ICANON | ISIG | IEXTEN);
	raw.c_cflag = (raw.c_cflag & (tcflag_t) ~(CSIZE | PARENB)) | CS8;
	raw.c_cc[VMIN] = 1;
	raw.c_cc[VTIME] = 0;
	terminal_fd = fd;
	catch_fatal_signals();
	while (tcsetattr(fd, TCSANOW, &raw) < 0)
		if (errno != EINTR) {
			terminal_fd = -1;
			return -errno;
		}
	return 0;
}
