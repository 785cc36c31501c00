/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The x86_64 machine's map: guest-physical addresses, ports and interrupts. Every number that the guest can see and
 * that is a choice of ours stands here.
 *
 *     0x0000_0000  +-------------------------+
 *                  | RAM                     |  boot structures, below; the SMP trampoline needs RAM here, too
 *     0x0009_fc00  +-------------------------+
 *                  | reserved, RAM behind it |  no holes: scans of EBDA and BIOS areas read zeros and make no exit
 *     0x000e_0000  |   ACPI: RSDP, tables    |  where a kernel that was not told looks for the RSDP
 *     0x0010_0000  +-------------------------+
 *                  | low RAM                 |  kernel; initrd at the top
 *     0xc000_0000  +-------------------------+  or end of RAM, if less
 *                  | virtio-mmio slots, 4 KiB|  MMIO hole. Linux on KVM takes [end of low RAM, 4 GiB) as uncached:
 *     0xc010_0000  +-------------------------+  never put tables or RAM here
 *                  | PCI memory window       |
 *     0xe000_0000  +-------------------------+
 *                  | ECAM, 1 MiB: bus 0 only |  the rest up to 0xf000_0000 is kept free for its growth
 *     0xe010_0000  +-------------------------+
 *     0xfec0_0000  | IOAPIC                  |  in KVM
 *     0xfee0_0000  | local APIC              |  in KVM
 *     0xfffb_c000  | identity map page, TSS  |  KVM's own, for Intel without unrestricted guest: 1 + 3 pages
 *   0x1_0000_0000  +-------------------------+
 *                  | high RAM                |  what does not fit below 3 GiB
 *                  +-------------------------+
 */
#ifndef CVMM_ARCH_X86_64_LAYOUT_H
#define CVMM_ARCH_X86_64_LAYOUT_H

#include <stdint.h>

#include "src/base/util.h"

/* Boot structures. The kernel reserves the first 64 KiB for itself, but not before it has read them. */
enum {
	GDT_GPA = 0x500,
	PVH_START_GPA = 0x6000,
	PVH_MODULE_GPA = 0x6040,
	ZERO_PAGE_GPA = 0x7000, /* with PVH: the memory map */
	SETUP_DATA_GPA = 0x8000,
	PAGE_TABLES_GPA = 0x9000, /* PML4, PDPT, four page directories: 4 GiB in 2 MiB pages */
	MICRO_GUEST_GPA = 0x10000,
	CMDLINE_GPA = 0x20000,
	CMDLINE_MAX = 0x10000, /* with its NUL */
	RAM_0_END = 0x9fc00,
	ACPI_GPA = 0xe0000,
	ACPI_SIZE = 0x10000,
	RESET_VECTOR_GPA = 0xffff0, /* where a BIOS would start */
	RAM_1_START = 0x100000,
};

#define LOW_RAM_END UINT64_C(0xc0000000)
#define HIGH_RAM_START UINT64_C(0x100000000)
#define VIRTIO_MMIO_BASE UINT64_C(0xc0000000)
#define VIRTIO_MMIO_STRIDE UINT64_C(0x1000)
#define PCI_WINDOW_BASE UINT64_C(0xc0100000)
#define PCI_WINDOW_SIZE (ECAM_BASE - PCI_WINDOW_BASE)
#define ECAM_BASE UINT64_C(0xe0000000)
#define ECAM_SIZE MIB
#define IOAPIC_BASE UINT64_C(0xfec00000)
#define LAPIC_BASE UINT64_C(0xfee00000)
#define IDENTITY_MAP_GPA UINT64_C(0xfffbc000)
#define TSS_GPA UINT64_C(0xfffbd000)
#define KVM_PAGES_SIZE (4 * 4 * KIB) /* identity map and TSS */

enum {
	I8042_PORT = 0x60,
	RESET_PORT = 0x64,
	MICRO_GUEST_PORT = 0xf4,
	COM1_PORT = 0x3f8,
	ACPI_REGS_PORT = 0x600,
	PCI_CONF1_PORT = 0xcf8,
};

/* IOAPIC pins. */
enum {
	KEYBOARD_GSI = 1,
	COM1_GSI = 4,
	GED_GSI = 9,
};

/*
 * Virtio-mmio slot n has its registers at VIRTIO_MMIO_BASE + n * VIRTIO_MMIO_STRIDE, and a pin of its own, as edges of one
 * device would hide in another's: first those that no PC ever had, then what a PC's timers, disks and the like leave free
 * in a machine without them.
 */
enum { VIRTIO_MMIO_SLOTS = 18 };
static const uint8_t virtio_mmio_gsis[VIRTIO_MMIO_SLOTS] = { 16, 17, 18, 19, 20, 21, 22, 23, 5,
	                                                     6,  7,  8,  10, 11, 12, 13, 14, 15 };

/* @ram bytes of guest memory: how many lie below the MMIO hole, how many from 4 GiB on. */
static inline uint64_t layout_low_ram(uint64_t ram)
{
	return MIN(ram, LOW_RAM_END);
}

static inline uint64_t layout_high_ram(uint64_t ram)
{
	return ram - layout_low_ram(ram);
}

#endif
