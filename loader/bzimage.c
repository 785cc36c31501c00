// SPDX-License-Identifier: Apache-2.0
/*
 * bzImage: Documentation/arch/x86/boot.rst of Linux. A file of two parts:
 *
 *   0                0x1f1                 (setup_sects + 1) * 512                    + syssize * 16
 *   | real-mode setup | setup header | ... | protected-mode kernel, entered at + 0x200 | signature: not loaded |
 *
 * Only the 64-bit entry is used, so the real-mode part stays unread but for its header.
 */
#include "loader/formats.h"

#include <errno.h>

#include "src/base/util.h"

/* Offsets in the file; boot.rst, "Details of Header Fields". */
enum {
	SETUP_SECTS = 0x1f1,
	SYSSIZE = 0x1f4,
	BOOT_FLAG = 0x1fe,
	JUMP_LEN = 0x201, /* second byte of a short jump over the header: its end is that far from 0x202 */
	HEADER = 0x202,
	VERSION = 0x206,
	LOADFLAGS = 0x211,
	KERNEL_ALIGNMENT = 0x230,
	RELOCATABLE_KERNEL = 0x234,
	XLOADFLAGS = 0x236,
	CMDLINE_SIZE = 0x238,
	PREF_ADDRESS = 0x258,
	INIT_SIZE = 0x260,
	FIELDS_END = 0x264, /* of those that protocol 2.12 has and that are used */
};

enum {
	SECTOR = 512,
	DEFAULT_SETUP_SECTS = 4, /* what 0 means, "for backwards compatibility" */
	VERSION_MIN = 0x020c,    /* the first with xloadflags */
	SETUP_HEADER_MAX = 0x7f,
	LOADED_HIGH = 1 << 0,   /* loadflags */
	XLF_KERNEL_64 = 1 << 0, /* xloadflags */
	ENTRY_64 = 0x200,
};

bool bzimage_match(const uint8_t *data, size_t len)
{
	return len >= VERSION + 2 && load_le16(data + BOOT_FLAG) == 0xaa55 && memcmp(data + HEADER, "HdrS", 4) == 0;
}

/* The header's end, as it says itself: later fields are not there, whatever bytes stand in their place. */
static size_t header_end(const uint8_t *data)
{
	return HEADER + data[JUMP_LEN];
}

static size_t setup_len(const uint8_t *data)
{
	unsigned sects = data[SETUP_SECTS] ? data[SETUP_SECTS] : DEFAULT_SETUP_SECTS;
	return (sects + 1) * SECTOR;
}

static uint64_t kernel_len(const uint8_t *data)
{
	return (uint64_t)load_le32(data + SYSSIZE) * 16;
}

static int check_protocol(const uint8_t *data, struct cvmm_error *err)
{
	unsigned version = load_le16(data + VERSION);
	if (version < VERSION_MIN)
		return err_set(err, -ENOEXEC, "a bzImage of boot protocol %u.%02u, expected 2.12 or later (Linux 3.8)",
		               version >> 8, version & 0xff);
	if (header_end(data) < FIELDS_END)
		return err_set(err, -ENOEXEC, "corrupt bzImage: its header ends at 0x%zx, expected 0x%x or later",
		               header_end(data), FIELDS_END);
	return 0;
}

static int check_length(const uint8_t *data, size_t len, struct cvmm_error *err)
{
	uint64_t needed = setup_len(data) + kernel_len(data);
	if (len < needed)
		return err_set(err, -ENOEXEC, "truncated bzImage: %zu bytes are there, %llu were expected", len,
		               (unsigned long long)needed);
	if (kernel_len(data) <= ENTRY_64)
		return err_set(err, -ENOEXEC, "corrupt bzImage: a protected-mode kernel of %llu bytes",
		               (unsigned long long)kernel_len(data));
	return 0;
}

static int check_entry(const uint8_t *data, struct cvmm_error *err)
{
	if (!(data[LOADFLAGS] & LOADED_HIGH))
		return err_set(err, -ENOEXEC, "a zImage, loaded below 1 MiB, expected a bzImage");
	if (!(load_le16(data + XLOADFLAGS) & XLF_KERNEL_64))
		return err_set(err, -ENOEXEC, "a 32-bit bzImage, expected one with the 64-bit entry");
	return 0;
}

static int check_placement(const struct kernel_image *image, struct cvmm_error *err)
{
	uint32_t align = image->kernel_alignment;
	if (align == 0 || (align & (align - 1)))
		return err_set(err, -ENOEXEC, "corrupt bzImage: kernel_alignment 0x%x is no power of two", align);
	if (image->pref_address >= KERNEL_GPA_END)
		return err_set(err, -ENOEXEC, "corrupt bzImage: pref_address 0x%llx is no address",
		               (unsigned long long)image->pref_address);
	if (image->init_size == 0)
		return err_set(err, -ENOEXEC, "corrupt bzImage: init_size is 0");
	return 0;
}

int bzimage_parse(const uint8_t *data, size_t len, struct kernel_image *image, struct cvmm_error *err)
{
	int ret = check_protocol(data, err);
	if (ret == 0)
		ret = check_length(data, len, err);
	if (ret == 0)
		ret = check_entry(data, err);
	if (ret < 0)
		return ret;

	image->segments[0].data = data + setup_len(data);
	image->segments[0].file_len = image->segments[0].mem_len = kernel_len(data);
	image->segment_count = 1;
	image->entry = ENTRY_64;

	image->setup_header = data + SETUP_SECTS;
	image->setup_header_len = MIN(header_end(data) - SETUP_SECTS, (size_t)SETUP_HEADER_MAX);
	image->pref_address = load_le64(data + PREF_ADDRESS);
	image->init_size = load_le32(data + INIT_SIZE);
	image->kernel_alignment = load_le32(data + KERNEL_ALIGNMENT);
	image->cmdline_size = load_le32(data + CMDLINE_SIZE);
	image->relocatable = data[RELOCATABLE_KERNEL] != 0;
	return check_placement(image, err);
}
