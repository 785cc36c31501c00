// SPDX-License-Identifier: Apache-2.0
/* Reads and writes where nothing is, in every width: reads float to all ones, writes are lost. */
#include "tiny.h"

#if defined(__x86_64__)
#include "machine-x86_64.h"
#define HOLE 0xd0000000ul

static int ports_float(void)
{
	return in8(0x3e8) == 0xff && in16(0x2f8) == 0xffff && in32(0xd00) == 0xffffffff &&
	       in16(0x3f8) == 0xffff && /* a byte-wide device */
	       in32(0xfffc) == 0xffffffff;
}
#else
#define HOLE 0x20000000ul

static int ports_float(void)
{
	return 1;
}
#endif

static int hole_floats(unsigned long at)
{
	*(volatile uint8_t *)at = 1;
	*(volatile uint16_t *)at = 2;
	*(volatile uint32_t *)at = 3;
	*(volatile uint64_t *)at = 4;
	return *(volatile uint8_t *)at == 0xff && *(volatile uint16_t *)at == 0xffff &&
	       *(volatile uint32_t *)at == 0xffffffff && *(volatile uint64_t *)at == ~0ul;
}

void tiny_main(void)
{
	put_string(ports_float() && hole_floats(HOLE) && hole_floats(HOLE + 0xff8) ? "floats\n" : "does not float\n");
}
