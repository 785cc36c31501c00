// SPDX-License-Identifier: Apache-2.0
#include "tests/fuzz/loader.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	enum { UNPACKED_MAX = 1 << 20 };
	struct cvmm_error err = { 0 };
	uint8_t *out = NULL;
	size_t out_len = 0;
	const struct packing *packing = packing_find(data, len);
	if (!packing)
		return 0;
	int ret = unpack(packing, data, len, UNPACKED_MAX, &out, &out_len, &err);
	if (ret < 0) {
		check_refusal(ret, &err);
		FUZZ_CHECK(!out && !out_len);
		return 0;
	}
	FUZZ_CHECK(out && out_len <= UNPACKED_MAX);
	free(out);
	return 0;
}
