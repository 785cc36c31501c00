// SPDX-License-Identifier: Apache-2.0
/* Section numbers are those of the ACPI specification 6.5. */
#include "arch/x86_64/acpi.h"

#include <errno.h>
#include <stdio.h>

#include <linux/types.h>

#include "arch/x86_64/aml.h"
#include "devices/platform.h"
#include "src/base/util.h"

/* ---- wire formats */

#define OEM "CVMM  "
#define OEM_TABLE "CVMM    "

struct acpi_rsdp { /* 5.2.5.3 */
	char signature[8];
	uint8_t checksum; /* of the first 20 bytes */
	char oem[6];
	uint8_t revision;
	__le32 rsdt;
	__le32 length;
	__le64 xsdt;
	uint8_t extended_checksum;
	uint8_t reserved[3];
} __attribute__((packed));
_Static_assert(sizeof(struct acpi_rsdp) == 36, "RSDP");

struct acpi_header { /* 5.2.6 */
	char signature[4];
	__le32 length;
	uint8_t revision;
	uint8_t checksum;
	char oem[6];
	char oem_table[8];
	__le32 oem_revision;
	char creator[4];
	__le32 creator_revision;
} __attribute__((packed));
_Static_assert(sizeof(struct acpi_header) == 36, "table header");

struct acpi_gas { /* 5.2.3.2 */
	uint8_t space;
	uint8_t bits;
	uint8_t offset;
	uint8_t access;
	__le64 address;
} __attribute__((packed));
enum { GAS_IO = 1, GAS_BYTE = 1 };

struct acpi_fadt { /* 5.2.9; what hardware-reduced ACPI ignores stays zero */
	struct acpi_header header;
	uint8_t pm1_and_older[73];
	__le16 iapc_boot_arch;
	uint8_t reserved;
	__le32 flags;
	struct acpi_gas reset_reg;
	uint8_t reset_value;
	__le16 arm_boot_arch;
	uint8_t minor_version;
	__le64 x_firmware_ctrl;
	__le64 x_dsdt;
	uint8_t x_pm_blocks[96];
	struct acpi_gas sleep_control;
	struct acpi_gas sleep_status;
	char hypervisor[8];
} __attribute__((packed));
_Static_assert(offsetof(struct acpi_fadt, iapc_boot_arch) == 109, "FADT");
_Static_assert(offsetof(struct acpi_fadt, x_dsdt) == 140, "FADT");
_Static_assert(offsetof(struct acpi_fadt, sleep_control) == 244, "FADT");
_Static_assert(sizeof(struct acpi_fadt) == 276, "FADT");

/* 5.2.9.3, IA-PC boot architecture flags. Bit 5: an absent CMOS clock that is looked for costs a second. */
enum {
	BOOT_8042 = 1 << 1,
	BOOT_NO_VGA = 1 << 2,
	BOOT_NO_ASPM = 1 << 4,
	BOOT_NO_CMOS_RTC = 1 << 5,
};
/* 5.2.9, table 5.10. */
enum {
	FADT_NO_FIXED_POWER_BUTTON = 1 << 4,
	FADT_NO_FIXED_SLEEP_BUTTON = 1 << 5,
	FADT_RESET_REG = 1 << 10,
	FADT_HW_REDUCED = 1 << 20,
};

struct madt { /* 5.2.12 */
	struct acpi_header header;
	__le32 lapic;
	__le32 flags; /* no PCAT_COMPAT: no PIC */
} __attribute__((packed));

enum { MADT_LAPIC = 0, MADT_IOAPIC = 1, MADT_LAPIC_NMI = 4 };
enum { MADT_ENABLED = 1, MADT_ALL_CPUS = 0xff };

struct madt_lapic {
	uint8_t type, length, uid, apic_id;
	__le32 flags;
} __attribute__((packed));

struct madt_ioapic {
	uint8_t type, length, id, reserved;
	__le32 address, gsi_base;
} __attribute__((packed));

struct madt_lapic_nmi {
	uint8_t type, length, uid;
	__le16 flags; /* as the bus has it: edge, high */
	uint8_t lint;
} __attribute__((packed));

struct mcfg { /* PCI Firmware 3.3, 4.1.2 */
	struct acpi_header header;
	__le64 reserved;
	__le64 ecam;
	__le16 segment;
	uint8_t first_bus, last_bus;
	__le32 reserved2;
} __attribute__((packed));
_Static_assert(sizeof(struct mcfg) == 60, "MCFG");

/* ---- room for tables */

struct tables {
	uint8_t *buf; /* not owned */
	size_t len, size;
	uint64_t gpa;
};

/* @len zeroed bytes, 16-byte aligned; NULL: no room. */
static void *tables_take(struct tables *tables, size_t len)
{
	size_t at = align_up(tables->len, 16);
	if (!range_inside(at, len, tables->size))
		return NULL;
	tables->len = at + len;
	return memset(tables->buf + at, 0, len);
}

static uint64_t tables_gpa(const struct tables *tables, const void *at)
{
	return tables->gpa + (size_t)((const uint8_t *)at - tables->buf);
}

static uint8_t checksum(const void *bytes, size_t len)
{
	uint8_t sum = 0;
	for (const uint8_t *byte = bytes; len--; byte++)
		sum += *byte;
	return -sum;
}

/* Fill in @header, last of all: it holds the checksum of all @len bytes. */
static void table_seal(struct acpi_header *header, const char *signature, uint8_t revision, size_t len)
{
	memcpy(header->signature, signature, sizeof(header->signature));
	header->length = htole32(len);
	header->revision = revision;
	memcpy(header->oem, OEM, sizeof(header->oem));
	memcpy(header->oem_table, OEM_TABLE, sizeof(header->oem_table));
	header->oem_revision = htole32(1);
	memcpy(header->creator, "CVMM", sizeof(header->creator));
	header->creator_revision = htole32(1);
	header->checksum = 0;
	header->checksum = checksum(header, len);
}

/* ---- DSDT: one function a kind of device */

static void dsdt_com(struct aml *aml, const struct acpi_device *dev)
{
	char name[5];
	snprintf(name, sizeof(name), "COM%u", (dev->index + 1) % 10);
	aml_mark device = aml_device(aml, name);
	aml_name(aml, "_HID");
	aml_eisa_id(aml, "PNP0501");
	aml_name(aml, "_UID");
	aml_integer(aml, dev->index + 1);
	aml_mark crs = aml_crs(aml);
	aml_io(aml, dev->base, dev->size);
	aml_interrupt(aml, AML_LEVEL, dev->gsi);
	aml_crs_close(aml, crs);
	aml_close(aml, device);
}

/* _EVT: read the event register, which clears it, and pass on what it held. */
static void dsdt_events_method(struct aml *aml)
{
	aml_mark method = aml_method(aml, "_EVT", 1);
	aml_store_in_local0(aml, "EVTB");
	aml_mark pressed = aml_if(aml);
	aml_local0_and(aml, ACPI_EVENT_POWER_BUTTON);
	aml_notify(aml, "\\_SB.PWRB", 0x80);
	aml_close(aml, pressed);
	aml_close(aml, method);
}

/* The generic event device (5.6.9) and the power button whose events it carries. */
static void dsdt_events(struct aml *aml, const struct acpi_device *dev)
{
	aml_mark ged = aml_device(aml, "GED");
	aml_name(aml, "_HID");
	aml_string(aml, "ACPI0013");
	aml_name(aml, "_UID");
	aml_integer(aml, 0);
	aml_mark crs = aml_crs(aml);
	aml_interrupt(aml, AML_EDGE, dev->gsi);
	aml_crs_close(aml, crs);
	aml_io_byte(aml, "EVTR", "EVTB", dev->base + ACPI_REGS_EVENT);
	dsdt_events_method(aml);
	aml_close(aml, ged);

	aml_mark button = aml_device(aml, "PWRB");
	aml_name(aml, "_HID");
	aml_eisa_id(aml, "PNP0C0C");
	aml_name(aml, "_UID");
	aml_integer(aml, 0);
	aml_close(aml, button);
}

static void dsdt_keyboard(struct aml *aml, const struct acpi_device *dev)
{
	aml_mark device = aml_device(aml, "KBD");
	aml_name(aml, "_HID");
	aml_eisa_id(aml, "PNP0303");
	aml_mark crs = aml_crs(aml);
	aml_io(aml, dev->base, 1);
	aml_io(aml, dev->base + 4, 1);
	aml_interrupt(aml, AML_EDGE, dev->gsi);
	aml_crs_close(aml, crs);
	aml_close(aml, device);
}

static void dsdt_virtio_mmio(struct aml *aml, const struct acpi_device *dev)
{
	char name[5];
	snprintf(name, sizeof(name), "VR%02X", dev->index & 0xff);
	aml_mark device = aml_device(aml, name);
	aml_name(aml, "_HID");
	aml_string(aml, "LNRO0005");
	aml_name(aml, "_UID");
	aml_integer(aml, dev->index);
	aml_name(aml, "_CCA"); /* rings are in cached memory */
	aml_integer(aml, 1);
	aml_mark crs = aml_crs(aml);
	aml_memory32(aml, dev->base, dev->size);
	aml_interrupt(aml, AML_EDGE, dev->gsi); /* as virtio.c drives it, by a pulse for each cause */
	aml_crs_close(aml, crs);
	aml_close(aml, device);
}

static void (*const dsdt_kinds[ACPI_KINDS])(struct aml *, const struct acpi_device *) = {
	[ACPI_COM] = dsdt_com,
	[ACPI_EVENTS] = dsdt_events,
	[ACPI_KEYBOARD] = dsdt_keyboard,
	[ACPI_VIRTIO_MMIO] = dsdt_virtio_mmio,
};

/* What the guest writes as SLP_TYP to power off (7.4.2). */
static void dsdt_s5(struct aml *aml)
{
	aml_name(aml, "\\_S5");
	aml_mark package = aml_package(aml, 1);
	aml_integer(aml, ACPI_S5_SLP_TYP);
	aml_close(aml, package);
}

static const struct acpi_header *build_dsdt(struct tables *tables, const struct acpi_machine *machine)
{
	struct acpi_header *dsdt = tables_take(tables, sizeof(*dsdt));
	if (!dsdt)
		return NULL;
	struct aml aml = { .buf = tables->buf + tables->len, .size = tables->size - tables->len };
	aml_mark scope = aml_scope(&aml, "\\_SB");
	for (unsigned i = 0; i < machine->device_count; i++)
		if (dsdt_kinds[machine->devices[i].kind])
			dsdt_kinds[machine->devices[i].kind](&aml, &machine->devices[i]);
	aml_close(&aml, scope);
	dsdt_s5(&aml);
	if (aml.overflow)
		return NULL;
	tables->len += aml.len;
	table_seal(dsdt, "DSDT", 2, sizeof(*dsdt) + aml.len); /* revision 2: integers of 64 bits */
	return dsdt;
}

/* ---- the tables of fixed form */

static const struct acpi_device *find_device(const struct acpi_machine *machine, enum acpi_kind kind)
{
	for (unsigned i = 0; i < machine->device_count; i++)
		if (machine->devices[i].kind == kind)
			return &machine->devices[i];
	return NULL;
}

static struct acpi_gas io_byte(uint32_t port)
{
	return (struct acpi_gas){ .space = GAS_IO, .bits = 8, .access = GAS_BYTE, .address = htole64(port) };
}

static const struct acpi_header *build_fadt(struct tables *tables, const struct acpi_machine *machine,
                                            const struct acpi_header *dsdt)
{
	struct acpi_fadt *fadt = tables_take(tables, sizeof(*fadt));
	if (!fadt)
		return NULL;
	uint16_t boot = BOOT_NO_VGA | BOOT_NO_ASPM | BOOT_NO_CMOS_RTC;
	if (find_device(machine, ACPI_KEYBOARD))
		boot |= BOOT_8042;
	uint32_t flags = FADT_HW_REDUCED | FADT_NO_FIXED_POWER_BUTTON | FADT_NO_FIXED_SLEEP_BUTTON;
	const struct acpi_device *regs = find_device(machine, ACPI_EVENTS);
	if (regs) {
		flags |= FADT_RESET_REG;
		fadt->reset_reg = io_byte(regs->base + ACPI_REGS_RESET);
		fadt->reset_value = ACPI_RESET_VALUE;
		fadt->sleep_control = io_byte(regs->base + ACPI_REGS_SLEEP_CONTROL);
		fadt->sleep_status = io_byte(regs->base + ACPI_REGS_SLEEP_STATUS);
	}
	fadt->iapc_boot_arch = htole16(boot);
	fadt->flags = htole32(flags);
	fadt->minor_version = 5;
	fadt->x_dsdt = htole64(tables_gpa(tables, dsdt));
	memcpy(fadt->hypervisor, "CVMM", 4);
	table_seal(&fadt->header, "FACP", 6, sizeof(*fadt));
	return &fadt->header;
}

static const struct acpi_header *build_madt(struct tables *tables, const struct acpi_machine *machine)
{
	size_t len = sizeof(struct madt) + machine->cpus * sizeof(struct madt_lapic) + sizeof(struct madt_ioapic) +
	             sizeof(struct madt_lapic_nmi);
	struct madt *madt = tables_take(tables, len);
	if (!madt)
		return NULL;
	madt->lapic = htole32(machine->lapic);
	struct madt_lapic *lapic = (struct madt_lapic *)(madt + 1);
	for (unsigned i = 0; i < machine->cpus; i++)
		*lapic++ = (struct madt_lapic){ MADT_LAPIC, sizeof(*lapic), i, i, htole32(MADT_ENABLED) };
	struct madt_ioapic *ioapic = (struct madt_ioapic *)lapic;
	*ioapic++ = (struct madt_ioapic){ MADT_IOAPIC, sizeof(*ioapic), .address = htole32(machine->ioapic) };
	struct madt_lapic_nmi *nmi = (struct madt_lapic_nmi *)ioapic;
	*nmi = (struct madt_lapic_nmi){ MADT_LAPIC_NMI, sizeof(*nmi), .uid = MADT_ALL_CPUS, .lint = 1 };
	table_seal(&madt->header, "APIC", 5, len);
	return &madt->header;
}

/*
 * Bus 0 alone: were more promised, Linux would look for devices on each. There is an MCFG even without PCI devices:
 * a Linux that finds no way into configuration space complains, at a level that `quiet` does not silence.
 */
static const struct acpi_header *build_mcfg(struct tables *tables, const struct acpi_machine *machine)
{
	struct mcfg *mcfg = tables_take(tables, sizeof(*mcfg));
	if (!mcfg)
		return NULL;
	mcfg->ecam = htole64(machine->ecam);
	table_seal(&mcfg->header, "MCFG", 1, sizeof(*mcfg));
	return &mcfg->header;
}

static const struct acpi_header *build_xsdt(struct tables *tables, const struct acpi_header *const *listed,
                                            size_t count)
{
	size_t len = sizeof(struct acpi_header) + count * sizeof(__le64);
	struct acpi_header *xsdt = tables_take(tables, len);
	if (!xsdt)
		return NULL;
	for (size_t i = 0; i < count; i++)
		store_le64((uint8_t *)(xsdt + 1) + i * sizeof(__le64), tables_gpa(tables, listed[i]));
	table_seal(xsdt, "XSDT", 1, len);
	return xsdt;
}

static void fill_rsdp(struct acpi_rsdp *rsdp, uint64_t xsdt_gpa)
{
	memcpy(rsdp->signature, "RSD PTR ", sizeof(rsdp->signature));
	memcpy(rsdp->oem, OEM, sizeof(rsdp->oem));
	rsdp->revision = 2;
	rsdp->length = htole32(sizeof(*rsdp));
	rsdp->xsdt = htole64(xsdt_gpa);
	rsdp->checksum = checksum(rsdp, offsetof(struct acpi_rsdp, length));
	rsdp->extended_checksum = checksum(rsdp, sizeof(*rsdp));
}

int acpi_build(const struct acpi_machine *machine, uint64_t gpa, uint8_t *buf, size_t size)
{
	struct tables tables = { .buf = buf, .size = size, .gpa = gpa };
	struct acpi_rsdp *rsdp = tables_take(&tables, sizeof(*rsdp));
	const struct acpi_header *dsdt = rsdp ? build_dsdt(&tables, machine) : NULL;
	if (!dsdt)
		return -ENOSPC;
	const struct acpi_header *listed[] = { build_fadt(&tables, machine, dsdt), build_madt(&tables, machine),
		                               build_mcfg(&tables, machine) };
	if (!listed[0] || !listed[1] || !listed[2])
		return -ENOSPC;
	const struct acpi_header *xsdt = build_xsdt(&tables, listed, ARRAY_SIZE(listed));
	if (!xsdt)
		return -ENOSPC;
	fill_rsdp(rsdp, tables_gpa(&tables, xsdt));
	return (int)tables.len;
}
