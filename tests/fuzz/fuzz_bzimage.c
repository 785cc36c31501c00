// SPDX-License-Identifier: Apache-2.0
#include "tests/fuzz/loader.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	return fuzz_parser(KERNEL_BZIMAGE, bzimage_match(data, len), bzimage_parse, data, len);
}
