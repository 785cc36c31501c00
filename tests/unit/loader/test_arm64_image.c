// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/loader/loader.h"

enum { COFF = 64, SECTIONS = COFF + 24 + 16 };

static struct bytes arm64;

static int make(void **state)
{
	arm64 = make_arm64_image();
	return 0;
}

static int unmake(void **state)
{
	bytes_free(&arm64);
	return 0;
}

static void accept_image(struct kernel_image *image)
{
	accept(&arm64, KERNEL_AARCH64, image);
	assert_null(image->owned); /* nothing to finish */
}

static void test_fields(void **state)
{
	struct kernel_image image;
	accept_image(&image);
	assert_int_equal(image.arch, KERNEL_AARCH64);
	assert_int_equal(image.format, KERNEL_ARM64_IMAGE);
	assert_int_equal(image.segment_count, 1);
	assert_int_equal(image.segments[0].gpa, 0);
	assert_ptr_equal(image.segments[0].data, arm64.data);
	assert_int_equal(image.segments[0].file_len, ARM64_LEN);
	assert_int_equal(image.segments[0].mem_len, ARM64_IMAGE_SIZE);
	assert_int_equal(image.entry, 0);
	assert_int_equal(image.text_offset, 0);
	assert_int_equal(image.image_flags, 0xa);
}

static void test_truncated_anywhere(void **state)
{
	refuse_all_prefixes(&arm64, KERNEL_AARCH64);
	refuse_prefix(&arm64, 511, KERNEL_AARCH64,
	              "truncated aarch64 Linux Image: 511 bytes are there, 512 were expected");
	refuse_prefix(&arm64, 100, KERNEL_AARCH64, "100 bytes are there, 184 were expected"); /* its section table */
	refuse_prefix(&arm64, 64, KERNEL_AARCH64, "64 bytes are there, 88 were expected");
	refuse_prefix(&arm64, 63, KERNEL_AARCH64, "the first bytes of an EFI or DOS program");
}

static void test_old_images_have_no_size(void **state)
{
	struct kernel_image image;
	store_le64(arm64.data + 16, 0);
	store_le64(arm64.data + 8, 0x12345);
	accept_image(&image);
	assert_int_equal(image.text_offset, 0x80000);
	assert_int_equal(image.segments[0].mem_len, ARM64_LEN);
}

static void test_sizes(void **state)
{
	struct kernel_image image;
	store_le64(arm64.data + 16, 300); /* what follows the image is not the image */
	accept_image(&image);
	assert_int_equal(image.segments[0].file_len, 300);
	assert_int_equal(image.segments[0].mem_len, 300);
	store_le64(arm64.data + 16, 63);
	refuse(&arm64, KERNEL_AARCH64, "corrupt aarch64 Linux Image: image_size 0x3f, text_offset 0x0");
	store_le64(arm64.data + 16, UINT64_MAX);
	refuse(&arm64, KERNEL_AARCH64, "image_size 0xffffffffffffffff");
	store_le64(arm64.data + 16, 4096);
	store_le64(arm64.data + 8, KERNEL_GPA_END - 4096);
	accept_image(&image);
	assert_int_equal(image.text_offset, KERNEL_GPA_END - 4096);
	store_le64(arm64.data + 8, KERNEL_GPA_END - 4095);
	refuse(&arm64, KERNEL_AARCH64, "text_offset 0xffffffffff001");
	store_le64(arm64.data + 8, UINT64_MAX - 100); /* wraps */
	refuse(&arm64, KERNEL_AARCH64, "text_offset 0xffffffffffffff9b");
}

static void test_without_efi_stub(void **state)
{
	struct kernel_image image;
	memcpy(arm64.data, "\x91\x00\x5a\x4d", 4);
	store_le32(arm64.data + 60, UINT32_MAX);
	accept_image(&image);
	memcpy(arm64.data, "MZ", 2);
	store_le32(arm64.data + 60, COFF);
	arm64.data[COFF] = 'p'; /* MZ, but no PE behind it */
	accept_image(&image);
}

static void test_hostile_pe(void **state)
{
	struct kernel_image image;
	store_le32(arm64.data + 60, UINT32_MAX);
	refuse(&arm64, KERNEL_AARCH64, "512 bytes are there, 4294967319 were expected");
	store_le32(arm64.data + 60, COFF);
	store_le16(arm64.data + COFF + 6, 0xffff);
	refuse(&arm64, KERNEL_AARCH64, "2621504 were expected");
	store_le16(arm64.data + COFF + 6, 2);
	store_le16(arm64.data + COFF + 20, 0xffff);
	refuse(&arm64, KERNEL_AARCH64, "65703 were expected");
	store_le16(arm64.data + COFF + 20, 16);
	store_le32(arm64.data + SECTIONS + 16, UINT32_MAX);
	store_le32(arm64.data + SECTIONS + 20, UINT32_MAX);
	refuse(&arm64, KERNEL_AARCH64, "8589934590 were expected");
	store_le16(arm64.data + COFF + 6, 0); /* no sections: nothing said of the length */
	accept_image(&image);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_fields, make, unmake),
		cmocka_unit_test_setup_teardown(test_truncated_anywhere, make, unmake),
		cmocka_unit_test_setup_teardown(test_old_images_have_no_size, make, unmake),
		cmocka_unit_test_setup_teardown(test_sizes, make, unmake),
		cmocka_unit_test_setup_teardown(test_without_efi_stub, make, unmake),
		cmocka_unit_test_setup_teardown(test_hostile_pe, make, unmake),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
