/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ACPI tables (6.5, hardware-reduced) for a machine described by a few numbers. Pure: a description in, bytes out. The
 * machine has no PIC, PIT, HPET, CMOS, VGA and, unless asked for, no 8042, and the tables say so: a guest that believes
 * them spares its legacy probes.
 */
#ifndef CVMM_ARCH_X86_64_ACPI_H
#define CVMM_ARCH_X86_64_ACPI_H

#include <stddef.h>
#include <stdint.h>

enum acpi_kind {
	ACPI_NONE,        /* not in the DSDT */
	ACPI_COM,         /* PNP0501 in I/O space, level interrupt */
	ACPI_EVENTS,      /* devices/platform.h's ACPI registers in I/O space: GED, power button, sleep, reset */
	ACPI_KEYBOARD,    /* PNP0303 at 0x60 and 0x64 */
	ACPI_VIRTIO_MMIO, /* LNRO0005, level interrupt */
	ACPI_KINDS,
};

struct acpi_device {
	enum acpi_kind kind;
	unsigned index;      /* counts devices of one kind; below 256 */
	uint32_t base, size; /* I/O or memory, as the kind has it */
	uint32_t gsi;
};

struct acpi_machine {
	unsigned cpus; /* APIC ids 0 to cpus - 1, at most 254 */
	uint32_t lapic, ioapic;
	uint32_t ecam;                     /* configuration space of PCI bus 0, 1 MiB */
	const struct acpi_device *devices; /* not owned */
	unsigned device_count;
};

/*
 * Build all tables into @buf, which the guest sees at @gpa (16-byte aligned); the RSDP is the first thing there.
 * Returns the bytes used, or -ENOSPC: more than @size.
 */
int acpi_build(const struct acpi_machine *machine, uint64_t gpa, uint8_t *buf, size_t size);

#endif
