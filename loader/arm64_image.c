// SPDX-License-Identifier: Apache-2.0
/*
 * Linux arm64 Image: Documentation/arch/arm64/booting.rst, section 4. A 64-byte header in front of the kernel, which is
 * loaded and entered at its first byte. One built with the EFI stub is a PE program too, whose header tells the length
 * of the file: that of memory, image_size, includes .bss.
 */
#include "loader/formats.h"

#include <errno.h>

#include "src/base/util.h"

enum {
	TEXT_OFFSET = 8,
	IMAGE_SIZE = 16,
	FLAGS = 24,
	MAGIC = 56,
	PE_OFFSET = 60,
	HEADER_LEN = 64,
	OLD_TEXT_OFFSET = 0x80000, /* of kernels before 3.17, whose image_size is 0 */
};

/* PE/COFF: "PE\0\0", the COFF header, the optional header, the section table. */
enum {
	COFF_SECTION_COUNT = 6,
	COFF_OPTIONAL_LEN = 20,
	COFF_LEN = 24,
	SECTION_RAW_LEN = 16,
	SECTION_RAW_OFFSET = 20,
	SECTION_LEN = 40,
};

bool arm64_image_match(const uint8_t *data, size_t len)
{
	return len >= HEADER_LEN && memcmp(data + MAGIC, "ARM\x64", 4) == 0;
}

/* Where the last section of the PE program ends; a table that is itself cut short tells its own end. 0: no PE. */
static uint64_t pe_end(const uint8_t *data, size_t len)
{
	if (memcmp(data, "MZ", 2) != 0)
		return 0;
	uint64_t coff = load_le32(data + PE_OFFSET);
	if (!range_inside(coff, COFF_LEN, len))
		return coff + COFF_LEN;
	if (memcmp(data + coff, "PE\0\0", 4) != 0)
		return 0;
	uint64_t table = coff + COFF_LEN + load_le16(data + coff + COFF_OPTIONAL_LEN);
	unsigned count = load_le16(data + coff + COFF_SECTION_COUNT);
	if (!range_inside(table, (uint64_t)count * SECTION_LEN, len))
		return table + (uint64_t)count * SECTION_LEN;
	uint64_t end = 0;
	for (const uint8_t *section = data + table; count > 0; count--, section += SECTION_LEN) {
		uint64_t offset = load_le32(section + SECTION_RAW_OFFSET);
		end = MAX(end, offset + load_le32(section + SECTION_RAW_LEN));
	}
	return end;
}

int arm64_image_parse(const uint8_t *data, size_t len, struct kernel_image *image, struct cvmm_error *err)
{
	uint64_t needed = pe_end(data, len);
	if (needed > len)
		return err_set(err, -ENOEXEC, "truncated aarch64 Linux Image: %zu bytes are there, %llu were expected",
		               len, (unsigned long long)needed);
	uint64_t image_size = load_le64(data + IMAGE_SIZE);
	uint64_t text_offset = load_le64(data + TEXT_OFFSET);
	if (image_size == 0) {
		image_size = len;
		text_offset = OLD_TEXT_OFFSET;
	}
	if (image_size < HEADER_LEN || !range_inside(text_offset, image_size, KERNEL_GPA_END))
		return err_set(err, -ENOEXEC, "corrupt aarch64 Linux Image: image_size 0x%llx, text_offset 0x%llx",
		               (unsigned long long)image_size, (unsigned long long)text_offset);
	image->segments[0] =
		(struct kernel_segment){ .data = data, .file_len = MIN(len, image_size), .mem_len = image_size };
	image->segment_count = 1;
	image->text_offset = text_offset;
	image->image_flags = load_le64(data + FLAGS);
	return 0;
}
