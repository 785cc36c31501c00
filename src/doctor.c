// SPDX-License-Identifier: Apache-2.0
/* The examination of a host: one small function a finding, in the order in which they are reported. */
#include <cvmm.h>

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <linux/io_uring.h>

#include "arch/arch.h"
#include "src/base/error.h"
#include "src/base/util.h"
#include "src/kvm.h"
#include "src/vm.h"

enum {
	NATIVE_MIPS = 10,      /* software KVMs reach some tenths, processors thousands, QEMU's TCG a hundred or more */
	TIMED_NS = 5000000,    /* long enough to be told from noise */
	FIRST_LOOPS = 1 << 14, /* a tenth of a second on the slowest KVM known */
	MOST_LOOPS = 1 << 26,
	LITTLE_MEMORY_MIB = 256,
	FLAGS_MAX = 4096,
	GROUPS_MAX = 256,
	GROUP_LINE_MAX = 16384,
};

struct examination {
	struct cvmm_doctor *doctor;
	int kvm_fd; /* owned; -1: cannot be had, and what needs it is left out */
};

static void report(struct examination *exam, const char *name, const char *kind, enum cvmm_check_status status,
                   const char *fmt, ...) __attribute__((format(printf, 5, 6)));

static void report(struct examination *exam, const char *name, const char *kind, enum cvmm_check_status status,
                   const char *fmt, ...)
{
	struct cvmm_doctor *doctor = exam->doctor;
	if (doctor->count == ARRAY_SIZE(doctor->checks))
		return;
	struct cvmm_check *check = &doctor->checks[doctor->count++];
	snprintf(check->name, sizeof(check->name), "%s", name);
	snprintf(check->kind, sizeof(check->kind), "%s", kind);
	check->status = status;
	va_list args;
	va_start(args, fmt);
	vsnprintf(check->message, sizeof(check->message), fmt, args);
	va_end(args);
}

/* ---- the processor, as /proc/cpuinfo tells of it ----------------------------------------------------------------- */

/* The first line of @path that begins with @key, into @line; "" if there is none. */
static void find_line(const char *path, const char *key, char *line, int size)
{
	FILE *file = fopen(path, "re");
	bool found = false;
	while (file && !found && fgets(line, size, file))
		found = !strncmp(line, key, strlen(key));
	if (!found)
		*line = '\0';
	if (file)
		fclose(file);
}

static bool has_word(const char *line, const char *word)
{
	size_t len = strlen(word);
	for (const char *at = line; (at = strstr(at, word)); at += len)
		if (at > line && isspace((unsigned char)at[-1]) && (!at[len] || isspace((unsigned char)at[len])))
			return true;
	return false;
}

/* x86_64 lists vmx or svm among its flags; aarch64 has no such line and does not tell. */
enum virtualization { VIRT_UNKNOWN, VIRT_YES, VIRT_NO, VIRT_NO_NESTED };

static enum virtualization cpu_virtualization(void)
{
	char flags[FLAGS_MAX];
	find_line("/proc/cpuinfo", "flags", flags, sizeof(flags));
	if (!*flags)
		return VIRT_UNKNOWN;
	if (has_word(flags, "vmx") || has_word(flags, "svm"))
		return VIRT_YES;
	return has_word(flags, "hypervisor") ? VIRT_NO_NESTED : VIRT_NO;
}

/* ---- /dev/kvm ---------------------------------------------------------------------------------------------------- */

static bool in_container(void)
{
	static const char *const signs[] = { "/.dockerenv", "/run/.containerenv", "/run/systemd/container" };
	for (size_t i = 0; i < ARRAY_SIZE(signs); i++)
		if (access(signs[i], F_OK) == 0)
			return true;
	return false;
}

static const char *why_missing(void)
{
	if (in_container())
		return "not in this container: pass it in, as in: docker run --device /dev/kvm";
	switch (cpu_virtualization()) {
	case VIRT_NO_NESTED:
		return "missing, as this machine is virtual itself: enable nested virtualization in its host";
	case VIRT_NO:
		return "missing, as the processor offers no virtualization: enable VT-x or AMD-V in the firmware";
	case VIRT_YES:
		return "missing, though the processor could: load the module kvm_intel or kvm_amd";
	case VIRT_UNKNOWN:
		break;
	}
	return "missing: this kernel has no KVM, its module is not loaded, or it was not started at EL2";
}

/* From /etc/group alone: asking the name services would need them in a static binary too. */
static bool group_name(gid_t gid, char *name, size_t size)
{
	char line[GROUP_LINE_MAX];
	struct group entry, *group = NULL;
	bool found = false;
	FILE *file = fopen("/etc/group", "re");
	while (file && !found && fgetgrent_r(file, &entry, line, sizeof(line), &group) == 0)
		found = entry.gr_gid == gid;
	if (found)
		snprintf(name, size, "%s", entry.gr_name);
	if (file)
		fclose(file);
	return found;
}

static bool is_member(gid_t gid)
{
	gid_t groups[GROUPS_MAX];
	int count = getgroups(GROUPS_MAX, groups);
	for (int i = 0; i < count; i++)
		if (groups[i] == gid)
			return true;
	return getegid() == gid;
}

#define device_fails(exam, ...) report(exam, "kvm-device", "required", CVMM_CHECK_FAIL, __VA_ARGS__)

static void explain_denied(struct examination *exam)
{
	struct stat st;
	char group[32];
	const char *why = "a container's or a security policy forbids it";
	if (stat("/dev/kvm", &st) < 0) {
		device_fails(exam, "/dev/kvm: permission denied on the way to it");
	} else if ((st.st_mode & 060) != 060) {
		device_fails(
			exam,
			"/dev/kvm is for its owner alone (mode %04o): give it to a group, as root: chgrp kvm /dev/kvm; "
			"chmod 0660 /dev/kvm",
			st.st_mode & 07777);
	} else if (is_member(st.st_gid)) {
		device_fails(exam, "/dev/kvm: permission denied: %s", why);
	} else if (group_name(st.st_gid, group, sizeof(group))) {
		device_fails(
			exam,
			"/dev/kvm belongs to the group %s, which you are not in: sudo usermod -aG %s $USER, then log in "
			"again",
			group, group);
	} else {
		device_fails(exam, "/dev/kvm belongs to the group %u, which has no name here: make one and join it",
		             (unsigned)st.st_gid);
	}
}

static void examine_device(struct examination *exam)
{
	exam->kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	int code = exam->kvm_fd < 0 ? errno : 0;
	if (!code)
		report(exam, "kvm-device", "required", CVMM_CHECK_OK, "/dev/kvm can be opened");
	else if (code == ENOENT)
		device_fails(exam, "/dev/kvm is %s", why_missing());
	else if (code == EACCES)
		explain_denied(exam);
	else if (code == EPERM)
		device_fails(exam, "/dev/kvm: a container's device policy forbids it: allow character device 10:232");
	else if (code == ENXIO || code == ENODEV)
		device_fails(exam, "/dev/kvm has no driver behind it: load the kvm module");
	else
		device_fails(exam, "/dev/kvm: %m");
}

static void examine_version(struct examination *exam)
{
	struct cvmm_error err;
	if (kvm_check_version(exam->kvm_fd, &err) == 0) {
		report(exam, "kvm-api", "required", CVMM_CHECK_OK, "the API is the stable one");
		return;
	}
	report(exam, "kvm-api", "required", CVMM_CHECK_FAIL, "%s", err.msg);
	cleanup_close(&exam->kvm_fd);
	exam->kvm_fd = -1;
}

/* ---- what KVM offers --------------------------------------------------------------------------------------------- */

/* "IRQ_ROUTING" as "cap-irq-routing" */
static void cap_check_name(const char *cap, char *name, size_t size)
{
	snprintf(name, size, "cap-%s", cap);
	for (; *name; name++)
		*name = *name == '_' ? '-' : (char)tolower((unsigned char)*name);
}

static void examine_cap(struct examination *exam, const struct kvm_cap_need *need)
{
	char name[sizeof(exam->doctor->checks[0].name)];
	const char *kind = need->required ? "required" : "optional";
	cap_check_name(need->name, name, sizeof(name));
	if (kvm_cap(exam->kvm_fd, need->cap))
		report(exam, name, kind, CVMM_CHECK_OK, "for %s", need->what_for);
	else if (need->required)
		report(exam, name, kind, CVMM_CHECK_FAIL, "this KVM lacks it, needed for %s: use a newer kernel",
		       need->what_for);
	else
		report(exam, name, kind, CVMM_CHECK_NOTE, "this KVM lacks it: no %s", need->what_for);
}

static void examine_caps(struct examination *exam)
{
	for (const struct kvm_cap_need *need = kvm_caps; need->name; need++)
		examine_cap(exam, need);
	for (const struct kvm_cap_need *need = arch_kvm_caps; need->name; need++)
		examine_cap(exam, need);
}

static void examine_vcpus(struct examination *exam)
{
	int most = kvm_cap(exam->kvm_fd, KVM_CAP_MAX_VCPUS), advised = kvm_cap(exam->kvm_fd, KVM_CAP_NR_VCPUS);
	report(exam, "vcpus", "info", CVMM_CHECK_OK, "up to %d for a guest, %d advised", MIN(most, ARCH_MAX_CPUS),
	       MIN(advised, ARCH_MAX_CPUS));
}

/* Guest instructions a second in kernel mode; what entering and leaving the guest costs is measured apart. */
static int measure_ips(int kvm_fd, uint64_t *ips, struct cvmm_error *err)
{
	uint64_t overhead, elapsed, loops = FIRST_LOOPS;
	int ret = vm_run_micro_guest(kvm_fd, 1, &overhead, err);
	while (ret == 0) {
		ret = vm_run_micro_guest(kvm_fd, loops, &elapsed, err);
		elapsed = elapsed > overhead ? elapsed - overhead : 1;
		if (elapsed >= TIMED_NS || loops >= MOST_LOOPS)
			break;
		loops *= 16;
	}
	if (ret == 0)
		*ips = loops * arch_micro_guest_loop_instructions * NSEC_PER_SEC / elapsed;
	return ret;
}

static void examine_speed(struct examination *exam)
{
	struct cvmm_doctor *doctor = exam->doctor;
	struct cvmm_error err;
	if (measure_ips(exam->kvm_fd, &doctor->kernel_ips, &err) < 0) {
		report(exam, "guest-speed", "required", CVMM_CHECK_FAIL, "cannot be measured: %s", err.msg);
		return;
	}
	double mips = (double)doctor->kernel_ips / 1e6;
	doctor->speed = mips >= NATIVE_MIPS ? CVMM_KVM_NATIVE : CVMM_KVM_EMULATED;
	if (doctor->speed == CVMM_KVM_NATIVE)
		report(exam, "guest-speed", "required", CVMM_CHECK_OK,
		       "native: %.0f million instructions a second in the guest's kernel mode", mips);
	else
		report(exam, "guest-speed", "required", CVMM_CHECK_FAIL,
		       "emulated: only %.2g million instructions a second in the guest's kernel mode; Linux would take "
		       "minutes to boot: use a host whose KVM runs on hardware",
		       mips);
}

/* ---- the rest of the host ---------------------------------------------------------------------------------------- */

static void examine_nesting(struct examination *exam)
{
	char flags[FLAGS_MAX];
	find_line("/proc/cpuinfo", "flags", flags, sizeof(flags));
	if (has_word(flags, "hypervisor"))
		report(exam, "nesting", "info", CVMM_CHECK_NOTE,
		       "this host is a virtual machine itself: exits cost more than on bare hardware");
}

static void examine_memory(struct examination *exam)
{
	char line[128];
	static const char key[] = "MemAvailable:";
	find_line("/proc/meminfo", key, line, sizeof(line));
	if (!*line)
		return;
	unsigned long mib = strtoul(line + strlen(key), NULL, 10) / 1024; /* it is in KiB */
	report(exam, "memory", "info", mib < LITTLE_MEMORY_MIB ? CVMM_CHECK_NOTE : CVMM_CHECK_OK,
	       "%lu MiB are free for guests", mib);
}

static void examine_huge_pages(struct examination *exam)
{
	char line[128];
	find_line("/sys/kernel/mm/transparent_hugepage/enabled", "", line, sizeof(line));
	bool used = strstr(line, "[always]") || strstr(line, "[madvise]");
	report(exam, "huge-pages", "info", used ? CVMM_CHECK_OK : CVMM_CHECK_NOTE,
	       used ? "guest memory uses transparent huge pages"
	            : "transparent huge pages are off: guests that use much memory run slower");
}

static void examine_io_uring(struct examination *exam)
{
	struct io_uring_params params = { 0 };
	CLEANUP_CLOSE int fd = (int)syscall(SYS_io_uring_setup, 1, &params);
	if (fd >= 0)
		report(exam, "io-uring", "info", CVMM_CHECK_OK, "available");
	else
		report(exam, "io-uring", "info", CVMM_CHECK_NOTE, "not available: %m");
}

static void examine_tun(struct examination *exam)
{
	if (access("/dev/net/tun", R_OK | W_OK) == 0)
		report(exam, "tun", "info", CVMM_CHECK_OK, "/dev/net/tun can be opened");
	else
		report(exam, "tun", "info", CVMM_CHECK_NOTE, "/dev/net/tun cannot be opened: %m");
}

/* ---- all of it --------------------------------------------------------------------------------------------------- */

static const struct {
	void (*examine)(struct examination *exam);
	bool needs_kvm;
} steps[] = {
	{ examine_device, false }, { examine_version, true },     { examine_speed, true },
	{ examine_caps, true },    { examine_vcpus, true },       { examine_nesting, false },
	{ examine_memory, false }, { examine_huge_pages, false }, { examine_io_uring, false },
	{ examine_tun, false },
};

static bool is_all_well(const struct cvmm_doctor *doctor)
{
	for (size_t i = 0; i < doctor->count; i++)
		if (doctor->checks[i].status == CVMM_CHECK_FAIL)
			return false;
	return doctor->speed == CVMM_KVM_NATIVE;
}

int cvmm_doctor_examine(struct cvmm_doctor *doctor, struct cvmm_error *err)
{
	struct examination exam = { .doctor = doctor, .kvm_fd = -1 };
	if (!doctor)
		return err_set(err, -EINVAL, "doctor: no place for the findings");
	*doctor = (struct cvmm_doctor){ 0 };
	for (size_t i = 0; i < ARRAY_SIZE(steps); i++)
		if (exam.kvm_fd >= 0 || !steps[i].needs_kvm)
			steps[i].examine(&exam);
	cleanup_close(&exam.kvm_fd);
	doctor->good = is_all_well(doctor);
	return 0;
}
