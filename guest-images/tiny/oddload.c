// SPDX-License-Identifier: Apache-2.0
/* aarch64: loads a pair from where nothing is. The CPU gives KVM no syndrome for that, so nobody can say what was meant:
 * the answer is a synchronous external abort. */
#include "tiny.h"

enum { EC_DATA_ABORT = 0x25, DFSC_EXTERNAL = 0x10 };
#define HOLE 0x20000000ul

extern char vectors[];

__attribute__((used)) static void aborted(uint64_t esr, uint64_t far)
{
	int as_expected = esr >> 26 == EC_DATA_ABORT && (esr & 0x3f) == DFSC_EXTERNAL && far == HOLE;
	put_string(as_expected ? "aborted\n" : "another exception\n");
	power_off();
}

__asm__(".balign 2048\n"
        "vectors:\n"
        ".skip 0x200\n" /* synchronous, from this level with its own stack */
        "mrs x0, esr_el1\n"
        "mrs x1, far_el1\n"
        "b aborted\n"
        ".balign 2048\n");

void tiny_main(void)
{
	uint64_t a, b;
	__asm__ volatile("msr vbar_el1, %0; isb" : : "r"(vectors));
	__asm__ volatile("ldp %0, %1, [%2]" : "=&r"(a), "=&r"(b) : "r"(HOLE));
	put_string("loaded\n");
}
