// SPDX-License-Identifier: Apache-2.0
/* Disks in memory, and what all disks have in common. */
#include "tests/unit/block/shadow.h"

static void never(void)
{
	fail_msg("a disk in memory is done at once");
}

static void test_random_requests(void **state)
{
	for (unsigned seed = 1; seed <= 20; seed++) {
		struct block *block = block_memory_new(seed % 2 ? 512 * 777 : 4096 * 99, seed % 2 ? 512 : 4096, NULL);
		struct shadow shadow;
		assert_non_null(block);
		shadow_init(&shadow, block, seed, never);
		for (unsigned i = 0; i < 300; i++)
			shadow_step(&shadow);
		shadow_check(&shadow);
		shadow_fini(&shadow);
		block_free(block);
	}
}

static int run(struct block *block, enum block_op op, uint64_t off, uint64_t len)
{
	static uint8_t buf[8192];
	struct iovec iov = { buf, len };
	struct shadow_request request = {
		.io = { .done = shadow_done, .op = op, .off = off, .len = len, .iov = &iov, .iov_count = 1 },
	};
	block_submit(block, &request.io);
	assert_true(request.done);
	return request.result;
}

static void test_ranges_are_checked(void **state)
{
	struct block *block = block_memory_new(MIB, 4096, NULL);
	static const enum block_op ops[] = { BLOCK_READ, BLOCK_WRITE, BLOCK_DISCARD, BLOCK_WRITE_ZEROES };
	for (unsigned i = 0; i < ARRAY_SIZE(ops); i++) {
		assert_int_equal(run(block, ops[i], MIB - 4096, 4096), 0);
		assert_int_equal(run(block, ops[i], MIB, 0), 0);
		assert_int_equal(run(block, ops[i], MIB - 4096, 8192), -EINVAL);
		assert_int_equal(run(block, ops[i], MIB, 4096), -EINVAL);
		assert_int_equal(run(block, ops[i], UINT64_MAX - 4095, 4096), -EINVAL);
		assert_int_equal(run(block, ops[i], UINT64_MAX - 4095, 8192), -EINVAL);
		assert_int_equal(run(block, ops[i], 512, 4096), -EINVAL);
		assert_int_equal(run(block, ops[i], 0, 512), -EINVAL);
		assert_int_equal(run(block, ops[i], 0, 4095), -EINVAL);
	}
	block->read_only = true;
	assert_int_equal(run(block, BLOCK_READ, 0, 4096), 0);
	assert_int_equal(run(block, BLOCK_FLUSH, 0, 0), 0);
	for (unsigned i = 1; i < ARRAY_SIZE(ops); i++)
		assert_int_equal(run(block, ops[i], 0, 4096), -EROFS);
	block_free(block);
}

static void test_what_cannot_be_made(void **state)
{
	struct cvmm_error err = { 0 };
	assert_null(block_memory_new(0, 512, &err));
	assert_string_equal(err.msg, "disk in memory: is empty");
	assert_null(block_memory_new(4096 + 512, 4096, &err));
	assert_int_equal(err.code, -EINVAL);
	assert_null(block_memory_new(UINT64_MAX & ~511ull, 512, &err));
	err.code = 0;
	assert_null(block_memory_new(1ull << 62, 512, &err));
	assert_true(err.code == -ENOMEM || err.code == -EINVAL); /* valgrind's mmap says the latter */
	block_free(NULL);
	struct block *block = block_memory_new(MIB, 0, &err);
	assert_int_equal(block_resize(block, 2 * MIB, &err), -EOPNOTSUPP);
	assert_int_equal(block_size(block), MIB);
	block_free(block);
}

static void test_names_are_cut_in_front(void **state)
{
	struct block block;
	block_set_name(&block, "disk.img");
	assert_string_equal(block.name, "disk.img");
	char name[200];
	for (size_t len = sizeof(block.name) - 2; len < sizeof(name); len++) {
		memset(name, 'x', len);
		memcpy(name + len - 4, ".img", 5);
		block_set_name(&block, name);
		assert_int_equal(strlen(block.name), MIN(len, sizeof(block.name) - 1));
		assert_string_equal(block.name + strlen(block.name) - 5, "x.img");
		assert_int_equal(strncmp(block.name, "...", 3) == 0, len >= sizeof(block.name));
	}
}

static void test_segments_are_consumed(void **state)
{
	uint8_t buf[10];
	struct iovec iov[] = { { buf, 3 }, { buf + 3, 4 }, { buf + 7, 3 } };
	struct block_request request = { .iov = iov, .iov_count = 3 };
	block_consume(&request, 0);
	assert_ptr_equal(request.iov, iov);
	block_consume(&request, 2);
	assert_ptr_equal(request.iov->iov_base, buf + 2);
	assert_int_equal(request.iov->iov_len, 1);
	block_consume(&request, 5);
	assert_ptr_equal(request.iov, iov + 2);
	assert_int_equal(request.iov_count, 1);
	block_consume(&request, 3);
	assert_int_equal(request.iov_count, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random_requests),       cmocka_unit_test(test_ranges_are_checked),
		cmocka_unit_test(test_what_cannot_be_made),   cmocka_unit_test(test_names_are_cut_in_front),
		cmocka_unit_test(test_segments_are_consumed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
