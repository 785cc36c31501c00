// SPDX-License-Identifier: Apache-2.0
/* Recognition, layers and refusals across formats; the fields of each format are tested with its parser. */
#include "tests/unit/loader/loader.h"

#include <stdio.h>

static const struct {
	const char *name;
	struct bytes (*make)(void);
	enum kernel_arch arch;
} kernels[] = {
	{ "bzImage", make_bzimage, KERNEL_X86_64 },
	{ "ELF vmlinux", make_elf, KERNEL_X86_64 },
	{ "arm64 Image", make_arm64_image, KERNEL_AARCH64 },
};

/* Both lz4 formats go by one name. */
static const char *label(const char *how)
{
	return strcmp(how, "lz4 legacy") == 0 ? "lz4" : how;
}

static void test_every_kernel_in_every_packing(void **state)
{
	for (size_t k = 0; k < ARRAY_SIZE(kernels); k++) {
		struct bytes plain = kernels[k].make();
		for (size_t p = 0; packing_names[p]; p++) {
			struct bytes packed = pack(packing_names[p], &plain);
			struct kernel_image image;
			char buf[64], expected[64];
			accept(&packed, kernels[k].arch, &image);
			assert_string_equal(image.packing, label(packing_names[p]));
			assert_int_equal(image.owned_len, plain.len);
			assert_memory_equal(image.owned, plain.data, plain.len);
			assert_in_range(image.segments[0].data - image.owned, 0, plain.len - 1);
			snprintf(expected, sizeof(expected), "%s (%s)", kernels[k].name, label(packing_names[p]));
			assert_string_equal(kernel_image_describe(&image, buf, sizeof(buf)), expected);
			kernel_image_fini(&image);
			assert_null(image.owned);
			bytes_free(&packed);
		}
		bytes_free(&plain);
	}
}

static void test_packed_and_truncated_anywhere(void **state)
{
	struct bytes plain = make_elf();
	for (size_t p = 0; packing_names[p]; p++) {
		struct bytes packed = pack(packing_names[p], &plain);
		refuse_all_prefixes(&packed, KERNEL_X86_64);
		bytes_free(&packed);
	}
	bytes_free(&plain);
}

static void test_truncated_then_packed(void **state)
{
	struct bytes plain = make_elf();
	plain.len -= 10;
	struct bytes packed = pack("zstd", &plain);
	refuse(&packed, KERNEL_X86_64,
	       "unpacked from zstd: truncated ELF vmlinux: 342 bytes are there, 352 were expected");
	bytes_free(&packed);
	bytes_free(&plain);
}

/* Pack @plain @layers times over, with each packing in turn. */
static struct bytes pack_often(const struct bytes *plain, unsigned layers)
{
	struct bytes bytes = bytes_of(plain->data, plain->len);
	for (unsigned i = 0; i < layers; i++) {
		struct bytes packed = pack(packing_names[i % 3], &bytes);
		bytes_free(&bytes);
		bytes = packed;
	}
	return bytes;
}

static void test_layers(void **state)
{
	struct bytes plain = make_bzimage(), four = pack_often(&plain, 4), five = pack_often(&plain, 5);
	struct kernel_image image;
	accept(&four, KERNEL_X86_64, &image);
	assert_string_equal(image.packing, "gzip"); /* the outermost */
	assert_memory_equal(image.segments[0].data, plain.data + BZ_SETUP_LEN, BZ_KERNEL_LEN);
	kernel_image_fini(&image);
	refuse(&five, KERNEL_X86_64, "packed more than 4 times over");
	bytes_free(&plain);
	bytes_free(&four);
	bytes_free(&five);
}

static void test_unpacked_limit(void **state)
{
	struct bytes plain = make_bzimage(), packed = pack("gzip", &plain);
	struct kernel_image image;
	struct cvmm_error err;
	assert_int_equal(kernel_image_parse_within(packed.data, packed.len, KERNEL_X86_64, plain.len, &image, &err), 0);
	kernel_image_fini(&image);
	assert_int_equal(kernel_image_parse_within(packed.data, packed.len, KERNEL_X86_64, plain.len - 1, &image, &err),
	                 -ENOEXEC);
	assert_string_equal(err.msg, "gzip data that unpack to more than 0 MiB");
	bytes_free(&plain);
	bytes_free(&packed);
}

static void test_other_architecture(void **state)
{
	struct bytes bz = make_bzimage(), elf = make_elf(), arm64 = make_arm64_image(), packed = pack("xz", &arm64);
	refuse(&bz, KERNEL_AARCH64,
	       "an x86_64 bzImage, expected an aarch64 kernel: a Linux Image (arm64 boots no ELF), "
	       "plain, EFI zboot or packed with gzip, zstd, lz4 or xz");
	refuse(&elf, KERNEL_AARCH64, "an x86_64 ELF vmlinux, expected an aarch64 kernel");
	refuse(&arm64, KERNEL_X86_64,
	       "an aarch64 Linux Image, expected an x86_64 kernel: a bzImage or ELF vmlinux, "
	       "plain or packed with gzip, zstd, lz4 or xz");
	refuse(&packed, KERNEL_X86_64, "unpacked from xz: an aarch64 Linux Image, expected an x86_64 kernel");
	bytes_free(&bz);
	bytes_free(&elf);
	bytes_free(&arm64);
	bytes_free(&packed);
}

static void test_what_is_no_kernel(void **state)
{
	static const struct {
		size_t offset;
		const char *bytes;
		size_t len;
		const char *words;
	} cases[] = {
#define CASE(offset, bytes, words) { offset, bytes, sizeof(bytes) - 1, words ", expected an x86_64 kernel: " }
		CASE(0, "", "an empty file"),
		CASE(0, "Dear kernel,\n\tplease boot.\r\n", "ASCII text"),
		CASE(0, "#!/bin/sh\n", "a script"),
		CASE(0, "\0\0\0\0\0\0\0", "zero bytes"),
		CASE(0, "\x80\x81\x82", "an unknown format"),
		CASE(0, "M", "ASCII text"),
		CASE(0, "MZ", "the first bytes of an EFI or DOS program"),
		CASE(0,
		     "\x7f"
		     "ELF",
		     "the first bytes of an ELF file"),
		CASE(0,
		     "\x7f"
		     "EL",
		     "an unknown format"),
		CASE(0, ".eif\0\4\0\0", "an enclave image (EIF)"),
		CASE(0, "0707010000", "an initramfs (cpio archive)"),
		CASE(0, "QFI\xfb\0\0\0\3", "a qcow2 disk image"),
		CASE(0, "!<arch>\ndebian-binary", "a Debian package or ar archive"),
		CASE(0, "\xd0\x0d\xfe\xed", "a flattened device tree"),
		CASE(0x438, "\x53\xef", "an ext4 file system"),
		CASE(0x437, "\x53\xef", "an unknown format"),
		CASE(0x8001, "CD001", "a CD image (ISO 9660)"),
		CASE(0x30, "RISCV\0\0\0RSC\5", "a riscv64 Linux Image"),
		CASE(510, "\x55\xaa", "a disk image or boot sector"),
#undef CASE
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct bytes file = zeros(cases[i].offset);
		bytes_append(&file, cases[i].bytes, cases[i].len);
		refuse(&file, KERNEL_X86_64, cases[i].words);
		bytes_free(&file);
	}
}

static void test_efi_programs(void **state)
{
	struct bytes efi = make_arm64_image(); /* spoilt: a PE program of the architecture that it says */
	memset(efi.data + 56, 0, 4);
	refuse(&efi, KERNEL_AARCH64, "an EFI program (PE) for aarch64, expected an aarch64 kernel");
	store_le16(efi.data + 68, 0x8664);
	refuse(&efi, KERNEL_X86_64, "an EFI program (PE) for x86_64, expected an x86_64 kernel");
	store_le16(efi.data + 68, 0x1234);
	refuse(&efi, KERNEL_X86_64, "an EFI program (PE) for another machine");
	store_le32(efi.data + 60, UINT32_MAX);
	refuse(&efi, KERNEL_X86_64, "a DOS program, or the first bytes of an EFI one");
	bytes_free(&efi);
}

static void test_initramfs_packed(void **state)
{
	struct bytes cpio = bytes_of("070701", 6), packed = pack("lz4", &cpio);
	refuse(&packed, KERNEL_X86_64, "unpacked from lz4: an initramfs (cpio archive), expected an x86_64 kernel");
	bytes_free(&cpio);
	bytes_free(&packed);
}

/* Each byte of each image changed: whatever is made of it, segments lie in the file and apart from each other. */
static void test_every_byte_changed(void **state)
{
	static const uint8_t flips[] = { 0x01, 0x80, 0xff };
	for (size_t k = 0; k < ARRAY_SIZE(kernels); k++) {
		struct bytes bytes = kernels[k].make();
		for (size_t i = 0; i < bytes.len * ARRAY_SIZE(flips); i++) {
			struct kernel_image image;
			bytes.data[i / 3] ^= flips[i % 3];
			if (kernel_image_parse_within(bytes.data, bytes.len, kernels[k].arch, MIB, &image, NULL) == 0) {
				assert_in_range(image.segment_count, 1, KERNEL_SEGMENTS_MAX);
				for (unsigned s = 0; s < image.segment_count; s++) {
					const struct kernel_segment *segment = &image.segments[s];
					assert_true(segment->file_len <= segment->mem_len);
					assert_true(range_inside((uint64_t)(segment->data - bytes.data),
					                         segment->file_len, bytes.len));
				}
				kernel_image_fini(&image);
			}
			bytes.data[i / 3] ^= flips[i % 3];
		}
		bytes_free(&bytes);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_kernel_in_every_packing),
		cmocka_unit_test(test_packed_and_truncated_anywhere),
		cmocka_unit_test(test_truncated_then_packed),
		cmocka_unit_test(test_layers),
		cmocka_unit_test(test_unpacked_limit),
		cmocka_unit_test(test_other_architecture),
		cmocka_unit_test(test_what_is_no_kernel),
		cmocka_unit_test(test_efi_programs),
		cmocka_unit_test(test_initramfs_packed),
		cmocka_unit_test(test_every_byte_changed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
