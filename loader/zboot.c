// SPDX-License-Identifier: Apache-2.0
/*
 * EFI zboot ("vmlinuz.efi"): an EFI program that carries a packed kernel and unpacks it when run. Its header is laid out
 * in drivers/firmware/efi/libstub/zboot-header.S of Linux; here the payload is unpacked without running anything.
 */
#include "loader/formats.h"

#include <errno.h>

#include "src/base/util.h"

enum {
	IMAGE_TYPE = 4,
	PAYLOAD_OFFSET = 8,
	PAYLOAD_SIZE = 12,
	COMP_TYPE = 24, /* a C string */
	HEADER_LEN = 64,
	COMP_TYPE_MAX = 56 - COMP_TYPE,
};

/* Linux names its own recipe, and so the options it packs with; the formats are those of the tools. */
static const struct {
	char comp_type[8];
	const char *packing, *label;
} comp_types[] = {
	{ "gzip", "gzip", "EFI zboot, gzip" }, { "zstd22", "zstd", "EFI zboot, zstd" },
	{ "zstd", "zstd", "EFI zboot, zstd" }, { "lz4", "lz4", "EFI zboot, lz4" },
	{ "xzkern", "xz", "EFI zboot, xz" },   { "xz", "xz", "EFI zboot, xz" },
	{ "lzma", "lzma", "EFI zboot, lzma" },
};

bool zboot_match(const uint8_t *data, size_t len)
{
	return len >= HEADER_LEN && memcmp(data, "MZ", 2) == 0 && memcmp(data + IMAGE_TYPE, "zimg", 4) == 0;
}

/* comp_type goes into an error only if it is a word. */
static int unknown_comp_type(const uint8_t *comp_type, struct cvmm_error *err)
{
	size_t n = 0;
	while (n < COMP_TYPE_MAX && comp_type[n] > ' ' && comp_type[n] <= '~')
		n++;
	return err_set(err, -ENOEXEC, "an EFI zboot image packed with \"%.*s\", expected gzip, zstd, lz4, xz or lzma",
	               (int)n, (const char *)comp_type);
}

static int find_comp_type(const uint8_t *comp_type, size_t *index, struct cvmm_error *err)
{
	for (size_t i = 0; i < ARRAY_SIZE(comp_types); i++) {
		if (memcmp(comp_type, comp_types[i].comp_type, strlen(comp_types[i].comp_type) + 1) == 0) {
			*index = i;
			return 0;
		}
	}
	return unknown_comp_type(comp_type, err);
}

int zboot_parse(const uint8_t *data, size_t len, struct zboot *zboot, struct cvmm_error *err)
{
	size_t type = 0;
	int ret = find_comp_type(data + COMP_TYPE, &type, err);
	if (ret < 0)
		return ret;
	uint64_t offset = load_le32(data + PAYLOAD_OFFSET), size = load_le32(data + PAYLOAD_SIZE), end = offset + size;
	if (offset < HEADER_LEN || size == 0)
		return err_set(err, -ENOEXEC, "corrupt EFI zboot image: a payload of %llu bytes at offset %llu",
		               (unsigned long long)size, (unsigned long long)offset);
	if (end > len)
		return err_set(err, -ENOEXEC, "truncated EFI zboot image: %zu bytes are there, %llu were expected", len,
		               (unsigned long long)end);
	const struct packing *packing = packing_find(data + offset, size);
	if (!packing || strcmp(packing_name(packing), comp_types[type].packing) != 0)
		return err_set(err, -ENOEXEC,
		               "corrupt EFI zboot image: its payload is no %s data, as its header says it is",
		               comp_types[type].packing);
	*zboot = (struct zboot){ data + offset, size, packing, comp_types[type].label };
	return 0;
}
