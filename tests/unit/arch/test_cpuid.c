// SPDX-License-Identifier: Apache-2.0
/* The CPUID filter on tables such as KVM reports them on an Intel and an AMD host. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <string.h>

#include "arch/x86_64/cpuid.h"
#include "src/base/util.h"

enum { INDEXED = KVM_CPUID_FLAG_SIGNIFCANT_INDEX };

/*
 * function, index, flags, eax, ebx, ecx, edx. A host of 16 cores in 32 threads: what KVM passes on of it must not
 * survive.
 */
static const struct kvm_cpuid_entry2 intel[] = {
	{ 0, 0, 0, 0x1f, 0x756e6547, 0x6c65746e, 0x49656e69 },
	{ 1, 0, 0, 0xa0671, 0x0b200800, 0x76fa3203, 0x0f8bfbff },
	{ 4, 0, INDEXED, 0x7c004121, 0x02c0003f, 0x3f, 0 },
	{ 4, 1, INDEXED, 0x7c004122, 0x01c0003f, 0x3f, 0 },
	{ 4, 2, INDEXED, 0x7c004143, 0x03c0003f, 0x7ff, 0 },
	{ 4, 3, INDEXED, 0x7c07c163, 0x03c0003f, 0x7fff, 4 },
	{ 4, 4, INDEXED, 0, 0, 0, 0 },
	{ 6, 0, 0, 0x77, 2, 9, 0 },
	{ 7, 0, INDEXED, 2, 0x01802856, 0x5a010104, 0x20010000 },
	{ 0xb, 0, INDEXED, 0, 0, 0, 0 },
	{ 0x1f, 0, INDEXED, 0, 0, 0, 0 },
	{ 0x80000000, 0, 0, 0x80000008, 0, 0, 0 },
	{ 0x80000001, 0, 0, 0, 0, 0x121, 0x2c100800 },
	{ 0x80000008, 0, 0, 0x302e, 0, 0, 0 },
	{ 0x40000000, 0, 0, 0x40000001, 0x4b4d564b, 0x564b4d56, 0x4d },
	{ 0x40000001, 0, 0, 0x01007efb, 0, 0, 0 },
};

static const struct kvm_cpuid_entry2 amd[] = {
	{ 0, 0, 0, 0x10, 0x68747541, 0x444d4163, 0x69746e65 },
	{ 1, 0, 0, 0xa00f11, 0x05100800, 0x7ed83203, 0x0f8bfbff },
	{ 6, 0, 0, 4, 0, 0, 0 },
	{ 7, 0, INDEXED, 0, 0x219c97a9, 0x40060c, 0x10 },
	{ 0xb, 0, INDEXED, 0, 0, 0, 0 },
	{ 0x80000000, 0, 0, 0x80000026, 0x68747541, 0x444d4163, 0x69746e65 },
	{ 0x80000001, 0, 0, 0xa00f11, 0x40000000, 0x4003f3, 0x2fd3fbff },
	{ 0x80000008, 0, 0, 0x3030, 0x111ef657, 0x0000601f, 0 },
	{ 0x8000001d, 0, INDEXED, 0x4121, 0x01c0003f, 0x3f, 0 },
	{ 0x8000001d, 3, INDEXED, 0x3c163, 0x03c0003f, 0x7fff, 1 },
	{ 0x8000001e, 0, 0, 0, 0, 0, 0 },
	{ 0x80000026, 0, INDEXED, 1, 2, 0x100, 9 },
};

static struct cpuid load(const struct kvm_cpuid_entry2 *entries, size_t count)
{
	struct cpuid cpuid = { .count = count };
	memcpy(cpuid.entries, entries, count * sizeof(*entries));
	return cpuid;
}

/* The one entry for this leaf. */
static const struct kvm_cpuid_entry2 *leaf(const struct cpuid *cpuid, uint32_t function, uint32_t index)
{
	const struct kvm_cpuid_entry2 *found = NULL;
	for (uint32_t i = 0; i < cpuid->count; i++)
		if (cpuid->entries[i].function == function && cpuid->entries[i].index == index) {
			assert_null(found);
			found = &cpuid->entries[i];
		}
	assert_non_null(found);
	return found;
}

static void assert_regs(const struct cpuid *cpuid, uint32_t function, uint32_t index, uint32_t eax, uint32_t ebx,
                        uint32_t ecx, uint32_t edx)
{
	const struct kvm_cpuid_entry2 *entry = leaf(cpuid, function, index);
	assert_int_equal(entry->eax, eax);
	assert_int_equal(entry->ebx, ebx);
	assert_int_equal(entry->ecx, ecx);
	assert_int_equal(entry->edx, edx);
}

static void check_topology_leaf(const struct cpuid *cpuid, uint32_t function, unsigned cpus, unsigned bits, unsigned id)
{
	assert_regs(cpuid, function, 0, 0, 1, 0x100, id);
	assert_regs(cpuid, function, 1, bits, cpus, 0x201, id);
	assert_regs(cpuid, function, 2, 0, 0, 2, id);
	for (uint32_t i = 0; i < 3; i++)
		assert_int_equal(leaf(cpuid, function, i)->flags, INDEXED);
}

static const struct {
	unsigned cpus, bits, logical;
} sizes[] = {
	{ 1, 0, 1 }, { 2, 1, 2 },     { 3, 2, 4 },     { 4, 2, 4 },
	{ 5, 3, 8 }, { 128, 7, 128 }, { 129, 8, 255 }, { 254, 8, 255 },
};

static void test_intel_topology(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		unsigned cpus = sizes[i].cpus, ids = (1u << sizes[i].bits) - 1;
		struct cpuid cpuid = load(intel, ARRAY_SIZE(intel));
		assert_int_equal(cpuid_filter(&cpuid, cpus, true), 0);
		unsigned step = cpus > 8 ? 50 : 1;
		for (unsigned id = 0; id < cpus; id += step) {
			cpuid_set_apic_id(&cpuid, id);
			assert_int_equal(leaf(&cpuid, 1, 0)->ebx, id << 24 | sizes[i].logical << 16 | 0x800);
			assert_int_equal(leaf(&cpuid, 1, 0)->edx >> 28 & 1, cpus > 1);
			check_topology_leaf(&cpuid, 0xb, cpus, sizes[i].bits, id);
			check_topology_leaf(&cpuid, 0x1f, cpus, sizes[i].bits, id);
		}
		uint32_t cores = MIN(ids, 63u) << 26;
		assert_int_equal(leaf(&cpuid, 4, 0)->eax, cores | 0x121);
		assert_int_equal(leaf(&cpuid, 4, 2)->eax, cores | 0x143);
		assert_int_equal(leaf(&cpuid, 4, 3)->eax, cores | ids << 14 | 0x163);
		assert_int_equal(leaf(&cpuid, 4, 3)->ebx, 0x03c0003f);
		assert_int_equal(leaf(&cpuid, 4, 4)->eax, 0);
		assert_int_equal(leaf(&cpuid, 0x80000008, 0)->ecx, 0); /* AMD's field */
		assert_int_equal(leaf(&cpuid, 0x80000001, 0)->ecx, 0x121);
	}
}

static void test_intel_features(void **state)
{
	struct cpuid cpuid = load(intel, ARRAY_SIZE(intel));
	assert_int_equal(cpuid_filter(&cpuid, 4, true), 0);
	assert_int_equal(leaf(&cpuid, 1, 0)->ecx, 0x76fa3203 | 1u << 31 | 1u << 24);
	assert_regs(&cpuid, 6, 0, 4, 0, 0, 0);
	assert_int_equal(leaf(&cpuid, 7, 0)->ebx, 0x01802852);
	assert_int_equal(leaf(&cpuid, 7, 0)->ecx, 0x1a010104);
	assert_int_equal(leaf(&cpuid, 7, 0)->edx, 0x20010000);
	assert_regs(&cpuid, 0x40000000, 0, 0x40000001, 0x4b4d564b, 0x564b4d56, 0x4d);
	assert_regs(&cpuid, 0x40000001, 0, 0x01007efb, 0, 0, 0);
	assert_int_equal(cpuid_physical_bits(&cpuid), 46);
	cpuid = load(intel, ARRAY_SIZE(intel));
	assert_int_equal(cpuid_filter(&cpuid, 4, false), 0);
	assert_int_equal(leaf(&cpuid, 1, 0)->ecx >> 24 & 1, 0);
}

static void test_amd_topology(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		unsigned cpus = sizes[i].cpus, bits = sizes[i].bits, id = cpus - 1;
		struct cpuid cpuid = load(amd, ARRAY_SIZE(amd));
		assert_int_equal(cpuid_filter(&cpuid, cpus, true), 0);
		cpuid_set_apic_id(&cpuid, id);
		check_topology_leaf(&cpuid, 0xb, cpus, bits, id);
		assert_regs(&cpuid, 0x8000001e, 0, id, id, 0, 0);
		assert_regs(&cpuid, 0x80000008, 0, 0x3030, 0x111ef657, bits << 12 | (cpus - 1), 0);
		assert_int_equal(leaf(&cpuid, 0x80000001, 0)->ecx, 0x4003f1 | (cpus > 1) << 1);
		assert_int_equal(leaf(&cpuid, 0x8000001d, 0)->eax, 0x121);
		assert_int_equal(leaf(&cpuid, 0x8000001d, 3)->eax, ((1u << bits) - 1) << 14 | 0x163);
		for (uint32_t n = 0; n < cpuid.count; n++) {
			assert_int_not_equal(cpuid.entries[n].function, 0x1f); /* beyond the highest leaf */
			assert_int_not_equal(cpuid.entries[n].function, 0x80000026);
		}
	}
}

/* An old CPU: leaves that it has not are not made up. */
static void test_leaves_that_are_not_there(void **state)
{
	static const struct kvm_cpuid_entry2 old[] = {
		{ 0, 0, 0, 4, 0x68747541, 0x444d4163, 0x69746e65 },
		{ 1, 0, 0, 0xf51, 0x800, 0, 0x0f8bfbff },
		{ 0x80000000, 0, 0, 0x80000004, 0, 0, 0 },
	};
	struct cpuid cpuid = load(old, ARRAY_SIZE(old));
	assert_int_equal(cpuid_filter(&cpuid, 2, false), 0);
	assert_int_equal(cpuid.count, ARRAY_SIZE(old));
	assert_int_equal(cpuid_physical_bits(&cpuid), 36);
	struct cpuid empty = { 0 };
	assert_int_equal(cpuid_filter(&empty, 2, false), 0);
	assert_int_equal(empty.count, 0);
}

static void test_full_table(void **state)
{
	struct cpuid cpuid = load(intel, ARRAY_SIZE(intel));
	while (cpuid.count < CPUID_ENTRIES_MAX)
		cpuid.entries[cpuid.count++] = (struct kvm_cpuid_entry2){ .function = 0x50000000 };
	assert_int_equal(cpuid_filter(&cpuid, 2, false), -ENOSPC);
	assert_int_equal(cpuid.count, CPUID_ENTRIES_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_intel_topology), cmocka_unit_test(test_intel_features),
		cmocka_unit_test(test_amd_topology),   cmocka_unit_test(test_leaves_that_are_not_there),
		cmocka_unit_test(test_full_table),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
