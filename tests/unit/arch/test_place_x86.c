// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/unit.h"

#include <errno.h>
#include <string.h>

#include "arch/x86_64/place.h"
#include "src/base/util.h"

static uint8_t header[0x7f];

/* A bzImage with Debian's numbers. */
static struct kernel_image bzimage(void)
{
	store_le32(header + 0x22c - 0x1f1, 0x7fffffff);
	return (struct kernel_image){
		.format = KERNEL_BZIMAGE,
		.segments = { { .file_len = 0xb00000, .mem_len = 0xb00000 } },
		.segment_count = 1,
		.setup_header = header,
		.setup_header_len = sizeof(header),
		.pref_address = 0x1000000,
		.init_size = 0x37dc000,
		.kernel_alignment = 0x200000,
		.relocatable = true,
	};
}

static struct kernel_image elf(uint64_t gpa, uint64_t len)
{
	return (struct kernel_image){
		.format = KERNEL_ELF,
		.segments = { { .gpa = gpa + len, .mem_len = 0x1000 }, { .gpa = gpa, .mem_len = len } },
		.segment_count = 2,
	};
}

static void test_bzimage_goes_to_its_preferred_address(void **state)
{
	struct kernel_image kernel = bzimage();
	struct place place;
	assert_int_equal(place_kernel(&kernel, 128 * MIB, &place, NULL), 0);
	assert_int_equal(place.load, 0x1000000);
	assert_int_equal(place.end, 0x1000000 + 0x37dc000);
	kernel.pref_address = 0;
	assert_int_equal(place_kernel(&kernel, 128 * MIB, &place, NULL), 0);
	assert_int_equal(place.load, 2 * MIB); /* aligned, not below 1 MiB */
	kernel.init_size = 1;
	assert_int_equal(place_kernel(&kernel, 128 * MIB, &place, NULL), 0);
	assert_int_equal(place.end, 2 * MIB + 0xb00000); /* the file's own length at least */
}

static void test_too_little_memory_is_named(void **state)
{
	struct kernel_image kernel = bzimage();
	struct cvmm_error err = { 0 };
	struct place place;
	uint64_t gpa;
	assert_int_equal(place_kernel(&kernel, 71 * MIB, &place, &err), -ENOMEM);
	assert_string_equal(err.msg, "does not fit: needs 72 MiB of memory, the machine has 71");
	assert_int_equal(place_kernel(&kernel, 72 * MIB, &place, &err), 0);
	assert_int_equal(place_initrd(&kernel, 64 * MIB, 5, &gpa, &err), -ENOMEM);
	assert_string_equal(err.msg, "its kernel: does not fit: needs 72 MiB of memory, the machine has 64");
	assert_int_equal(place_initrd(&kernel, 80 * MIB, 20 * MIB, &gpa, &err), -ENOMEM);
	assert_string_equal(err.msg, "does not fit: needs 92 MiB of memory, the machine has 80");
	assert_int_equal(place_initrd(&kernel, 92 * MIB, 20 * MIB, &gpa, &err), 0);
	assert_int_equal(gpa, 72 * MIB);
}

static void test_initrd_limits(void **state)
{
	struct kernel_image kernel = bzimage();
	struct cvmm_error err = { 0 };
	uint64_t gpa = 0;
	assert_int_equal(place_initrd(&kernel, 512 * MIB, 4097, &gpa, NULL), 0);
	assert_int_equal(gpa, 512 * MIB - 8192);
	assert_int_equal(place_initrd(&kernel, 5 * GIB, 4096, &gpa, NULL), 0);
	assert_int_equal(gpa, 2 * GIB - 4096); /* initrd_addr_max */
	assert_int_equal(place_initrd(&kernel, 5 * GIB, 2 * GIB, &gpa, &err), -ENOMEM);
	assert_string_equal(err.msg, "does not fit below 0x80000000, where the kernel wants it");
	store_le32(header + 0x22c - 0x1f1, UINT32_MAX);
	assert_int_equal(place_initrd(&kernel, 5 * GIB, 2 * GIB, &gpa, NULL), 0);
	assert_int_equal(gpa, GIB); /* below 3 GiB, although there is memory above */
	assert_int_equal(place_initrd(&kernel, 100 * GIB, 3 * GIB, &gpa, &err), -ENOMEM);
	assert_string_equal(err.msg, "does not fit below 3 GiB, where it must be");
	assert_int_equal(place_initrd(&kernel, 100 * GIB, UINT64_MAX, &gpa, &err), -ENOMEM);
}

static void test_elf(void **state)
{
	struct kernel_image kernel = elf(0x1000000, 0x2000000);
	struct place place;
	uint64_t gpa;
	assert_int_equal(place_kernel(&kernel, 64 * MIB, &place, NULL), 0);
	assert_int_equal(place.load, 0);
	assert_int_equal(place.end, 0x3001000);
	assert_int_equal(place_kernel(&kernel, 48 * MIB, &place, NULL), -ENOMEM);
	assert_int_equal(place_initrd(&kernel, 4 * GIB, 100, &gpa, NULL), 0);
	assert_int_equal(gpa, 3 * GIB - 4096);
}

/* What fits to the last byte fits; a byte or page more does not. */
static void test_exact_fits(void **state)
{
	struct kernel_image low = elf(MIB, 0x1000), high = elf(3 * GIB - 0x2000, 0x1000), kernel = bzimage();
	struct cvmm_error err = { 0 };
	struct place place;
	uint64_t gpa;
	assert_int_equal(place_kernel(&low, 2 * MIB, &place, NULL), 0);  /* from 1 MiB on */
	assert_int_equal(place_kernel(&high, 4 * GIB, &place, NULL), 0); /* up to 3 GiB */
	assert_int_equal(place.end, 3 * GIB);
	high.segments[0].mem_len++;
	assert_int_equal(place_kernel(&high, 4 * GIB, &place, &err), -ENOMEM);
	assert_string_equal(err.msg, "does not fit below 3 GiB, where it must be");
	kernel.init_size = 0x3000000; /* ends at 64 MiB */
	assert_int_equal(place_kernel(&kernel, 64 * MIB, &place, NULL), 0);
	assert_int_equal(place_initrd(&kernel, 80 * MIB, 16 * MIB, &gpa, NULL), 0);
	assert_int_equal(gpa, 64 * MIB);
	assert_int_equal(place_initrd(&kernel, 80 * MIB, 16 * MIB + 1, &gpa, NULL), -ENOMEM);
	store_le32(header + 0x22c - 0x1f1, 80 * MIB - 1);
	assert_int_equal(place_initrd(&kernel, GIB, 16 * MIB, &gpa, NULL), 0);
	assert_int_equal(gpa, 64 * MIB);
	assert_int_equal(place_initrd(&kernel, GIB, 16 * MIB + 1, &gpa, &err), -ENOMEM);
	assert_string_equal(err.msg, "does not fit below 0x5000000, where the kernel wants it");
}

static void test_impossible_kernels(void **state)
{
	struct kernel_image low = elf(0x8000, 0x1000), high = elf(3 * GIB - 0x1000, 0x2000), end = elf(1ull << 62, 1);
	struct kernel_image far = bzimage();
	struct cvmm_error err = { 0 };
	struct place place;
	assert_int_equal(place_kernel(&low, GIB, &place, &err), -ENOEXEC);
	assert_string_equal(err.msg, "wants memory at 0x9000, below 1 MiB");
	assert_int_equal(place_kernel(&high, 8 * GIB, &place, NULL), -ENOMEM);
	assert_int_equal(place_kernel(&end, 8 * GIB, &place, NULL), -ENOMEM);
	far.pref_address = 3 * GIB;
	assert_int_equal(place_kernel(&far, 8 * GIB, &place, &err), -ENOEXEC);
	assert_string_equal(err.msg, "wants to run at 0xc0000000, beyond 3 GiB");
	far.pref_address = GIB;
	far.kernel_alignment = 1u << 31; /* rounds up to 2 GiB */
	far.init_size = UINT32_MAX;
	assert_int_equal(place_kernel(&far, 8 * GIB, &place, NULL), -ENOMEM);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bzimage_goes_to_its_preferred_address),
		cmocka_unit_test(test_too_little_memory_is_named),
		cmocka_unit_test(test_initrd_limits),
		cmocka_unit_test(test_elf),
		cmocka_unit_test(test_exact_fits),
		cmocka_unit_test(test_impossible_kernels),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
