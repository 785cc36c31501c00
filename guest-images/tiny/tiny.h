/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the bare-metal test guests stand on. A guest is one tiny_main() that runs on the boot CPU with a stack, flat
 * memory and no interrupts; start-<isa>.S brings it there, machine-<isa>.h knows the serial port and the way out.
 */
#ifndef TINY_H
#define TINY_H

#include <stddef.h>
#include <stdint.h>

void tiny_main(void); /* the guest; returning powers the machine off */

/* given by machine-<isa>.c */
void put_char(char c); /* waits until the transmitter is empty */
char get_char(void);   /* waits for input */
void power_off(void) __attribute__((noreturn));
void reset(void) __attribute__((noreturn));
unsigned start_other_cpus(void);                   /* each counts itself in other_cpus; returns how many were started */
void wait_forever(void) __attribute__((noreturn)); /* halted, interrupts masked */
extern volatile unsigned other_cpus;

static inline void put_string(const char *s)
{
	while (*s)
		put_char(*s++);
}

static inline void put_number(uint64_t n)
{
	char digits[20];
	int at = 0;
	do
		digits[at++] = (char)('0' + n % 10);
	while (n /= 10);
	while (at)
		put_char(digits[--at]);
}

#endif
