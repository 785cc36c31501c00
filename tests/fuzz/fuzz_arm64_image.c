// SPDX-License-Identifier: Apache-2.0
#include "tests/fuzz/loader.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	return fuzz_parser(KERNEL_ARM64_IMAGE, arm64_image_match(data, len), arm64_image_parse, data, len);
}
