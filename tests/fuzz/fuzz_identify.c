// SPDX-License-Identifier: Apache-2.0
#include "tests/fuzz/loader.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	char buf[96];
	const char *what = identify(data, len, buf, sizeof(buf));
	FUZZ_CHECK(what && what[0]);
	FUZZ_CHECK(strlen(what) < sizeof(buf) - 1); /* never cut short */
	return 0;
}
