// SPDX-License-Identifier: Apache-2.0
#include "src/crash.h"

#include <errno.h>
#include <inttypes.h>

#include "arch/arch.h"
#include "src/base/text.h"
#include "src/base/util.h"
#include "src/vm.h"

enum { REPORT_MAX = 8 << 10 };

static const char *const exit_names[] = {
	[KVM_EXIT_UNKNOWN] = "unknown",
	[KVM_EXIT_IO] = "port",
	[KVM_EXIT_DEBUG] = "debug",
	[KVM_EXIT_HLT] = "hlt",
	[KVM_EXIT_MMIO] = "mmio",
	[KVM_EXIT_SHUTDOWN] = "shutdown",
	[KVM_EXIT_FAIL_ENTRY] = "fail-entry",
	[KVM_EXIT_INTERNAL_ERROR] = "internal-error",
	[KVM_EXIT_SYSTEM_EVENT] = "system-event",
};

static void add_exit(struct text *text, const struct vcpu_exit *exit, uint64_t n)
{
	const char *name = exit->reason < ARRAY_SIZE(exit_names) ? exit_names[exit->reason] : NULL;
	text_add(text, "  %6" PRIu64 "  ", n);
	if (name)
		text_add(text, "%s", name);
	else
		text_add(text, "reason %u", exit->reason);
	if (exit->size)
		text_add(text, " %s %u bytes at 0x%" PRIx64 ": 0x%" PRIx64, exit->write ? "write" : "read", exit->size,
		         exit->addr, exit->data);
	text_add(text, "\n");
}

/* The exits up to and with the one that is being served, whose number is vcpu->exits. */
static void add_exits(struct text *text, const struct vcpu *vcpu)
{
	uint64_t last = atomic_load(&vcpu->exits);
	uint64_t first = last + 1 > VCPU_TRACE_LEN ? last + 1 - VCPU_TRACE_LEN : 0;
	text_add(text, "last exits of vCPU %u:\n", vcpu->index);
	for (uint64_t n = first; n <= last; n++)
		if (vcpu->trace[n % VCPU_TRACE_LEN].reason)
			add_exit(text, &vcpu->trace[n % VCPU_TRACE_LEN], n);
}

void crash_report(struct vcpu *vcpu, const char *what)
{
	char *report = malloc(REPORT_MAX);
	if (report) {
		struct text text;
		text_init(&text, report, REPORT_MAX);
		text_add(&text, "vCPU %u: %s\n", vcpu->index, what);
		arch_vcpu_describe(vcpu, &text);
		add_exits(&text, vcpu);
	}
	struct cvmm_error error;
	err_set(&error, -EIO, "guest crashed: vCPU %u: %s", vcpu->index, what);
	vm_end_reported(vcpu->vm, CVMM_END_CRASH, &error, report);
}
