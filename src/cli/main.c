// SPDX-License-Identifier: Apache-2.0
/* cvmm: finds the command and runs it. The only place that ends the process. */
#include "src/cli/cli.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int find_command(const char *name)
{
	for (int i = 0; i < CLI_COMMANDS; i++)
		if (!strcmp(cli_commands[i].name, name))
			return i;
	return cli_complain(CLI_GO_ON, "unknown command \"%s\"; see \"cvmm --help\"", name);
}

static int cmd_help(int argc, char **argv)
{
	struct cli_args args;
	int rest;
	cli_args_init(&args, &cli_commands[CLI_HELP], argc, argv);
	int status = cli_args_each(&args, NULL, NULL, &rest);
	if (status == CLI_GO_ON && rest < argc)
		status = cli_args_no_operands(&args, rest + 1);
	if (status != CLI_GO_ON)
		return status;
	int about = rest < argc ? find_command(argv[rest]) : CLI_COMMANDS;
	if (about < 0)
		return CLI_USAGE;
	cli_print_help(about < CLI_COMMANDS ? &cli_commands[about] : &cli_top);
	return CLI_OK;
}

static int (*const run_command[CLI_COMMANDS])(int argc, char **argv) = {
	[CLI_RUN] = cmd_run,
	[CLI_ZONE] = cmd_zone,
	[CLI_DOCTOR] = cmd_doctor,
	[CLI_HELP] = cmd_help,
};

/* cvmm's own options: --help, which cli_args_each() knows, and --version. */
static int top_option(void *opaque, const struct cli_option *given, const char *value)
{
	printf("cvmm %s (%s)\n", cvmm_version(), cvmm_arch());
	return CLI_OK;
}

static int dispatch(int argc, char **argv)
{
	struct cli_args args;
	int rest;
	cli_args_init(&args, &cli_top, argc, argv);
	int status = cli_args_each(&args, top_option, NULL, &rest);
	if (status != CLI_GO_ON)
		return status;
	if (rest >= argc)
		return cli_complain(CLI_USAGE, "no command given; see \"cvmm --help\"");
	int command = find_command(argv[rest]);
	return command < 0 ? CLI_USAGE : run_command[command](argc - rest, argv + rest);
}

/* Descriptors 0 to 2 must be somebody's, else the next file opened becomes one of them. Returns whether @fd was. */
static bool occupy(int fd, int flags)
{
	if (fcntl(fd, F_GETFD) >= 0)
		return true;
	int null = open("/dev/null", flags); /* the lowest free number: @fd, as they come in order */
	if (null > fd)
		close(null);
	return false;
}

/* What is buffered may fail to be written only now. */
static int flush_stdout(int status)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return status;
	return cli_complain(CLI_ERROR, "cannot write to stdout: %m");
}

int main(int argc, char **argv)
{
	occupy(STDIN_FILENO, O_RDONLY);
	bool has_stdout = occupy(STDOUT_FILENO, O_WRONLY);
	occupy(STDERR_FILENO, O_WRONLY);
	if (!has_stdout)
		return cli_complain(CLI_ERROR, "stdout is closed: nothing can be printed there");
	return flush_stdout(dispatch(argc, argv));
}
