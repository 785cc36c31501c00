// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/unit.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "src/base/util.h"
#include "src/config.h"

static struct config config;
static struct cvmm_error err;

static int fresh(void **state)
{
	err = (struct cvmm_error){ 0 };
	return config_init(&config);
}

static int done(void **state)
{
	config_fini(&config);
	config_fini(&config); /* twice is welcome */
	return 0;
}

static const char *value_of(const char *name)
{
	static char text[128];
	assert_true(config_get(&config, name, text, sizeof(text)) >= 0);
	return text;
}

/* ---- the table --------------------------------------------------------------------------------------------------- */

static void check_table(const struct cvmm_option *options, size_t count, size_t size)
{
	assert_true(count > 0);
	for (size_t i = 0; i < count; i++) {
		const struct cvmm_option *option = &options[i];
		assert_true(option->name[0] && option->help[0] && option->metavar[0]);
		for (const char *at = option->name; *at; at++)
			assert_true(islower((unsigned char)*at) || isdigit((unsigned char)*at) || *at == '-');
		assert_true(isupper((unsigned char)option->help[0]));
		assert_int_not_equal(option->help[strlen(option->help) - 1], '.');
		assert_true(option->type != CVMM_OPTION_CHOICE || option->choices);
		assert_true(option->min <= option->max || !option->max);
		assert_true(option->field < size);
		for (size_t j = 0; j < i; j++) {
			assert_string_not_equal(options[j].name, option->name);
			assert_int_not_equal(options[j].field, option->field);
		}
	}
}

static void test_tables_are_sound(void **state)
{
	size_t count, kind_count;
	const struct cvmm_option *options = cvmm_options(&count), *kinds = cvmm_device_kinds(&kind_count);
	check_table(options, count, sizeof(config));
	assert_int_equal(kind_count, DEVCONF_KINDS);
	for (size_t i = 0; i < kind_count; i++) {
		assert_int_equal(kinds[i].type, CVMM_OPTION_DEVICE);
		assert_int_equal(devconf_kind(kinds[i].name), i);
		for (size_t j = 0; j < count; j++)
			assert_string_not_equal(kinds[i].name, options[j].name);
	}
	for (size_t i = 0; i < kind_count; i++) {
		options = cvmm_device_options(kinds[i].name, &count);
		check_table(options, count, sizeof(struct device_config));
	}
	assert_null(cvmm_device_options("floppy", &count));
	assert_int_equal(count, 0);
}

static void test_presets_are_values(void **state)
{
	size_t count;
	const struct cvmm_option *options = cvmm_options(&count);
	for (size_t i = 0; i < count; i++) {
		const char *preset = options[i].preset ? options[i].preset : "";
		assert_string_equal(value_of(options[i].name), preset);
		if (options[i].preset)
			assert_int_equal(config_set(&config, options[i].name, preset, &err), 0);
		assert_string_equal(value_of(options[i].name), preset);
	}
	assert_int_equal(config.cpus, 1);
	assert_int_equal(config.memory_mib, 512);
	assert_string_equal(config.console, "stdio");
	assert_int_equal(config.on_reset, ON_RESET_STOP);
	assert_int_equal(config.entry, ENTRY_AUTO);
	assert_false(config.i8042);
	assert_int_equal(config.iothreads, 1);
	assert_int_equal(config.device_count, 0);
	assert_null(config.kernel);
	assert_int_equal(config.kernel_fd, -1);
	assert_int_equal(config.console_out_fd, -1);
}

/* ---- text -------------------------------------------------------------------------------------------------------- */

static const struct {
	const char *name, *value;
	const char *message; /* NULL: good, and reads back as @reads */
	int code;
	const char *reads; /* NULL: as given */
} texts[] = {
	{ "kernel", "bzImage" },
	{ "kernel", "", "kernel: expected a file name, found \"\"", -EINVAL },
	{ "initrd", "a b\nc" }, /* odd, but a file name */
	{ "cmdline", "" },
	{ "cmdline", "quiet \"a b\"" },
	{ "cmdline", "a\nb", "cmdline: expected text without control characters, found \"a?b\"", -EINVAL },
	{ "cmdline-only", "console=ttyS0" },
	{ "name", "web 1" },
	{ "name", "", "name: expected text of 1 to 64 bytes without control characters, found \"\"", -ERANGE },
	{ "name", "0123456789012345678901234567890123456789012345678901234567890123" },
	{ "name", "01234567890123456789012345678901234567890123456789012345678901234",
	  "name: expected text of 1 to 64 bytes without control characters, found "
	  "\"012345678901234567890123456789012345678901234567890123456789...\"",
	  -ERANGE },
	{ "cpus", "1" },
	{ "cpus", "254" },
	{ "cpus", "007", .reads = "7" },
	{ "cpus", "0", "cpus: expected a number from 1 to 254, found \"0\"", -ERANGE },
	{ "cpus", "255", "cpus: expected a number from 1 to 254, found \"255\"", -ERANGE },
	{ "cpus", "10000", "cpus: expected a number from 1 to 254, found \"10000\"", -ERANGE },
	{ "cpus", "-1", "cpus: expected a number from 1 to 254, found \"-1\"", -ERANGE },
	{ "cpus", "4294967297", "cpus: expected a number from 1 to 254, found \"4294967297\"", -ERANGE },
	{ "cpus", "18446744073709551617", "cpus: expected a number from 1 to 254, found \"18446744073709551617\"",
	  -ERANGE },
	{ "cpus", "99999999999999999999999999x",
	  "cpus: expected a number from 1 to 254, found \"99999999999999999999999999x\"", -EINVAL },
	{ "cpus", "four", "cpus: expected a number from 1 to 254, found \"four\"", -EINVAL },
	{ "cpus", "", "cpus: expected a number from 1 to 254, found \"\"", -EINVAL },
	{ "cpus", " 4", "cpus: expected a number from 1 to 254, found \" 4\"", -EINVAL },
	{ "cpus", "+4", "cpus: expected a number from 1 to 254, found \"+4\"", -EINVAL },
	{ "cpus", "0x4", "cpus: expected a number from 1 to 254, found \"0x4\"", -EINVAL },
	{ "cpus", "4.0", "cpus: expected a number from 1 to 254, found \"4.0\"", -EINVAL },
	{ "cpus", "-", "cpus: expected a number from 1 to 254, found \"-\"", -EINVAL },
#define MEMORY "memory: expected a size in whole MiB from 1M to 1T, such as 512M or 2G, found "
	{ "memory", "1", .reads = "1M" },
	{ "memory", "1M" },
	{ "memory", "1024K", .reads = "1M" },
	{ "memory", "2g", .reads = "2G" },
	{ "memory", "1536M" },
	{ "memory", "1T" },
	{ "memory", "1048576", .reads = "1T" },
	{ "memory", "0", MEMORY "\"0\"", -ERANGE },
	{ "memory", "0K", MEMORY "\"0K\"", -ERANGE },
	{ "memory", "1048577", MEMORY "\"1048577\"", -ERANGE },
	{ "memory", "2T", MEMORY "\"2T\"", -ERANGE },
	{ "memory", "99999G", MEMORY "\"99999G\"", -ERANGE },
	{ "memory", "18446744073709551615K", MEMORY "\"18446744073709551615K\"", -ERANGE },
	{ "memory", "18446744073709551615", MEMORY "\"18446744073709551615\"", -ERANGE },
	{ "memory", "17592186044417T", MEMORY "\"17592186044417T\"", -ERANGE }, /* wraps to 1 MiB */
	{ "memory", "-1G", MEMORY "\"-1G\"", -EINVAL },
	{ "memory", "1K", MEMORY "\"1K\"", -EINVAL },
	{ "memory", "1025K", MEMORY "\"1025K\"", -EINVAL },
	{ "memory", "1.5G", MEMORY "\"1.5G\"", -EINVAL },
	{ "memory", "1GB", MEMORY "\"1GB\"", -EINVAL },
	{ "memory", "1P", MEMORY "\"1P\"", -EINVAL },
	{ "memory", "1 ", MEMORY "\"1 \"", -EINVAL },
	{ "memory", "G", MEMORY "\"G\"", -EINVAL },
#define CONSOLE "console: expected stdio, file=PATH, pty, unix=PATH or none, found "
	{ "console", "stdio" },
	{ "console", "pty" },
	{ "console", "none" },
	{ "console", "file=/tmp/log" },
	{ "console", "unix=a=b" },
	{ "console", "file=", CONSOLE "\"file=\"", -EINVAL },
	{ "console", "file", CONSOLE "\"file\"", -EINVAL },
	{ "console", "ptyx", CONSOLE "\"ptyx\"", -EINVAL },
	{ "console", "pt", CONSOLE "\"pt\"", -EINVAL },
	{ "console", "", CONSOLE "\"\"", -EINVAL },
	{ "console", "stdio|pty", CONSOLE "\"stdio|pty\"", -EINVAL },
	{ "console", "file=a\nb", CONSOLE "\"file=a?b\"", -EINVAL },
	{ "on-reset", "restart" },
	{ "on-reset", "reboot", "on-reset: expected stop or restart, found \"reboot\"", -EINVAL },
	{ "entry", "linux64" },
	{ "entry", "pvh" },
	{ "entry", "PVH", "entry: expected auto, linux64 or pvh, found \"PVH\"", -EINVAL },
	{ "i8042", "on" },
	{ "i8042", "true", "i8042: expected on or off, found \"true\"", -EINVAL },
	{ "kernl", "x", "\"kernl\": no such option, did you mean \"kernel\"?", -ENOENT },
	{ "initrd ", "x", "\"initrd \": no such option, did you mean \"initrd\"?", -ENOENT },
	{ "", "x", "\"\": no such option", -ENOENT },
	{ "frobnicate", "x", "\"frobnicate\": no such option", -ENOENT },
};

static void test_text_values(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		char before[128] = "";
		config_get(&config, texts[i].name, before, sizeof(before));
		err = (struct cvmm_error){ 0 };
		assert_int_equal(config_set(&config, texts[i].name, texts[i].value, &err), texts[i].code);
		assert_int_equal(err.code, texts[i].code);
		assert_string_equal(err.msg, texts[i].message ? texts[i].message : "");
		const char *now = texts[i].message ? before : texts[i].reads ? texts[i].reads : texts[i].value;
		if (texts[i].code != -ENOENT)
			assert_string_equal(value_of(texts[i].name), now);
	}
}

static void test_numbers_by_type(void **state)
{
	assert_int_equal(config_set_number(&config, "memory", 3 * 1024, &err), 0);
	assert_int_equal(config.memory_mib, 3 * 1024);
	assert_int_equal(config_set_number(&config, "memory", UINT64_MAX, &err), -ERANGE);
	assert_int_equal(config_set_number(&config, "cpus", 0, NULL), -ERANGE);
	assert_int_equal(config.cpus, 1);
}

static void test_get_cuts_and_tells(void **state)
{
	char text[4] = "xyz";
	assert_int_equal(config_get(&config, "console", text, sizeof(text)), 5);
	assert_string_equal(text, "std");
	assert_int_equal(config_get(&config, "no", text, sizeof(text)), -ENOENT);
	assert_int_equal(config_get(&config, "on-reset", NULL, 0), 4);
}

static void test_check_wants_a_kernel(void **state)
{
	assert_int_equal(config_check(&config, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "no kernel given"));
	config.kernel_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	assert_int_equal(config_check(&config, &err), 0);
	assert_int_equal(config_set(&config, "cmdline", "a", &err), 0);
	assert_int_equal(config_check(&config, &err), 0);
	assert_int_equal(config_set(&config, "cmdline-only", "b", &err), 0);
	assert_int_equal(config_check(&config, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "exclude each other"));
}

/* ---- devices ----------------------------------------------------------------------------------------------------- */

static const struct {
	const char *kind, *keys, *message;
	int code;
} bad_devices[] = {
	{ "disk", "", "disk: neither path nor memory is given", -EINVAL },
	{ "disk", "readonly", "disk: neither path nor memory is given", -EINVAL },
	{ "disk", "path=a,memory=1M", "disk: path and memory exclude each other: give one of them", -EINVAL },
	{ "disk", "path=", "disk: path: expected a file name, found \"\"", -EINVAL },
	{ "disk", "path", "disk: path: needs a value: FILE", -EINVAL },
	{ "disk", "pth=a", "disk: \"pth\": no such key, did you mean \"path\"?", -EINVAL },
	{ "disk", "path=a,path=b", "disk: path: given twice", -EINVAL },
	{ "disk", "path=a,queue-size=8,queue_size=8", "disk: queue-size: given twice", -EINVAL },
	{ "disk", "path=a,readonly=yes", "disk: readonly: expected on or off, found \"yes\"", -EINVAL },
	{ "disk", "path=a,queues=17", "disk: queues: expected a number from 1 to 16, found \"17\"", -ERANGE },
	{ "disk", "path=a,queues", "disk: queues: needs a value: N", -EINVAL },
	{ "disk", "path=a,queue-size=100", "disk: queue-size: expected a power of two, found 100", -EINVAL },
	{ "disk", "path=a,iothread=16", "disk: iothread: expected a number from 0 to 15, found \"16\"", -ERANGE },
	{ "disk", "path=a,block-size=1024", "disk: block-size: expected 512 or 4096, found 1024", -EINVAL },
	{ "disk", "path=a,serial=123456789012345678901",
	  "disk: serial: expected text of 1 to 20 bytes without control characters, found \"123456789012345678901\"",
	  -ERANGE },
	{ "disk", "memory=4M,share", "disk: direct and share are for files, not for memory", -EINVAL },
	{ "rng", "serial=a",
	  "rng: \"serial\": no such key; there are rate, iothread, slot, queue-size, packed, in-order, "
	  "event-idx, indirect, notification-data",
	  -EINVAL },
	{ "rng", ",", "rng: \"\": no such key; there are rate, ", -EINVAL },
	{ "rng", "rate=-1", "rng: rate: expected a number from 0 to 4294967295, found \"-1\"", -ERANGE },
	{ "floppy", "", "\"floppy\": no such kind of device", -ENOENT },
};

static void test_wrong_devices_change_nothing(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(bad_devices); i++) {
		err = (struct cvmm_error){ 0 };
		assert_int_equal(config_add(&config, bad_devices[i].kind, bad_devices[i].keys, &err),
		                 bad_devices[i].code);
		assert_int_equal(err.code, bad_devices[i].code);
		assert_memory_equal(err.msg, bad_devices[i].message, strlen(bad_devices[i].message));
		assert_int_equal(config.device_count, 0);
	}
	assert_int_equal(config_add(&config, "disk", "pth=a", NULL), -EINVAL);
}

static void test_devices_from_text(void **state)
{
	assert_int_equal(config_add(&config, "disk", "path=a,,b=c,,,readonly,iothread=1,packed=on,event_idx=off", &err),
	                 0);
	assert_int_equal(config_add(&config, "rng", "", &err), 0);
	assert_int_equal(config_add(&config, "disk", "memory=1G,cache=unsafe,serial=x y,slot=3,queue-size=512", &err),
	                 0);
	assert_int_equal(config.device_count, 3);

	const struct device_config *dev = config.devices;
	assert_int_equal(dev->kind, DEVCONF_DISK);
	assert_string_equal(dev->disk.path, "a,b=c,");
	assert_true(dev->disk.readonly);
	assert_false(dev->disk.direct);
	assert_int_equal(dev->iothread, 1);
	assert_true(dev->slot == DEVCONF_ANY);
	assert_true(dev->virtio.packed && dev->virtio.indirect);
	assert_false(dev->virtio.event_idx || dev->virtio.in_order || dev->virtio.notification_data);
	assert_int_equal(dev->virtio.queue_size, 256);
	assert_int_equal(dev->disk.queues, 1);

	assert_int_equal(dev[1].kind, DEVCONF_RNG);
	assert_int_equal(dev[1].rng.rate, 0);
	assert_true(dev[1].iothread == DEVCONF_ANY);

	assert_null(dev[2].disk.path);
	assert_int_equal(dev[2].disk.memory_mib, 1024);
	assert_string_equal(dev[2].disk.serial, "x y");
	assert_int_equal(dev[2].disk.cache, 2);
	assert_int_equal(dev[2].slot, 3);
	assert_int_equal(dev[2].virtio.queue_size, 512);
}

static void test_device_conflicts(void **state)
{
	config.kernel_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	assert_int_equal(config_add(&config, "rng", "slot=2", &err), 0);
	assert_int_equal(config_add(&config, "disk", "memory=1M,iothread=1", &err), 0);
	assert_int_equal(config_check(&config, &err), -EINVAL);
	assert_string_equal(err.msg, "disk 0: iothread 1: the last of 1 is 0");
	assert_int_equal(config_set(&config, "iothreads", "2", &err), 0);
	assert_int_equal(config_check(&config, &err), 0);
	assert_int_equal(config_add(&config, "disk", "memory=1M,slot=2", &err), 0);
	assert_int_equal(config_check(&config, &err), -EINVAL);
	assert_string_equal(err.msg, "disk 1: slot 2 is taken by rng 0 already");
}

static void test_devices_are_bounded(void **state)
{
	for (int i = 0; i < 64; i++)
		assert_int_equal(config_add(&config, "rng", "", &err), 0);
	assert_int_equal(config_add(&config, "rng", "", &err), -EINVAL);
	assert_string_equal(err.msg, "rng: more than 64 devices");
}

/* ---- copies ------------------------------------------------------------------------------------------------------ */

static void test_copy_owns_its_own(void **state)
{
	struct config copy;
	assert_int_equal(config_set(&config, "kernel", "k", &err), 0);
	assert_int_equal(config_set(&config, "cpus", "7", &err), 0);
	assert_int_equal(config_set(&config, "on-reset", "restart", &err), 0);
	assert_int_equal(config_add(&config, "disk", "path=p", &err), 0);
	config.kvm_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	assert_int_equal(config_copy(&copy, &config, &err), 0);
	assert_string_equal(copy.kernel, "k");
	assert_ptr_not_equal(copy.kernel, config.kernel);
	assert_null(copy.initrd);
	assert_int_equal(copy.cpus, 7);
	assert_int_equal(copy.on_reset, ON_RESET_RESTART);
	assert_true(copy.kvm_fd >= 0 && copy.kvm_fd != config.kvm_fd);
	assert_int_equal(fcntl(copy.kvm_fd, F_GETFD), FD_CLOEXEC);
	assert_int_equal(copy.kernel_fd, -1);
	assert_int_equal(copy.device_count, 1);
	assert_string_equal(copy.devices[0].disk.path, "p");
	assert_ptr_not_equal(copy.devices[0].disk.path, config.devices[0].disk.path);
	assert_null(copy.devices[0].disk.serial);
	int fd = copy.kvm_fd;
	config_fini(&copy);
	assert_int_equal(fcntl(fd, F_GETFD), -1);
	assert_int_equal(fcntl(config.kvm_fd, F_GETFD), FD_CLOEXEC);
}

static void test_failed_copy_is_empty(void **state)
{
	struct config copy;
	assert_int_equal(config_set(&config, "kernel", "k", &err), 0);
	assert_int_equal(config_add(&config, "disk", "path=p", &err), 0);
	config.kernel_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	config.kvm_fd = 1 << 30; /* no such descriptor */
	assert_int_equal(config_copy(&copy, &config, &err), -EBADF);
	assert_null(copy.kernel);
	assert_int_equal(copy.kernel_fd, -1);
	config_fini(&copy);
	config.kvm_fd = -1;
}

/* ---- JSON -------------------------------------------------------------------------------------------------------- */

static int load(const char *text)
{
	err = (struct cvmm_error){ 0 };
	return config_load_text(&config, text, strlen(text), &err);
}

static void test_json_sets_each_type(void **state)
{
	assert_int_equal(load("{\"kernel\": \"k\", \"cmdline\": [\"a=1\", \"b\"], \"cpus\": 4, \"memory\": \"1G\",\n"
	                      " \"on-reset\": \"restart\", \"i8042\": true, \"console\": \"none\"}"),
	                 0);
	assert_string_equal(config.kernel, "k");
	assert_string_equal(config.cmdline, "a=1 b");
	assert_int_equal(config.cpus, 4);
	assert_int_equal(config.memory_mib, 1024);
	assert_int_equal(config.on_reset, ON_RESET_RESTART);
	assert_true(config.i8042);
	assert_string_equal(config.console, "none");
	assert_int_equal(load("{\"memory\": 256, \"cmdline\": \"x\", \"cmdline-only\": []}"), 0);
	assert_int_equal(config.memory_mib, 256);
	assert_string_equal(config.cmdline, "x");
	assert_string_equal(config.cmdline_only, "");
	assert_string_equal(config.kernel, "k"); /* what a file does not name stays */
	assert_int_equal(load("{}"), 0);
}

static const struct {
	const char *json, *message; /* how it begins: jansson's words may grow */
	int code;
} bad_json[] = {
	{ "{\"cpus\": \"four\"}", "\"cpus\": expected a number from 1 to 254, found the string \"four\"", -EINVAL },
	{ "{\"cpus\": \"4\"}", "\"cpus\": expected a number from 1 to 254, found the string \"4\"", -EINVAL },
	{ "{\"cpus\": 2.5}", "\"cpus\": expected a number from 1 to 254, found the number 2.5", -EINVAL },
	{ "{\"cpus\": 4.0}", "\"cpus\": expected a number from 1 to 254, found the number 4.0", -EINVAL },
	{ "{\"cpus\": 1e2}", "\"cpus\": expected a number from 1 to 254, found the number 100.0", -EINVAL },
	{ "{\"cpus\": 0}", "\"cpus\": expected a number from 1 to 254, found the number 0", -ERANGE },
	{ "{\"cpus\": -4}", "\"cpus\": expected a number from 1 to 254, found the number -4", -ERANGE },
	{ "{\"cpus\": null}", "\"cpus\": expected a number from 1 to 254, found null", -EINVAL },
	{ "{\"cpus\": [1]}", "\"cpus\": expected a number from 1 to 254, found a list", -EINVAL },
	{ "{\"memory\": {}}",
	  "\"memory\": expected a size in whole MiB from 1M to 1T, such as 512M or 2G, found an object", -EINVAL },
	{ "{\"memory\": \"99999G\"}",
	  "\"memory\": expected a size in whole MiB from 1M to 1T, such as 512M or 2G, found the string \"99999G\"",
	  -ERANGE },
	{ "{\"kernel\": 1}", "\"kernel\": expected a file name, found the number 1", -EINVAL },
	{ "{\"kernel\": [\"a\"]}", "\"kernel\": expected a file name, found a list", -EINVAL },
	{ "{\"i8042\": \"on\"}", "\"i8042\": expected true or false, found the string \"on\"", -EINVAL },
	{ "{\"on-reset\": true}", "\"on-reset\": expected stop or restart, found true", -EINVAL },
	{ "{\"cmdline\": [\"a\", 3]}", "\"cmdline\"[1]: expected text, found the number 3", -EINVAL },
	{ "{\"cmdline\": [\"a\\n\"]}",
	  "\"cmdline\": expected text or a list of texts, without control characters, found a list", -EINVAL },
	{ "{\"cmdline\": false}",
	  "\"cmdline\": expected text or a list of texts, without control characters, found false", -EINVAL },
	{ "{\"cpu\": 1}", "\"cpu\": no such option, did you mean \"cpus\"?", -EINVAL },
	{ "{\"a\\nb\": 1}", "\"a?b\": no such option", -EINVAL },
	{ "{\"disk\": [{\"pth\": \"a\"}]}", "\"disk\"[0]: \"pth\": no such key, did you mean \"path\"?", -EINVAL },
	{ "{\"disk\": [{\"path\": \"a\"}, {}]}", "\"disk\"[1]: neither path nor memory is given", -EINVAL },
	{ "{\"disk\": {\"path\": \"a\", \"readonly\": \"on\"}}",
	  "\"disk\": \"readonly\": expected true or false, found the string \"on\"", -EINVAL },
	{ "{\"disk\": [{\"path\": \"a\", \"queues\": 0}]}",
	  "\"disk\"[0]: \"queues\": expected a number from 1 to 16, found the number 0", -ERANGE },
	{ "{\"disk\": \"path=a\"}", "\"disk\": expected an object of keys, found the string \"path=a\"", -EINVAL },
	{ "{\"rng\": [{}, true]}", "\"rng\"[1]: expected an object of keys, found true", -EINVAL },
	{ "[]", "expected an object of options, found a list", -EINVAL },
	{ "3", "expected an object of options, found the number 3", -EINVAL },
	{ "{\n  \"cpus\": 4,\n  oops\n}", "line 3, column 6: string or '}' expected near 'oops'", -EINVAL },
	{ "{\"cpus\": 4, \"cpus\": 5}", "line 1, column 18: duplicate object key near '\"cpus\"'", -EINVAL },
	{ "{} {}", "line 1, column 4: end of file expected near '{'", -EINVAL },
	{ "{\"cpus\": 4", "line 1, column 10: '}' expected near end of file", -EINVAL },
	{ "{\"kernel\": \"a\\u0000b\"}", "line 1, column 21: \\u0000 is not allowed", -EINVAL },
	{ "", "empty: expected a JSON object of options", -EINVAL },
	{ " ", "line 1, column 1: ", -EINVAL },
};

static void test_json_errors_change_nothing(void **state)
{
	assert_int_equal(load("{\"cpus\": 3, \"kernel\": \"k\"}"), 0);
	for (size_t i = 0; i < ARRAY_SIZE(bad_json); i++) {
		assert_int_equal(load(bad_json[i].json), bad_json[i].code);
		assert_int_equal(err.code, bad_json[i].code);
		assert_memory_equal(err.msg, bad_json[i].message, strlen(bad_json[i].message));
	}
	assert_int_equal(load("{\"kernel\": \"other\", \"memory\": \"2G\", \"cpus\": 0}"), -ERANGE);
	assert_string_equal(config.kernel, "k");
	assert_int_equal(config.memory_mib, 512);
	assert_int_equal(config.cpus, 3);
	assert_int_equal(config.device_count, 0);
	assert_int_equal(config_load_text(&config, "{\"cpus\": 0}", 11, NULL), -ERANGE);
}

static void test_json_adds_devices(void **state)
{
	assert_int_equal(config_add(&config, "rng", "", &err), 0);
	assert_int_equal(
		load("{\"disk\": [{\"path\": \"a,b\", \"readonly\": true, \"event_idx\": false}, {\"memory\": \"2G\"},"
	             "{\"memory\": 3}], \"rng\": {\"rate\": 1000}}"),
		0);
	assert_int_equal(config.device_count, 5);
	assert_int_equal(config.devices[0].kind, DEVCONF_RNG);
	assert_string_equal(config.devices[1].disk.path, "a,b");
	assert_true(config.devices[1].disk.readonly);
	assert_false(config.devices[1].virtio.event_idx);
	assert_int_equal(config.devices[2].disk.memory_mib, 2048);
	assert_int_equal(config.devices[3].disk.memory_mib, 3);
	assert_int_equal(config.devices[4].rng.rate, 1000);
	assert_int_equal(load("{\"rng\": []}"), 0);
	assert_int_equal(config.device_count, 5);
}

static void test_json_is_read_to_its_length_only(void **state)
{
	assert_int_equal(config_load_text(&config, "{\"cpus\": 2}garbage", 11, &err), 0);
	assert_int_equal(config.cpus, 2);
}

/* ---- files ------------------------------------------------------------------------------------------------------- */

static char path[] = "/tmp/cvmm-test-config-XXXXXX";

static void write_file(const char *text, size_t len)
{
	CLEANUP_CLOSE int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, len), len);
}

static void assert_file_error(const char *file, int code, const char *cause)
{
	char message[200];
	snprintf(message, sizeof(message), "%s: %s", file, cause);
	assert_int_equal(config_load_file(&config, file, &err), code);
	assert_int_equal(err.code, code);
	assert_string_equal(err.msg, message);
}

static void test_files(void **state)
{
	static char huge[(1 << 20) + 1];
	CLEANUP_CLOSE int fd = mkstemp(path);
	assert_true(fd >= 0);
	write_file("{\"cpus\": 9}\n", 12);
	assert_int_equal(config_load_file(&config, path, &err), 0);
	assert_int_equal(config.cpus, 9);
	write_file("{\"cpus\": \"four\"}", 16);
	assert_file_error(path, -EINVAL, "\"cpus\": expected a number from 1 to 254, found the string \"four\"");
	write_file("{\n]", 3);
	assert_file_error(path, -EINVAL, "line 2, column 1: string or '}' expected near ']'");
	write_file("", 0);
	assert_file_error(path, -EINVAL, "empty: expected a JSON object of options");
	memset(huge, ' ', sizeof(huge));
	huge[0] = '{';
	huge[sizeof(huge) - 2] = '}';
	write_file(huge, sizeof(huge) - 1);
	assert_int_equal(config_load_file(&config, path, &err), 0);
	write_file(huge, sizeof(huge));
	assert_file_error(path, -EFBIG, "larger than 1 MiB: not a configuration");
	unlink(path);
	assert_file_error(path, -ENOENT, "No such file or directory");
	assert_file_error("/", -EISDIR, "Is a directory");
	assert_file_error("/dev/zero", -EFBIG, "larger than 1 MiB: not a configuration");
	assert_int_equal(config.cpus, 9);
}

#define WITH_CONFIG(test) cmocka_unit_test_setup_teardown(test, fresh, done)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_CONFIG(test_tables_are_sound),
		WITH_CONFIG(test_presets_are_values),
		WITH_CONFIG(test_text_values),
		WITH_CONFIG(test_numbers_by_type),
		WITH_CONFIG(test_get_cuts_and_tells),
		WITH_CONFIG(test_check_wants_a_kernel),
		WITH_CONFIG(test_wrong_devices_change_nothing),
		WITH_CONFIG(test_devices_from_text),
		WITH_CONFIG(test_device_conflicts),
		WITH_CONFIG(test_devices_are_bounded),
		WITH_CONFIG(test_copy_owns_its_own),
		WITH_CONFIG(test_failed_copy_is_empty),
		WITH_CONFIG(test_json_sets_each_type),
		WITH_CONFIG(test_json_errors_change_nothing),
		WITH_CONFIG(test_json_adds_devices),
		WITH_CONFIG(test_json_is_read_to_its_length_only),
		WITH_CONFIG(test_files),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
