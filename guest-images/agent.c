/* SPDX-License-Identifier: Apache-2.0 */
/*
 * agent.c - /init of the test guests: a static program that says what it finds.
 *
 * Orders come from the kernel command line, "cvmm.test=smp,rtc,poweroff", and are carried out in turn; the facts found
 * go to the console as lines "@@ key value...", for the test outside to judge. The last order says how the guest ends:
 * poweroff (also when none is given), reset, panic, button (power off when the power button is pressed), or shell.
 * "@@ done" comes before that. Without cvmm.test= there is a shell on the console, too: the guest ends when it exits, on
 * its poweroff, halt or reboot, or when the power button is pressed.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/input.h>
#include <linux/rtc.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
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
#include <sys/utsname.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define BUTTONS_MAX 8

/* One line, in one write: kernel messages may come before or after, not within. */
__attribute__((format(printf, 1, 2))) static void report(const char *fmt, ...)
{
	va_list args;

	fputs("@@ ", stdout);
	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
	putchar('\n');
	fflush(stdout);
}

static double uptime(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void sleep_ms(long ms)
{
	struct timespec span = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 };

	nanosleep(&span, NULL);
}

/* The first line of a file, without the newline; empty if there is none. */
static void read_line(const char *path, char *line, size_t len)
{
	FILE *file = fopen(path, "re");

	line[0] = 0;
	if (file) {
		if (!fgets(line, (int)len, file))
			line[0] = 0;
		fclose(file);
	}
	line[strcspn(line, "\n")] = 0;
}

static void write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		report("error %s: %s", path, strerror(errno));
	if (fd >= 0)
		close(fd);
}

/* ---- setting up ------------------------------------------------------------------------------------------------ */

static void mount_all(void)
{
	static const struct {
		const char *type, *path;
	} mounts[] = {
		{ "devtmpfs", "/dev" }, { "proc", "/proc" }, { "sysfs", "/sys" },
		{ "tmpfs", "/tmp" },    { "tmpfs", "/run" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(mounts); i++)
		if (mount(mounts[i].type, mounts[i].path, mounts[i].type, 0, NULL) < 0 && errno != EBUSY)
			report("error mount %s: %s", mounts[i].path, strerror(errno));
	mkdir("/dev/pts", 0755);
	mount("devpts", "/dev/pts", "devpts", 0, NULL);
}

/* The kernel opened /dev/console for us; the device behind it can be a controlling terminal, which that cannot. */
static void open_console(void)
{
	char active[128], path[160];
	const char *name;
	int fd;

	read_line("/sys/class/tty/console/active", active, sizeof(active));
	name = strrchr(active, ' ');
	snprintf(path, sizeof(path), "/dev/%s", name ? name + 1 : active);
	fd = open(path, O_RDWR | O_NOCTTY);
	if (fd < 0)
		fd = open("/dev/console", O_RDWR | O_NOCTTY);
	for (int std = 0; fd >= 0 && std < 3; std++)
		dup2(fd, std);
	if (fd > 2)
		close(fd);
}

static void load_module(const char *name)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "/modules/%s.ko", name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || (syscall(SYS_finit_module, fd, "", 0) < 0 && errno != EEXIST))
		report("error module %s: %s", name, strerror(errno));
	if (fd >= 0)
		close(fd);
}

/* /modules/GROUP names the modules for one purpose, in the order in which they load. */
static void load_modules(const char *group)
{
	char path[128], name[64];
	FILE *list;

	snprintf(path, sizeof(path), "/modules/%s", group);
	list = fopen(path, "re");
	if (!list) {
		report("error modules %s: %s", group, strerror(errno));
		return;
	}
	while (fscanf(list, "%63s", name) == 1)
		load_module(name);
	fclose(list);
}

/* ---- what is looked at ----------------------------------------------------------------------------------------- */

/* Whether code really runs on a CPU: go there, stay for a few timer ticks, see that this is the place. */
static bool visit_cpu(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set) < 0)
		return false;
	sleep_ms(20);
	return sched_getcpu() == cpu;
}

static void test_smp(void)
{
	int ran = 0;
	cpu_set_t all;

	sched_getaffinity(0, sizeof(all), &all);
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &all))
			ran += visit_cpu(cpu);
	sched_setaffinity(0, sizeof(all), &all);
	report("cpus.online %ld", sysconf(_SC_NPROCESSORS_ONLN));
	report("cpus.ran %d", ran);
}

/* MemTotal, and what /proc/iomem calls System RAM: all of it, and that at and above 4 GiB. */
static void test_memory(void)
{
	const uint64_t four_gib = 1ULL << 32;
	unsigned long long start, end, total = 0, high = 0, free_kib = 0;
	char line[256];
	FILE *file = fopen("/proc/meminfo", "re");

	if (file && fgets(line, sizeof(line), file) && sscanf(line, "MemTotal: %llu", &free_kib) == 1)
		report("memory.total_kib %llu", free_kib);
	if (file)
		fclose(file);
	file = fopen("/proc/iomem", "re");
	while (file && fgets(line, sizeof(line), file)) {
		if (line[0] == ' ' || !strstr(line, "System RAM") || sscanf(line, "%llx-%llx", &start, &end) != 2)
			continue;
		total += end + 1 - start;
		if (end >= four_gib)
			high += end + 1 - (start > four_gib ? start : four_gib);
	}
	if (file)
		fclose(file);
	report("memory.ram_kib %llu", total / 1024);
	report("memory.above_4g_kib %llu", high / 1024);
}

static void test_clock(void)
{
	char name[64];

	read_line("/sys/devices/system/clocksource/clocksource0/current_clocksource", name, sizeof(name));
	report("clock.source %s", name);
	report("clock.wall %lld", (long long)time(NULL));
	report("clock.uptime %.2f", uptime());
}

/* The numbers at the start of a text, each once more as " N". */
static void numbers(const char *text, char *out, size_t len)
{
	size_t at = 0;

	out[0] = 0;
	for (char *end; at < len; text = end) {
		unsigned long long number = strtoull(text, &end, 10);

		if (end == text)
			break;
		at += (size_t)snprintf(out + at, len - at, " %llu", number);
	}
}

/* Lines of /proc/interrupts under a name that is the same on both architectures: a count for each CPU. */
static void test_interrupts(void)
{
	static const struct {
		const char *match, *key;
	} wanted[] = {
		{ "Local timer interrupts", "timer" },
		{ "arch_timer", "timer" },
		{ "ttyS0", "uart" },
		{ "uart-pl011", "uart" },
		{ "ERR:", "errors" },
		{ "Err:", "errors" },
		{ "MIS:", "missed" },
	};
	FILE *file = fopen("/proc/interrupts", "re");
	char *line = NULL, counts[4096];
	size_t len = 0;

	while (file && getline(&line, &len, file) > 0) {
		const char *colon = strchr(line, ':');

		for (size_t i = 0; colon && i < ARRAY_SIZE(wanted); i++) {
			if (!strstr(line, wanted[i].match))
				continue;
			numbers(colon + 1, counts, sizeof(counts));
			report("interrupts.%s%s", wanted[i].key, counts);
			break;
		}
	}
	free(line);
	if (file)
		fclose(file);
}

static int64_t rtc_seconds(int fd)
{
	struct rtc_time now;
	struct tm tm = { 0 };

	if (ioctl(fd, RTC_RD_TIME, &now) < 0)
		return -1;
	tm.tm_sec = now.tm_sec;
	tm.tm_min = now.tm_min;
	tm.tm_hour = now.tm_hour;
	tm.tm_mday = now.tm_mday;
	tm.tm_mon = now.tm_mon;
	tm.tm_year = now.tm_year;
	return timegm(&tm);
}

/* Ask for an alarm in two seconds and wait for its interrupt; reports how long it took. */
static void rtc_alarm(int fd, int64_t now)
{
	time_t at = (time_t)now + 2;
	struct rtc_wkalrm alarm = { .enabled = 1 };
	struct pollfd ready = { .fd = fd, .events = POLLIN };
	unsigned long data;
	double start = uptime();
	struct tm tm;

	gmtime_r(&at, &tm);
	alarm.time = (struct rtc_time){ .tm_sec = tm.tm_sec,
		                        .tm_min = tm.tm_min,
		                        .tm_hour = tm.tm_hour,
		                        .tm_mday = tm.tm_mday,
		                        .tm_mon = tm.tm_mon,
		                        .tm_year = tm.tm_year };
	if (ioctl(fd, RTC_WKALM_SET, &alarm) < 0)
		report("rtc.alarm error %s", strerror(errno));
	else if (poll(&ready, 1, 15000) != 1 || read(fd, &data, sizeof(data)) != sizeof(data))
		report("rtc.alarm missing");
	else
		report("rtc.alarm %.2f", uptime() - start);
}

static void test_rtc(void)
{
	int fd = open("/dev/rtc0", O_RDONLY | O_CLOEXEC);
	int64_t now;

	if (fd < 0) {
		report("rtc none");
		return;
	}
	now = rtc_seconds(fd);
	report("rtc.time %lld", (long long)now);
	if (now >= 0)
		rtc_alarm(fd, now);
	close(fd);
}

static uint32_t crc32(const char *data, size_t len)
{
	uint32_t crc = ~0U;

	while (len--) {
		crc ^= (unsigned char)*data++;
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0xedb88320U : 0);
	}
	return ~crc;
}

/* Answer each line with its length and CRC-32, until one that is only a full stop. */
static void test_echo(void)
{
	struct termios tio;
	char *line = NULL;
	size_t size = 0;
	ssize_t len;
	int lines = 0;

	tcgetattr(0, &tio);
	tio.c_lflag &= ~(tcflag_t)(ECHO | ISIG);
	tcsetattr(0, TCSANOW, &tio);
	report("echo.ready");
	while ((len = getline(&line, &size, stdin)) > 0) {
		if (line[len - 1] == '\n')
			line[--len] = 0;
		if (!strcmp(line, "."))
			break;
		report("echo %zd %08x", len, crc32(line, (size_t)len));
		lines++;
	}
	report("echo.lines %d", lines);
	free(line);
}

/* ---- virtio devices -------------------------------------------------------------------------------------------- */

static void test_rng(void)
{
	unsigned char bytes[4096];
	bool seen[256] = { false };
	int fd, values = 0;
	size_t len = 0;
	char line[64];

	load_modules("devices");
	read_line("/sys/class/misc/hw_random/rng_current", line, sizeof(line));
	report("rng.current %s", line);
	fd = open("/dev/hwrng", O_RDONLY | O_CLOEXEC);
	for (ssize_t got; fd >= 0 && len < sizeof(bytes) && (got = read(fd, bytes + len, sizeof(bytes) - len)) > 0;)
		len += (size_t)got;
	if (fd >= 0)
		close(fd);
	for (size_t i = 0; i < len; i++)
		seen[bytes[i]] = true;
	for (size_t i = 0; i < ARRAY_SIZE(seen); i++)
		values += seen[i];
	report("rng.bytes %zu", len);
	report("rng.values %d", values);
}

/*
 * A disk is written chunk by chunk, out of order, by several processes at once and in pieces of several sizes, so that
 * requests overlap and complete out of order; then it is read in the same manner and in other pieces. Each word of it says
 * where it belongs.
 */
enum { CHUNK = 65536, CHUNK_STEP = 37, DISK_WORKERS = 4 };

struct disk {
	int fd;
	uint64_t chunks, first; /* first: of those to be worked on */
};

static uint64_t word_at(uint64_t off)
{
	return (off + 1) * 0x9e3779b97f4a7c15ULL;
}

static size_t piece_of(uint64_t chunk)
{
	static const size_t sizes[] = { CHUNK, 4096, 20480, 512 };

	return sizes[chunk % 16 ? chunk % 3 : 3];
}

/* 0 or an errno. */
static int write_chunk(const struct disk *disk, uint64_t chunk, uint64_t *buf)
{
	uint64_t start = chunk * CHUNK;

	for (size_t i = 0; i < CHUNK / sizeof(*buf); i++)
		buf[i] = word_at(start + i * sizeof(*buf));
	for (size_t at = 0, len; at < CHUNK; at += len) {
		len = CHUNK - at < piece_of(chunk) ? CHUNK - at : piece_of(chunk);
		if (pwrite(disk->fd, (char *)buf + at, len, (off_t)(start + at)) != (ssize_t)len)
			return errno ? errno : EIO;
	}
	return 0;
}

static int read_chunk(const struct disk *disk, uint64_t chunk, uint64_t *buf)
{
	uint64_t start = chunk * CHUNK;

	for (size_t at = 0, len; at < CHUNK; at += len) {
		len = CHUNK - at < piece_of(chunk + 1) ? CHUNK - at : piece_of(chunk + 1);
		if (pread(disk->fd, (char *)buf + at, len, (off_t)(start + at)) != (ssize_t)len)
			return errno ? errno : EIO;
	}
	return 0;
}

static int verify_chunk(const struct disk *disk, uint64_t chunk, uint64_t *buf)
{
	int code = read_chunk(disk, chunk, buf);

	for (size_t i = 0; code == 0 && i < CHUNK / sizeof(*buf); i++)
		if (buf[i] != word_at(chunk * CHUNK + i * sizeof(*buf)))
			code = EILSEQ;
	return code;
}

static int verify_zeroes(const struct disk *disk, uint64_t chunk, uint64_t *buf)
{
	int code = read_chunk(disk, chunk, buf);

	for (size_t i = 0; code == 0 && i < CHUNK / sizeof(*buf); i++)
		if (buf[i])
			code = EILSEQ;
	return code;
}

static int work(const struct disk *disk, int (*fn)(const struct disk *, uint64_t, uint64_t *), uint64_t worker)
{
	uint64_t *buf = aligned_alloc(4096, CHUNK);
	int code = buf ? 0 : ENOMEM;

	for (uint64_t i = worker; code == 0 && i < disk->chunks; i += DISK_WORKERS)
		code = fn(disk, disk->first + i * CHUNK_STEP % disk->chunks, buf);
	free(buf);
	return code;
}

/* @fn on every chunk; says what went wrong. */
static void on_chunks(const char *name, const char *what, const struct disk *disk,
                      int (*fn)(const struct disk *, uint64_t, uint64_t *))
{
	pid_t pids[DISK_WORKERS];
	int status;

	for (unsigned i = 0; i < DISK_WORKERS; i++) {
		pids[i] = fork();
		if (!pids[i])
			_exit(work(disk, fn, i));
	}
	for (unsigned i = 0; i < DISK_WORKERS; i++)
		if (waitpid(pids[i], &status, 0) != pids[i] || status)
			report("error disk %s: %s: worker %u: status %x", name, what, i, (unsigned)status);
}

/* The second quarter is discarded, the third given back by zeroes. */
static void punch_disk(const char *name, const struct disk *disk)
{
	uint64_t quarter = disk->chunks / 4;
	uint64_t discard[2] = { quarter * CHUNK, quarter * CHUNK }, zero[2] = { 2 * quarter * CHUNK, quarter * CHUNK };
	struct disk half = { .fd = disk->fd, .chunks = 2 * quarter, .first = quarter };

	if (ioctl(disk->fd, BLKDISCARD, discard) < 0)
		report("error disk %s: discard: %s", name, strerror(errno));
	if (ioctl(disk->fd, BLKZEROOUT, zero) < 0)
		report("error disk %s: write zeroes: %s", name, strerror(errno));
	on_chunks(name, "zeroes", &half, verify_zeroes);
}

static void report_disk(const char *name, int fd)
{
	char path[64], features[80];
	uint64_t size = 0;
	int ro = -1;

	snprintf(path, sizeof(path), "/sys/block/%s/device/features", name);
	read_line(path, features, sizeof(features));
	ioctl(fd, BLKGETSIZE64, &size);
	ioctl(fd, BLKROGET, &ro);
	report("disk.%s %llu %d %s", name, (unsigned long long)size, ro, features);
}

/* What busybox says, as a fact: "KEY NAME FIRST-WORD". */
static void report_word(const char *key, const char *name, const char *command)
{
	char word[128] = "";
	FILE *out = popen(command, "re");

	if (!out || fscanf(out, "%127s", word) != 1)
		report("error %s: nothing said", command);
	if (out)
		pclose(out);
	report("%s %s %s", key, name, word);
}

static void write_refused(const char *name)
{
	char path[32];
	int fd;

	snprintf(path, sizeof(path), "/dev/%s", name);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd >= 0 && write(fd, path, sizeof(path)) >= 0 && fsync(fd) == 0)
		report("error disk %s: a write to a read-only disk", name);
	else
		report("disk.refused %s %s", name, strerror(errno));
	if (fd >= 0)
		close(fd);
}

static void try_disk(const char *name)
{
	char path[32], command[80];
	struct disk disk = { 0 };
	uint64_t size = 0;
	int ro = 0;

	snprintf(path, sizeof(path), "/dev/%s", name);
	disk.fd = open(path, O_RDONLY | O_CLOEXEC);
	if (disk.fd < 0 || ioctl(disk.fd, BLKROGET, &ro) < 0 || ioctl(disk.fd, BLKGETSIZE64, &size) < 0) {
		report("error disk %s: %s", name, strerror(errno));
		return;
	}
	report_disk(name, disk.fd);
	close(disk.fd);
	if (ro) {
		write_refused(name);
	} else {
		disk.chunks = size / CHUNK;
		disk.fd = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
		on_chunks(name, "write", &disk, write_chunk);
		on_chunks(name, "verify", &disk, verify_chunk);
		punch_disk(name, &disk);
		if (fsync(disk.fd) < 0)
			report("error disk %s: fsync: %s", name, strerror(errno));
		close(disk.fd);
	}
	snprintf(command, sizeof(command), "/bin/busybox md5sum %s", path);
	report_word("disk.md5", name, command);
}

/* Call @fn on each virtio disk, in the order of names. */
static void on_disks(void (*fn)(const char *name))
{
	char path[32], name[] = "vda";

	load_modules("devices");
	for (; name[2] <= 'z'; name[2]++) {
		snprintf(path, sizeof(path), "/sys/block/%s", name);
		if (access(path, F_OK) == 0)
			fn(name);
	}
}

static void test_disk(void)
{
	on_disks(try_disk);
}

/* A file system made, filled, left and found again. */
static void try_filesystem(const char *name)
{
	char command[512];

	snprintf(command, sizeof(command),
	         "b=/bin/busybox; $b mkdir -p /tmp/m && $b mke2fs -F -I 256 /dev/%s >/dev/null && "
	         "$b mount -t ext4 /dev/%s /tmp/m && $b cp /bin/busybox /tmp/m/a && $b cp -r /modules /tmp/m/b && "
	         "$b umount /tmp/m && $b mount -t ext4 -o ro /dev/%s /tmp/m && $b cmp /bin/busybox /tmp/m/a && "
	         "$b diff -r /modules /tmp/m/b && $b umount /tmp/m && echo good",
	         name, name, name);
	report_word("filesystem", name, command);
	snprintf(command, sizeof(command), "/bin/busybox md5sum /dev/%s", name);
	report_word("disk.md5", name, command);
}

static void test_filesystem(void)
{
	on_disks(try_filesystem);
}

/* ---- kernel messages ------------------------------------------------------------------------------------------- */

/* Kernel messages of level warning and worse, and those that speak of trouble at any level. */
static bool dmesg_is_bad(unsigned level, const char *text)
{
	static const char *const words[] = { "WARNING:",    "BUG:",          "nhandled",
		                             "Call Trace",  "Call trace",    "Oops",
		                             "soft lockup", "stalls on CPU", "self-detected stall",
		                             "nobody cared" };

	if (level <= 4)
		return true;
	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		if (strstr(text, words[i]))
			return true;
	return false;
}

/* /dev/kmsg, Documentation/ABI/testing/dev-kmsg: "priority,sequence,time,flags;text", a read a record. */
static void test_dmesg(void)
{
	int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	char record[8192];
	int records = 0, bad = 0;
	ssize_t len;

	while (fd >= 0 && ((len = read(fd, record, sizeof(record) - 1)) > 0 || errno == EPIPE)) {
		char *text = len > 0 ? memchr(record, ';', (size_t)len) : NULL;

		if (!text)
			continue;
		record[len] = 0;
		text[strcspn(text, "\n")] = 0;
		records++;
		if (dmesg_is_bad((unsigned)strtoul(record, NULL, 10) & 7, text + 1)) {
			report("dmesg %s", text + 1);
			bad++;
		}
	}
	if (fd >= 0)
		close(fd);
	report("dmesg.records %d", records);
	report("dmesg.bad %d", bad);
}

/* ---- how it ends ----------------------------------------------------------------------------------------------- */

static void __attribute__((noreturn)) finish(int how)
{
	sync();
	tcdrain(1);
	reboot(how);
	report("error reboot: %s", strerror(errno));
	for (;;)
		pause();
}

static void end_poweroff(void)
{
	report("done");
	finish(RB_POWER_OFF);
}

static void end_reset(void)
{
	report("done");
	finish(RB_AUTOBOOT);
}

static void end_panic(void)
{
	report("done");
	tcdrain(1);
	write_text("/proc/sysrq-trigger", "c");
}

/* Open what may be a power button: every input device, since only the press tells. Returns how many. */
static int buttons_open(struct pollfd *buttons)
{
	DIR *dir;
	int count = 0;

	load_modules("button");
	dir = opendir("/dev/input");
	for (struct dirent *entry; dir && count < BUTTONS_MAX && (entry = readdir(dir));) {
		char path[300];

		if (strncmp(entry->d_name, "event", 5))
			continue;
		snprintf(path, sizeof(path), "/dev/input/%s", entry->d_name);
		buttons[count].events = POLLIN;
		buttons[count].fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
		count += buttons[count].fd >= 0;
	}
	if (dir)
		closedir(dir);
	return count;
}

static bool button_pressed(const struct pollfd *buttons, int count)
{
	struct input_event event;

	for (int i = 0; i < count; i++)
		while (read(buttons[i].fd, &event, sizeof(event)) == sizeof(event))
			if (event.type == EV_KEY && event.code == KEY_POWER && event.value)
				return true;
	return false;
}

static void end_button(void)
{
	struct pollfd buttons[BUTTONS_MAX];
	int count = buttons_open(buttons);

	report("button.ready %d", count);
	while (count && !button_pressed(buttons, count))
		poll(buttons, (nfds_t)count, -1);
	if (count)
		report("button.pressed");
	end_poweroff();
}

/* ---- the shell ------------------------------------------------------------------------------------------------- */

static pid_t spawn_shell(void)
{
	static char *const argv[] = { "-sh", NULL };
	static char *const envp[] = { "HOME=/root", "PATH=/bin", "TERM=linux", "PS1=\\w # ", NULL };
	pid_t pid = fork();
	sigset_t none;

	if (pid)
		return pid;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setsid();
	ioctl(0, TIOCSCTTY, 1);
	if (chdir("/root") < 0)
		report("error /root: %s", strerror(errno));
	execve("/bin/sh", argv, envp);
	report("error /bin/sh: %s", strerror(errno));
	_exit(127);
}

static void install_busybox(void)
{
	pid_t pid = fork();

	if (!pid) {
		execl("/bin/busybox", "busybox", "--install", "-s", "/bin", (char *)NULL);
		_exit(127);
	}
	waitpid(pid, NULL, 0);
}

/* Collect children, as process 1 must; says whether the shell was among them. */
static bool shell_ended(pid_t shell)
{
	bool ended = false;

	for (pid_t pid; (pid = waitpid(-1, NULL, WNOHANG)) > 0;)
		ended |= pid == shell;
	return ended;
}

/* What busybox's poweroff, halt and reboot ask of process 1, each by its signal; 0: nothing. */
static int read_wish(int signals)
{
	struct signalfd_siginfo info;
	int how = 0;

	while (read(signals, &info, sizeof(info)) > 0) {
		if (info.ssi_signo == SIGTERM)
			how = RB_AUTOBOOT;
		else if (info.ssi_signo != SIGCHLD)
			how = RB_POWER_OFF;
	}
	return how;
}

static int open_signals(void)
{
	static const int numbers[] = { SIGCHLD, SIGUSR1, SIGUSR2, SIGTERM };
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
		sigaddset(&set, numbers[i]);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* Returns how the guest is to end. */
static int run_shell(void)
{
	struct pollfd fds[1 + BUTTONS_MAX];
	int buttons = buttons_open(fds + 1);
	struct utsname uts;
	pid_t shell;
	int how = 0;

	install_busybox();
	uname(&uts);
	printf("\nLinux %s (%s), %ld CPU(s), up %.1f s. The guest powers off when the shell exits.\n", uts.release,
	       uts.machine, sysconf(_SC_NPROCESSORS_ONLN), uptime());
	fflush(stdout);
	fds[0] = (struct pollfd){ .fd = open_signals(), .events = POLLIN };
	shell = spawn_shell();
	while (!how && !shell_ended(shell) && !button_pressed(fds + 1, buttons)) {
		poll(fds, (nfds_t)(1 + buttons), -1);
		how = read_wish(fds[0].fd);
	}
	return how ? how : RB_POWER_OFF;
}

static void end_shell(void)
{
	int how = run_shell();

	report("done");
	finish(how);
}

/* ---- orders ---------------------------------------------------------------------------------------------------- */

static void carry_out(const char *order)
{
	static const struct {
		const char *name;
		void (*run)(void);
	} orders[] = {
		{ "smp", test_smp },      { "memory", test_memory },
		{ "clock", test_clock },  { "interrupts", test_interrupts },
		{ "rtc", test_rtc },      { "echo", test_echo },
		{ "dmesg", test_dmesg },  { "poweroff", end_poweroff },
		{ "reset", end_reset },   { "panic", end_panic },
		{ "button", end_button }, { "rng", test_rng },
		{ "disk", test_disk },    { "filesystem", test_filesystem },
		{ "shell", end_shell },
	};

	for (size_t i = 0; i < ARRAY_SIZE(orders); i++) {
		if (!strcmp(order, orders[i].name)) {
			orders[i].run();
			return;
		}
	}
	report("error unknown order %s", order);
}

/* The value of a "key=value" word of the kernel command line, in place; NULL if there is none. */
static char *find_option(char *cmdline, const char *key)
{
	for (char *save, *word = strtok_r(cmdline, " \t\n", &save); word; word = strtok_r(NULL, " \t\n", &save))
		if (!strncmp(word, key, strlen(key)))
			return word + strlen(key);
	return NULL;
}

int main(void)
{
	static char cmdline[4096];
	struct utsname uts;
	char *list, *save;

	mount_all();
	open_console();
	read_line("/proc/cmdline", cmdline, sizeof(cmdline));
	list = find_option(cmdline, "cvmm.test=");
	if (!list)
		finish(run_shell());
	uname(&uts);
	report("agent %s %s", uts.machine, uts.release);
	for (char *order = strtok_r(list, ",", &save); order; order = strtok_r(NULL, ",", &save))
		carry_out(order);
	end_poweroff();
	return 0;
}
