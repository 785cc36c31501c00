// SPDX-License-Identifier: Apache-2.0
/*
 * A host-managed zoned device of the host. Its zones are the kernel's; here is a table of write pointers, which appends
 * need, since user space has no zone append. It holds what the device last said and what was written since; when a write
 * or an operation fails, or does not fit, the zone is asked for again before anybody is told.
 *
 * One write in flight for each zone: the kernel keeps no order among several. What blocks for long, that is all but reads
 * and writes, is done by a worker thread, while its zone is kept (zone_request.h), so between writes before and after.
 */
#include "src/block/zoned_host.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <linux/blkzoned.h>

#include "src/base/util.h"
#include "src/block/zone_request.h"

enum { SECTOR_SHIFT = 9, APPEND_DEFAULT = 1 << 20 };

struct zoned_host {
	struct block block;
	struct block *lower; /* owned */
	int fd;              /* owned */
	const struct zoned_host_calls *calls;
	struct zone_geometry geometry;
	struct zone_info *zones; /* owned, changed by who has the zone; under lock, as reads look at the state */
	uint32_t count;
	struct zone_queues queues;
	pthread_mutex_t lock;

	pthread_t worker;
	bool working, stop;                 /* there is a worker; it shall end */
	struct block_request *first, *last; /* its work; under lock */
	pthread_cond_t more;
};

static struct zoned_host *host_of(struct block *block)
{
	return container_of(block, struct zoned_host, block);
}

static struct zoned_host *host_at(const struct block_request *request)
{
	return host_of(request->zone.block);
}

static uint32_t index_of(const struct zoned_host *host, uint64_t off)
{
	return (uint32_t)(off / host->geometry.zone_size);
}

static void leave_and_done(struct block_request *request, int result)
{
	zone_queues_leave(&host_at(request)->queues, request);
	zone_request_done(request, result);
}

/* ---- the worker -------------------------------------------------------------------------------------------------- */

static void *work(void *opaque)
{
	struct zoned_host *host = opaque;
	pthread_mutex_lock(&host->lock);
	while (!host->stop) {
		struct block_request *request = host->first;
		if (!request) {
			pthread_cond_wait(&host->more, &host->lock);
			continue;
		}
		host->first = request->zone.next;
		pthread_mutex_unlock(&host->lock);
		zone_request_post(request, request->zone.work(request));
		pthread_mutex_lock(&host->lock);
	}
	pthread_mutex_unlock(&host->lock);
	return NULL;
}

/* Have @fn done, then @then on the request's loop. */
static void host_work(struct block_request *request, int (*fn)(struct block_request *request),
                      void (*then)(struct block_request *request, int result))
{
	struct zoned_host *host = host_at(request);
	request->zone.work = fn;
	request->zone.then = then;
	request->zone.next = NULL;
	pthread_mutex_lock(&host->lock);
	if (host->first)
		host->last->zone.next = request;
	else
		host->first = request;
	host->last = request;
	pthread_cond_signal(&host->more);
	pthread_mutex_unlock(&host->lock);
}

/* Zones that the device speaks of must be those that there are. */
static int check_info(const struct zoned_host *host, uint64_t off, const struct zone_info *info)
{
	uint64_t len = MIN(host->geometry.zone_size, host->geometry.size - off);
	return info->start == off && info->len == len && info->capacity <= len && info->wp - off <= len ? 0 : -EIO;
}

/* Ask for zones @first to @last, which are ours. */
static int refresh(struct zoned_host *host, uint32_t first, uint32_t last)
{
	struct zone_info infos[ZONED_HOST_REPORT_MAX];
	while (first <= last) {
		unsigned count = MIN(last - first + 1, (uint32_t)ZONED_HOST_REPORT_MAX);
		int ret = host->calls->report(host->fd, first * host->geometry.zone_size, infos, &count);
		if (ret == 0 && !count)
			ret = -EIO;
		for (unsigned i = 0; ret == 0 && i < count; i++)
			ret = check_info(host, (first + i) * host->geometry.zone_size, &infos[i]);
		if (ret < 0)
			return ret;
		pthread_mutex_lock(&host->lock);
		memcpy(&host->zones[first], infos, count * sizeof(infos[0]));
		pthread_mutex_unlock(&host->lock);
		first += count;
	}
	return 0;
}

static int work_refresh(struct block_request *request)
{
	return refresh(host_at(request), request->zone.first, request->zone.last);
}

/* ---- reads and writes -------------------------------------------------------------------------------------------- */

static bool is_sequential(const struct zoned_host *host, uint32_t index)
{
	return host->zones[index].type != ZONE_CONVENTIONAL;
}

/* No border of a zone that is written in sequence is crossed. */
static bool crosses(const struct zoned_host *host, uint64_t off, uint64_t len)
{
	uint32_t first = index_of(host, off), last = index_of(host, off + len - 1);
	for (uint32_t i = first; first != last && i <= last; i++)
		if (is_sequential(host, i))
			return true;
	return false;
}

static enum zone_state state_of(struct zoned_host *host, uint32_t index)
{
	pthread_mutex_lock(&host->lock);
	enum zone_state state = host->zones[index].state;
	pthread_mutex_unlock(&host->lock);
	return state;
}

static void host_read_done(struct block_request *request, int result)
{
	struct zoned_host *host = host_at(request);
	if (result < 0 && state_of(host, index_of(host, request->zone.off)) == ZONE_OFFLINE)
		result = ZONE_INVALID;
	zone_request_done(request, result);
}

/* May it be written there, as far as is known? */
static int check_write(const struct zoned_host *host, uint64_t off, uint64_t len)
{
	const struct zone_info *zone = &host->zones[index_of(host, off)];
	if (zone->state < ZONE_EMPTY || zone->state > ZONE_CLOSED)
		return ZONE_INVALID;
	if (!range_inside(off - zone->start, len, zone->capacity))
		return ZONE_INVALID;
	return off != zone->wp || len % host->geometry.block_size ? ZONE_UNALIGNED : 0;
}

static void host_write(struct block_request *request);

/* The device was asked why. If it cannot be told: what the write said. */
static void host_write_explained(struct block_request *request, int result)
{
	const struct block_zone_request *own = &request->zone;
	int ret = own->error, why = result < 0 ? 0 : check_write(host_at(request), own->off, own->len);
	if (why && ret != ZONE_OPEN_RESOURCE && ret != ZONE_ACTIVE_RESOURCE)
		ret = why;
	leave_and_done(request, ret);
}

static void host_written(struct block_request *request, int result)
{
	struct zoned_host *host = host_at(request);
	const struct block_zone_request *own = &request->zone;
	struct zone_info *zone = &host->zones[own->first];
	if (result < 0) {
		request->zone.error = result;
		host_work(request, work_refresh, host_write_explained);
		return;
	}
	pthread_mutex_lock(&host->lock);
	zone->wp += own->len;
	if (zone->wp == zone->start + zone->capacity) {
		zone->state = ZONE_FULL;
		zone->wp = zone->start + zone->len;
	} else if (zone->state != ZONE_EXPLICIT_OPEN) {
		zone->state = ZONE_IMPLICIT_OPEN;
	}
	pthread_mutex_unlock(&host->lock);
	leave_and_done(request, 0);
}

static void host_write_again(struct block_request *request, int result)
{
	if (result < 0)
		leave_and_done(request, result);
	else
		host_write(request);
}

/* What does not fit the table may fit the device: ask once. */
static void host_write(struct block_request *request)
{
	struct zoned_host *host = host_at(request);
	struct block_zone_request *own = &request->zone;
	uint64_t off = own->op == BLOCK_ZONE_APPEND ? host->zones[own->first].wp : own->off;
	int ret = check_write(host, off, own->len);
	if (ret < 0 && !own->retried) {
		own->retried = true;
		host_work(request, work_refresh, host_write_again);
	} else if (ret < 0) {
		leave_and_done(request, ret);
	} else {
		own->off = off;
		zone_request_lower(request, host->lower, 0, BLOCK_WRITE, own->flags, off, own->len, host_written);
	}
}

/* ---- operations, report ------------------------------------------------------------------------------------------ */

static const enum zone_op ops[] = {
	[BLOCK_ZONE_OPEN] = ZONE_OP_OPEN,       [BLOCK_ZONE_CLOSE] = ZONE_OP_CLOSE,
	[BLOCK_ZONE_FINISH] = ZONE_OP_FINISH,   [BLOCK_ZONE_RESET] = ZONE_OP_RESET,
	[BLOCK_ZONE_RESET_ALL] = ZONE_OP_RESET,
};

/* Whether it was done or not, the table is as the device says then. */
static int work_manage(struct block_request *request)
{
	struct zoned_host *host = host_at(request);
	const struct block_zone_request *own = &request->zone;
	bool all = own->op == BLOCK_ZONE_RESET_ALL;
	uint64_t off = all ? 0 : own->off, len = all ? host->geometry.size : host->zones[own->first].len;
	int ret = host->calls->manage(host->fd, ops[own->op], off, len);
	int known = refresh(host, own->first, own->last);
	if (ret == ZONE_OPEN_RESOURCE || ret == ZONE_ACTIVE_RESOURCE)
		return ret;
	if (ret < 0 && known == 0 && !all && !zones_allow(host->zones[own->first].state, ops[own->op]))
		return ZONE_INVALID;
	return ret < 0 ? ret : known;
}

static int work_report(struct block_request *request)
{
	struct zoned_host *host = host_at(request);
	struct zone_info infos[ZONED_HOST_REPORT_MAX];
	uint64_t at = align_down(request->zone.off, host->geometry.zone_size);
	bool more = request->zone.off < host->geometry.size;
	while (more && at < host->geometry.size) {
		unsigned count = ZONED_HOST_REPORT_MAX;
		int ret = host->calls->report(host->fd, at, infos, &count);
		if (ret < 0 || !count)
			return ret < 0 ? ret : -EIO;
		for (unsigned i = 0; more && i < count; i++) {
			if (check_info(host, at, &infos[i]) < 0)
				return -EIO;
			more = request->report(request, &infos[i]);
			at = infos[i].start + infos[i].len;
		}
	}
	return 0;
}

/* ---- dispatch ---------------------------------------------------------------------------------------------------- */

/* It has its zones. */
static void host_run(struct block_request *request)
{
	if (request->zone.op == BLOCK_WRITE || request->zone.op == BLOCK_ZONE_APPEND)
		host_write(request);
	else
		host_work(request, work_manage, leave_and_done);
}

static void host_submit_transfer(struct zoned_host *host, struct block_request *request)
{
	uint32_t index = index_of(host, request->off);
	if (crosses(host, request->off, request->len))
		zone_request_done(request, ZONE_INVALID);
	else if (request->op == BLOCK_READ)
		zone_request_lower(request, host->lower, 0, BLOCK_READ, 0, request->off, request->len, host_read_done);
	else if (is_sequential(host, index))
		zone_queues_enter(&host->queues, request, index, index);
	else
		zone_request_lower(request, host->lower, 0, BLOCK_WRITE, request->flags, request->off, request->len,
		                   zone_request_done);
}

static void host_submit_for_zone(struct zoned_host *host, struct block_request *request)
{
	uint32_t index = index_of(host, request->off);
	bool append = request->op == BLOCK_ZONE_APPEND;
	if (request->off >= host->geometry.size || request->off % host->geometry.zone_size ||
	    !is_sequential(host, index) || (append && (!request->len || request->len > host->geometry.max_append)))
		zone_request_done(request, ZONE_INVALID);
	else
		zone_queues_enter(&host->queues, request, index, index);
}

static void host_submit(struct block *block, struct block_request *request)
{
	struct zoned_host *host = host_of(block);
	zone_request_take(block, request);
	switch (request->op) {
	case BLOCK_READ:
	case BLOCK_WRITE:
		host_submit_transfer(host, request);
		break;
	case BLOCK_FLUSH:
		zone_request_lower(request, host->lower, 0, BLOCK_FLUSH, 0, 0, 0, zone_request_done);
		break;
	case BLOCK_DISCARD:
	case BLOCK_WRITE_ZEROES:
		zone_request_done(request, -EOPNOTSUPP);
		break;
	case BLOCK_ZONE_REPORT:
		host_work(request, work_report, zone_request_done);
		break;
	case BLOCK_ZONE_RESET_ALL:
		zone_queues_enter(&host->queues, request, 0, host->count - 1);
		break;
	default:
		host_submit_for_zone(host, request);
		break;
	}
}

/* ---- opening and closing ----------------------------------------------------------------------------------------- */

static void host_free(struct block *block)
{
	struct zoned_host *host = host_of(block);
	pthread_mutex_lock(&host->lock);
	host->stop = true;
	pthread_cond_signal(&host->more);
	pthread_mutex_unlock(&host->lock);
	if (host->working)
		pthread_join(host->worker, NULL);
	zone_queues_fini(&host->queues);
	pthread_cond_destroy(&host->more);
	pthread_mutex_destroy(&host->lock);
	free(host->zones);
	close(host->fd);
	block_free(host->lower);
	free(host);
}

static const struct block_ops host_ops = { .submit = host_submit, .free = host_free };

static int host_init(struct zoned_host *host, struct cvmm_error *err)
{
	host->zones = calloc(host->count, sizeof(*host->zones));
	if (zone_queues_init(&host->queues, host->count, host_run) < 0 || !host->zones)
		return err_set(err, -ENOMEM, "out of memory for %u zones", host->count);
	int ret = refresh(host, 0, host->count - 1);
	if (ret < 0)
		return err_set(err, ret, "its zones: %s", strerror(-ret));
	ret = -pthread_create(&host->worker, NULL, work, host);
	host->working = ret == 0;
	return ret < 0 ? err_set(err, ret, "a thread: %s", strerror(-ret)) : 0;
}

struct block *zoned_host_new(struct block *lower, int fd, const struct zoned_host_calls *calls,
                             const struct zone_geometry *geometry, struct cvmm_error *err)
{
	struct zoned_host *host = calloc(1, sizeof(*host));
	int ret = host ? zone_geometry_check(geometry, err) : err_set(err, -ENOMEM, "out of memory");
	if (ret < 0) {
		free(host);
		close(fd);
		block_free(lower);
		return NULL;
	}
	*host = (struct zoned_host){ .lower = lower, .fd = fd, .calls = calls, .geometry = *geometry };
	host->count = (uint32_t)zone_count(geometry);
	host->block = *lower;
	host->block.ops = &host_ops;
	host->block.size = geometry->size;
	host->block.logical_block = host->block.physical_block = geometry->block_size;
	host->block.discard_granularity = 0;
	host->block.zones = &host->geometry;
	pthread_mutex_init(&host->lock, NULL);
	pthread_cond_init(&host->more, NULL);
	if (host_init(host, err) == 0)
		return &host->block;
	block_free(&host->block);
	return NULL;
}

/* ---- the kernel's side ------------------------------------------------------------------------------------------- */

static void info_of(const struct blk_zone *zone, bool has_capacity, struct zone_info *info)
{
	*info = (struct zone_info){
		.start = zone->start << SECTOR_SHIFT,
		.len = zone->len << SECTOR_SHIFT,
		.capacity = (has_capacity ? zone->capacity : zone->len) << SECTOR_SHIFT,
		.wp = zone->wp << SECTOR_SHIFT,
		.type = (enum zone_type)zone->type,
		.state = (enum zone_state)zone->cond,
	};
	if (info->state < ZONE_EMPTY || info->state > ZONE_CLOSED) /* there the kernel says one thing or another */
		info->wp = info->start + info->len;
}

static int kernel_report(int fd, uint64_t off, struct zone_info *infos, unsigned *count)
{
	struct {
		struct blk_zone_report head;
		struct blk_zone zones[ZONED_HOST_REPORT_MAX];
	} report = { .head = { .sector = off >> SECTOR_SHIFT, .nr_zones = *count } };
	if (ioctl(fd, BLKREPORTZONE, &report) < 0)
		return -errno;
	*count = MIN(report.head.nr_zones, *count);
	for (unsigned i = 0; i < *count; i++)
		info_of(&report.zones[i], report.head.flags & BLK_ZONE_REP_CAPACITY, &infos[i]);
	return 0;
}

static int kernel_manage(int fd, enum zone_op op, uint64_t off, uint64_t len)
{
	static const unsigned long requests[ZONE_OPS] = {
		[ZONE_OP_OPEN] = BLKOPENZONE,
		[ZONE_OP_CLOSE] = BLKCLOSEZONE,
		[ZONE_OP_FINISH] = BLKFINISHZONE,
		[ZONE_OP_RESET] = BLKRESETZONE,
	};
	struct blk_zone_range range = { .sector = off >> SECTOR_SHIFT, .nr_sectors = len >> SECTOR_SHIFT };
	return ioctl(fd, requests[op], &range) < 0 ? -errno : 0;
}

static const struct zoned_host_calls kernel_calls = { .report = kernel_report, .manage = kernel_manage };

/* One line of the device's queue directory; "" if there is none. */
static void queue_text(dev_t dev, const char *name, char *text, size_t size)
{
	char path[128];
	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/queue/%s", major(dev), minor(dev), name);
	CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t len = fd < 0 ? 0 : read(fd, text, size - 1);
	text[MAX(len, 0)] = '\0';
	text[strcspn(text, "\n")] = '\0';
}

static uint64_t queue_number(dev_t dev, const char *name)
{
	char text[32];
	queue_text(dev, name, text, sizeof(text));
	return strtoull(text, NULL, 10);
}

/* What it cannot append at once the guest must not, though here appends are writes. */
static uint32_t append_max(dev_t dev, uint32_t block_size)
{
	uint64_t max = queue_number(dev, "zone_append_max_bytes");
	return (uint32_t)align_down(max ? MIN(max, UINT32_MAX) : APPEND_DEFAULT, block_size);
}

static int host_describe(int fd, const struct block *lower, struct zone_geometry *geometry, struct cvmm_error *err)
{
	struct stat st;
	char model[32];
	uint32_t sectors = 0;
	if (fstat(fd, &st) < 0)
		return err_set(err, -errno, "%m");
	if (!S_ISBLK(st.st_mode))
		return err_set(err, -EINVAL, "is not a block device");
	queue_text(st.st_rdev, "zoned", model, sizeof(model));
	if (strcmp(model, "host-managed") != 0)
		return err_set(err, -EINVAL, "is not a host-managed zoned device, but \"%s\"", model);
	if (ioctl(fd, BLKGETZONESZ, &sectors) < 0)
		return err_set(err, -errno, "the size of its zones: %m");
	uint64_t granularity = queue_number(st.st_rdev, "zone_write_granularity");
	*geometry = (struct zone_geometry){
		.model = ZONE_MODEL_HOST_MANAGED,
		.size = lower->size,
		.zone_size = (uint64_t)sectors << SECTOR_SHIFT,
		.zone_capacity = (uint64_t)sectors << SECTOR_SHIFT,
		.max_open = (uint32_t)queue_number(st.st_rdev, "max_open_zones"),
		.max_active = (uint32_t)queue_number(st.st_rdev, "max_active_zones"),
		.block_size = (uint32_t)MAX(MIN(granularity, UINT32_MAX), lower->logical_block),
	};
	geometry->max_append = append_max(st.st_rdev, geometry->block_size);
	return 0;
}

/* Around the page cache, which would write back in an order of its own. */
struct block *zoned_host_open(const struct block_file_options *options, struct cvmm_error *err)
{
	struct block_file_options lower = *options;
	struct zone_geometry geometry;
	lower.direct = true;
	struct block *file = block_file_open(&lower, err);
	if (!file)
		return NULL;
	char name[sizeof(file->name)];
	memcpy(name, file->name, sizeof(name));
	int flags = (options->read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC;
	int fd = options->path ? open(options->path, flags) : fcntl(options->fd, F_DUPFD_CLOEXEC, 3);
	int ret = fd < 0 ? err_set(err, -errno, "%m") : host_describe(fd, file, &geometry, err);
	if (ret < 0) {
		if (fd >= 0)
			close(fd);
		block_free(file);
		err_prefix(err, ret, "disk %s", name);
		return NULL;
	}
	struct block *block = zoned_host_new(file, fd, &kernel_calls, &geometry, err);
	if (!block)
		err_prefix(err, err ? err->code : -EIO, "disk %s", name);
	return block;
}
