// SPDX-License-Identifier: Apache-2.0
/* x86_64: a fault with no table to handle it. */
#include "tiny.h"

void tiny_main(void)
{
	static const struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) none = { 0, 0 };
	put_string("faulting\n");
	__asm__ volatile("lidt %0; ud2" : : "m"(none));
}
