/* SPDX-License-Identifier: Apache-2.0 */
/* What every unit test includes first: cmocka with the headers it wants before it. */
#ifndef CVMM_TESTS_UNIT_H
#define CVMM_TESTS_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Has a program of another architecture its system calls translated? Some (pwritev2) are then not what the kernel has. */
static inline bool under_emulation(void)
{
	return getenv("MESON_EXE_WRAPPER");
}

/* Valgrind keeps the limit of descriptors itself, and does not follow what io_uring reads and writes. */
static inline bool under_valgrind(void)
{
	const char *preload = getenv("LD_PRELOAD");
	return preload && strstr(preload, "vgpreload");
}

#endif
