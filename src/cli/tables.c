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

static const struct cli_option zone_options[] = {
	{ { "size", CVMM_OPTION_STRING, "SIZE", .help = "format: the disk's size, with K, M, G or T behind; M if none is" } },
	{ { "zone-size", CVMM_OPTION_STRING, "SIZE", .preset = "256M", .help = "format: a power of two" } },
	{ { "zone-capacity", CVMM_OPTION_STRING, "SIZE",
	    .help = "format: what of a zone can be written; without, all of it" } },
	{ { "conventional", CVMM_OPTION_NUMBER, "N", .preset = "0", .max = 262144,
	    .help = "format: so many zones at the start take random writes" } },
	{ { "max-open", CVMM_OPTION_NUMBER, "N", .preset = "0", .max = 262144,
	    .help = "format: open zones at a time, 0 for any number" } },
	{ { "max-active", CVMM_OPTION_NUMBER, "N", .preset = "0", .max = 262144,
	    .help = "format: active zones at a time, 0 for any number" } },
	{ { "max-append", CVMM_OPTION_STRING, "SIZE", .preset = "1M", .help = "format: largest zone append, 0 for none" } },
	{ { "block-size", CVMM_OPTION_CHOICE, "BYTES", .choices = "512|4096", .preset = "4096",
	    .help = "format: logical block, and what writes to zones are made of" } },
	{ { "model", CVMM_OPTION_CHOICE, "MODEL", .choices = "host-managed|host-aware", .preset = "host-managed",
	    .help = "format: must zones be written in sequence, or should they" } },
	{ { "force", CVMM_OPTION_BOOL, .help = "format: overwrite a file that is not empty" } },
	{ { "zone", CVMM_OPTION_NUMBER, "N", .max = 262143, .help = "report, reset, set-state: the first zone" } },
	{ { "count", CVMM_OPTION_NUMBER, "N", .min = 1, .max = 262144,
	    .help = "report, reset, set-state: how many zones; without, one, or if no --zone is given all" } },
	{ { "state", CVMM_OPTION_CHOICE, "STATE", .choices = "read-only|offline|normal", .preset = "normal",
	    .help = "set-state: what the zones shall be" } },
	{ { "json", CVMM_OPTION_BOOL, .help = "Print a JSON object" } },
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
	{ "A disk, a read-only one, and random numbers",
	  "cvmm run --kernel vmlinuz --disk path=root.img --disk path=data.img,readonly --rng" },
	{ "A machine described in a file, its console in another one", "cvmm run --config vm.json --console file=log" },
	{ 0 },
};

static const struct cli_example doctor_examples[] = {
	{ "Tell a script how fast guests run", "cvmm doctor --json" },
	{ 0 },
};

static const struct cli_example zone_examples[] = {
	{ "A host-managed disk of 16 GiB with four conventional zones, in a file that takes little room yet",
	  "cvmm zone format --size 16G --zone-size 256M --conventional 4 --max-open 12 zoned.img" },
	{ "What is in its first zones", "cvmm zone report --count 8 zoned.img" },
	{ "Empty all zones", "cvmm zone reset zoned.img" },
	{ "See how a guest bears the loss of a zone", "cvmm zone set-state --zone 7 --state offline zoned.img" },
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
	[CLI_ZONE] = {
		.name = "zone",
		.synopsis = "format|report|reset|set-state [OPTION]... FILE",
		.summary = "Make zoned disks in files, show and change their zones",
		.about = "format makes the file, report lists its zones, reset empties them, set-state lets them fail as "
		         "worn ones do. A file that a machine uses can only be reported on, as of its last flush. Options "
		         "may stand before and behind FILE.",
		.options = zone_options,
		.examples = zone_examples,
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

static size_t add_options(struct cli_option list[CLI_OPTIONS_MAX], size_t count, const struct cvmm_option *options,
                          size_t option_count)
{
	for (size_t i = 0; i < option_count && count < CLI_OPTIONS_MAX; i++)
		list[count++] = (struct cli_option){ .option = options[i] };
	return count;
}

size_t cli_options(const struct cli_command *command, struct cli_option list[CLI_OPTIONS_MAX])
{
	size_t count = 0, machine_count, kind_count;
	const struct cvmm_option *machine = cvmm_options(&machine_count), *kinds = cvmm_device_kinds(&kind_count);
	if (command->machine_options) {
		count = add_options(list, count, machine, machine_count);
		count = add_options(list, count, kinds, kind_count);
	}
	for (const struct cli_option *own = command->options; own->option.name && count < CLI_OPTIONS_MAX; own++)
		list[count++] = *own;
	return count;
}

void cli_describe(const struct cvmm_option *option, char *buf, size_t size)
{
	if (option->type == CVMM_OPTION_NUMBER)
		snprintf(buf, size, "%s, %" PRIu64 " to %" PRIu64 "%s%s%s", option->help, option->min, option->max,
		         option->preset ? " (default " : "", option->preset ? option->preset : "",
		         option->preset ? ")" : "");
	else if (option->choices)
		snprintf(buf, size, "%s: %s (default %s)", option->help, option->choices, option->preset);
	else if (option->preset)
		snprintf(buf, size, "%s (default %s)", option->help, option->preset);
	else
		snprintf(buf, size, "%s", option->help);
}
