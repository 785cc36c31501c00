/* SPDX-License-Identifier: Apache-2.0 */
/* What the loader's fuzzers share: what any parser promises of a result, whatever the bytes. */
#ifndef CVMM_TESTS_FUZZ_LOADER_H
#define CVMM_TESTS_FUZZ_LOADER_H

#include "tests/fuzz/fuzz.h"

#include <errno.h>

#include "loader/formats.h"
#include "src/base/util.h"

/* A failure is -ENOEXEC with one printable line; ASCII, for nothing of a hostile file belongs on a terminal. */
static inline void check_refusal(int ret, const struct cvmm_error *err)
{
	FUZZ_CHECK(ret == -ENOEXEC && err->code == -ENOEXEC);
	FUZZ_CHECK(err->msg[0] != '\0' && memchr(err->msg, '\0', sizeof(err->msg)));
	for (const char *c = err->msg; *c; c++)
		FUZZ_CHECK(*c >= ' ' && *c <= '~');
}

static inline void check_segment(const struct kernel_segment *segment, const uint8_t *data, size_t len)
{
	FUZZ_CHECK(segment->file_len <= segment->mem_len);
	FUZZ_CHECK(range_inside(segment->gpa, segment->mem_len, KERNEL_GPA_END));
	FUZZ_CHECK(segment->data >= data && range_inside((uint64_t)(segment->data - data), segment->file_len, len));
}

static inline bool in_file_bytes(const struct kernel_image *image, uint64_t gpa)
{
	for (unsigned i = 0; i < image->segment_count; i++)
		if (gpa >= image->segments[i].gpa && gpa - image->segments[i].gpa < image->segments[i].file_len)
			return true;
	return false;
}

static inline void check_disjoint(const struct kernel_image *image)
{
	for (unsigned a = 0; a < image->segment_count; a++)
		for (unsigned b = 0; b < a; b++)
			FUZZ_CHECK(image->segments[a].gpa + image->segments[a].mem_len <= image->segments[b].gpa ||
			           image->segments[b].gpa + image->segments[b].mem_len <= image->segments[a].gpa);
}

/* @data: what the image was parsed from, unpacked if it was packed. */
static inline void check_image(const struct kernel_image *image, const uint8_t *data, size_t len)
{
	FUZZ_CHECK(image->segment_count >= 1 && image->segment_count <= KERNEL_SEGMENTS_MAX);
	for (unsigned i = 0; i < image->segment_count; i++)
		check_segment(&image->segments[i], data, len);
	check_disjoint(image);
	FUZZ_CHECK(in_file_bytes(image, image->entry));
	if (image->has_pvh)
		FUZZ_CHECK(in_file_bytes(image, image->pvh_entry));
	if (image->format != KERNEL_BZIMAGE)
		return;
	FUZZ_CHECK(image->setup_header_len >= 0x73 && image->setup_header_len <= 0x7f);
	FUZZ_CHECK(image->setup_header == data + 0x1f1 && 0x1f1 + image->setup_header_len <= len);
	FUZZ_CHECK(image->kernel_alignment && !(image->kernel_alignment & (image->kernel_alignment - 1)));
}

typedef int parse_fn(const uint8_t *data, size_t len, struct kernel_image *image, struct cvmm_error *err);

/* One parser of formats.h, @format's, on what its matcher took. */
static inline int fuzz_parser(enum kernel_format format, bool matches, parse_fn *parse, const uint8_t *data, size_t len)
{
	struct kernel_image image = { .format = format };
	struct cvmm_error err = { 0 };
	if (!matches)
		return 0;
	int ret = parse(data, len, &image, &err);
	if (ret < 0)
		check_refusal(ret, &err);
	else
		check_image(&image, data, len);
	FUZZ_CHECK(!image.owned);
	return 0;
}

#endif
