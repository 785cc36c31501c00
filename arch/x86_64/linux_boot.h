/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a kernel is handed at its start: the memory map, Linux's zero page (Documentation/arch/x86/boot.rst and
 * zero-page.rst), PVH's start_info (xen/interface/hvm/start_info.h), page tables and a GDT. Pure: bytes in, bytes out.
 */
#ifndef CVMM_ARCH_X86_64_LINUX_BOOT_H
#define CVMM_ARCH_X86_64_LINUX_BOOT_H

#include <stddef.h>
#include <stdint.h>

enum { E820_RAM = 1, E820_RESERVED = 2, E820_MAX = 8 };

struct e820 {
	struct {
		uint64_t addr, size;
		uint32_t type;
	} entries[E820_MAX]; /* ascending, disjoint */
	unsigned count;
};

/* The map of a machine with @ram bytes of memory, at least 1 MiB. */
void e820_build(struct e820 *map, uint64_t ram);

struct linux_boot {
	const uint8_t *setup_header; /* a bzImage's, file offset 0x1f1 on; NULL: an ELF kernel has none. Not owned */
	size_t setup_header_len;
	uint64_t cmdline_gpa;
	uint32_t cmdline_len;            /* without its NUL */
	uint64_t initrd_gpa, initrd_len; /* len 0: none */
	uint64_t rsdp_gpa;
	uint64_t setup_data_gpa; /* 0: none; zero page alone */
	const struct e820 *map;  /* not owned */
};

enum { ZERO_PAGE_SIZE = 4096 };
void zero_page_build(uint8_t page[static ZERO_PAGE_SIZE], const struct linux_boot *boot);

/* The highest address an initrd may reach, by a bzImage's header; without one, the last of 32 bits. */
uint64_t linux_initrd_addr_max(const uint8_t *setup_header, size_t len);

/* One setup_data node that carries a seed for the guest's random numbers. */
enum { RNG_SEED_LEN = 32, RNG_NODE_LEN = 16 + RNG_SEED_LEN };
void setup_data_rng(uint8_t node[static RNG_NODE_LEN], const uint8_t seed[static RNG_SEED_LEN]);

/* start_info; with an initrd also one module entry; and the memory map. Each goes to an address of its own. */
enum { PVH_START_LEN = 56, PVH_MODULE_LEN = 32, PVH_MAP_ENTRY_LEN = 24 };
struct pvh_gpas {
	uint64_t module, map;
};
void pvh_start_build(uint8_t start[static PVH_START_LEN], const struct linux_boot *boot, const struct pvh_gpas *at);
void pvh_module_build(uint8_t module[static PVH_MODULE_LEN], const struct linux_boot *boot);
void pvh_map_build(uint8_t map[static E820_MAX * PVH_MAP_ENTRY_LEN], const struct e820 *e820);

/* Page tables that map the first 4 GiB onto themselves in 2 MiB pages, for guest address @gpa. */
enum { IDENTITY_MAP_SIZE = 6 * 4096 };
void identity_map_build(uint8_t tables[static IDENTITY_MAP_SIZE], uint64_t gpa);

/* The GDT that we enter with: flat code (64-bit, or 32-bit for PVH), flat data, a busy TSS. */
enum { GDT_CODE = 2, GDT_DATA = 3, GDT_TSS = 4, GDT_ENTRIES = 6 };
enum gdt_kind { GDT_64, GDT_32 };
extern const uint64_t gdt_entries[2][GDT_ENTRIES];

#endif
