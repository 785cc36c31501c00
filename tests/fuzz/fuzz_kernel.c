// SPDX-License-Identifier: Apache-2.0
/* The loader as the rest of cvmm sees it, for both architectures. */
#include "tests/fuzz/loader.h"

static void parse_for(enum kernel_arch want, const uint8_t *data, size_t len)
{
	enum { UNPACKED_MAX = 4 << 20 };
	struct kernel_image image;
	struct cvmm_error err = { 0 };
	char buf[64];
	int ret = kernel_image_parse_within(data, len, want, UNPACKED_MAX, &image, &err);
	if (ret < 0) {
		check_refusal(ret, &err);
		FUZZ_CHECK(!image.owned && !image.segment_count);
		return;
	}
	FUZZ_CHECK(image.arch == want && !image.owned == !image.packing);
	check_image(&image, image.owned ? image.owned : data, image.owned ? image.owned_len : len);
	FUZZ_CHECK(strlen(kernel_image_describe(&image, buf, sizeof(buf))) < sizeof(buf) - 1);
	kernel_image_fini(&image);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	parse_for(KERNEL_X86_64, data, len);
	parse_for(KERNEL_AARCH64, data, len);
	return 0;
}
