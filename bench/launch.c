// SPDX-License-Identifier: Apache-2.0
/*
 * launch [--count] RAM_MIB COMMAND... - run a VMM up to its first entry into the guest, say what that took, end it.
 *
 * A seccomp filter, set before exec and the same for every VMM, notifies us of ioctl(KVM_RUN) and of nothing else, so up
 * to there the process runs as it would alone. In that call the thread is held; the process is stopped and looked at.
 * With --count each system call is notified of, which is exact but slow: times are then without meaning.
 *
 * Prints one line of JSON, sizes in bytes. own: anonymous and private dirty memory; guest RAM, which is any mapping of
 * at least RAM_MIB, is left out of it.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/filter.h>
#include <linux/kvm.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>

#include "src/base/util.h"

enum { PATIENCE_MS = 60000, EXIT_CANNOT_EXEC = 127 };

/* What the child tells us, in memory that both share. */
struct handover {
	uint64_t exec_ns;     /* CLOCK_MONOTONIC, just before exec */
	uint64_t cpu_ns;      /* that the child took until then */
	atomic_int listener;  /* the child's descriptor of the filter's notifications; -1: not there yet */
	atomic_bool go_ahead; /* it was taken: exec closes it */
};

struct memory {
	uint64_t own, anonymous, private_dirty, guest_resident; /* bytes */
};

struct mapping {
	uint64_t start, end, anonymous, private_dirty, rss; /* the last three in bytes */
};

static void __attribute__((noreturn, format(printf, 1, 2))) fail(const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	fputs("launch: ", stderr);
	vfprintf(stderr, fmt, args);
	fputc('\n', stderr);
	va_end(args);
	exit(1);
}

static uint64_t now_ns(clockid_t clock)
{
	struct timespec now;
	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * NSEC_PER_SEC + (uint64_t)now.tv_nsec;
}

/* ---- the child -------------------------------------------------------------------------------------------------- */

/* SPEC_ALLOW: a filter is no reason to run with other CPU mitigations than without one. */
static int install_filter(bool all)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])), /* little endian */
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, KVM_RUN, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
		BPF_STMT(BPF_RET | BPF_K, all ? SECCOMP_RET_USER_NOTIF : SECCOMP_RET_ALLOW),
	};
	const struct sock_fprog prog = { .len = ARRAY_SIZE(code), .filter = code };
	return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
	                    SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_SPEC_ALLOW, &prog);
}

static void __attribute__((noreturn)) child(struct handover *handover, bool all, char **argv)
{
	int null = open("/dev/null", O_RDWR);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0)
		fail("/dev/null: %m");
	close(null);
	int listener = install_filter(all);
	if (listener < 0)
		fail("seccomp: %m");
	atomic_store(&handover->listener, listener);
	while (!atomic_load(&handover->go_ahead)) /* a system call to sleep with would wait for the launcher */
		;
	handover->cpu_ns = now_ns(CLOCK_THREAD_CPUTIME_ID);
	handover->exec_ns = now_ns(CLOCK_MONOTONIC);
	execv(argv[0], argv);
	fprintf(stderr, "launch: %s: %m\n", argv[0]);
	_exit(EXIT_CANNOT_EXEC);
}

/* ---- looking at the process ------------------------------------------------------------------------------------- */

static FILE *open_proc(pid_t pid, const char *name)
{
	char path[96];
	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	FILE *file = fopen(path, "re");
	if (!file)
		fail("%s: %m", path);
	return file;
}

/* A line that opens a mapping, in maps and smaps alike. */
static bool parse_mapping(const char *line, struct mapping *map)
{
	char *at;
	*map = (struct mapping){ .start = strtoull(line, &at, 16) };
	if (*at != '-')
		return false;
	map->end = strtoull(at + 1, &at, 16);
	return *at == ' ';
}

/* A line "NAME: N kB". */
static bool parse_size(const char *line, const char *name, uint64_t *bytes)
{
	size_t len = strlen(name);
	if (strncmp(line, name, len) != 0 || line[len] != ':')
		return false;
	*bytes = strtoull(line + len + 1, NULL, 10) * KIB;
	return true;
}

/* Of the first vCPU's struct kvm_run; 0: not mapped. */
static uint64_t find_kvm_run(pid_t pid)
{
	FILE *maps = open_proc(pid, "maps");
	char line[512];
	struct mapping map;
	uint64_t at = 0;
	while (!at && fgets(line, sizeof(line), maps))
		if (strstr(line, "anon_inode:kvm-vcpu:") && parse_mapping(line, &map))
			at = map.start;
	fclose(maps);
	return at;
}

/* With immediate_exit KVM_RUN returns without entering the guest: some VMMs synchronise state that way. */
static bool enters_guest(pid_t pid)
{
	uint8_t immediate_exit = 0;
	uint64_t run = find_kvm_run(pid);
	const struct iovec here = { &immediate_exit, 1 };
	const struct iovec there = { (void *)(run + offsetof(struct kvm_run, immediate_exit)), 1 };
	if (!run || process_vm_readv(pid, &here, 1, &there, 1, 0) != 1)
		fail("cannot read struct kvm_run: %m");
	return !immediate_exit;
}

/* Pages of a private mapping that were written are anonymous; those of a shared one only count as dirty. */
static void add_mapping(struct memory *memory, const struct mapping *map, uint64_t ram)
{
	if (map->end - map->start >= ram) {
		memory->guest_resident += map->rss;
		return;
	}
	memory->anonymous += map->anonymous;
	memory->private_dirty += map->private_dirty;
	memory->own += MAX(map->anonymous, map->private_dirty);
}

static struct memory read_memory(pid_t pid, uint64_t ram)
{
	FILE *smaps = open_proc(pid, "smaps");
	struct memory memory = { 0 };
	struct mapping map = { 0 }, next;
	char line[512];
	while (fgets(line, sizeof(line), smaps)) {
		if (parse_size(line, "Rss", &map.rss) || parse_size(line, "Anonymous", &map.anonymous) ||
		    parse_size(line, "Private_Dirty", &map.private_dirty))
			continue;
		if (parse_mapping(line, &next)) {
			add_mapping(&memory, &map, ram);
			map = next;
		}
	}
	add_mapping(&memory, &map, ram);
	fclose(smaps);
	return memory;
}

static uint64_t read_peak(pid_t pid)
{
	FILE *status = open_proc(pid, "status");
	char line[256];
	uint64_t peak = 0;
	while (fgets(line, sizeof(line), status) && !parse_size(line, "VmHWM", &peak))
		;
	fclose(status);
	return peak;
}

/* On processors, of all threads, those that have ended too: unlike the clock it does not run while others are served. */
static uint64_t read_cpu_ns(pid_t pid)
{
	clockid_t clock;
	int code = clock_getcpuclockid(pid, &clock);
	if (code)
		fail("clock_getcpuclockid: %s", strerror(code));
	return now_ns(clock);
}

/* ---- the launcher ----------------------------------------------------------------------------------------------- */

/* Its own end, taken out of the child: no message has to be sent under the filter. */
static int take_listener(pid_t pid, struct handover *handover)
{
	int number, pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	while ((number = atomic_load(&handover->listener)) < 0)
		if (waitpid(pid, NULL, WNOHANG) == pid)
			exit(1); /* it has said why */
	int fd = (int)syscall(SYS_pidfd_getfd, pidfd, number, 0);
	if (fd < 0)
		fail("pidfd_getfd: %m");
	close(pidfd);
	atomic_store(&handover->go_ahead, true);
	return fd;
}

/* The next notification; false: nobody is left to send one. */
static bool receive(int listener, struct seccomp_notif *notif)
{
	struct pollfd wait = { .fd = listener, .events = POLLIN };
	for (;;) {
		int ready = poll(&wait, 1, PATIENCE_MS);
		if (ready == 0)
			fail("no KVM_RUN within %d s", PATIENCE_MS / 1000);
		if (ready > 0 && !(wait.revents & POLLIN))
			return false;
		memset(notif, 0, sizeof(*notif)); /* or the kernel refuses it */
		if (ready > 0 && ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, notif) == 0)
			return true;
		if (errno != EINTR && errno != ENOENT) /* ENOENT: the caller was interrupted meanwhile */
			fail("seccomp notification: %m");
	}
}

static void let_go_on(int listener, const struct seccomp_notif *notif)
{
	struct seccomp_notif_resp resp = { .id = notif->id, .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE };
	if (ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &resp) < 0 && errno != ENOENT)
		fail("seccomp response: %m");
}

static bool is_kvm_run(const struct seccomp_data *call)
{
	return call->nr == SYS_ioctl && (uint32_t)call->args[1] == KVM_RUN;
}

/* Up to the first entry: when that was, and the system calls from exec to it, without either. */
static uint64_t await_entry(pid_t pid, int listener, uint64_t *calls)
{
	struct seccomp_notif notif;
	bool started = false;
	while (receive(listener, &notif)) {
		uint64_t at = now_ns(CLOCK_MONOTONIC);
		if (is_kvm_run(&notif.data) && enters_guest(pid))
			return at;
		*calls += started;
		started |= notif.data.nr == SYS_execve;
		let_go_on(listener, &notif);
	}
	fail("the command ended before its first KVM_RUN");
}

/* Of the process as it is held there; @calls: NULL unless they were counted. */
static void report(pid_t pid, uint64_t ram, uint64_t elapsed_ns, uint64_t cpu_before_ns, const uint64_t *calls)
{
	struct memory memory = read_memory(pid, ram);
	double cpu_ns = (double)(read_cpu_ns(pid) - cpu_before_ns);
	printf("{\"seconds\": %.6f, \"cpu_seconds\": %.6f, \"own\": %" PRIu64 ", \"anonymous\": %" PRIu64
	       ", \"private_dirty\": %" PRIu64 ", \"guest_resident\": %" PRIu64 ", \"peak\": %" PRIu64,
	       (double)elapsed_ns / NSEC_PER_SEC, cpu_ns / NSEC_PER_SEC, memory.own, memory.anonymous,
	       memory.private_dirty, memory.guest_resident, read_peak(pid));
	if (calls)
		printf(", \"calls\": %" PRIu64, *calls);
	printf("}\n");
}

static void launch(uint64_t ram, bool count, char **argv)
{
	uint64_t calls = 0;
	struct handover *handover =
		mmap(NULL, sizeof(*handover), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (handover == MAP_FAILED)
		fail("mmap: %m");
	atomic_init(&handover->listener, -1);
	pid_t pid = fork();
	if (pid < 0)
		fail("fork: %m");
	if (pid == 0)
		child(handover, count, argv);
	uint64_t entry_ns = await_entry(pid, take_listener(pid, handover), &calls);
	kill(pid, SIGSTOP); /* its other threads go on otherwise */
	waitpid(pid, NULL, WUNTRACED);
	report(pid, ram, entry_ns - handover->exec_ns, handover->cpu_ns, count ? &calls : NULL);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

int main(int argc, char **argv)
{
	bool count = argc > 1 && !strcmp(argv[1], "--count");
	if (argc < 3 + count)
		fail("usage: launch [--count] RAM_MIB COMMAND...");
	uint64_t ram_mib = strtoull(argv[1 + count], NULL, 10);
	if (!ram_mib)
		fail("RAM_MIB: expected a number");
	launch(ram_mib * MIB, count, argv + 2 + count);
	return 0;
}
