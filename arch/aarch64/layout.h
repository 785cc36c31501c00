/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The aarch64 machine's address map and interrupts.
 *
 *   0x0000_0000 ┌──────────────────────────────┐
 *               │ nothing: accesses exit       │
 *   0x0800_0000 ├──────────────────────────────┤
 *               │ GICD, distributor            │  64 KiB (GICv2: 4 KiB)
 *   0x0801_0000 │ GICC, CPU interface          │  8 KiB, GICv2 only
 *   0x0808_0000 │ ITS                          │  128 KiB, GICv3 only
 *   0x0900_0000 ├──────────────────────────────┤
 *               │ PL011 UART                   │  4 KiB
 *   0x0901_0000 │ PL031 RTC                    │  4 KiB
 *   0x0a00_0000 │ virtio-mmio, 32 slots        │  4 KiB each
 *   0x0c00_0000 ├──────────────────────────────┤
 *               │ GICR, redistributors         │  128 KiB a vCPU, room for 256
 *   0x0e00_0000 ├──────────────────────────────┤
 *               │ nothing                      │
 *   0x1000_0000 ├──────────────────────────────┤
 *               │ kept for PCI: 32-bit window, │
 *               │ ECAM at 0x3f00_0000          │
 *   0x4000_0000 ├──────────────────────────────┤  1 GiB
 *               │ RAM: kernel, FDT, initrd     │
 *               │ from the bottom (place.h)    │
 *               └──────────────────────────────┘
 *
 * One block of redistributors serves every vCPU there can be, so that no second KVM_VGIC_V3_ADDR_TYPE_REDIST_REGION is
 * needed, which older kernels lack.
 */
#ifndef CVMM_ARCH_AARCH64_LAYOUT_H
#define CVMM_ARCH_AARCH64_LAYOUT_H

#define GICD_BASE 0x08000000ull
#define GICC_BASE 0x08010000ull
#define ITS_BASE 0x08080000ull
#define UART_BASE 0x09000000ull
#define RTC_BASE 0x09010000ull
#define VIRTIO_BASE 0x0a000000ull
#define GICR_BASE 0x0c000000ull
#define RAM_BASE 0x40000000ull

enum {
	GICD_SIZE = 0x10000,
	GICD_V2_SIZE = 0x1000,
	GICC_SIZE = 0x2000,
	ITS_SIZE = 0x20000,
	GICR_SIZE = 0x20000, /* of one vCPU */
	GICR_ROOM = 0x2000000,
	VIRTIO_SLOTS = 32,
	VIRTIO_STRIDE = 0x1000,
};

/* Shared peripheral interrupts, counted from 0 as in the FDT and by irq_line(): INTID - 32. */
enum {
	SPI_UART = 1,
	SPI_RTC = 2,
	SPI_VIRTIO = 16, /* slot n: SPI_VIRTIO + n; slot 0 is the power key, so that users' slots begin at 1 */
	SPI_COUNT = 96,
};
_Static_assert(SPI_VIRTIO + VIRTIO_SLOTS <= SPI_COUNT, "virtio slots beyond the GIC's lines");

/* Private ones, INTID - 16: as the Base System Architecture has them and KVM by default. */
enum { PPI_PMU = 7, PPI_TIMER_HYP = 10, PPI_TIMER_VIRT = 11, PPI_TIMER_SECURE = 13, PPI_TIMER_PHYS = 14 };
enum { INTID_PPI = 16, INTID_SPI = 32 };

#endif
