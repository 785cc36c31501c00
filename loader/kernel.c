// SPDX-License-Identifier: Apache-2.0
/* Recognises a kernel by its first bytes, takes off what it is wrapped in, and hands it to the parser of its format. */
#include "loader/kernel.h"

#include <errno.h>
#include <stdio.h>

#include "loader/formats.h"
#include "src/base/util.h"

enum { LAYERS_MAX = 4 }; /* wrappings around one kernel; two are seen in practice */

struct format {
	const char *name;
	const char *what; /* with its architecture, for errors */
	enum kernel_arch arch;
	bool (*match)(const uint8_t *data, size_t len);
	int (*parse)(const uint8_t *data, size_t len, struct kernel_image *image, struct cvmm_error *err);
};

static const struct format formats[] = {
	[KERNEL_BZIMAGE] = { "bzImage", "an x86_64 bzImage", KERNEL_X86_64, bzimage_match, bzimage_parse },
	[KERNEL_ELF] = { "ELF vmlinux", "an x86_64 ELF vmlinux", KERNEL_X86_64, elf_match, elf_parse },
	[KERNEL_ARM64_IMAGE] = { "arm64 Image", "an aarch64 Linux Image", KERNEL_AARCH64, arm64_image_match,
	                         arm64_image_parse },
};

static const char *const expected[] = {
	[KERNEL_X86_64] = "an x86_64 kernel: a bzImage or ELF vmlinux, plain or packed with gzip, zstd, lz4 or xz",
	[KERNEL_AARCH64] = "an aarch64 kernel: a Linux Image (arm64 boots no ELF), plain, EFI zboot or packed with "
			   "gzip, zstd, lz4 or xz",
};

static const struct format *format_find(const uint8_t *data, size_t len)
{
	for (size_t i = 0; i < ARRAY_SIZE(formats); i++)
		if (formats[i].match(data, len))
			return &formats[i];
	return NULL;
}

/* What holds the packed bytes, if @data is packed: @data itself or an EFI zboot program. Returns 1, 0: it is not. */
static int find_payload(const uint8_t *data, size_t len, struct zboot *payload, struct cvmm_error *err)
{
	if (zboot_match(data, len)) {
		int ret = zboot_parse(data, len, payload, err);
		return ret < 0 ? ret : 1;
	}
	const struct packing *packing = packing_find(data, len);
	if (!packing)
		return 0;
	*payload = (struct zboot){ data, len, packing, packing_name(packing) };
	return 1;
}

/* Take one layer off: @data and @len move on to the unpacked bytes, which @image then owns. Returns 1, 0: none there. */
static int unwrap_layer(const uint8_t **data, size_t *len, size_t max, struct kernel_image *image,
                        struct cvmm_error *err)
{
	struct zboot payload = { 0 };
	int ret = find_payload(*data, *len, &payload, err);
	if (ret <= 0)
		return ret;
	uint8_t *out = NULL;
	size_t out_len = 0;
	ret = unpack(payload.packing, payload.payload, payload.payload_len, max, &out, &out_len, err);
	if (ret < 0)
		return ret;
	free(image->owned); /* the layer outside, which held the payload */
	image->owned = out;
	image->owned_len = out_len;
	if (!image->packing)
		image->packing = payload.label;
	*data = out;
	*len = out_len;
	return 1;
}

static int unwrap(const uint8_t **data, size_t *len, size_t max, struct kernel_image *image, struct cvmm_error *err)
{
	for (unsigned layers = 0; !format_find(*data, *len); layers++) {
		if (layers == LAYERS_MAX && (zboot_match(*data, *len) || packing_find(*data, *len)))
			return err_set(err, -ENOEXEC, "packed more than %d times over", LAYERS_MAX);
		int ret = unwrap_layer(data, len, max, image, err);
		if (ret <= 0)
			return ret;
	}
	return 0;
}

static int parse_plain(const uint8_t *data, size_t len, enum kernel_arch want, struct kernel_image *image,
                       struct cvmm_error *err)
{
	char buf[96];
	const struct format *format = format_find(data, len);
	if (!format || format->arch != want)
		return err_set(err, -ENOEXEC, "%s, expected %s",
		               format ? format->what : identify(data, len, buf, sizeof(buf)), expected[want]);
	image->arch = format->arch;
	image->format = (enum kernel_format)(format - formats);
	return format->parse(data, len, image, err);
}

int kernel_image_parse_within(const uint8_t *data, size_t len, enum kernel_arch want, size_t unpacked_max,
                              struct kernel_image *image, struct cvmm_error *err)
{
	*image = (struct kernel_image){ 0 };
	int ret = unwrap(&data, &len, unpacked_max, image, err);
	if (ret == 0)
		ret = parse_plain(data, len, want, image, err);
	if (ret == 0)
		return 0;
	if (image->packing)
		err_prefix(err, ret, "unpacked from %s", image->packing);
	kernel_image_fini(image);
	return ret;
}

int kernel_image_parse(const uint8_t *data, size_t len, enum kernel_arch want, struct kernel_image *image,
                       struct cvmm_error *err)
{
	return kernel_image_parse_within(data, len, want, KERNEL_UNPACKED_MAX, image, err);
}

void kernel_image_fini(struct kernel_image *image)
{
	free(image->owned);
	*image = (struct kernel_image){ 0 };
}

const char *kernel_image_describe(const struct kernel_image *image, char *buf, size_t size)
{
	const char *name = formats[image->format].name;
	if (image->packing)
		snprintf(buf, size, "%s (%s)", name, image->packing);
	else
		snprintf(buf, size, "%s", name);
	return buf;
}
