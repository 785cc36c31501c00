/* SPDX-License-Identifier: Apache-2.0 */
/* Kernel images of a few hundred bytes, put together field by field: what loader tests spoil and fuzzers start from. */
#ifndef CVMM_TESTS_IMAGES_H
#define CVMM_TESTS_IMAGES_H

#include <stddef.h>
#include <stdint.h>

struct bytes {
	uint8_t *data; /* owned */
	size_t len;
};

/* Where the parts of the images are, and what is in them. */
enum {
	BZ_SETUP_LEN = 1024, /* setup_sects 1 */
	BZ_KERNEL_LEN = 0x220,

	ELF_PHDRS = 64, /* note, text, data: three of 56 bytes */
	ELF_PHDR_LEN = 56,
	ELF_NOTE = 232, /* Xen's, type 18, 8 bytes */
	ELF_NOTE_LEN = 24,
	ELF_TEXT = 256,
	ELF_TEXT_LEN = 64,
	ELF_TEXT_GPA = 0x1000000,
	ELF_TEXT_MEM_LEN = 0x1000,
	ELF_DATA = 320,
	ELF_DATA_LEN = 32,
	ELF_DATA_GPA = 0x1001000,
	ELF_DATA_MEM_LEN = 0x2000,
	ELF_ENTRY = 0x1000010,
	ELF_PVH_ENTRY = 0x1000020,

	ARM64_LEN = 512,
	ARM64_IMAGE_SIZE = 0x10000,

	ZBOOT_PAYLOAD = 128,
};

/* The ways that pack() knows; the last is NULL. */
extern const char *const packing_names[];

struct bytes make_bzimage(void);
struct bytes make_elf(void);
struct bytes make_arm64_image(void);
struct bytes make_zboot(const char *comp_type, const struct bytes *payload);

/* @how: "gzip", "zstd", "lz4", "lz4 legacy", "xz", "lzma". */
struct bytes pack(const char *how, const struct bytes *plain);

struct bytes bytes_of(const void *data, size_t len);
struct bytes zeros(size_t len);
void bytes_append(struct bytes *bytes, const void *data, size_t len);
void bytes_free(struct bytes *bytes);

#endif
