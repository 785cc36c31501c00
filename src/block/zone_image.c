// SPDX-License-Identifier: Apache-2.0
/* A zoned file, read and written while the caller waits. */
#include "src/block/zone_image.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/util.h"

/* ---- one operation, waited for ----------------------------------------------------------------------------------- */

struct waiter {
	struct block_request request;
	bool done;
	int result;
};

static void waiter_done(struct block_request *request, int result)
{
	struct waiter *waiter = container_of(request, struct waiter, request);
	waiter->done = true;
	waiter->result = result;
}

int zone_image_io(struct block *file, enum block_op op, uint64_t off, void *buf, uint64_t len)
{
	struct cvmm_error err;
	struct loop *loop = loop_new(&clock_host, &err);
	if (!loop)
		return err.code;
	struct iovec iov = { buf, len };
	struct waiter waiter = {
		.request = { .done = waiter_done,
		             .loop = loop,
		             .op = op,
		             .off = off,
		             .len = len,
		             .iov = &iov,
		             .iov_count = 1 },
	};
	block_submit(file, &waiter.request);
	while (!waiter.done)
		loop_turn(loop, -1);
	loop_free(loop);
	return waiter.result;
}

/* ---- the file ---------------------------------------------------------------------------------------------------- */

static void *page_alloc(uint64_t len)
{
	void *buf = aligned_alloc(ZONE_PAGE_SIZE, len);
	if (buf)
		memset(buf, 0, len);
	return buf;
}

static int read_super(struct zone_image *image, struct zone_geometry *geometry, uint64_t *id, struct cvmm_error *err)
{
	uint64_t len = ZONE_SUPERBLOCKS * ZONE_PAGE_SIZE;
	if (image->file->size < len)
		return err_set(err, -ENOEXEC, "is not a zoned file: \"cvmm zone format\" makes one");
	CLEANUP_FREE void *super = page_alloc(len);
	int ret = super ? zone_image_io(image->file, BLOCK_READ, 0, super, len) : -ENOMEM;
	if (ret < 0)
		return err_set(err, ret, "its superblock: %s", strerror(-ret));
	return zone_format_parse_super(super, geometry, id, err);
}

static int read_table(struct zone_image *image, const struct zone_geometry *geometry, uint64_t id,
                      struct cvmm_error *err)
{
	uint64_t len = zone_format_data_off(geometry);
	if (geometry->block_size < image->file->logical_block)
		return err_set(err, -EINVAL, "has blocks of %u bytes, where direct access is by %u",
		               geometry->block_size, image->file->logical_block);
	if (image->file->size < len || image->file->size - len < geometry->size)
		return err_set(err, -ENOEXEC, "ends after %llu bytes, before its zones do, after %llu",
		               (unsigned long long)image->file->size, (unsigned long long)(len + geometry->size));
	uint64_t head_len = zone_format_head(geometry); /* 9 MiB at most: ZONES_MAX */
	CLEANUP_FREE uint8_t *head = page_alloc(head_len);
	int ret = head ? zone_image_io(image->file, BLOCK_READ, 0, head, head_len) : -ENOMEM;
	if (ret < 0)
		return err_set(err, ret, "its table: %s", strerror(-ret));
	image->data_off = len;
	return zone_format_parse(head, geometry, id, &image->zones, &image->table, err);
}

int zone_image_load(struct zone_image *image, struct block *file, struct cvmm_error *err)
{
	struct zone_geometry geometry;
	uint64_t id;
	*image = (struct zone_image){ .file = file };
	int ret = read_super(image, &geometry, &id, err);
	return ret < 0 ? ret : read_table(image, &geometry, id, err);
}

void zone_image_fini(struct zone_image *image)
{
	zone_table_fini(&image->table);
	zones_fini(&image->zones);
	block_free(TAKE_PTR(image->file));
}

static int write_page(struct block *file, uint64_t off, void *page)
{
	return zone_image_io(file, BLOCK_WRITE, off, page, ZONE_PAGE_SIZE);
}

int zone_image_store(struct zone_image *image, uint32_t index)
{
	uint32_t at = index / ZONE_RECORDS, first = at * ZONE_RECORDS;
	uint32_t count = MIN(image->zones.count - first, (uint32_t)ZONE_RECORDS);
	struct zone_page *page = &image->table.page[at];
	struct zone_record records[ZONE_RECORDS];
	CLEANUP_FREE void *buf = page_alloc(ZONE_PAGE_SIZE);
	if (!buf)
		return -ENOMEM;
	for (uint32_t i = 0; i < count; i++)
		records[i] = zone_format_record(&image->zones.zone[first + i]);
	zone_format_page(buf, image->table.id, at, page->sequence + 1, records, count);
	int ret = write_page(image->file, zone_format_page_off(at, !page->slot), buf);
	if (ret == 0)
		ret = zone_image_io(image->file, BLOCK_FLUSH, 0, NULL, 0);
	if (ret == 0)
		*page = (struct zone_page){ .sequence = page->sequence + 1, .slot = !page->slot };
	return ret;
}

/* The table first: only where that is does a superblock say that there is one. */
int zone_image_format(struct block *file, const struct zone_geometry *geometry, uint64_t id)
{
	static const struct zone_record empty[ZONE_RECORDS];
	CLEANUP_FREE void *buf = page_alloc(ZONE_PAGE_SIZE);
	int ret = buf ? 0 : -ENOMEM;
	for (uint32_t i = 0; ret == 0 && i < zone_format_pages((uint32_t)zone_count(geometry)); i++) {
		zone_format_page(buf, id, i, 1, empty, ZONE_RECORDS);
		ret = write_page(file, zone_format_page_off(i, 0), buf);
	}
	if (ret == 0)
		ret = zone_image_io(file, BLOCK_FLUSH, 0, NULL, 0);
	for (uint32_t i = 0; ret == 0 && i < ZONE_SUPERBLOCKS; i++) {
		zone_format_super(buf, geometry, id);
		ret = write_page(file, i * ZONE_PAGE_SIZE, buf);
	}
	return ret < 0 ? ret : zone_image_io(file, BLOCK_FLUSH, 0, NULL, 0);
}
