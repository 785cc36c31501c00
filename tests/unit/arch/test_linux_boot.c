// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/unit.h"

#include <string.h>

#include "arch/x86_64/layout.h"
#include "arch/x86_64/linux_boot.h"

/* ---- memory map */

static uint64_t ram_in(const struct e820 *map)
{
	uint64_t ram = 0;
	for (unsigned i = 0; i < map->count; i++)
		if (map->entries[i].type == E820_RAM)
			ram += map->entries[i].size;
	return ram;
}

static void assert_entry(const struct e820 *map, unsigned i, uint64_t addr, uint64_t size, uint32_t type)
{
	assert_true(i < map->count);
	assert_int_equal(map->entries[i].addr, addr);
	assert_int_equal(map->entries[i].size, size);
	assert_int_equal(map->entries[i].type, type);
}

static void test_e820(void **state)
{
	static const uint64_t mib[] = { 1, 2, 64, 3071, 3072, 3073, 4096, 5120, 1 << 20 };
	for (size_t n = 0; n < ARRAY_SIZE(mib); n++) {
		struct e820 map;
		uint64_t ram = mib[n] * MIB;
		e820_build(&map, ram);
		assert_int_equal(ram_in(&map), ram - (MIB - 0x9fc00)); /* all but what the BIOS areas take */
		for (unsigned i = 1; i < map.count; i++)
			assert_true(map.entries[i - 1].addr + map.entries[i - 1].size <= map.entries[i].addr);
		for (unsigned i = 0; i < map.count; i++)
			if (map.entries[i].type == E820_RAM)
				assert_true(map.entries[i].addr + map.entries[i].size <= 3 * GIB ||
				            map.entries[i].addr >= 4 * GIB);
	}
}

static void test_e820_ends(void **state)
{
	struct e820 map;
	e820_build(&map, MIB);
	assert_int_equal(map.count, 4);
	assert_entry(&map, 0, 0, 0x9fc00, E820_RAM);
	assert_entry(&map, 1, 0x9fc00, 0x60400, E820_RESERVED);
	assert_entry(&map, 2, 0xe0000000, 0x100000, E820_RESERVED);
	assert_entry(&map, 3, 0xfffbc000, 0x4000, E820_RESERVED);
	e820_build(&map, 3 * GIB + MIB);
	assert_int_equal(map.count, 6);
	assert_entry(&map, 2, MIB, 3 * GIB - MIB, E820_RAM);
	assert_entry(&map, 5, 4 * GIB, MIB, E820_RAM);
}

/* ---- zero page */

static const struct e820 two_entries = {
	.entries = { { 0, 0x9fc00, E820_RAM }, { 0x123456789abc, 0x100000000, E820_RESERVED } }, .count = 2
};

static struct linux_boot sample(void)
{
	return (struct linux_boot){
		.cmdline_gpa = 0x20000,
		.cmdline_len = 77,
		.initrd_gpa = 0x3f000000,
		.initrd_len = 0x1234567,
		.rsdp_gpa = 0xe0000,
		.setup_data_gpa = 0x8000,
		.map = &two_entries,
	};
}

/* Whatever the file's header says, these fields are ours. */
static void assert_our_fields(const uint8_t *page)
{
	assert_int_equal(page[0x1ef], 0);
	assert_int_equal(page[0x210], 0xff);
	assert_int_equal(page[0x211] & 0x81, 0x01);
	assert_int_equal(load_le32(page + 0x218), 0x3f000000);
	assert_int_equal(load_le32(page + 0x21c), 0x1234567);
	assert_int_equal(load_le32(page + 0x228), 0x20000);
	assert_int_equal(load_le64(page + 0x250), 0x8000);
	assert_int_equal(load_le64(page + 0x70), 0xe0000);
	assert_int_equal(load_le32(page + 0xc0) | load_le32(page + 0xc4) | load_le32(page + 0xc8), 0);
	assert_int_equal(page[0x1e8], 2);
	assert_int_equal(load_le64(page + 0x2d0 + 20), 0x123456789abc);
	assert_int_equal(load_le64(page + 0x2d0 + 28), 0x100000000);
	assert_int_equal(load_le32(page + 0x2d0 + 36), E820_RESERVED);
}

static void test_zero_page_of_a_bzimage(void **state)
{
	uint8_t header[0x7f], page[ZERO_PAGE_SIZE];
	memset(header, 0xee, sizeof(header));
	struct linux_boot boot = sample();
	boot.setup_header = header;
	boot.setup_header_len = sizeof(header);
	memset(page, 0xa5, sizeof(page));
	zero_page_build(page, &boot);
	assert_our_fields(page);
	assert_int_equal(page[0x1f1], 0xee);
	assert_int_equal(load_le32(page + 0x260), 0xeeeeeeee); /* init_size, the kernel's */
	assert_int_equal(page[0x1f1 + 0x7f - 1], 0xee);
	assert_int_equal(page[0x1f1 + 0x7f], 0);
	assert_int_equal(page[0x1f0], 0);
}

static void test_zero_page_of_a_short_header(void **state)
{
	uint8_t header[0x30], page[ZERO_PAGE_SIZE];
	memset(header, 0xee, sizeof(header));
	struct linux_boot boot = sample();
	boot.setup_header = header;
	boot.setup_header_len = sizeof(header);
	zero_page_build(page, &boot);
	assert_our_fields(page);
	assert_int_equal(page[0x1f1 + 0x30], 0);
	assert_int_equal(load_le32(page + 0x260), 0);
}

static void test_zero_page_of_an_elf(void **state)
{
	uint8_t page[ZERO_PAGE_SIZE];
	struct linux_boot boot = sample();
	zero_page_build(page, &boot);
	assert_our_fields(page);
	assert_int_equal(load_le16(page + 0x1fe), 0xaa55);
	assert_memory_equal(page + 0x202, "HdrS", 4);
	assert_true(load_le16(page + 0x206) >= 0x20c);
	assert_int_not_equal(load_le32(page + 0x230), 0);
	assert_int_equal(load_le32(page + 0x238), 77);
}

static void test_zero_page_without_initrd(void **state)
{
	uint8_t page[ZERO_PAGE_SIZE];
	struct linux_boot boot = sample();
	boot.initrd_len = 0;
	zero_page_build(page, &boot);
	assert_int_equal(load_le32(page + 0x218) | load_le32(page + 0x21c), 0);
}

/* The high halves of what did not fit 32 bits go to fields of their own. */
static void test_zero_page_beyond_32_bits(void **state)
{
	uint8_t page[ZERO_PAGE_SIZE];
	struct linux_boot boot = sample();
	boot.initrd_gpa = 0x1122334455;
	boot.initrd_len = 0x99887766aa;
	boot.cmdline_gpa = 0xccddeeff00;
	zero_page_build(page, &boot);
	assert_int_equal(load_le32(page + 0x218), 0x22334455);
	assert_int_equal(load_le32(page + 0xc0), 0x11);
	assert_int_equal(load_le32(page + 0x21c), 0x887766aa);
	assert_int_equal(load_le32(page + 0xc4), 0x99);
	assert_int_equal(load_le32(page + 0x228), 0xddeeff00);
	assert_int_equal(load_le32(page + 0xc8), 0xcc);
}

static void test_initrd_addr_max(void **state)
{
	uint8_t header[0x7f] = { 0 };
	store_le32(header + 0x22c - 0x1f1, 0x7fffffff);
	assert_int_equal(linux_initrd_addr_max(header, sizeof(header)), 0x7fffffff);
	assert_int_equal(linux_initrd_addr_max(header, 0x22c + 3 - 0x1f1), UINT32_MAX);
	assert_int_equal(linux_initrd_addr_max(NULL, 0), UINT32_MAX);
}

static void test_rng_seed(void **state)
{
	uint8_t seed[RNG_SEED_LEN], node[RNG_NODE_LEN];
	memset(seed, 0x77, sizeof(seed));
	setup_data_rng(node, seed);
	assert_int_equal(load_le64(node), 0);
	assert_int_equal(load_le32(node + 8), 9);
	assert_int_equal(load_le32(node + 12), RNG_SEED_LEN);
	assert_memory_equal(node + 16, seed, RNG_SEED_LEN);
}

/* ---- PVH */

static void test_pvh(void **state)
{
	uint8_t start[PVH_START_LEN], module[PVH_MODULE_LEN], map[E820_MAX * PVH_MAP_ENTRY_LEN];
	struct linux_boot boot = sample();
	const struct pvh_gpas at = { .module = 0x6040, .map = 0x7000 };
	memset(start, 0xa5, sizeof(start)); /* reserved fields and all: memory may not be fresh */
	memset(module, 0xa5, sizeof(module));
	memset(map, 0xa5, sizeof(map));
	pvh_start_build(start, &boot, &at);
	pvh_module_build(module, &boot);
	pvh_map_build(map, boot.map);
	assert_int_equal(load_le32(start + 52), 0);
	assert_int_equal(load_le64(module + 16) | load_le64(module + 24), 0);
	assert_int_equal(load_le32(start), 0x336ec578);
	assert_int_equal(load_le32(start + 4), 1);
	assert_int_equal(load_le32(start + 8), 0);
	assert_int_equal(load_le32(start + 12), 1);
	assert_int_equal(load_le64(start + 16), 0x6040);
	assert_int_equal(load_le64(start + 24), 0x20000);
	assert_int_equal(load_le64(start + 32), 0xe0000);
	assert_int_equal(load_le64(start + 40), 0x7000);
	assert_int_equal(load_le32(start + 48), 2);
	assert_int_equal(load_le64(module), 0x3f000000);
	assert_int_equal(load_le64(module + 8), 0x1234567);
	assert_int_equal(load_le64(map + 24), 0x123456789abc);
	assert_int_equal(load_le64(map + 32), 0x100000000);
	assert_int_equal(load_le32(map + 40), E820_RESERVED);
	assert_int_equal(load_le32(map + 44), 0);

	boot.initrd_len = 0;
	pvh_start_build(start, &boot, &at);
	assert_int_equal(load_le32(start + 12), 0);
	assert_int_equal(load_le64(start + 16), 0);
}

/* ---- page tables and GDT */

/* Walk as the processor does. */
static uint64_t translate(const uint8_t *tables, uint64_t base, uint64_t linear)
{
	uint64_t pml4e = load_le64(tables + 8 * (linear >> 39 & 511));
	if ((pml4e & 3) != 3)
		return UINT64_MAX;
	uint64_t pdpte = load_le64(tables + ((pml4e & ~0xfffull) - base) + 8 * (linear >> 30 & 511));
	if ((pdpte & 3) != 3)
		return UINT64_MAX;
	uint64_t pde = load_le64(tables + ((pdpte & ~0xfffull) - base) + 8 * (linear >> 21 & 511));
	return (pde & 0x83) == 0x83 ? (pde & ~0x1fffffull) | (linear & 0x1fffff) : UINT64_MAX;
}

static void test_identity_map(void **state)
{
	static uint8_t tables[IDENTITY_MAP_SIZE];
	memset(tables, 0xff, sizeof(tables));
	identity_map_build(tables, PAGE_TABLES_GPA);
	static const uint64_t inside[] = { 0, 0x7000, 0x1fffff, 0x200000, 0x1000200, 3 * GIB - 1, 4 * GIB - 1 };
	for (size_t i = 0; i < ARRAY_SIZE(inside); i++)
		assert_int_equal(translate(tables, PAGE_TABLES_GPA, inside[i]), inside[i]);
	static const uint64_t outside[] = { 4 * GIB, 512 * GIB, 1ull << 47 };
	for (size_t i = 0; i < ARRAY_SIZE(outside); i++)
		assert_int_equal(translate(tables, PAGE_TABLES_GPA, outside[i]), UINT64_MAX);
}

static void test_boot_structures_do_not_overlap(void **state)
{
	static const struct {
		uint64_t start, len;
	} areas[] = {
		{ GDT_GPA, GDT_ENTRIES * 8 },
		{ PVH_START_GPA, PVH_START_LEN },
		{ PVH_MODULE_GPA, PVH_MODULE_LEN },
		{ ZERO_PAGE_GPA, ZERO_PAGE_SIZE },
		{ SETUP_DATA_GPA, RNG_NODE_LEN },
		{ PAGE_TABLES_GPA, IDENTITY_MAP_SIZE },
		{ CMDLINE_GPA, CMDLINE_MAX },
		{ RAM_0_END, 0 },
		{ ACPI_GPA, ACPI_SIZE },
		{ RESET_VECTOR_GPA, 16 },
		{ RAM_1_START, 0 },
	};
	for (size_t i = 1; i < ARRAY_SIZE(areas); i++)
		assert_true(areas[i - 1].start + areas[i - 1].len <= areas[i].start);
	assert_true(E820_MAX * PVH_MAP_ENTRY_LEN <= ZERO_PAGE_SIZE);
}

static void test_gdt(void **state)
{
	static const struct {
		enum gdt_kind kind;
		bool long_mode, db;
	} kinds[] = { { GDT_64, true, false }, { GDT_32, false, true } };
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		const uint64_t *gdt = gdt_entries[kinds[i].kind], code = gdt[GDT_CODE], tss = gdt[GDT_TSS];
		assert_int_equal(gdt[0], 0);
		assert_int_equal(code >> 53 & 1, kinds[i].long_mode);
		assert_int_equal(code >> 54 & 1, kinds[i].db);
		assert_int_equal(code >> 40 & 0xff, 0x9b); /* present, ring 0, code, readable, accessed */
		assert_int_equal(gdt[GDT_DATA] >> 40 & 0xff, 0x93);
		assert_int_equal(gdt[GDT_DATA] >> 48 & 0xcf, 0xcf); /* 4 GiB */
		assert_int_equal(tss >> 40 & 0xff, 0x8b);           /* busy */
		assert_int_equal(tss & 0xffff, 0x67);
		assert_int_equal(gdt[GDT_TSS + 1], 0);
	}
	assert_int_equal(GDT_CODE * 8, 0x10); /* boot.rst's __BOOT_CS and __BOOT_DS */
	assert_int_equal(GDT_DATA * 8, 0x18);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_e820),
		cmocka_unit_test(test_e820_ends),
		cmocka_unit_test(test_zero_page_of_a_bzimage),
		cmocka_unit_test(test_zero_page_of_a_short_header),
		cmocka_unit_test(test_zero_page_of_an_elf),
		cmocka_unit_test(test_zero_page_without_initrd),
		cmocka_unit_test(test_zero_page_beyond_32_bits),
		cmocka_unit_test(test_initrd_addr_max),
		cmocka_unit_test(test_rng_seed),
		cmocka_unit_test(test_pvh),
		cmocka_unit_test(test_identity_map),
		cmocka_unit_test(test_boot_structures_do_not_overlap),
		cmocka_unit_test(test_gdt),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
