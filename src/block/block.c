// SPDX-License-Identifier: Apache-2.0
/* What all disk back ends have in common: the range check in front, segments, the queue's bounce buffer. */
#include "src/block/block.h"

#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>

#include "src/base/log.h"
#include "src/base/util.h"

static const char *const op_names[] = {
	[BLOCK_READ] = "read",
	[BLOCK_WRITE] = "write",
	[BLOCK_FLUSH] = "flush",
	[BLOCK_DISCARD] = "discard",
	[BLOCK_WRITE_ZEROES] = "write of zeroes",
	[BLOCK_ZONE_REPORT] = "zone report",
	[BLOCK_ZONE_APPEND] = "zone append",
	[BLOCK_ZONE_OPEN] = "zone open",
	[BLOCK_ZONE_CLOSE] = "zone close",
	[BLOCK_ZONE_FINISH] = "zone finish",
	[BLOCK_ZONE_RESET] = "zone reset",
	[BLOCK_ZONE_RESET_ALL] = "reset of all zones",
};

void block_free(struct block *block)
{
	if (block)
		block->ops->free(block);
}

void block_set_name(struct block *block, const char *name)
{
	size_t len = strlen(name), room = sizeof(block->name) - 1;
	if (len <= room)
		memcpy(block->name, name, len + 1);
	else
		snprintf(block->name, sizeof(block->name), "...%s", name + len - (room - 3));
}

int block_check_size(uint64_t size, uint32_t logical_block, struct cvmm_error *err)
{
	if (!size)
		return err_set(err, -EINVAL, "is empty");
	if (size > INT64_MAX || size % logical_block)
		return err_set(err, -EINVAL, "its %llu bytes are no whole number of blocks of %u",
		               (unsigned long long)size, logical_block);
	return 0;
}

int block_resize(struct block *block, uint64_t size, struct cvmm_error *err)
{
	if (!block->ops->resize)
		return err_set(err, -EOPNOTSUPP, "disk %s: cannot be resized", block->name);
	if (size && block->read_only)
		return err_set(err, -EROFS, "disk %s: is read-only", block->name);
	int ret = size ? block_check_size(size, block->logical_block, err) : 0;
	if (ret == 0)
		ret = block->ops->resize(block, size, err);
	return ret < 0 ? err_prefix(err, ret, "disk %s", block->name) : 0;
}

/* --- requests --- */

static bool is_for_zones(const struct block_request *request)
{
	return request->op >= BLOCK_ZONE_REPORT;
}

static int block_check(const struct block *block, const struct block_request *request)
{
	if (request->op == BLOCK_FLUSH)
		return 0;
	if (block->read_only && request->op != BLOCK_READ && request->op != BLOCK_ZONE_REPORT)
		return -EROFS;
	if (is_for_zones(request))
		return block->zones ? 0 : -EOPNOTSUPP;
	bool zone_write = block->zones && request->op == BLOCK_WRITE;
	if ((request->off | request->len) % block->logical_block && !zone_write)
		return -EINVAL;
	return range_inside(request->off, request->len, block_size(block)) ? 0 : -EINVAL;
}

void block_submit(struct block *block, struct block_request *request)
{
	int ret = block_check(block, request);
	request->block = block;
	request->progress = 0;
	if (ret < 0 || (!request->len && request->op != BLOCK_FLUSH && !is_for_zones(request)))
		request->done(request, ret);
	else
		block->ops->submit(block, request);
}

void block_done(struct block_request *request, int result)
{
	uint64_t at = request->off + request->progress;
	if (result < 0)
		log_guest("disk %s: %s at %llu: %s", request->block->name, op_names[request->op],
		          (unsigned long long)at, strerror(-result));
	request->done(request, result);
}

void block_consume(struct block_request *request, uint64_t len)
{
	while (request->iov_count && len >= request->iov->iov_len) {
		len -= request->iov->iov_len;
		request->iov++;
		request->iov_count--;
	}
	if (!request->iov_count)
		return;
	request->iov->iov_base = (uint8_t *)request->iov->iov_base + len;
	request->iov->iov_len -= len;
}

/* --- bounce buffers --- */

int block_bounce_init(struct block_bounce *bounce, const struct block *block)
{
	*bounce = (struct block_bounce){ 0 };
	if (block->memory_align <= 1)
		return 0;
	void *buf = mmap(NULL, BLOCK_BOUNCE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (buf == MAP_FAILED)
		return -ENOMEM;
	bounce->buf = buf;
	return 0;
}

void block_bounce_fini(struct block_bounce *bounce)
{
	if (bounce->buf)
		munmap(TAKE_PTR(bounce->buf), BLOCK_BOUNCE_SIZE);
}

bool block_bounce_holds(const struct block_request *request)
{
	return request->bounce && request->bounce->user == request;
}

bool block_bounce_enter(struct block_request *request)
{
	struct block_bounce *bounce = request->bounce;
	request->next = NULL;
	if (bounce->user)
		bounce->last->next = request;
	else
		bounce->user = request;
	bounce->last = request;
	return bounce->user == request;
}

struct block_request *block_bounce_leave(struct block_request *request)
{
	struct block_bounce *bounce = request->bounce;
	bounce->user = request->next;
	return bounce->user;
}
