// SPDX-License-Identifier: Apache-2.0
/* The tables of options and of devices' keys: what the API, the JSON file, the command line, help, man page and
 * completion all read. They stand apart from the code that sets values so that the build can print them without the
 * library. */
#include "src/config.h"

#include <string.h>

#include "src/base/util.h"

enum { MEMORY_MAX_MIB = 1 << 20, CPUS_MAX = 254, NAME_MAX_LEN = 64 };
enum { SERIAL_MAX_LEN = 20, SLOTS_MAX = 32 };

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
	{ "iothreads", CVMM_OPTION_NUMBER, "N", .preset = "1", .min = 1, .max = CONFIG_IOTHREADS_MAX, FIELD(iothreads),
	  .help = "Number of threads that devices do their I/O on" },
	{ "name", CVMM_OPTION_STRING, "NAME", .min = 1, .max = NAME_MAX_LEN, FIELD(name),
	  .help = "Name of the virtual machine, in front of its log lines" },
	{ "entry", CVMM_OPTION_CHOICE, "HOW", "auto|linux64|pvh", "auto", FIELD(entry),
	  .help = "On x86_64, how an ELF kernel is entered" },
	{ "i8042", CVMM_OPTION_BOOL, "on|off", .preset = "off", FIELD(i8042),
	  .help = "On x86_64, offer a keyboard controller to guests that reset through it" },
};

#undef FIELD
#define FIELD(member) .field = offsetof(struct device_config, member)

static const struct cvmm_option device_kinds[DEVCONF_KINDS] = {
	[DEVCONF_DISK] = { "disk", CVMM_OPTION_DEVICE, "KEY=VALUE[,...]",
	                   .help = "Add a disk, as in path=root.img,readonly; \"help\" lists the keys" },
	[DEVCONF_RNG] = { "rng", CVMM_OPTION_DEVICE, "[KEY=VALUE,...]",
	                  .help = "Add a source of random numbers; \"help\" lists the keys" },
};

/* What every virtio device has. */
#define VIRTIO_KEYS(queue_size_preset, queue_size_max)                                                                 \
	{ "iothread", CVMM_OPTION_NUMBER, "K", .min = 0, .max = CONFIG_IOTHREADS_MAX - 1, FIELD(iothread),             \
	  .help = "Which I/O thread serves it, from 0; else each queue has the next one in turn" },                    \
	{ "slot", CVMM_OPTION_NUMBER, "N", .min = 0, .max = SLOTS_MAX - 1, FIELD(slot),                                \
	  .help = "Which virtio-mmio slot it sits in, so that its name stays; else the next free one" },               \
	{ "queue-size", CVMM_OPTION_NUMBER, "N", .preset = (queue_size_preset), .min = 2,                               \
	  .max = (queue_size_max), FIELD(virtio.queue_size), .help = "Descriptors in a queue, a power of two" },       \
	{ "packed", CVMM_OPTION_BOOL, "on|off", .preset = "off", FIELD(virtio.packed),                                 \
	  .help = "Offer packed rings" },                                                                              \
	{ "in-order", CVMM_OPTION_BOOL, "on|off", .preset = "off", FIELD(virtio.in_order),                             \
	  .help = "Offer to use buffers in the order in which they were made available" },                             \
	{ "event-idx", CVMM_OPTION_BOOL, "on|off", .preset = "on", FIELD(virtio.event_idx),                            \
	  .help = "Offer to suppress kicks and interrupts by index" },                                                 \
	{ "indirect", CVMM_OPTION_BOOL, "on|off", .preset = "on", FIELD(virtio.indirect),                              \
	  .help = "Offer descriptors that point to tables of descriptors" },                                           \
	{ "notification-data", CVMM_OPTION_BOOL, "on|off", .preset = "off", FIELD(virtio.notification_data),           \
	  .help = "Offer kicks that say how far the driver has got; each leaves the guest to us" },                    \
	{ "ring-reset", CVMM_OPTION_BOOL, "on|off", .preset = "off", FIELD(virtio.ring_reset),                         \
	  .help = "Offer to reset one queue without the others" }

static const struct cvmm_option disk_keys[] = {
	{ "path", CVMM_OPTION_PATH, "FILE", FIELD(disk.path),
	  .help = "Image file or block device; a comma in its name is written twice" },
	{ "memory", CVMM_OPTION_SIZE, "SIZE", .min = 1, .max = MEMORY_MAX_MIB, FIELD(disk.memory_mib),
	  .help = "In place of a file, memory that is empty at first and lost at the end" },
	{ "readonly", CVMM_OPTION_BOOL, "on|off", .preset = "off", FIELD(disk.readonly),
	  .help = "Refuse writes, and open the file for reading only" },
	{ "cache", CVMM_OPTION_CHOICE, "MODE", "writeback|none|unsafe", "writeback", FIELD(disk.cache),
	  .help = "The host's page cache: used, gone around as with direct, or used and never flushed" },
	{ "direct", CVMM_OPTION_BOOL, "on|off", .preset = "off", FIELD(disk.direct),
	  .help = "Go around the host's page cache" },
	{ "zoned", CVMM_OPTION_CHOICE, "KIND", "off|file|host", "off", FIELD(disk.zoned),
	  .help = "A zoned disk: in a file of cvmm zone, or the host's zoned device" },
	{ "share", CVMM_OPTION_BOOL, "on|off", .preset = "off", FIELD(disk.share),
	  .help = "Do not lock the file: others may write it, too" },
	{ "serial", CVMM_OPTION_STRING, "TEXT", .min = 1, .max = SERIAL_MAX_LEN, FIELD(disk.serial),
	  .help = "Serial number that the guest sees" },
	{ "block-size", CVMM_OPTION_NUMBER, "BYTES", .min = 512, .max = 4096, FIELD(disk.block_size),
	  .help = "Logical block size, 512 or 4096; else that of the file" },
	{ "queues", CVMM_OPTION_NUMBER, "N", .preset = "1", .min = 1, .max = DISK_QUEUES_MAX, FIELD(disk.queues),
	  .help = "Number of queues" },
	{ "iops", CVMM_OPTION_NUMBER, "N", .preset = "0", .min = 0, .max = UINT32_MAX, FIELD(disk.iops),
	  .help = "Requests a second at most, or 0 for no limit" },
	{ "bw", CVMM_OPTION_SIZE, "SIZE", .min = 1, .max = MEMORY_MAX_MIB, FIELD(disk.bw_mib),
	  .help = "Bytes a second at most, such as 100M" },
	{ "burst-ms", CVMM_OPTION_NUMBER, "N", .preset = "100", .min = 1, .max = 10000, FIELD(disk.burst_ms),
	  .help = "How far requests may run ahead of these limits after a rest, in milliseconds" },
	VIRTIO_KEYS("256", 1024),
};

static const struct cvmm_option rng_keys[] = {
	{ "rate", CVMM_OPTION_NUMBER, "BYTES", .preset = "0", .min = 0, .max = UINT32_MAX, FIELD(rng.rate),
	  .help = "Bytes a second at most, or 0 for no limit" },
	VIRTIO_KEYS("64", 64),
};
/* clang-format on */

static const struct {
	const struct cvmm_option *keys;
	size_t count;
} device_keys[DEVCONF_KINDS] = {
	[DEVCONF_DISK] = { disk_keys, ARRAY_SIZE(disk_keys) },
	[DEVCONF_RNG] = { rng_keys, ARRAY_SIZE(rng_keys) },
};

const struct cvmm_option *cvmm_options(size_t *count)
{
	*count = ARRAY_SIZE(options);
	return options;
}

const struct cvmm_option *cvmm_device_kinds(size_t *count)
{
	*count = ARRAY_SIZE(device_kinds);
	return device_kinds;
}

const struct cvmm_option *cvmm_device_options(const char *kind, size_t *count)
{
	*count = 0;
	for (size_t i = 0; i < DEVCONF_KINDS; i++)
		if (!strcmp(device_kinds[i].name, kind)) {
			*count = device_keys[i].count;
			return device_keys[i].keys;
		}
	return NULL;
}
