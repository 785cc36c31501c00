// SPDX-License-Identifier: Apache-2.0
#include "machine-x86_64.h"
#include "arch/x86_64/layout.h"
#include "devices/platform.h"
#include "tiny.h"

enum { TRAMPOLINE_GPA = 0x10000, LSR_DATA = 1, LSR_THRE = 0x20 };
enum { LAPIC_ICR_LOW = 0x300, LAPIC_ICR_HIGH = 0x310, ICR_INIT = 0x4500, ICR_SIPI = 0x4600, ICR_BUSY = 0x1000 };

extern uint64_t rsdp_gpa;
extern volatile unsigned cpu_starting;
extern const char trampoline_start[], trampoline_end[];

void put_char(char c)
{
	while (!(in8(COM1_PORT + 5) & LSR_THRE))
		;
	out8(COM1_PORT, (uint8_t)c);
}

char get_char(void)
{
	while (!(in8(COM1_PORT + 5) & LSR_DATA))
		;
	return (char)in8(COM1_PORT);
}

void wait_forever(void)
{
	for (;;)
		__asm__ volatile("cli; hlt");
}

void power_off(void)
{
	out8(ACPI_REGS_PORT + ACPI_REGS_SLEEP_CONTROL, ACPI_S5_SLP_TYP << 2 | 0x20);
	wait_forever();
}

void reset(void)
{
	out8(ACPI_REGS_PORT + ACPI_REGS_RESET, ACPI_RESET_VALUE);
	wait_forever();
}

static void lapic_send(uint32_t apic_id, uint32_t command)
{
	volatile uint32_t *high = (volatile uint32_t *)(LAPIC_BASE + LAPIC_ICR_HIGH);
	volatile uint32_t *low = (volatile uint32_t *)(LAPIC_BASE + LAPIC_ICR_LOW);
	*high = apic_id << 24;
	*low = command;
	while (*low & ICR_BUSY)
		;
}

static void start_cpu(uint32_t apic_id)
{
	cpu_starting = 1; /* they share a stack: one at a time */
	lapic_send(apic_id, ICR_INIT);
	lapic_send(apic_id, ICR_SIPI | TRAMPOLINE_GPA >> 12);
	lapic_send(apic_id, ICR_SIPI | TRAMPOLINE_GPA >> 12);
	while (cpu_starting)
		__asm__ volatile("pause");
}

static uint32_t at32(const uint8_t *at)
{
	return *(const uint32_t *)at;
}

static const uint8_t *pointer_at(const uint8_t *at)
{
	return *(const uint8_t *const *)at;
}

static const uint8_t *find_madt(void)
{
	const uint8_t *xsdt = pointer_at((const uint8_t *)rsdp_gpa + 24);
	for (uint32_t at = 36; at < at32(xsdt + 4); at += 8) {
		const uint8_t *table = pointer_at(xsdt + at);
		if (at32(table) == 0x43495041) /* "APIC" */
			return table;
	}
	return NULL;
}

/* The CPUs are those of the MADT: local APICs (type 0), enabled, but for the first, which is this one. */
unsigned start_other_cpus(void)
{
	for (const char *from = trampoline_start; from < trampoline_end; from++)
		((volatile char *)TRAMPOLINE_GPA)[from - trampoline_start] = *from;
	const uint8_t *madt = find_madt();
	unsigned cpus = 0;
	for (uint32_t at = 44; madt && at < at32(madt + 4); at += madt[at + 1]) {
		if (madt[at] != 0 || !(madt[at + 4] & 1))
			continue;
		if (cpus++)
			start_cpu(madt[at + 3]);
	}
	return cpus - 1;
}
