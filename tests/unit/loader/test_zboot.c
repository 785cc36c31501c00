// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/loader/loader.h"

static struct bytes arm64, gzip, zboot;

static int make(void **state)
{
	arm64 = make_arm64_image();
	gzip = pack("gzip", &arm64);
	zboot = make_zboot("gzip", &gzip);
	return 0;
}

static int unmake(void **state)
{
	bytes_free(&arm64);
	bytes_free(&gzip);
	bytes_free(&zboot);
	return 0;
}

/* Linux's names for its recipes, and ours. */
static void test_every_comp_type(void **state)
{
	static const struct {
		const char *comp_type, *how, *description;
	} cases[] = {
		{ "gzip", "gzip", "arm64 Image (EFI zboot, gzip)" },
		{ "zstd22", "zstd", "arm64 Image (EFI zboot, zstd)" },
		{ "zstd", "zstd", "arm64 Image (EFI zboot, zstd)" },
		{ "lz4", "lz4 legacy", "arm64 Image (EFI zboot, lz4)" },
		{ "lz4", "lz4", "arm64 Image (EFI zboot, lz4)" },
		{ "xzkern", "xz", "arm64 Image (EFI zboot, xz)" },
		{ "xz", "xz", "arm64 Image (EFI zboot, xz)" },
		{ "lzma", "lzma", "arm64 Image (EFI zboot, lzma)" },
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct bytes packed = pack(cases[i].how, &arm64), file = make_zboot(cases[i].comp_type, &packed);
		struct kernel_image image;
		char buf[64];
		accept(&file, KERNEL_AARCH64, &image);
		assert_string_equal(kernel_image_describe(&image, buf, sizeof(buf)), cases[i].description);
		assert_int_equal(image.owned_len, arm64.len);
		assert_memory_equal(image.segments[0].data, arm64.data, arm64.len);
		kernel_image_fini(&image);
		bytes_free(&packed);
		bytes_free(&file);
	}
}

static void test_truncated_anywhere(void **state)
{
	refuse_all_prefixes(&zboot, KERNEL_AARCH64);
	refuse_prefix(&zboot, 100, KERNEL_AARCH64, "truncated EFI zboot image: 100 bytes are there, ");
	refuse_prefix(&zboot, 63, KERNEL_AARCH64, "the first bytes of an EFI or DOS program");
}

static void test_payload_out_of_range(void **state)
{
	store_le32(zboot.data + 8, UINT32_MAX);
	store_le32(zboot.data + 12, UINT32_MAX);
	refuse(&zboot, KERNEL_AARCH64, " 8589934590 were expected");
	store_le32(zboot.data + 12, 1);
	refuse(&zboot, KERNEL_AARCH64, " 4294967296 were expected");
	store_le32(zboot.data + 8, ZBOOT_PAYLOAD);
	store_le32(zboot.data + 12, 0);
	refuse(&zboot, KERNEL_AARCH64, "a payload of 0 bytes at offset 128");
	store_le32(zboot.data + 12, 10);
	refuse(&zboot, KERNEL_AARCH64, "truncated gzip data: 10 bytes are there");
	store_le32(zboot.data + 8, 0); /* itself */
	refuse(&zboot, KERNEL_AARCH64, "a payload of 10 bytes at offset 0");
	store_le32(zboot.data + 8, 64);
	refuse(&zboot, KERNEL_AARCH64, "its payload is no gzip data");
}

static void set_comp_type(const char *comp_type, size_t len)
{
	memset(zboot.data + 24, 0, 32);
	memcpy(zboot.data + 24, comp_type, len);
}

static void test_comp_types_unknown(void **state)
{
	set_comp_type("lzo", 3);
	refuse(&zboot, KERNEL_AARCH64, "an EFI zboot image packed with \"lzo\", expected gzip, zstd, lz4, xz or lzma");
	set_comp_type("gzipp", 5);
	refuse(&zboot, KERNEL_AARCH64, "packed with \"gzipp\"");
	set_comp_type("gzi", 3);
	refuse(&zboot, KERNEL_AARCH64, "packed with \"gzi\"");
	set_comp_type("evil\n\033[2J", 9);
	refuse(&zboot, KERNEL_AARCH64, "packed with \"evil\"");
	set_comp_type("0123456789abcdef0123456789abcdef", 32); /* no NUL to end it */
	refuse(&zboot, KERNEL_AARCH64, "packed with \"0123456789abcdef0123456789abcdef\"");
	set_comp_type("", 0);
	refuse(&zboot, KERNEL_AARCH64, "packed with \"\"");
	set_comp_type("xzkern", 6);
	refuse(&zboot, KERNEL_AARCH64, "its payload is no xz data");
}

static void test_what_is_inside_counts(void **state)
{
	refuse(&zboot, KERNEL_X86_64,
	       "unpacked from EFI zboot, gzip: an aarch64 Linux Image, expected an x86_64 kernel");

	struct bytes text = bytes_of("hello", 5), packed = pack("gzip", &text), file = make_zboot("gzip", &packed);
	refuse(&file, KERNEL_AARCH64, "unpacked from EFI zboot, gzip: ASCII text, expected an aarch64 kernel");
	bytes_free(&text);
	bytes_free(&packed);
	bytes_free(&file);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_every_comp_type, make, unmake),
		cmocka_unit_test_setup_teardown(test_truncated_anywhere, make, unmake),
		cmocka_unit_test_setup_teardown(test_payload_out_of_range, make, unmake),
		cmocka_unit_test_setup_teardown(test_comp_types_unknown, make, unmake),
		cmocka_unit_test_setup_teardown(test_what_is_inside_counts, make, unmake),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
