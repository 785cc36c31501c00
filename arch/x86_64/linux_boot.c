// SPDX-License-Identifier: Apache-2.0
#include "arch/x86_64/linux_boot.h"

#include "arch/x86_64/layout.h"
#include "src/base/util.h"

/* ---- memory map */

static void e820_add(struct e820 *map, uint64_t start, uint64_t end, uint32_t type)
{
	if (start >= end)
		return;
	map->entries[map->count].addr = start;
	map->entries[map->count].size = end - start;
	map->entries[map->count++].type = type;
}

void e820_build(struct e820 *map, uint64_t ram)
{
	map->count = 0;
	e820_add(map, 0, RAM_0_END, E820_RAM);
	e820_add(map, RAM_0_END, RAM_1_START, E820_RESERVED);
	e820_add(map, RAM_1_START, layout_low_ram(ram), E820_RAM);
	e820_add(map, ECAM_BASE, ECAM_BASE + ECAM_SIZE, E820_RESERVED); /* or Linux distrusts the MCFG */
	e820_add(map, IDENTITY_MAP_GPA, IDENTITY_MAP_GPA + KVM_PAGES_SIZE, E820_RESERVED);
	e820_add(map, HIGH_RAM_START, HIGH_RAM_START + layout_high_ram(ram), E820_RAM);
}

/* ---- zero page */

/* Offsets in struct boot_params. */
enum {
	ZP_ACPI_RSDP_ADDR = 0x70,
	ZP_EXT_RAMDISK_IMAGE = 0xc0,
	ZP_EXT_RAMDISK_SIZE = 0xc4,
	ZP_EXT_CMD_LINE_PTR = 0xc8,
	ZP_E820_COUNT = 0x1e8,
	ZP_SETUP_HEADER = 0x1f1,
	ZP_BOOT_FLAG = 0x1fe,
	ZP_MAGIC = 0x202,
	ZP_VERSION = 0x206,
	ZP_TYPE_OF_LOADER = 0x210,
	ZP_LOADFLAGS = 0x211,
	ZP_RAMDISK_IMAGE = 0x218,
	ZP_RAMDISK_SIZE = 0x21c,
	ZP_CMD_LINE_PTR = 0x228,
	ZP_INITRD_ADDR_MAX = 0x22c,
	ZP_KERNEL_ALIGNMENT = 0x230,
	ZP_CMDLINE_SIZE = 0x238,
	ZP_SETUP_DATA = 0x250,
	ZP_E820_TABLE = 0x2d0,
	ZP_E820_ENTRY_LEN = 20,
};
enum {
	BOOT_FLAG = 0xaa55,
	BOOT_VERSION = 0x020f,
	LOADER_UNDEFINED = 0xff, /* zero would make the kernel ignore its initrd */
	LOADED_HIGH = 1 << 0,
	CAN_USE_HEAP = 1 << 7,
	KERNEL_ALIGNMENT = 0x200000,
	SETUP_HEADER_MAX = 0x7f,
};

/* An ELF kernel brings no setup header: the fields of it that the kernel itself looks at. */
static void zero_page_fake_header(uint8_t *page, const struct linux_boot *boot)
{
	store_le16(page + ZP_BOOT_FLAG, BOOT_FLAG);
	memcpy(page + ZP_MAGIC, "HdrS", 4);
	store_le16(page + ZP_VERSION, BOOT_VERSION);
	store_le32(page + ZP_KERNEL_ALIGNMENT, KERNEL_ALIGNMENT);
	store_le32(page + ZP_CMDLINE_SIZE, boot->cmdline_len);
}

static void zero_page_e820(uint8_t *page, const struct e820 *map)
{
	page[ZP_E820_COUNT] = map->count;
	for (unsigned i = 0; i < map->count; i++) {
		uint8_t *entry = page + ZP_E820_TABLE + i * ZP_E820_ENTRY_LEN;
		store_le64(entry, map->entries[i].addr);
		store_le64(entry + 8, map->entries[i].size);
		store_le32(entry + 16, map->entries[i].type);
	}
}

/* A field of 32 bits whose high half joined later, elsewhere. */
static void zero_page_split(uint8_t *page, unsigned low, unsigned high, uint64_t val)
{
	store_le32(page + low, (uint32_t)val);
	store_le32(page + high, val >> 32);
}

void zero_page_build(uint8_t page[static ZERO_PAGE_SIZE], const struct linux_boot *boot)
{
	memset(page, 0, ZERO_PAGE_SIZE); /* the sentinel at 0x1ef must be 0 */
	if (boot->setup_header)
		memcpy(page + ZP_SETUP_HEADER, boot->setup_header, MIN(boot->setup_header_len, SETUP_HEADER_MAX));
	else
		zero_page_fake_header(page, boot);
	page[ZP_TYPE_OF_LOADER] = LOADER_UNDEFINED;
	page[ZP_LOADFLAGS] = (page[ZP_LOADFLAGS] | LOADED_HIGH) & ~CAN_USE_HEAP;
	zero_page_split(page, ZP_CMD_LINE_PTR, ZP_EXT_CMD_LINE_PTR, boot->cmdline_gpa);
	zero_page_split(page, ZP_RAMDISK_IMAGE, ZP_EXT_RAMDISK_IMAGE, boot->initrd_len ? boot->initrd_gpa : 0);
	zero_page_split(page, ZP_RAMDISK_SIZE, ZP_EXT_RAMDISK_SIZE, boot->initrd_len);
	store_le64(page + ZP_SETUP_DATA, boot->setup_data_gpa);
	store_le64(page + ZP_ACPI_RSDP_ADDR, boot->rsdp_gpa);
	zero_page_e820(page, boot->map);
}

uint64_t linux_initrd_addr_max(const uint8_t *setup_header, size_t len)
{
	size_t at = ZP_INITRD_ADDR_MAX - ZP_SETUP_HEADER;
	return setup_header && range_inside(at, 4, len) ? load_le32(setup_header + at) : UINT32_MAX;
}

void setup_data_rng(uint8_t node[static RNG_NODE_LEN], const uint8_t seed[static RNG_SEED_LEN])
{
	enum { SETUP_RNG_SEED = 9 };
	store_le64(node, 0); /* the last node */
	store_le32(node + 8, SETUP_RNG_SEED);
	store_le32(node + 12, RNG_SEED_LEN);
	memcpy(node + 16, seed, RNG_SEED_LEN);
}

/* ---- PVH */

void pvh_start_build(uint8_t start[static PVH_START_LEN], const struct linux_boot *boot, const struct pvh_gpas *at)
{
	enum { MAGIC = 0x336ec578, VERSION = 1 };
	memset(start, 0, PVH_START_LEN);
	store_le32(start, MAGIC);
	store_le32(start + 4, VERSION);
	store_le32(start + 12, boot->initrd_len ? 1 : 0);
	store_le64(start + 16, boot->initrd_len ? at->module : 0);
	store_le64(start + 24, boot->cmdline_gpa);
	store_le64(start + 32, boot->rsdp_gpa);
	store_le64(start + 40, at->map);
	store_le32(start + 48, boot->map->count);
}

void pvh_module_build(uint8_t module[static PVH_MODULE_LEN], const struct linux_boot *boot)
{
	memset(module, 0, PVH_MODULE_LEN);
	store_le64(module, boot->initrd_gpa);
	store_le64(module + 8, boot->initrd_len);
}

void pvh_map_build(uint8_t map[static E820_MAX * PVH_MAP_ENTRY_LEN], const struct e820 *e820)
{
	memset(map, 0, E820_MAX * PVH_MAP_ENTRY_LEN);
	for (unsigned i = 0; i < e820->count; i++, map += PVH_MAP_ENTRY_LEN) {
		store_le64(map, e820->entries[i].addr);
		store_le64(map + 8, e820->entries[i].size);
		store_le32(map + 16, e820->entries[i].type);
	}
}

/* ---- page tables and GDT */

enum { PTE_PRESENT = 1 << 0, PTE_WRITE = 1 << 1, PTE_LARGE = 1 << 7, PTES = 512, TABLE_LEN = PTES * 8 };

void identity_map_build(uint8_t tables[static IDENTITY_MAP_SIZE], uint64_t gpa)
{
	uint8_t *pml4 = tables, *pdpt = tables + TABLE_LEN, *directories = tables + 2 * TABLE_LEN;
	memset(tables, 0, 2 * TABLE_LEN);
	store_le64(pml4, (gpa + TABLE_LEN) | PTE_PRESENT | PTE_WRITE);
	for (uint64_t i = 0; i < 4; i++)
		store_le64(pdpt + 8 * i, (gpa + (2 + i) * TABLE_LEN) | PTE_PRESENT | PTE_WRITE);
	for (uint64_t i = 0; i < 4 * PTES; i++)
		store_le64(directories + 8 * i, (i * 2 * MIB) | PTE_PRESENT | PTE_WRITE | PTE_LARGE);
}

/* Selectors as Linux's boot protocol has them: code 0x10, data 0x18. */
const uint64_t gdt_entries[2][GDT_ENTRIES] = {
	[GDT_64] = {
		[GDT_CODE] = 0x00af9b000000ffff,
		[GDT_DATA] = 0x00cf93000000ffff,
		[GDT_TSS] = 0x00008b0000000067, /* 16 bytes */
	},
	[GDT_32] = {
		[GDT_CODE] = 0x00cf9b000000ffff,
		[GDT_DATA] = 0x00cf93000000ffff,
		[GDT_TSS] = 0x00008b0000000067,
	},
};
