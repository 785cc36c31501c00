// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/unit.h"

#include <errno.h>
#include <string.h>

#include "src/base/memory.h"
#include "src/base/util.h"

static struct guest_memory mem;

static int two_regions(void **state)
{
	mem = (struct guest_memory){ 0 };
	return guest_memory_add(&mem, 0, 2 * MIB, NULL) || guest_memory_add(&mem, 4 * GIB, MIB, NULL);
}

static int no_regions(void **state)
{
	guest_memory_fini(&mem);
	guest_memory_fini(&mem); /* twice is welcome */
	return 0;
}

static void test_at_stays_inside(void **state)
{
	assert_ptr_equal(guest_at(&mem, 0, 1), mem.regions[0].hva);
	assert_non_null(guest_at(&mem, 2 * MIB - 1, 1));
	assert_null(guest_at(&mem, 2 * MIB - 1, 2));
	assert_null(guest_at(&mem, 2 * MIB, 1));
	assert_null(guest_at(&mem, 4 * GIB - 1, 2));
	assert_ptr_equal(guest_at(&mem, 4 * GIB + 5, MIB - 5), mem.regions[1].hva + 5);
	assert_null(guest_at(&mem, 4 * GIB + 5, MIB));
	assert_null(guest_at(&mem, 0, 0));
	assert_null(guest_at(&mem, 1, UINT64_MAX));
	assert_null(guest_at(&mem, UINT64_MAX, 1));
	assert_null(guest_at(&mem, UINT64_MAX, UINT64_MAX));
}

static void test_copies_whole_or_nothing(void **state)
{
	char in[4] = "abc", out[4] = "xyz";
	assert_int_equal(guest_write(&mem, 2 * MIB - 4, in, 4), 0);
	assert_int_equal(guest_read(&mem, 2 * MIB - 4, out, 4), 0);
	assert_memory_equal(in, out, 4);
	assert_int_equal(guest_write(&mem, 2 * MIB - 2, "12345678", 4), -EFAULT);
	assert_int_equal(guest_read(&mem, 2 * MIB - 4, out, 4), 0);
	assert_memory_equal(in, out, 4);
	assert_int_equal(guest_read(&mem, 3 * MIB, out, 0), 0);
	assert_int_equal(guest_read(&mem, 3 * MIB, out, 1), -EFAULT);
}

static void test_room_and_size(void **state)
{
	assert_int_equal(guest_room(&mem, 2 * MIB - 3), 3);
	assert_int_equal(guest_room(&mem, 2 * MIB), 0);
	assert_int_equal(guest_memory_size(&mem), 3 * MIB);
}

static void test_regions_are_checked(void **state)
{
	struct cvmm_error err = { 0 };
	assert_int_equal(guest_memory_add(&mem, 4 * GIB, MIB, &err), -EINVAL);
	assert_true(strstr(err.msg, "not above"));
	assert_int_equal(guest_memory_add(&mem, 8 * GIB + 1, MIB, NULL), -EINVAL);
	assert_int_equal(guest_memory_add(&mem, 8 * GIB, 0, NULL), -EINVAL);
	assert_int_equal(guest_memory_add(&mem, UINT64_MAX - 4095, 8192, NULL), -EINVAL);
	assert_int_equal(guest_memory_add(&mem, 8 * GIB, 1ull << 62, &err), -ENOMEM);
	for (uint64_t gpa = 8 * GIB; mem.count < GUEST_REGIONS_MAX; gpa += GIB)
		assert_int_equal(guest_memory_add(&mem, gpa, 4096, NULL), 0);
	assert_int_equal(guest_memory_add(&mem, 1ull << 40, 4096, NULL), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_at_stays_inside, two_regions, no_regions),
		cmocka_unit_test_setup_teardown(test_copies_whole_or_nothing, two_regions, no_regions),
		cmocka_unit_test_setup_teardown(test_room_and_size, two_regions, no_regions),
		cmocka_unit_test_setup_teardown(test_regions_are_checked, two_regions, no_regions),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
