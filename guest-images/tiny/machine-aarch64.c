// SPDX-License-Identifier: Apache-2.0
#include "arch/aarch64/layout.h"
#include "tiny.h"

enum { UARTDR = 0, UARTFR = 0x18, FR_RXFE = 0x10, FR_TXFF = 0x20, CPUS_MAX = 512 };
enum { PSCI_CPU_ON = 0xc4000003, PSCI_SYSTEM_OFF = 0x84000008, PSCI_SYSTEM_RESET = 0x84000009 };

volatile unsigned other_cpus;
static volatile uint32_t came_up[CPUS_MAX];
extern char cpu_entry[];

static volatile uint32_t *uart(unsigned reg)
{
	return (volatile uint32_t *)(UART_BASE + reg);
}

void put_char(char c)
{
	while (*uart(UARTFR) & FR_TXFF)
		;
	*uart(UARTDR) = (uint8_t)c;
}

char get_char(void)
{
	while (*uart(UARTFR) & FR_RXFE)
		;
	return (char)*uart(UARTDR);
}

static long psci(uint32_t function, uint64_t a, uint64_t b, uint64_t c)
{
	register uint64_t x0 __asm__("x0") = function;
	register uint64_t x1 __asm__("x1") = a;
	register uint64_t x2 __asm__("x2") = b;
	register uint64_t x3 __asm__("x3") = c;
	__asm__ volatile("hvc #0" : "+r"(x0), "+r"(x1), "+r"(x2), "+r"(x3) : : "memory");
	return (long)x0;
}

void wait_forever(void)
{
	for (;;)
		__asm__ volatile("wfi");
}

void power_off(void)
{
	psci(PSCI_SYSTEM_OFF, 0, 0, 0);
	wait_forever();
}

void reset(void)
{
	psci(PSCI_SYSTEM_RESET, 0, 0, 0);
	wait_forever();
}

/* Until PSCI knows no such CPU. KVM gives each affinity level 0 sixteen CPUs. */
unsigned start_other_cpus(void)
{
	unsigned cpus = 1;
	while (cpus < CPUS_MAX) {
		uint64_t mpidr = (cpus & 15) | (uint64_t)(cpus >> 4) << 8;
		if (psci(PSCI_CPU_ON, mpidr, (uint64_t)cpu_entry, (uint64_t)&came_up[cpus]))
			break;
		while (!came_up[cpus])
			;
		other_cpus++;
		cpus++;
	}
	return cpus - 1;
}
