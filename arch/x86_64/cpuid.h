/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the CPUID leaves that KVM supports to those our guest sees: one package of as many cores as the machine has
 * vCPUs, one thread each, APIC ids counted from 0. Intel SDM volume 2A (CPUID), AMD APM volume 3 appendix E.
 */
#ifndef CVMM_ARCH_X86_64_CPUID_H
#define CVMM_ARCH_X86_64_CPUID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <linux/kvm.h>

enum { CPUID_ENTRIES_MAX = 256 }; /* KVM's own limit */

/* A struct kvm_cpuid2 with room. */
struct cpuid {
	uint32_t count;
	uint32_t padding;
	struct kvm_cpuid_entry2 entries[CPUID_ENTRIES_MAX];
};
_Static_assert(offsetof(struct cpuid, entries) == offsetof(struct kvm_cpuid2, entries), "struct kvm_cpuid2");

/*
 * Turn what KVM_GET_SUPPORTED_CPUID said into this machine's, in place. @tsc_deadline: KVM_CAP_TSC_DEADLINE_TIMER,
 * which KVM does not report in the leaves. -ENOSPC: more entries than fit.
 */
int cpuid_filter(struct cpuid *cpuid, unsigned cpus, bool tsc_deadline);

/* Then make it that of the vCPU with @apic_id. */
void cpuid_set_apic_id(struct cpuid *cpuid, uint32_t apic_id);

/* Bits of a guest-physical address; 36 if the leaf is missing. */
unsigned cpuid_physical_bits(const struct cpuid *cpuid);

#endif
