// SPDX-License-Identifier: Apache-2.0
/*
 * Zones kept by us: over a file (docs/zoned-format.md) or over memory, that is over another back end, to which requests
 * go on when the state machine (zones.h) has admitted them.
 *
 *   READ            what is above the write pointer is filled with zeroes, whatever the file holds there
 *   WRITE, APPEND   one at a time for each zone; the write pointer moves when the data is in the file
 *   FLUSH           data, then the table: no write pointer is ever on disk before what it stands for (zone_commit.c)
 *   FINISH, RESET   are in the table when done; a hole is punched after that
 *
 * Writes and operations queue up at each zone (zone_request.h).
 */
#include "src/block/zoned.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/util.h"

static struct zoned *zoned_of(struct block *block)
{
	return container_of(block, struct zoned, block);
}

static struct zoned *zoned_at(const struct block_request *request)
{
	return zoned_of(request->zone.block);
}

/* Do a part of the request below, then go on with @then. */
static void zoned_lower(struct block_request *request, enum block_op op, unsigned flags, uint64_t off, uint64_t len,
                        void (*then)(struct block_request *request, int result))
{
	struct zoned *zoned = zoned_at(request);
	zone_request_lower(request, zoned->lower, zoned->data_off, op, flags, off, len, then);
}

static void zoned_pass(struct block_request *request)
{
	zoned_lower(request, request->op, request->flags, request->off, request->len, zone_request_done);
}

static void zoned_leave_and_done(struct block_request *request, int result)
{
	zone_queues_leave(&zoned_at(request)->queues, request);
	zone_request_done(request, result);
}

/* ---- reads ------------------------------------------------------------------------------------------------------- */

/* Leave the first @data bytes to the back end below and clear the rest. */
static void zero_tail(struct block_request *request, uint64_t data)
{
	unsigned keep = 0;
	for (unsigned i = 0; i < request->iov_count; i++) {
		struct iovec *iov = &request->iov[i];
		size_t part = MIN(data, iov->iov_len);
		memset((uint8_t *)iov->iov_base + part, 0, iov->iov_len - part);
		iov->iov_len = part;
		data -= part;
		if (part)
			keep = i + 1;
	}
	request->iov_count = keep;
}

static void zoned_read(struct zoned *zoned, struct block_request *request)
{
	uint64_t data;
	pthread_mutex_lock(&zoned->lock);
	int ret = zones_read(&zoned->zones, request->off, request->len, &data);
	pthread_mutex_unlock(&zoned->lock);
	if (ret == 0 && data < request->len)
		zero_tail(request, data);
	if (ret < 0 || !data)
		zone_request_done(request, ret);
	else
		zoned_lower(request, BLOCK_READ, 0, request->off, data, zone_request_done);
}

/* ---- writes ------------------------------------------------------------------------------------------------------ */

static void mark_dirty(struct zoned *zoned, uint32_t first, uint32_t last)
{
	for (uint32_t page = first / ZONE_RECORDS; zoned->table.page && page <= last / ZONE_RECORDS; page++)
		zoned->table.page[page].dirty = true;
}

/* The next write of the zone may begin before this one's write pointer is on disk. */
static void zoned_written(struct block_request *request, int result)
{
	struct zoned *zoned = zoned_at(request);
	struct block_zone_request *own = &request->zone;
	pthread_mutex_lock(&zoned->lock);
	zones_end_write(&zoned->zones, own->off, own->len, result == 0);
	mark_dirty(zoned, own->first, own->last);
	pthread_mutex_unlock(&zoned->lock);
	zone_queues_leave(&zoned->queues, request);
	if (result == 0 && (own->flags & BLOCK_FUA || !zoned->block.writeback))
		zoned_commit(zoned, request, zone_request_done);
	else
		zone_request_done(request, result);
}

static void zoned_write(struct zoned *zoned, struct block_request *request)
{
	struct block_zone_request *own = &request->zone;
	bool append = own->op == BLOCK_ZONE_APPEND;
	pthread_mutex_lock(&zoned->lock);
	int ret = append ? zones_begin_append(&zoned->zones, &own->off, own->len)
	                 : zones_begin_write(&zoned->zones, own->off, own->len);
	pthread_mutex_unlock(&zoned->lock);
	if (ret < 0)
		zoned_leave_and_done(request, ret);
	else
		zoned_lower(request, append ? BLOCK_WRITE : own->op, own->flags & ~(unsigned)BLOCK_FUA, own->off,
		            own->len, zoned_written);
}

/* ---- reset ------------------------------------------------------------------------------------------------------- */

/*
 * Reset clears zones in the file: a hole in each run of those that are to be, one run after the other. Where reads rely
 * on the write pointer, that is only to give space back, and comes last: a crash before it leaves nothing to be seen.
 * A host-aware disk is read like any other: there, it comes before the write pointer moves.
 */
static bool next_run(struct zoned *zoned, struct block_zone_request *own, uint64_t *off, uint64_t *len)
{
	uint32_t first = own->zone;
	while (first <= own->last && !zoned->clear[first])
		first++;
	uint32_t end = first;
	while (end <= own->last && zoned->clear[end])
		end++;
	own->zone = end;
	if (first == end)
		return false;
	*off = zones_start(&zoned->zones, first);
	*len = zones_start(&zoned->zones, end - 1) + zones_len(&zoned->zones, end - 1) - *off;
	return true;
}

static void zoned_reset_apply(struct block_request *request);

static void zoned_clear_next(struct block_request *request, int result)
{
	struct zoned *zoned = zoned_at(request);
	bool aware = zoned->zones.geometry.model == ZONE_MODEL_HOST_AWARE;
	uint64_t off, len;
	if (result < 0 && aware)
		zoned_leave_and_done(request, result);
	else if (next_run(zoned, &request->zone, &off, &len))
		zoned_lower(request, aware ? BLOCK_WRITE_ZEROES : BLOCK_DISCARD, aware ? BLOCK_MAY_UNMAP : 0, off, len,
		            zoned_clear_next);
	else if (aware)
		zoned_reset_apply(request);
	else
		zoned_leave_and_done(request, 0);
}

static void zoned_clear(struct block_request *request)
{
	request->zone.zone = request->zone.first;
	zoned_clear_next(request, 0);
}

static void zoned_reset_committed(struct block_request *request, int result)
{
	struct zoned *zoned = zoned_at(request);
	bool aware = zoned->zones.geometry.model == ZONE_MODEL_HOST_AWARE;
	if (result < 0 || aware || !zoned->lower->discard_granularity)
		zoned_leave_and_done(request, result);
	else
		zoned_clear(request);
}

static void zoned_reset_apply(struct block_request *request)
{
	struct zoned *zoned = zoned_at(request);
	struct block_zone_request *own = &request->zone;
	pthread_mutex_lock(&zoned->lock);
	for (uint32_t i = own->first; i <= own->last; i++) {
		if (!zoned->clear[i])
			continue;
		zones_manage(&zoned->zones, ZONE_OP_RESET, zones_start(&zoned->zones, i));
		mark_dirty(zoned, i, i);
	}
	pthread_mutex_unlock(&zoned->lock);
	zoned_commit(zoned, request, zoned_reset_committed);
}

/* Which zones does it change? Nobody else changes them before it is done. */
static void zoned_reset(struct zoned *zoned, struct block_request *request)
{
	struct block_zone_request *own = &request->zone;
	bool any = false;
	pthread_mutex_lock(&zoned->lock);
	for (uint32_t i = own->first; i <= own->last; i++)
		any |= zoned->clear[i] = zones_has_to_reset(&zoned->zones, i);
	int ret = any || own->op == BLOCK_ZONE_RESET_ALL ? 0 : zones_manage(&zoned->zones, ZONE_OP_RESET, own->off);
	pthread_mutex_unlock(&zoned->lock);
	if (!any)
		zoned_leave_and_done(request, ret);
	else if (zoned->zones.geometry.model == ZONE_MODEL_HOST_AWARE)
		zoned_clear(request);
	else
		zoned_reset_apply(request);
}

/* ---- other operations on zones ----------------------------------------------------------------------------------- */

/* Open and closed do not outlive the process, so only FINISH is for the table. */
static void zoned_manage(struct zoned *zoned, struct block_request *request)
{
	static const enum zone_op ops[] = {
		[BLOCK_ZONE_OPEN] = ZONE_OP_OPEN,
		[BLOCK_ZONE_CLOSE] = ZONE_OP_CLOSE,
		[BLOCK_ZONE_FINISH] = ZONE_OP_FINISH,
	};
	struct block_zone_request *own = &request->zone;
	pthread_mutex_lock(&zoned->lock);
	int ret = zones_manage(&zoned->zones, ops[own->op], own->off);
	if (ret == 0 && own->op == BLOCK_ZONE_FINISH)
		mark_dirty(zoned, own->first, own->first);
	pthread_mutex_unlock(&zoned->lock);
	if (ret == 0 && own->op == BLOCK_ZONE_FINISH)
		zoned_commit(zoned, request, zoned_leave_and_done);
	else
		zoned_leave_and_done(request, ret);
}

static void zoned_report(struct zoned *zoned, struct block_request *request)
{
	struct zone_info info;
	bool more = true;
	uint64_t at = request->off;
	while (more && at < zoned->block.size) {
		pthread_mutex_lock(&zoned->lock);
		zones_info(&zoned->zones, zones_index(&zoned->zones, at), &info);
		pthread_mutex_unlock(&zoned->lock);
		more = request->report(request, &info);
		at = info.start + info.len;
	}
	zone_request_done(request, 0);
}

/* ---- dispatch ---------------------------------------------------------------------------------------------------- */

/* All zones that it concerns are the request's. */
static void zoned_run(struct block_request *request)
{
	struct zoned *zoned = zoned_at(request);
	switch (request->zone.op) {
	case BLOCK_WRITE:
	case BLOCK_WRITE_ZEROES:
	case BLOCK_ZONE_APPEND:
		zoned_write(zoned, request);
		break;
	case BLOCK_ZONE_RESET:
	case BLOCK_ZONE_RESET_ALL:
		zoned_reset(zoned, request);
		break;
	default:
		zoned_manage(zoned, request);
		break;
	}
}

/* Conventional zones alone: nothing to put in order. They come first. */
static bool is_conventional(const struct zoned *zoned, const struct block_request *request)
{
	uint64_t end = zones_start(&zoned->zones, zoned->zones.geometry.conventional);
	return request->off + request->len <= end && !((request->off | request->len) % zoned->block.logical_block);
}

static void zoned_submit_write(struct zoned *zoned, struct block_request *request)
{
	if (is_conventional(zoned, request))
		zoned_pass(request);
	else
		zone_queues_enter(&zoned->queues, request, zones_index(&zoned->zones, request->off),
		                  zones_index(&zoned->zones, request->off + request->len - 1));
}

static void zoned_submit_for_zone(struct zoned *zoned, struct block_request *request)
{
	if (request->off >= zoned->block.size) {
		zone_request_done(request, ZONE_INVALID);
		return;
	}
	uint32_t index = zones_index(&zoned->zones, request->off);
	zone_queues_enter(&zoned->queues, request, index, index);
}

static void zoned_submit(struct block *block, struct block_request *request)
{
	struct zoned *zoned = zoned_of(block);
	zone_request_take(block, request);
	switch (request->op) {
	case BLOCK_READ:
		zoned_read(zoned, request);
		break;
	case BLOCK_FLUSH:
		zoned_commit(zoned, request, zone_request_done);
		break;
	case BLOCK_WRITE:
	case BLOCK_WRITE_ZEROES:
		zoned_submit_write(zoned, request);
		break;
	case BLOCK_DISCARD:
		if (block->discard_granularity)
			zoned_pass(request);
		else
			zone_request_done(request, -EOPNOTSUPP);
		break;
	case BLOCK_ZONE_REPORT:
		zoned_report(zoned, request);
		break;
	case BLOCK_ZONE_RESET_ALL:
		zone_queues_enter(&zoned->queues, request, 0, zoned->zones.count - 1);
		break;
	default:
		zoned_submit_for_zone(zoned, request);
		break;
	}
}

/* ---- opening and closing ----------------------------------------------------------------------------------------- */

/* What the guest wrote without a flush need not be kept; but when nothing forbids it, it is. */
static void zoned_free(struct block *block)
{
	struct zoned *zoned = zoned_of(block);
	for (uint32_t i = 0; i < zoned->table.pages; i++)
		if (zoned->table.page[i].dirty) {
			zone_image_io(block, BLOCK_FLUSH, 0, NULL, 0);
			break;
		}
	zoned_commit_fini(zoned);
	zone_table_fini(&zoned->table);
	zones_fini(&zoned->zones);
	zone_queues_fini(&zoned->queues);
	free(zoned->clear);
	block_free(zoned->lower);
	pthread_mutex_destroy(&zoned->lock);
	free(zoned);
}

static const struct block_ops zoned_ops = { .submit = zoned_submit, .free = zoned_free };

static void zoned_describe(struct zoned *zoned)
{
	const struct zone_geometry *geometry = &zoned->zones.geometry;
	zoned->block = (struct block){
		.ops = &zoned_ops,
		.size = geometry->size,
		.logical_block = geometry->block_size,
		.physical_block = geometry->block_size,
		.memory_align = zoned->lower->memory_align,
		.read_only = zoned->lower->read_only,
		.writeback = zoned->lower->writeback,
		.zones = geometry,
	};
	if (geometry->model == ZONE_MODEL_HOST_AWARE) /* 5.2.6.2: not together with host-managed */
		zoned->block.discard_granularity = zoned->lower->discard_granularity;
	memcpy(zoned->block.name, zoned->lower->name, sizeof(zoned->block.name));
}

struct block *zoned_new(struct zone_image *image, struct cvmm_error *err)
{
	struct zoned *zoned = calloc(1, sizeof(*zoned));
	if (!zoned) {
		zone_image_fini(image);
		err_set(err, -ENOMEM, "out of memory for a zoned disk");
		return NULL;
	}
	zoned->lower = TAKE_PTR(image->file);
	zoned->zones = image->zones;
	zoned->table = image->table;
	zoned->data_off = image->data_off;
	*image = (struct zone_image){ 0 };
	pthread_mutex_init(&zoned->lock, NULL);
	zoned_describe(zoned);
	zoned->clear = calloc(zoned->zones.count, sizeof(*zoned->clear));
	int ret = zone_queues_init(&zoned->queues, zoned->zones.count, zoned_run);
	if (ret == 0 && zoned->clear && zoned_commit_init(zoned) == 0)
		return &zoned->block;
	err_set(err, -ENOMEM, "out of memory for %u zones", zoned->zones.count);
	block_free(&zoned->block);
	return NULL;
}

struct block *zoned_memory_new(const struct zone_geometry *geometry, struct cvmm_error *err)
{
	struct zone_image image = { 0 };
	int ret = zones_init(&image.zones, geometry, err);
	if (ret == 0) {
		image.file = block_memory_new(geometry->size, geometry->block_size, err);
		ret = image.file ? 0 : -ENOMEM;
	}
	if (ret < 0) {
		zone_image_fini(&image);
		return NULL;
	}
	return zoned_new(&image, err);
}
