// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/loader/loader.h"

static struct bytes bz;

static int make(void **state)
{
	bz = make_bzimage();
	return 0;
}

static int unmake(void **state)
{
	bytes_free(&bz);
	return 0;
}

static void test_fields(void **state)
{
	struct kernel_image image;
	accept(&bz, KERNEL_X86_64, &image);
	assert_int_equal(image.arch, KERNEL_X86_64);
	assert_int_equal(image.format, KERNEL_BZIMAGE);
	assert_null(image.packing);
	assert_int_equal(image.segment_count, 1);
	assert_int_equal(image.segments[0].gpa, 0);
	assert_ptr_equal(image.segments[0].data, bz.data + BZ_SETUP_LEN);
	assert_int_equal(image.segments[0].file_len, BZ_KERNEL_LEN);
	assert_int_equal(image.segments[0].mem_len, BZ_KERNEL_LEN);
	assert_int_equal(image.entry, 0x200);
	assert_ptr_equal(image.setup_header, bz.data + 0x1f1);
	assert_int_equal(image.setup_header_len, 0x26c - 0x1f1);
	assert_int_equal(image.pref_address, 0x1000000);
	assert_int_equal(image.init_size, 0x37dc000);
	assert_int_equal(image.kernel_alignment, 0x200000);
	assert_int_equal(image.cmdline_size, 2047);
	assert_true(image.relocatable);
	assert_false(image.has_pvh);
	kernel_image_fini(&image);
	kernel_image_fini(&image); /* twice is welcome */
}

static void test_truncated_anywhere(void **state)
{
	refuse_all_prefixes(&bz, KERNEL_X86_64);
	refuse_prefix(&bz, 1500, KERNEL_X86_64, "truncated bzImage: 1500 bytes are there, 1568 were expected");
	refuse_prefix(&bz, 0x208, KERNEL_X86_64, "truncated bzImage: 520 bytes are there, 1568 were expected");
}

static void test_syssize_rules(void **state)
{
	struct kernel_image image;
	bytes_append(&bz, "a signature", 11);
	accept(&bz, KERNEL_X86_64, &image);
	assert_int_equal(image.segments[0].file_len, BZ_KERNEL_LEN);
	kernel_image_fini(&image);

	store_le32(bz.data + 0x1f4, UINT32_MAX);
	refuse(&bz, KERNEL_X86_64, "1579 bytes are there, 68719477744 were expected");
	store_le32(bz.data + 0x1f4, 0x200 / 16); /* up to the entry, without a byte of it */
	refuse(&bz, KERNEL_X86_64, "corrupt bzImage: a protected-mode kernel of 512 bytes");
	store_le32(bz.data + 0x1f4, 0);
	refuse(&bz, KERNEL_X86_64, "a protected-mode kernel of 0 bytes");
}

/* boot.rst: "If the setup_sects field contains 0, the real value is 4". */
static void test_setup_sects(void **state)
{
	struct kernel_image image;
	bz.data[0x1f1] = 0;
	refuse(&bz, KERNEL_X86_64, "1568 bytes are there, 3104 were expected");
	struct bytes more = zeros(3 * 512);
	bytes_append(&bz, more.data, more.len);
	bytes_free(&more);
	accept(&bz, KERNEL_X86_64, &image);
	assert_ptr_equal(image.segments[0].data, bz.data + 5 * 512);
	kernel_image_fini(&image);
	bz.data[0x1f1] = 255;
	refuse(&bz, KERNEL_X86_64, "131616 were expected");
}

static void test_header_length(void **state)
{
	struct kernel_image image;
	bz.data[0x201] = 0xff; /* longer than any protocol's */
	accept(&bz, KERNEL_X86_64, &image);
	assert_int_equal(image.setup_header_len, 0x7f);
	kernel_image_fini(&image);
	bz.data[0x201] = 0x264 - 0x202; /* init_size, just */
	accept(&bz, KERNEL_X86_64, &image);
	assert_int_equal(image.setup_header_len, 0x264 - 0x1f1);
	kernel_image_fini(&image);
	bz.data[0x201] = 0x264 - 0x202 - 1;
	refuse(&bz, KERNEL_X86_64, "its header ends at 0x263");
	bz.data[0x201] = 0;
	refuse(&bz, KERNEL_X86_64, "its header ends at 0x202");
}

static void test_protocols_that_do_not_do(void **state)
{
	store_le16(bz.data + 0x206, 0x020c);
	struct kernel_image image;
	accept(&bz, KERNEL_X86_64, &image);
	kernel_image_fini(&image);
	store_le16(bz.data + 0x206, 0x020b);
	refuse(&bz, KERNEL_X86_64, "boot protocol 2.11, expected 2.12 or later");
	store_le16(bz.data + 0x206, 0);
	refuse(&bz, KERNEL_X86_64, "boot protocol 0.00");
	store_le16(bz.data + 0x206, 0x020f);

	store_le16(bz.data + 0x236, 0x7e);
	refuse(&bz, KERNEL_X86_64, "a 32-bit bzImage");
	bz.data[0x211] = 0;
	refuse(&bz, KERNEL_X86_64, "a zImage");
}

static void test_placement(void **state)
{
	static const uint32_t bad_aligns[] = { 0, 3, 0x200001, UINT32_MAX };
	for (size_t i = 0; i < ARRAY_SIZE(bad_aligns); i++) {
		store_le32(bz.data + 0x230, bad_aligns[i]);
		refuse(&bz, KERNEL_X86_64, "is no power of two");
	}
	store_le32(bz.data + 0x230, 0x80000000);
	struct kernel_image image;
	accept(&bz, KERNEL_X86_64, &image);
	kernel_image_fini(&image);

	store_le64(bz.data + 0x258, UINT64_MAX);
	refuse(&bz, KERNEL_X86_64, "pref_address 0xffffffffffffffff is no address");
	store_le64(bz.data + 0x258, 0);
	store_le32(bz.data + 0x260, 0);
	refuse(&bz, KERNEL_X86_64, "init_size is 0");
}

static void test_without_magic_it_is_none(void **state)
{
	bz.data[0x202] = 'h';
	refuse(&bz, KERNEL_X86_64, "a disk image or boot sector, expected an x86_64 kernel");
	bz.data[0x1fe] = 0;
	refuse(&bz, KERNEL_X86_64, "an unknown format, expected an x86_64 kernel");
	bz.data[0x202] = 'H';
	refuse(&bz, KERNEL_X86_64, "an unknown format, expected an x86_64 kernel");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_fields, make, unmake),
		cmocka_unit_test_setup_teardown(test_truncated_anywhere, make, unmake),
		cmocka_unit_test_setup_teardown(test_syssize_rules, make, unmake),
		cmocka_unit_test_setup_teardown(test_setup_sects, make, unmake),
		cmocka_unit_test_setup_teardown(test_header_length, make, unmake),
		cmocka_unit_test_setup_teardown(test_protocols_that_do_not_do, make, unmake),
		cmocka_unit_test_setup_teardown(test_placement, make, unmake),
		cmocka_unit_test_setup_teardown(test_without_magic_it_is_none, make, unmake),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
