// SPDX-License-Identifier: Apache-2.0
/* A zoned disk in an ordinary file: docs/zoned-format.md. */
#include <stdio.h>
#include <string.h>

#include "src/block/zoned.h"

struct block *zoned_file_open(const struct block_file_options *options, struct cvmm_error *err)
{
	struct block_file_options lower = *options;
	struct zone_image image;
	char name[64];
	lower.logical_block = 0;
	struct block *file = block_file_open(&lower, err);
	if (!file)
		return NULL;
	memcpy(name, file->name, sizeof(name));
	int ret = zone_image_load(&image, file, err);
	if (ret == 0 && options->logical_block && options->logical_block != image.zones.geometry.block_size)
		ret = err_set(err, -EINVAL, "has blocks of %u bytes, not of %u", image.zones.geometry.block_size,
		              options->logical_block);
	if (ret < 0)
		zone_image_fini(&image);
	struct block *block = ret < 0 ? NULL : zoned_new(&image, err);
	if (!block)
		err_prefix(err, ret < 0 ? ret : -ENOMEM, "disk %s", name);
	return block;
}
