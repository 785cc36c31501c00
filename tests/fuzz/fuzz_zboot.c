// SPDX-License-Identifier: Apache-2.0
#include "tests/fuzz/loader.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct zboot zboot = { 0 };
	struct cvmm_error err = { 0 };
	if (!zboot_match(data, len))
		return 0;
	int ret = zboot_parse(data, len, &zboot, &err);
	if (ret < 0) {
		check_refusal(ret, &err);
		return 0;
	}
	FUZZ_CHECK(zboot.packing && zboot.label && zboot.payload_len > 0);
	FUZZ_CHECK(zboot.payload > data && range_inside((uint64_t)(zboot.payload - data), zboot.payload_len, len));
	return 0;
}
