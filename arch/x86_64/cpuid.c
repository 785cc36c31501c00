// SPDX-License-Identifier: Apache-2.0
#include "arch/x86_64/cpuid.h"

#include <errno.h>

#include "src/base/util.h"

enum {
	LEAF_FEATURES = 0x1,
	LEAF_INTEL_CACHES = 0x4,
	LEAF_THERMAL = 0x6,
	LEAF_EXTENDED_FEATURES = 0x7,
	LEAF_TOPOLOGY = 0xb,
	LEAF_TOPOLOGY_V2 = 0x1f,
};
#define LEAF_AMD_MAX 0x80000000u
#define LEAF_AMD_FEATURES 0x80000001u
#define LEAF_AMD_SIZES 0x80000008u
#define LEAF_AMD_CACHES 0x8000001du
#define LEAF_AMD_TOPOLOGY 0x8000001eu
#define LEAF_AMD_TOPOLOGY_V2 0x80000026u

enum { VENDOR_INTEL = 1 << 0, VENDOR_AMD = 1 << 1, VENDOR_ANY = VENDOR_INTEL | VENDOR_AMD };

/* ---- finding one's way in the table */

static struct kvm_cpuid_entry2 *cpuid_find(const struct cpuid *cpuid, uint32_t function, uint32_t index)
{
	const struct kvm_cpuid_entry2 *entry = cpuid->entries;
	for (; entry < cpuid->entries + cpuid->count; entry++)
		if (entry->function == function && entry->index == index)
			return (struct kvm_cpuid_entry2 *)entry;
	return NULL;
}

static uint32_t cpuid_max_leaf(const struct cpuid *cpuid, uint32_t base)
{
	const struct kvm_cpuid_entry2 *entry = cpuid_find(cpuid, base, 0);
	return entry ? entry->eax : 0;
}

/* AMD's layout of leaves is also Hygon's; all others (Intel, Zhaoxin, Centaur) keep to Intel's. */
static unsigned cpuid_vendor(const struct cpuid *cpuid)
{
	const struct kvm_cpuid_entry2 *entry = cpuid_find(cpuid, 0, 0);
	if (!entry)
		return VENDOR_INTEL;
	const uint32_t name[3] = { entry->ebx, entry->edx, entry->ecx };
	bool amd = !memcmp(name, "AuthenticAMD", sizeof(name)) || !memcmp(name, "HygonGenuine", sizeof(name));
	return amd ? VENDOR_AMD : VENDOR_INTEL;
}

static void cpuid_drop(struct cpuid *cpuid, uint32_t function)
{
	uint32_t kept = 0;
	for (uint32_t i = 0; i < cpuid->count; i++)
		if (cpuid->entries[i].function != function)
			cpuid->entries[kept++] = cpuid->entries[i];
	cpuid->count = kept;
}

static int cpuid_add(struct cpuid *cpuid, struct kvm_cpuid_entry2 entry)
{
	if (cpuid->count == CPUID_ENTRIES_MAX)
		return -ENOSPC;
	cpuid->entries[cpuid->count++] = entry;
	return 0;
}

/* ---- single bits and fields */

enum reg { EAX, EBX, ECX, EDX };

struct cpuid_fix {
	unsigned vendors;
	uint32_t function, index;
	enum reg reg;
	uint32_t clear, set;
};

static uint32_t *cpuid_reg(struct kvm_cpuid_entry2 *entry, enum reg reg)
{
	uint32_t *const regs[] = { &entry->eax, &entry->ebx, &entry->ecx, &entry->edx };
	return regs[reg];
}

/* How many APIC id bits number the cores. */
static unsigned core_bits(unsigned cpus)
{
	unsigned bits = 0;
	while (1u << bits < cpus)
		bits++;
	return bits;
}

static void cpuid_fix_bits(struct cpuid *cpuid, unsigned vendor, unsigned cpus, bool tsc_deadline)
{
	uint32_t bits = core_bits(cpus), several = cpus > 1;
	const struct cpuid_fix fixes[] = {
		/* CLFLUSH line in 8 bytes; APIC ids in a package; HTT */
		{ VENDOR_ANY, LEAF_FEATURES, 0, EBX, 0xffff << 8, MIN(1u << bits, 255u) << 16 | 8 << 8 },
		{ VENDOR_ANY, LEAF_FEATURES, 0, EDX, 1 << 28, several << 28 },
		/* TSC deadline timer, hypervisor present */
		{ VENDOR_ANY, LEAF_FEATURES, 0, ECX, 1 << 24, (uint32_t)tsc_deadline << 24 | 1u << 31 },
		/* SGX and its launch control: no EPC is given */
		{ VENDOR_ANY, LEAF_EXTENDED_FEATURES, 0, EBX, 1 << 2, 0 },
		{ VENDOR_ANY, LEAF_EXTENDED_FEATURES, 0, ECX, 1 << 30, 0 },
		/* no thermal or power management but ARAT: the APIC timer never stops */
		{ VENDOR_ANY, LEAF_THERMAL, 0, EAX, ~(1u << 2), 0 },
		{ VENDOR_ANY, LEAF_THERMAL, 0, EBX, ~0u, 0 },
		{ VENDOR_ANY, LEAF_THERMAL, 0, ECX, ~0u, 0 },
		/* CmpLegacy: the logical CPUs of leaf 1 are cores */
		{ VENDOR_AMD, LEAF_AMD_FEATURES, 0, ECX, 1 << 1, several << 1 },
		/* ApicIdSize, NC: KVM passes on the host's */
		{ VENDOR_AMD, LEAF_AMD_SIZES, 0, ECX, 0xf0ff, bits << 12 | (cpus - 1) },
	};
	for (size_t i = 0; i < ARRAY_SIZE(fixes); i++) {
		struct kvm_cpuid_entry2 *entry = cpuid_find(cpuid, fixes[i].function, fixes[i].index);
		if (!entry || !(fixes[i].vendors & vendor))
			continue;
		uint32_t *reg = cpuid_reg(entry, fixes[i].reg);
		*reg = (*reg & ~fixes[i].clear) | fixes[i].set;
	}
}

/* ---- topology */

/* Caches of level 3 and above are the package's, those below a core's own. */
static void cpuid_fix_caches(struct cpuid *cpuid, unsigned cpus)
{
	uint32_t ids = (1u << core_bits(cpus)) - 1;
	for (uint32_t i = 0; i < cpuid->count; i++) {
		struct kvm_cpuid_entry2 *entry = &cpuid->entries[i];
		bool intel = entry->function == LEAF_INTEL_CACHES;
		bool cache = (intel || entry->function == LEAF_AMD_CACHES) && (entry->eax & 0x1f);
		if (!cache)
			continue;
		uint32_t level = entry->eax >> 5 & 7;
		entry->eax &= 0x3fff;
		entry->eax |= (level >= 3 ? ids : 0) << 14;
		if (intel)
			entry->eax |= MIN(ids, 63u) << 26; /* core ids in the package */
	}
}

/* Leaves 0xb and 0x1f: threads of a core, cores of the package, end. EDX, the APIC id, joins for each vCPU. */
static int cpuid_add_topology(struct cpuid *cpuid, uint32_t function, unsigned cpus)
{
	enum { LEVEL_THREAD = 1 << 8, LEVEL_CORE = 2 << 8 };
	const struct kvm_cpuid_entry2 levels[] = {
		{ .index = 0, .eax = 0, .ebx = 1, .ecx = LEVEL_THREAD | 0 },
		{ .index = 1, .eax = core_bits(cpus), .ebx = cpus, .ecx = LEVEL_CORE | 1 },
		{ .index = 2, .ecx = 2 },
	};
	cpuid_drop(cpuid, function);
	if (cpuid_max_leaf(cpuid, 0) < function)
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(levels); i++) {
		struct kvm_cpuid_entry2 entry = levels[i];
		entry.function = function;
		entry.flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
		if (cpuid_add(cpuid, entry) < 0)
			return -ENOSPC;
	}
	return 0;
}

/* 0x8000001e: one thread a core, one node. 0x80000026 stays empty, which sends readers to 0xb. */
static int cpuid_add_amd_topology(struct cpuid *cpuid)
{
	cpuid_drop(cpuid, LEAF_AMD_TOPOLOGY);
	cpuid_drop(cpuid, LEAF_AMD_TOPOLOGY_V2);
	if (cpuid_max_leaf(cpuid, LEAF_AMD_MAX) < LEAF_AMD_TOPOLOGY)
		return 0;
	return cpuid_add(cpuid, (struct kvm_cpuid_entry2){ .function = LEAF_AMD_TOPOLOGY });
}

int cpuid_filter(struct cpuid *cpuid, unsigned cpus, bool tsc_deadline)
{
	unsigned vendor = cpuid_vendor(cpuid);
	cpuid_fix_bits(cpuid, vendor, cpus, tsc_deadline);
	cpuid_fix_caches(cpuid, cpus);
	int ret = cpuid_add_topology(cpuid, LEAF_TOPOLOGY, cpus);
	if (!ret)
		ret = cpuid_add_topology(cpuid, LEAF_TOPOLOGY_V2, cpus);
	if (!ret && vendor == VENDOR_AMD)
		ret = cpuid_add_amd_topology(cpuid);
	return ret;
}

void cpuid_set_apic_id(struct cpuid *cpuid, uint32_t apic_id)
{
	for (uint32_t i = 0; i < cpuid->count; i++) {
		struct kvm_cpuid_entry2 *entry = &cpuid->entries[i];
		switch (entry->function) {
		case LEAF_FEATURES:
			entry->ebx = (entry->ebx & 0xffffff) | apic_id << 24;
			break;
		case LEAF_TOPOLOGY:
		case LEAF_TOPOLOGY_V2:
			entry->edx = apic_id;
			break;
		case LEAF_AMD_TOPOLOGY:
			entry->eax = apic_id;
			entry->ebx = apic_id & 0xff; /* core id; threads a core - 1 is 0 */
			break;
		}
	}
}

unsigned cpuid_physical_bits(const struct cpuid *cpuid)
{
	const struct kvm_cpuid_entry2 *entry = cpuid_find(cpuid, LEAF_AMD_SIZES, 0);
	return entry && (entry->eax & 0xff) ? entry->eax & 0xff : 36;
}
