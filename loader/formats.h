/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parts that kernel.c puts together: a matcher and a parser for each format, the unpackers, and the namer of what is
 * no kernel at all. Matchers look at magic numbers only; parsers are called on what their matcher took. Parsers return
 * 0, or -ENOEXEC with one line in @err.
 */
#ifndef CVMM_LOADER_FORMATS_H
#define CVMM_LOADER_FORMATS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "loader/kernel.h"

/* No architecture has guest addresses beyond 52 bits; with each one below, adding a few up cannot wrap. */
#define KERNEL_GPA_END (UINT64_C(1) << 52)

bool bzimage_match(const uint8_t *data, size_t len);
int bzimage_parse(const uint8_t *data, size_t len, struct kernel_image *image, struct cvmm_error *err);

bool elf_match(const uint8_t *data, size_t len);
int elf_parse(const uint8_t *data, size_t len, struct kernel_image *image, struct cvmm_error *err);

bool arm64_image_match(const uint8_t *data, size_t len);
int arm64_image_parse(const uint8_t *data, size_t len, struct kernel_image *image, struct cvmm_error *err);

/* unpack.c */
struct packing; /* how something is packed; immutable, static */

const struct packing *packing_find(const uint8_t *data, size_t len); /* by magic number; NULL: not packed */
const char *packing_name(const struct packing *packing);

/*
 * Unpack into fresh memory, @out, which the caller frees. Bytes after the packed ones are ignored, as boot loaders and
 * kernel makefiles append some. -ENOEXEC: corrupt, cut short, more than @max bytes or too greedy; -ENOMEM.
 */
int unpack(const struct packing *packing, const uint8_t *data, size_t len, size_t max, uint8_t **out, size_t *out_len,
           struct cvmm_error *err);

/* zboot.c: an EFI program around a packed kernel. */
struct zboot {
	const uint8_t *payload; /* not owned: inside the image */
	size_t payload_len;
	const struct packing *packing;
	const char *label; /* "EFI zboot, gzip"; static */
};
bool zboot_match(const uint8_t *data, size_t len);
int zboot_parse(const uint8_t *data, size_t len, struct zboot *zboot, struct cvmm_error *err);

/* identify.c: what @data is, as in "ASCII text" or "a 32-bit ELF executable for i386"; static, or written to @buf. */
const char *identify(const uint8_t *data, size_t len, char *buf, size_t size);

/* kernel_image_parse() with another limit than KERNEL_UNPACKED_MAX, for tests of that limit. */
int kernel_image_parse_within(const uint8_t *data, size_t len, enum kernel_arch want, size_t unpacked_max,
                              struct kernel_image *image, struct cvmm_error *err);

#endif
