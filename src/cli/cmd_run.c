// SPDX-License-Identifier: Apache-2.0
/* cvmm run: a virtual machine from options and files, the user's terminal as its console, until it ends. */
#include "src/cli/cli.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "src/cli/terminal.h"

enum { CTRL_A = 1 };

struct run {
	struct cli_args args;
	struct cvmm_vm *vm; /* owned */
	int signals;        /* signalfd; owned */
	unsigned shutdown_s;
	unsigned verbose;
	bool interactive;                 /* the console is on a terminal */
	bool asked;                       /* the guest was asked to power off */
	uint64_t started_ms, deadline_ms; /* when a guest that was asked is stopped; 0: never */
};

static uint64_t now_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* ---- options ----------------------------------------------------------------------------------------------------- */

/* What the file holds may be wrong usage, as the same words on the command line would be; not so a file that cannot be
 * read. */
static int load_config(struct run *run, const char *path)
{
	struct cvmm_error err;
	if (!*path)
		return cli_complain(CLI_USAGE, "--config: expected a file name, found \"\"");
	int ret = cvmm_vm_load_config(run->vm, path, &err);
	if (ret == 0)
		return CLI_GO_ON;
	return cli_complain(ret == -EINVAL || ret == -ERANGE ? CLI_USAGE : CLI_ERROR, "%s", err.msg);
}

/* Options of the command's own; the machine's are none of them. */
static int set_own(void *opaque, const struct cli_option *given, const char *value)
{
	struct run *run = opaque;
	if (!strcmp(given->option.name, "config"))
		return load_config(run, value);
	if (!strcmp(given->option.name, "shutdown-timeout"))
		return cli_number(given, value, &run->shutdown_s);
	if (!strcmp(given->option.name, "verbose"))
		run->verbose++;
	return CLI_GO_ON;
}

static int add_device(struct run *run, const char *kind, const char *keys, struct cvmm_error *err)
{
	if (strcmp(keys, "help") != 0)
		return cvmm_vm_add(run->vm, kind, keys, err);
	cli_print_keys(kind);
	return 1;
}

static bool is_named(const struct cvmm_option *options, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++)
		if (!strcmp(options[i].name, name))
			return true;
	return false;
}

static int set_machine(void *opaque, const struct cli_option *given, const char *value)
{
	struct run *run = opaque;
	struct cvmm_error err;
	size_t count;
	const struct cvmm_option *options = cvmm_options(&count);
	int ret = 0;
	if (given->option.type == CVMM_OPTION_DEVICE)
		ret = add_device(run, given->option.name, value, &err);
	else if (is_named(options, count, given->option.name))
		ret = cvmm_vm_set(run->vm, given->option.name, value, &err);
	if (ret == 0)
		return CLI_GO_ON;
	if (ret > 0)
		return CLI_OK;
	return cli_complain(ret == -ENOMEM ? CLI_ERROR : CLI_USAGE, "--%s", err.msg);
}

/* The files first, wherever they stand, so that the command line wins. */
static int describe(struct run *run, int argc, char **argv)
{
	struct cvmm_error err;
	int rest, status = CLI_GO_ON;
	cli_args_init(&run->args, &cli_commands[CLI_RUN], argc, argv);
	for (const struct cli_option *own = cli_commands[CLI_RUN].options; own->option.name; own++)
		if (own->option.preset && status == CLI_GO_ON)
			status = set_own(run, own, own->option.preset);
	if (status == CLI_GO_ON)
		status = cli_args_each(&run->args, set_own, run, &rest);
	if (status == CLI_GO_ON)
		status = cli_args_no_operands(&run->args, rest);
	if (status == CLI_GO_ON)
		status = cli_args_each(&run->args, set_machine, run, NULL);
	if (status == CLI_GO_ON && cvmm_vm_check(run->vm, &err) < 0)
		status = cli_complain(CLI_USAGE, "%s; see \"cvmm run --help\"", err.msg);
	return status;
}

/* ---- what the user sees ------------------------------------------------------------------------------------------ */

static void print_log(void *opaque, enum cvmm_log_level level, const char *line)
{
	static const char *const tags[] = { "error: ", "warning: ", "", "debug: " };
	fprintf(stderr, "cvmm: %s%s\n", tags[level], line);
}

static void print_keys(void)
{
	fprintf(stderr, "\ncvmm: Ctrl-A x       stop the machine\n"
	                "cvmm: Ctrl-A h       this help\n"
	                "cvmm: Ctrl-A Ctrl-A  send Ctrl-A to the guest\n");
}

/* The key after Ctrl-A; on the library's I/O thread. */
static void press_key(void *opaque, char key)
{
	struct run *run = opaque;
	if (key == 'x' || key == 'X')
		cvmm_vm_stop(run->vm);
	else
		print_keys();
}

static bool console_is_stdio(const struct run *run)
{
	char console[sizeof("stdio") + 1];
	return cvmm_vm_get(run->vm, "console", console, sizeof(console)) > 0 && !strcmp(console, "stdio");
}

static int connect_user(struct run *run, struct cvmm_error *err)
{
	enum cvmm_log_level level = CVMM_LOG_WARN + (run->verbose < 2 ? run->verbose : 2);
	int ret = cvmm_vm_set_log(run->vm, level, print_log, NULL, err);
	run->interactive = console_is_stdio(run) && isatty(STDIN_FILENO);
	if (ret == 0 && run->interactive)
		ret = cvmm_vm_set_console_escape(run->vm, CTRL_A, press_key, run, err);
	return ret;
}

static void announce_console(const struct run *run)
{
	const char *path = cvmm_vm_console_path(run->vm);
	if (path)
		fprintf(stderr, "cvmm: console on %s\n", path);
	else if (run->interactive && isatty(STDERR_FILENO))
		fprintf(stderr, "cvmm: Ctrl-A x stops the machine, Ctrl-A h lists the keys\n");
}

/* ---- signals ----------------------------------------------------------------------------------------------------- */

/* Before the VM is created: what that leaves behind, such as a socket, is taken away only on an orderly way out. What
 * nohup or a shell without job control had ignored stays so; a blocked signal would come all the same. */
static int take_signals(struct run *run)
{
	static const int taken[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGCONT };
	struct sigaction before;
	sigset_t set;
	sigemptyset(&set);
	for (size_t i = 0; i < sizeof(taken) / sizeof(taken[0]); i++)
		if (sigaction(taken[i], NULL, &before) == 0 && before.sa_handler != SIG_IGN)
			sigaddset(&set, taken[i]);
	signal(SIGPIPE, SIG_IGN);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	run->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return run->signals < 0 ? -errno : 0;
}

static void stop(struct run *run)
{
	run->deadline_ms = 0;
	cvmm_vm_stop(run->vm);
}

/* First ask the guest, then insist. A guest that cannot be asked is stopped at once. */
static void shut_down(struct run *run)
{
	if (run->asked || cvmm_vm_power_button(run->vm, NULL) < 0) {
		stop(run);
		return;
	}
	run->asked = true;
	run->deadline_ms = now_ms() + (uint64_t)run->shutdown_s * 1000;
	if (run->verbose)
		fprintf(stderr, "cvmm: asked the guest to power off\n");
}

static void lose_patience(struct run *run)
{
	if (run->shutdown_s)
		cli_complain(0, "the guest did not power off within %u s and is stopped", run->shutdown_s);
	stop(run);
}

/* Stop as a job does, with the terminal as the shell knows it: by SIGTSTP itself, which passes over those whom nobody
 * would continue. */
static void suspend(void)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGTSTP);
	terminal_restore();
	raise(SIGTSTP);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL); /* here */
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	terminal_resume();
}

static void serve_signals(struct run *run)
{
	struct signalfd_siginfo info;
	while (read(run->signals, &info, sizeof(info)) == sizeof(info))
		switch (info.ssi_signo) {
		case SIGTSTP:
			suspend();
			break;
		case SIGCONT: /* also after a SIGSTOP that nobody could see coming */
			terminal_resume();
			break;
		case SIGQUIT:
			stop(run);
			break;
		default:
			shut_down(run);
			break;
		}
}

/* ---- run --------------------------------------------------------------------------------------------------------- */

/* Milliseconds to wait for something to happen; negative: as long as it takes. */
static int patience_ms(const struct run *run)
{
	if (!run->deadline_ms)
		return -1;
	uint64_t now = now_ms();
	return now < run->deadline_ms ? (int)(run->deadline_ms - now) : 0;
}

static void watch(struct run *run)
{
	struct pollfd fds[] = { { .fd = cvmm_vm_event_fd(run->vm), .events = POLLIN },
		                { .fd = run->signals, .events = POLLIN } };
	while (cvmm_vm_state(run->vm) != CVMM_ENDED) {
		uint64_t changes;
		int ready = poll(fds, 2, patience_ms(run));
		if (ready == 0)
			lose_patience(run);
		if (ready > 0 && fds[0].revents && read(fds[0].fd, &changes, sizeof(changes)) < 0)
			continue; /* somebody else has read it: the state tells all */
		if (ready > 0 && fds[1].revents)
			serve_signals(run);
	}
}

static const struct {
	int status;
	const char *words;
} endings[] = {
	[CVMM_END_NONE] = { CLI_ERROR, "did not end" },      [CVMM_END_POWER_OFF] = { CLI_OK, "powered off" },
	[CVMM_END_RESET] = { CLI_RESET, "reset" },           [CVMM_END_CRASH] = { CLI_CRASH, "crashed" },
	[CVMM_END_STOPPED] = { CLI_STOPPED, "was stopped" }, [CVMM_END_ERROR] = { CLI_ERROR, "failed" },
};

static int conclude(const struct run *run, const struct cvmm_result *result)
{
	if (run->verbose)
		fprintf(stderr, "cvmm: the guest %s after %.3f s, %" PRIu64 " exits, %" PRIu64 " restarts\n",
		        endings[result->end].words, (double)(now_ms() - run->started_ms) / 1000, result->exits,
		        result->resets);
	if (result->end == CVMM_END_CRASH || result->end == CVMM_END_ERROR)
		cli_complain(0, "%s", result->error.msg);
	if (result->report)
		fputs(result->report, stderr);
	return endings[result->end].status;
}

static int start(struct run *run, struct cvmm_error *err)
{
	int ret = cvmm_vm_create(run->vm, err);
	if (ret < 0)
		return ret;
	announce_console(run);
	if (run->interactive)
		ret = terminal_raw(STDIN_FILENO);
	if (ret < 0) {
		errno = -ret;
		snprintf(err->msg, sizeof(err->msg), "cannot set the terminal's mode: %m");
		return ret;
	}
	run->started_ms = now_ms();
	return cvmm_vm_start(run->vm, err);
}

static int run_machine(struct run *run)
{
	struct cvmm_error err;
	struct cvmm_result result;
	int ret = take_signals(run);
	if (ret < 0)
		return cli_complain(CLI_ERROR, "cannot watch signals: %m");
	ret = connect_user(run, &err);
	if (ret == 0)
		ret = start(run, &err);
	if (ret < 0) {
		terminal_restore();
		return cli_complain(CLI_ERROR, "%s", err.msg);
	}
	watch(run);
	cvmm_vm_result(run->vm, &result);
	terminal_restore();
	return conclude(run, &result);
}

int cmd_run(int argc, char **argv)
{
	struct run run = { .signals = -1 };
	run.vm = cvmm_vm_new();
	if (!run.vm)
		return cli_complain(CLI_ERROR, "cannot make a virtual machine: %m");
	int status = describe(&run, argc, argv);
	if (status == CLI_GO_ON)
		status = run_machine(&run);
	cvmm_vm_free(run.vm);
	if (run.signals >= 0)
		close(run.signals);
	return status;
}
