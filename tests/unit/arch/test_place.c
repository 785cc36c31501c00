// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/unit.h"

#include <errno.h>
#include <string.h>

#include "arch/aarch64/place.h"

#define RAM GIB
#define DEBIAN_IMAGE 0x2240000ull

static struct place_request debian(uint64_t ram_size, uint64_t initrd_len)
{
	return (struct place_request){
		.ram_gpa = RAM, .ram_size = ram_size, .kernel_len = DEBIAN_IMAGE, .initrd_len = initrd_len
	};
}

static void test_order(void **state)
{
	struct place_request want = debian(512 * MIB, 5000);
	struct placement at;
	assert_int_equal(place(&want, &at, NULL), 0);
	assert_int_equal(at.kernel, RAM);
	assert_int_equal(at.fdt, RAM + 0x2400000); /* the next 2 MiB block, alone in it */
	assert_int_equal(at.initrd, at.fdt + FDT_ROOM);
}

static void test_text_offset(void **state)
{
	struct place_request want = debian(512 * MIB, 0);
	struct placement at;
	want.text_offset = 0x80000;
	assert_int_equal(place(&want, &at, NULL), 0);
	assert_int_equal(at.kernel, RAM + 0x80000);
	assert_int_equal(at.initrd, 0);
	want.kernel_len = 2 * MIB - 0x80000; /* ends with its block */
	assert_int_equal(place(&want, &at, NULL), 0);
	assert_int_equal(at.fdt, RAM + 2 * MIB);
	want.kernel_len++;
	assert_int_equal(place(&want, &at, NULL), 0);
	assert_int_equal(at.fdt, RAM + 4 * MIB);
}

/* What fits exactly fits; one page less does not, and the error says how much would. */
static void test_exact_fit(void **state)
{
	uint64_t initrd = 3 * MIB - 100;
	struct place_request want = debian(0x2400000 + FDT_ROOM + 3 * MIB, initrd);
	struct placement at;
	struct cvmm_error err;
	assert_int_equal(place(&want, &at, &err), 0);
	assert_true(at.initrd + initrd <= want.ram_gpa + want.ram_size);
	want.ram_size -= 4096;
	assert_int_equal(place(&want, &at, &err), -ENOMEM);
	assert_string_equal(err.msg, "needs 41 MiB of memory together with the kernel, the guest has 40 MiB");
}

static void test_kernel_alone_too_large(void **state)
{
	struct place_request want = debian(MIB, 0);
	struct placement at;
	struct cvmm_error err;
	assert_int_equal(place(&want, &at, &err), -ENOMEM);
	assert_non_null(strstr(err.msg, "needs 38 MiB of memory, the guest"));
}

/* The kernel reaches an initrd only in the 32 GiB from the kernel's 1 GiB block on. */
static void test_window(void **state)
{
	uint64_t before = 0x2400000 + FDT_ROOM;
	struct place_request want = debian(64 * GIB, 32 * GIB - before);
	struct placement at;
	assert_int_equal(place(&want, &at, NULL), 0);
	want.initrd_len++;
	assert_int_equal(place(&want, &at, NULL), -EINVAL);
}

static void test_hostile_sizes(void **state)
{
	static const struct {
		uint64_t text_offset, kernel_len, initrd_len;
	} cases[] = {
		{ UINT64_MAX, 4096, 0 },
		{ 0, UINT64_MAX, 0 },
		{ UINT64_MAX - 4095, 4096, 0 }, /* the sum wraps to 0 */
		{ UINT64_MAX / 2, UINT64_MAX / 2, 0 },
		{ 0, 32 * GIB + 1, 0 },
		{ 0, 4096, UINT64_MAX },
		{ 0, 4096, UINT64_MAX - 4 * MIB + 1 }, /* wraps */
		{ 0, 4096, UINT64_MAX - 4 * MIB - 4096 },
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct place_request want = debian(1024 * GIB, cases[i].initrd_len);
		struct placement at;
		want.text_offset = cases[i].text_offset;
		want.kernel_len = cases[i].kernel_len;
		assert_int_equal(place(&want, &at, NULL), -EINVAL);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order),     cmocka_unit_test(test_text_offset),
		cmocka_unit_test(test_exact_fit), cmocka_unit_test(test_kernel_alone_too_large),
		cmocka_unit_test(test_window),    cmocka_unit_test(test_hostile_sizes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
