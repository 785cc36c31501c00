/* SPDX-License-Identifier: Apache-2.0 */
/* A zoned file as a whole, read and written while the caller waits: what opening one, and the tool for them, share. */
#ifndef CVMM_SRC_BLOCK_ZONE_IMAGE_H
#define CVMM_SRC_BLOCK_ZONE_IMAGE_H

#include "src/block/block.h"
#include "src/block/zone_format.h"

struct zone_image {
	struct block *file; /* owned: the whole file, not the disk in it */
	struct zones zones;
	struct zone_table table;
	uint64_t data_off;
};

/* Do @op and wait for it; not on a loop's thread. @buf: aligned as a page. */
int zone_image_io(struct block *file, enum block_op op, uint64_t off, void *buf, uint64_t len);

/* Take over @file, also on failure, and read what it holds. zone_image_fini() is welcome after each. */
int zone_image_load(struct zone_image *image, struct block *file, struct cvmm_error *err);
void zone_image_fini(struct zone_image *image);
/* Write the page of the table that zone @index is in, stable when done. */
int zone_image_store(struct zone_image *image, uint32_t index);
/* A file, long enough and all zeroes, becomes a zoned one, @id a number that no other has. Does not take it over. */
int zone_image_format(struct block *file, const struct zone_geometry *geometry, uint64_t id);

#endif
