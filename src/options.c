// SPDX-License-Identifier: Apache-2.0
/* The table of options: what the API, the JSON file, the command line, help, man page and completion all read. It stands
 * apart from the code that sets values so that the build can print it without the library. */
#include "src/config.h"

#include "src/base/util.h"

enum { MEMORY_MAX_MIB = 1 << 20, CPUS_MAX = 254, NAME_MAX_LEN = 64 };

#define FIELD(member) .field = offsetof(struct config, member)

/* clang-format off */
static const struct cvmm_option options[] = {
	{ "kernel", CVMM_OPTION_PATH, "FILE", FIELD(kernel),
	  .help = "Kernel to boot: bzImage, ELF vmlinux, arm64 Image or EFI zboot, also compressed" },
	{ "initrd", CVMM_OPTION_PATH, "FILE", FIELD(initrd),
	  .help = "Initial RAM disk, handed to the guest as it is" },
	{ "cmdline", CVMM_OPTION_STRING, "TEXT", FIELD(cmdline),
	  .help = "Kernel command line, appended to the default one" },
	{ "cmdline-only", CVMM_OPTION_STRING, "TEXT", FIELD(cmdline_only),
	  .help = "Kernel command line, in place of the default one" },
	{ "cpus", CVMM_OPTION_NUMBER, "N", .preset = "1", .min = 1, .max = CPUS_MAX, FIELD(cpus),
	  .help = "Number of virtual CPUs" },
	{ "memory", CVMM_OPTION_SIZE, "SIZE", .preset = "512M", .min = 1, .max = MEMORY_MAX_MIB, FIELD(memory_mib),
	  .help = "Guest memory, such as 512M or 4G; a bare number is MiB" },
	{ "console", CVMM_OPTION_STRING, "WHERE", "stdio|file=PATH|pty|unix=PATH|none", "stdio", FIELD(console),
	  .help = "What the guest's serial console is connected to" },
	{ "on-reset", CVMM_OPTION_CHOICE, "WHAT", "stop|restart", "stop", FIELD(on_reset),
	  .help = "What to do when the guest resets itself" },
	{ "name", CVMM_OPTION_STRING, "NAME", .min = 1, .max = NAME_MAX_LEN, FIELD(name),
	  .help = "Name of the virtual machine, in front of its log lines" },
	{ "entry", CVMM_OPTION_CHOICE, "HOW", "auto|linux64|pvh", "auto", FIELD(entry),
	  .help = "On x86_64, how an ELF kernel is entered" },
	{ "i8042", CVMM_OPTION_BOOL, "on|off", .preset = "off", FIELD(i8042),
	  .help = "On x86_64, offer a keyboard controller to guests that reset through it" },
};
/* clang-format on */

const struct cvmm_option *cvmm_options(size_t *count)
{
	*count = ARRAY_SIZE(options);
	return options;
}
