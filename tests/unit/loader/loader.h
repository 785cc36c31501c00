/* SPDX-License-Identifier: Apache-2.0 */
/* What the loader's tests share: parsing copies that end where the bytes do, so that sanitizers see every overrun. */
#ifndef CVMM_TESTS_LOADER_H
#define CVMM_TESTS_LOADER_H

#include "tests/unit/unit.h"

#include <errno.h>
#include <string.h>

#include "loader/formats.h"
#include "src/base/util.h"
#include "tests/support/images.h"

/* @len bytes of @bytes give -ENOEXEC, one line that holds @words, and an image with nothing in it to free. */
static inline void refuse_prefix(const struct bytes *bytes, size_t len, enum kernel_arch want, const char *words)
{
	struct bytes copy = bytes_of(bytes->data, len);
	struct kernel_image image;
	const struct kernel_image none = { 0 };
	struct cvmm_error err = { 0 };
	memset(&image, 0xa5, sizeof(image));
	assert_int_equal(kernel_image_parse_within(copy.data, copy.len, want, MIB, &image, &err), -ENOEXEC);
	assert_int_equal(err.code, -ENOEXEC);
	assert_null(strchr(err.msg, '\n'));
	if (!strstr(err.msg, words))
		fail_msg("\"%s\" does not say \"%s\"", err.msg, words);
	assert_memory_equal(&image, &none, sizeof(none));
	assert_int_equal(kernel_image_parse(copy.data, copy.len, want, &image, NULL), -ENOEXEC);
	bytes_free(&copy);
}

static inline void refuse(const struct bytes *bytes, enum kernel_arch want, const char *words)
{
	refuse_prefix(bytes, bytes->len, want, words);
}

/* Cut short anywhere, an image is refused. */
static inline void refuse_all_prefixes(const struct bytes *bytes, enum kernel_arch want)
{
	for (size_t len = 0; len < bytes->len; len++)
		refuse_prefix(bytes, len, want, "");
}

/* @bytes are a kernel: the caller finishes @image before it frees @bytes. */
static inline void accept(const struct bytes *bytes, enum kernel_arch want, struct kernel_image *image)
{
	struct cvmm_error err = { 0 };
	memset(image, 0xa5, sizeof(*image));
	if (kernel_image_parse(bytes->data, bytes->len, want, image, &err) != 0)
		fail_msg("refused: %s", err.msg);
	assert_int_equal(err.code, 0);
	assert_string_equal(err.msg, "");
}

#endif
