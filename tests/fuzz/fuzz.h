/* SPDX-License-Identifier: Apache-2.0 */
/* What every fuzzer includes first: libFuzzer's entry, and a check that stays when assertions are off. */
#ifndef CVMM_TESTS_FUZZ_H
#define CVMM_TESTS_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* Called with each input; @data is a heap block of exactly @len bytes. Returns 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* A promise that the code under test makes; libFuzzer reports the abort with the input that broke it. */
#define FUZZ_CHECK(cond) fuzz_check(cond, #cond, __FILE__, __LINE__)

static inline void fuzz_check(bool ok, const char *cond, const char *file, int line)
{
	if (ok)
		return;
	fprintf(stderr, "%s:%d: broken promise: %s\n", file, line, cond);
	abort();
}

#endif
