// SPDX-License-Identifier: Apache-2.0
/* Commands, their own options, exit codes and examples. The machine's options come from the library's table. */
#include "src/cli/cli.h"

#include <inttypes.h>
#include <stdio.h>

#define HELP_OPTION                                                                                                    \
	{                                                                                                              \
		{ "help", CVMM_OPTION_BOOL, .help = "Print this help and exit" }, 'h'                                  \
	}

const struct cli_exit_code cli_exit_codes[] = {
	{ CLI_OK, "The guest powered off; for other commands: success" },
	{ CLI_ERROR, "The virtual machine could not be started, or the host failed it" },
	{ CLI_USAGE, "Wrong usage: an unknown option, or a value of the wrong type or out of range, also in a "
	             "configuration file" },
	{ CLI_RESET, "The guest reset itself, and was not to be restarted" },
	{ CLI_CRASH, "The guest crashed; a report was printed" },
	{ CLI_STOPPED, "The guest was stopped from outside before it powered off" },
	{ 0 },
};

/* clang-format off */
static const struct cli_option top_options[] = {
	HELP_OPTION,
	{ { "version", CVMM_OPTION_BOOL, .help = "Print the version and exit" }, 'V' },
	{ { 0 } },
};

static const struct cli_option run_options[] = {
	{ { "config", CVMM_OPTION_PATH, "FILE",
	    .help = "JSON file of the options above; those on the command line win" }, 'c' },
	{ { "shutdown-timeout", CVMM_OPTION_NUMBER, "SECONDS", .preset = "30", .min = 0, .max = 86400,
	    .help = "How long a guest that was asked to power off may take before it is stopped" } },
	{ { "verbose", CVMM_OPTION_BOOL, .help = "Say what happens; twice: in detail" }, 'v' },
	HELP_OPTION,
	{ { 0 } },
};

static const struct cli_option doctor_options[] = {
	{ { "json", CVMM_OPTION_BOOL, .help = "Print the findings as a JSON object" } },
	HELP_OPTION,
	{ { 0 } },
};

static const struct cli_option help_options[] = {
	HELP_OPTION,
	{ { 0 } },
};
/* clang-format on */

static const struct cli_example top_examples[] = {
	{ "Can this host run guests?", "cvmm doctor" },
	{ "Boot a kernel and an initial RAM disk to a shell on this terminal",
	  "cvmm run --kernel vmlinuz --initrd initrd.img" },
	{ 0 },
};

static const struct cli_example run_examples[] = {
	{ "Boot to a shell on this terminal; leave with Ctrl-A x", "cvmm run --kernel vmlinuz --initrd initrd.img" },
	{ "Four CPUs, two GiB, a word more on the kernel's command line",
	  "cvmm run --kernel vmlinuz --initrd initrd.img --cpus 4 --memory 2G --cmdline quiet" },
	{ "A machine described in a file, its console in another one", "cvmm run --config vm.json --console file=log" },
	{ 0 },
};

static const struct cli_example doctor_examples[] = {
	{ "Tell a script how fast guests run", "cvmm doctor --json" },
	{ 0 },
};

const struct cli_command cli_top = {
	.synopsis = "[--help] [--version] COMMAND [OPTION]...",
	.summary = "Run virtual machines on Linux KVM",
	.options = top_options,
	.examples = top_examples,
};

const struct cli_command cli_commands[] = {
	[CLI_RUN] = {
		.name = "run",
		.synopsis = "--kernel FILE [OPTION]...",
		.summary = "Boot a Linux kernel in a virtual machine",
		.about = "The machine's serial console is on this terminal unless --console says otherwise. On it, Ctrl-A "
		         "x stops the machine, Ctrl-A h lists the keys, and Ctrl-A twice sends one Ctrl-A. SIGTERM, "
		         "SIGINT and SIGHUP ask the guest to power off; a second one, or SIGQUIT, stops it.",
		.machine_options = true,
		.options = run_options,
		.examples = run_examples,
	},
	[CLI_DOCTOR] = {
		.name = "doctor",
		.synopsis = "[--json]",
		.summary = "Say whether this host can run guests well, and if not, what to do",
		.about = "Looks at /dev/kvm, at what this kernel's KVM offers and, with a tiny guest, at how fast guest "
		         "code runs. Exits with 0 only if a Linux guest can be expected to boot well, else with 1.",
		.options = doctor_options,
		.examples = doctor_examples,
	},
	[CLI_HELP] = {
		.name = "help",
		.synopsis = "[COMMAND]",
		.summary = "Explain cvmm or one of its commands",
		.options = help_options,
	},
};

size_t cli_options(const struct cli_command *command, struct cli_option list[CLI_OPTIONS_MAX])
{
	size_t count = 0, machine_count;
	const struct cvmm_option *machine = cvmm_options(&machine_count);
	if (!command->machine_options)
		machine_count = 0;
	for (size_t i = 0; i < machine_count && count < CLI_OPTIONS_MAX; i++)
		list[count++] = (struct cli_option){ .option = machine[i] };
	for (const struct cli_option *own = command->options; own->option.name && count < CLI_OPTIONS_MAX; own++)
		list[count++] = *own;
	return count;
}

void cli_describe(const struct cvmm_option *option, char *buf, size_t size)
{
	if (option->type == CVMM_OPTION_NUMBER)
		snprintf(buf, size, "%s, %" PRIu64 " to %" PRIu64 " (default %s)", option->help, option->min,
		         option->max, option->preset);
	else if (option->choices)
		snprintf(buf, size, "%s: %s (default %s)", option->help, option->choices, option->preset);
	else if (option->preset)
		snprintf(buf, size, "%s (default %s)", option->help, option->preset);
	else
		snprintf(buf, size, "%s", option->help);
}
