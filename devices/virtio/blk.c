// SPDX-License-Identifier: Apache-2.0
/*
 * virtio-blk (virtio 1.3, 5.2) over any disk back end (src/block). Each queue lives on one loop's thread with requests
 * of its own, made in advance: a request takes no lock and allocates nothing, and its data goes between guest memory and
 * the back end directly.
 *
 *   notify: pop -> decode -> admit (rate limits) -> block_submit() ... done: status byte -> push; one flush a turn
 */
#include "devices/virtio/blk.h"

#include <errno.h>

#include <linux/virtio_ids.h>

#include "devices/virtio/mmio.h"
#include "src/base/log.h"
#include "src/base/util.h"
#include "src/block/zone.h"

enum {
	QUEUE_SIZE_DEFAULT = 256,
	QUEUE_SIZE_MAX = 1024, /* and segments of a chain: as many as readv() takes */
	BURST_MS = 100,
};

/* Bounds of a request's work, so that resets need not wait for long: 2 GiB is one system call, 64 MiB may have to be
 * written. In sectors. */
static const uint32_t discard_sectors_max = 1 << 22, zeroes_sectors_max = 1 << 17;

struct blk_queue {
	struct virtio_blk *blk; /* not owned */
	unsigned index;
	struct loop *loop;            /* not owned */
	struct blk_request *requests; /* owned array: one for each entry of the ring */
	struct iovec *iovs;           /* owned array: each request's segments */
	struct blk_request *free;
	struct block_bounce bounce;
	struct loop_call flush;        /* shows the driver what is done */
	struct loop_timer timer;       /* rings when throttled may go on */
	struct blk_request *throttled; /* the next to be submitted */
	uint64_t throttled_until;
	unsigned in_use; /* chains held */
	bool serving;    /* in notify(): the core flushes afterwards */
	bool quiescing;
};

/* A rate limit. @paid: until then what has been let through is paid for. A time in the past is credit, of which no more
 * than the burst counts. Shared by the queues of a device: atomic. */
struct blk_limit {
	uint64_t rate; /* units a second; 0: none */
	uint64_t paid;
};

struct blk_state {
	uint8_t wce_set; /* the driver wrote the writeback field, since the reset: */
	uint8_t wce;
};

struct virtio_blk {
	struct virtio_device vdev;
	struct virtio_ops ops;
	struct block *block; /* owned, unless */
	bool borrowed;
	struct blk_queue *queues;
	unsigned queue_count;
	const struct clock *clock; /* not owned */
	struct blk_limit iops, bw;
	uint64_t burst_ns;
	uint64_t capacity;  /* sectors; as the driver was told */
	uint16_t chain_max; /* segments */
	char serial[VIRTIO_BLK_ID_BYTES];
	struct blk_state s; /* atomic: written by registers, read by queues */
};

static struct virtio_blk *blk_of(const struct virtio_device *vdev)
{
	return container_of(vdev, struct virtio_blk, vdev);
}

static struct virtqueue *blk_vq(const struct blk_queue *queue)
{
	return &queue->blk->vdev.queues[queue->index];
}

/* --- segments --- */

/* Copy @len bytes out of the readable part and leave them out of it. Returns false if it is shorter. */
static bool blk_take(struct blk_request *req, void *to, size_t len)
{
	struct block_request *io = &req->io;
	uint8_t *at = to;
	for (size_t step; len; at += step, len -= step) {
		if (!io->iov_count)
			return false;
		step = MIN(len, io->iov->iov_len);
		memcpy(at, io->iov->iov_base, step);
		block_consume(io, step);
	}
	__atomic_signal_fence(__ATOMIC_SEQ_CST); /* what was copied is not looked at again over there */
	return true;
}

/* The last byte of the writable part is the status; the rest is data. */
static void blk_take_status(struct blk_request *req)
{
	struct desc_chain *chain = &req->chain;
	req->status = NULL;
	if (!chain->writable)
		return;
	struct iovec *last = &chain->iov[chain->readable + chain->writable - 1];
	last->iov_len--;
	req->status = (uint8_t *)last->iov_base + last->iov_len;
	chain->writable_len--;
	if (!last->iov_len)
		chain->writable--;
}

/* --- completion --- */

static void blk_flush(struct loop_call *call)
{
	struct blk_queue *queue = container_of(call, struct blk_queue, flush);
	virtio_flush(&queue->blk->vdev, blk_vq(queue));
}

static void blk_check_quiesced(struct blk_queue *queue)
{
	if (!queue->quiescing || queue->in_use)
		return;
	queue->quiescing = false;
	loop_defer_cancel(queue->loop, &queue->flush);
	virtio_quiesced(&queue->blk->vdev, queue->index);
}

static void blk_finish(struct blk_request *req, uint8_t status)
{
	struct blk_queue *queue = req->queue;
	uint32_t written = req->status ? 1 : 0;
	if (req->status)
		*req->status = status;
	if (status == VIRTIO_BLK_S_OK)
		written += req->written;
	virtqueue_push(blk_vq(queue), &req->chain, written);
	req->next_free = queue->free;
	queue->free = req;
	queue->in_use--;
	if (!queue->serving)
		loop_defer(queue->loop, &queue->flush);
	blk_check_quiesced(queue);
}

static uint8_t blk_status(int result)
{
	if (result >= 0)
		return VIRTIO_BLK_S_OK;
	return result == -EOPNOTSUPP ? VIRTIO_BLK_S_UNSUPP : VIRTIO_BLK_S_IOERR;
}

/* 5.2.6: to a driver that does not know of zones, no request is one for them, and no error is theirs. */
static bool blk_zoned(const struct virtio_blk *blk)
{
	return blk->vdev.s.driver_features & 1ull << BLK_F_ZONED;
}

static void blk_done(struct block_request *io, int result)
{
	struct blk_request *req = container_of(io, struct blk_request, io);
	blk_finish(req, blk_zoned(req->queue->blk) ? blk_zoned_done(req, result) : blk_status(result));
}

/* --- what a request asks for; each returns a status, or BLK_UNDER_WAY when req->io is to be submitted --- */

/* 5.2.6.2: stable when done, unless the driver knows of a cache and has it on. */
static bool blk_write_through(const struct virtio_blk *blk)
{
	uint64_t features = blk->vdev.s.driver_features;
	if (__atomic_load_n(&blk->s.wce_set, __ATOMIC_ACQUIRE))
		return !__atomic_load_n(&blk->s.wce, __ATOMIC_RELAXED);
	return !(features & 1ull << VIRTIO_BLK_F_FLUSH);
}

static bool blk_to_bytes(uint64_t sectors, uint64_t *bytes)
{
	*bytes = sectors << BLK_SECTOR_SHIFT;
	return *bytes >> BLK_SECTOR_SHIFT == sectors;
}

static uint8_t blk_transfer(struct blk_request *req, enum block_op op, uint64_t sector, uint32_t len)
{
	req->io.op = op;
	req->io.flags = op == BLOCK_WRITE && blk_write_through(req->queue->blk) ? BLOCK_FUA : 0;
	req->io.len = len;
	return blk_to_bytes(sector, &req->io.off) ? BLK_UNDER_WAY : VIRTIO_BLK_S_IOERR;
}

static uint8_t blk_read(struct blk_request *req, uint64_t sector)
{
	struct desc_chain *chain = &req->chain;
	req->io.iov = chain->iov + chain->readable;
	req->io.iov_count = chain->writable;
	req->written = chain->writable_len;
	return blk_transfer(req, BLOCK_READ, sector, chain->writable_len);
}

static uint8_t blk_write(struct blk_request *req, uint64_t sector)
{
	return blk_transfer(req, BLOCK_WRITE, sector, req->chain.readable_len - sizeof(struct virtio_blk_outhdr));
}

static uint8_t blk_flush_disk(struct blk_request *req, uint64_t sector)
{
	req->io.op = BLOCK_FLUSH;
	req->io.flags = 0;
	req->io.off = req->io.len = 0;
	return BLK_UNDER_WAY;
}

static uint8_t blk_get_id(struct blk_request *req, uint64_t sector)
{
	const struct virtio_blk *blk = req->queue->blk;
	req->written = (uint32_t)desc_chain_write(&req->chain, blk->serial, sizeof(blk->serial));
	return VIRTIO_BLK_S_OK;
}

/* Range @req->range becomes req->io. */
static void blk_load_range(struct blk_request *req)
{
	const struct virtio_blk_discard_write_zeroes *range = &req->ranges[req->range];
	req->io.off = le64toh(range->sector) << BLK_SECTOR_SHIFT;
	req->io.len = (uint64_t)le32toh(range->num_sectors) << BLK_SECTOR_SHIFT;
	if (le32toh(range->flags) & VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP)
		req->io.flags |= BLOCK_MAY_UNMAP;
}

/* One after the other. */
static void blk_range_done(struct block_request *io, int result)
{
	struct blk_request *req = container_of(io, struct blk_request, io);
	if (result < 0 || ++req->range == req->range_count) {
		blk_done(io, result);
		return;
	}
	blk_load_range(req);
	block_submit(req->queue->blk->block, io);
}

/* 5.2.6.2: unknown flags, and unmap where it means nothing, are not supported. */
static uint8_t blk_check_range(const struct virtio_blk *blk, const struct virtio_blk_discard_write_zeroes *range,
                               uint32_t flags, uint32_t sectors_max)
{
	uint64_t off;
	if (le32toh(range->flags) & ~flags)
		return VIRTIO_BLK_S_UNSUPP;
	if (le32toh(range->num_sectors) > sectors_max || !blk_to_bytes(le64toh(range->sector), &off))
		return VIRTIO_BLK_S_IOERR;
	uint64_t len = (uint64_t)le32toh(range->num_sectors) << BLK_SECTOR_SHIFT;
	if ((off | len) % blk->block->logical_block || !range_inside(off, len, block_size(blk->block)))
		return VIRTIO_BLK_S_IOERR;
	return BLK_UNDER_WAY;
}

/* All ranges are checked before the first is touched. */
static uint8_t blk_ranges(struct blk_request *req, enum block_op op, uint32_t flags, unsigned ranges_max,
                          uint32_t sectors_max)
{
	const struct virtio_blk *blk = req->queue->blk;
	size_t len = req->chain.readable_len - sizeof(struct virtio_blk_outhdr);
	if (!len || len % sizeof(req->ranges[0]) || len / sizeof(req->ranges[0]) > ranges_max)
		return VIRTIO_BLK_S_IOERR;
	if (!blk_take(req, req->ranges, len))
		return VIRTIO_BLK_S_IOERR;
	req->range = 0;
	req->range_count = (unsigned)(len / sizeof(req->ranges[0]));
	for (unsigned i = 0; i < req->range_count; i++) {
		uint8_t status = blk_check_range(blk, &req->ranges[i], flags, sectors_max);
		if (status != BLK_UNDER_WAY)
			return status;
	}
	req->io.op = op;
	req->io.flags = blk_write_through(blk) ? BLOCK_FUA : 0;
	req->io.done = blk_range_done;
	blk_load_range(req);
	return BLK_UNDER_WAY;
}

static uint8_t blk_discard(struct blk_request *req, uint64_t sector)
{
	return blk_ranges(req, BLOCK_DISCARD, 0, BLK_RANGES_MAX, discard_sectors_max);
}

static uint8_t blk_write_zeroes(struct blk_request *req, uint64_t sector)
{
	return blk_ranges(req, BLOCK_WRITE_ZEROES, VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP, 1, zeroes_sectors_max);
}

#define FEATURE(name) (1ull << VIRTIO_BLK_F_##name)

/* Whole numbers: no bit of a type has a meaning of its own. */
static const struct blk_type {
	uint32_t type;
	bool writes;
	uint64_t needs; /* offered */
	uint8_t (*decode)(struct blk_request *req, uint64_t sector);
} blk_types[] = {
	{ VIRTIO_BLK_T_IN, false, 0, blk_read },
	{ VIRTIO_BLK_T_OUT, true, 0, blk_write },
	{ VIRTIO_BLK_T_FLUSH, false, 0, blk_flush_disk },
	{ VIRTIO_BLK_T_GET_ID, false, 0, blk_get_id },
	{ VIRTIO_BLK_T_DISCARD, true, FEATURE(DISCARD), blk_discard },
	{ VIRTIO_BLK_T_WRITE_ZEROES, true, FEATURE(WRITE_ZEROES), blk_write_zeroes },
};

static uint8_t blk_decode(struct blk_request *req)
{
	const struct virtio_blk *blk = req->queue->blk;
	struct virtio_blk_outhdr header;
	if (!blk_take(req, &header, sizeof(header)))
		return VIRTIO_BLK_S_IOERR;
	for (unsigned i = 0; i < ARRAY_SIZE(blk_types); i++) {
		const struct blk_type *type = &blk_types[i];
		if (type->type != le32toh(header.type))
			continue;
		if (type->writes && blk->block->read_only)
			return VIRTIO_BLK_S_IOERR;
		if (type->needs & ~blk->vdev.features)
			return VIRTIO_BLK_S_UNSUPP;
		return type->decode(req, le64toh(header.sector));
	}
	if (!blk_zoned(blk))
		return VIRTIO_BLK_S_UNSUPP;
	return blk_zoned_decode(req, blk->block, le32toh(header.type), le64toh(header.sector),
	                        blk_write_through(blk) ? BLOCK_FUA : 0);
}

/* --- rate limits --- */

/* Pay for @units; returns when what was paid for may go. Whoever has credit left may go on at once, and into debt. */
static uint64_t limit_pay(struct blk_limit *limit, uint64_t units, uint64_t now, uint64_t burst_ns)
{
	if (!limit->rate)
		return now;
	unsigned __int128 exact = (unsigned __int128)units * NSEC_PER_SEC / limit->rate;
	uint64_t cost = exact > UINT64_MAX ? UINT64_MAX : (uint64_t)exact, next;
	uint64_t paid = __atomic_load_n(&limit->paid, __ATOMIC_RELAXED);
	do {
		if (__builtin_add_overflow(MAX(paid, now), cost, &next))
			next = UINT64_MAX;
	} while (!__atomic_compare_exchange_n(&limit->paid, &paid, next, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
	return paid > now + burst_ns ? paid - burst_ns : now;
}

/* Bytes that it has the host move. */
static uint64_t blk_moved(const struct blk_request *req)
{
	return req->io.op == BLOCK_DISCARD ? 0 : req->io.len;
}

/* When @req may be submitted: 0, or a time to come. */
static uint64_t blk_admit(struct blk_request *req)
{
	struct virtio_blk *blk = req->queue->blk;
	if (!blk->iops.rate && !blk->bw.rate)
		return 0;
	uint64_t now = clock_monotonic_ns(blk->clock);
	uint64_t by_iops = limit_pay(&blk->iops, 1, now, blk->burst_ns);
	uint64_t by_bw = blk_moved(req) ? limit_pay(&blk->bw, blk_moved(req), now, blk->burst_ns) : now;
	uint64_t at = MAX(by_iops, by_bw);
	return at > now ? at : 0;
}

static void blk_submit_throttled(struct blk_queue *queue)
{
	struct blk_request *req = TAKE_PTR(queue->throttled);
	loop_timer_cancel(&queue->timer);
	block_submit(queue->blk->block, &req->io);
}

/* Whether nothing waits any more. */
static bool blk_go_on(struct blk_queue *queue)
{
	if (!queue->throttled)
		return true;
	uint64_t now = clock_monotonic_ns(queue->blk->clock);
	if (now < queue->throttled_until) {
		loop_timer_set(&queue->timer, queue->throttled_until - now);
		return false;
	}
	blk_submit_throttled(queue);
	return true;
}

static void blk_ring(struct loop_timer *timer)
{
	struct blk_queue *queue = container_of(timer, struct blk_queue, timer);
	virtio_look(&queue->blk->vdev, queue->index);
}

/* --- the queue --- */

static void blk_begin(struct blk_queue *queue, struct blk_request *req)
{
	req->io.iov = req->chain.iov;
	req->io.iov_count = req->chain.readable;
	req->io.done = blk_done;
	req->written = 0;
	blk_take_status(req);
	uint8_t status = req->status ? blk_decode(req) : VIRTIO_BLK_S_IOERR;
	if (!req->status)
		log_guest("%s: a request has no place for its status", queue->blk->vdev.ops->name);
	if (status != BLK_UNDER_WAY) {
		blk_finish(req, status);
		return;
	}
	uint64_t at = blk_admit(req);
	if (at) {
		queue->throttled = req;
		queue->throttled_until = at;
	} else {
		block_submit(queue->blk->block, &req->io);
	}
}

/* A ring admits no more chains than it has entries, and there is a request for each: so one is free. */
static void blk_notify(struct virtio_device *vdev, unsigned index)
{
	struct blk_queue *queue = &blk_of(vdev)->queues[index];
	queue->serving = true;
	while (blk_go_on(queue) && queue->free && virtqueue_pop(blk_vq(queue), &queue->free->chain)) {
		struct blk_request *req = queue->free;
		queue->free = req->next_free;
		queue->in_use++;
		blk_begin(queue, req);
	}
	queue->serving = false;
}

static void blk_quiesce(struct virtio_device *vdev, unsigned index)
{
	struct blk_queue *queue = &blk_of(vdev)->queues[index];
	queue->quiescing = true;
	if (queue->throttled)
		blk_submit_throttled(queue);
	blk_check_quiesced(queue);
}

/* --- configuration space --- */

static bool blk_writeback(const struct virtio_blk *blk)
{
	if (__atomic_load_n(&blk->vdev.s.status, __ATOMIC_RELAXED) & VIRTIO_CONFIG_S_FEATURES_OK)
		return !blk_write_through(blk);
	return true;
}

static uint8_t log2_of(uint32_t ratio)
{
	return ratio ? (uint8_t)(31 - __builtin_clz(ratio)) : 0;
}

static struct virtio_blk_config blk_config(const struct virtio_blk *blk)
{
	const struct block *block = blk->block;
	struct virtio_blk_config config = {
		.capacity = htole64(blk->capacity),
		.seg_max = htole32(MAX(blk->chain_max, 3) - 2), /* beside header and status */
		.blk_size = htole32(block->logical_block),
		.physical_block_exp = log2_of(block->physical_block / block->logical_block),
		.min_io_size = htole16((uint16_t)MIN(block->physical_block / block->logical_block, UINT16_MAX)),
		.opt_io_size = htole32(block->optimal_io / block->logical_block),
		.wce = blk_writeback(blk),
		.num_queues = htole16((uint16_t)blk->queue_count),
	};
	if (blk->vdev.features & FEATURE(DISCARD)) {
		config.max_discard_sectors = htole32(discard_sectors_max);
		config.max_discard_seg = htole32(BLK_RANGES_MAX);
		config.discard_sector_alignment = htole32((uint32_t)(block->discard_granularity >> BLK_SECTOR_SHIFT));
	}
	if (blk->vdev.features & FEATURE(WRITE_ZEROES)) {
		config.max_write_zeroes_sectors = htole32(zeroes_sectors_max);
		config.max_write_zeroes_seg = htole32(1);
		config.write_zeroes_may_unmap = block->discard_granularity != 0;
	}
	return config;
}

/* What there is of zones is shown until the driver has decided not to know of them. */
static void blk_config_read(struct virtio_device *vdev, size_t off, void *buf, size_t len)
{
	const struct virtio_blk *blk = blk_of(vdev);
	struct virtio_blk_config config = blk_config(blk);
	struct blk_zoned_config zoned;
	uint8_t all[BLK_ZONED_CONFIG_OFF + sizeof(zoned)] = { 0 };
	bool decided = __atomic_load_n(&vdev->s.status, __ATOMIC_RELAXED) & VIRTIO_CONFIG_S_FEATURES_OK;
	memcpy(all, &config, BLK_CONFIG_SIZE);
	if (blk->block->zones && (blk_zoned(blk) || !decided)) {
		blk_zoned_config(blk->block, &zoned);
		memcpy(all + BLK_ZONED_CONFIG_OFF, &zoned, sizeof(zoned));
	}
	memcpy(buf, all + off, len);
}

static void blk_config_write(struct virtio_device *vdev, size_t off, const void *buf, size_t len)
{
	struct virtio_blk *blk = blk_of(vdev);
	const size_t wce = offsetof(struct virtio_blk_config, wce);
	if (off > wce || off + len <= wce || !(vdev->s.driver_features & FEATURE(CONFIG_WCE)))
		return;
	__atomic_store_n(&blk->s.wce, ((const uint8_t *)buf)[wce - off] & 1, __ATOMIC_RELAXED);
	__atomic_store_n(&blk->s.wce_set, 1, __ATOMIC_RELEASE);
}

int virtio_blk_resize(struct device *dev, uint64_t size, struct cvmm_error *err)
{
	struct virtio_blk *blk = container_of(dev, struct virtio_blk, vdev.dev);
	pthread_mutex_lock(&dev->lock);
	int ret = block_resize(blk->block, size, err);
	uint64_t capacity = block_size(blk->block) >> BLK_SECTOR_SHIFT;
	if (capacity != blk->capacity) {
		blk->capacity = capacity;
		virtio_config_changed(&blk->vdev);
	}
	pthread_mutex_unlock(&dev->lock);
	return ret;
}

/* --- life --- */

static void blk_reset(struct virtio_device *vdev, bool machine)
{
	blk_of(vdev)->s = (struct blk_state){ 0 };
}

static void blk_save(const struct virtio_device *vdev, void *state)
{
	memcpy(state, &blk_of(vdev)->s, sizeof(struct blk_state));
}

static int blk_load(struct virtio_device *vdev, const void *state)
{
	struct blk_state s;
	memcpy(&s, state, sizeof(s));
	if (s.wce_set > 1 || s.wce > s.wce_set)
		return -EINVAL;
	blk_of(vdev)->s = s;
	return 0;
}

static void blk_queue_fini(struct blk_queue *queue)
{
	block_bounce_fini(&queue->bounce);
	free(queue->iovs);
	free(queue->requests);
}

static void blk_free(struct virtio_device *vdev)
{
	struct virtio_blk *blk = blk_of(vdev);
	virtio_fini(vdev); /* quiesces */
	for (unsigned i = 0; blk->queues && i < blk->queue_count; i++)
		blk_queue_fini(&blk->queues[i]);
	free(blk->queues);
	if (!blk->borrowed)
		block_free(blk->block);
	free(blk);
}

/* The distance of two requests' segments is no multiple of a page, lest they meet in the same few cache sets. */
static int blk_queue_init(struct blk_queue *queue, struct virtio_blk *blk, unsigned index, struct loop *loop)
{
	unsigned count = blk->vdev.queues[index].size_max, stride = blk->chain_max + 4u;
	*queue = (struct blk_queue){ .blk = blk, .index = index, .loop = loop, .flush.fn = blk_flush };
	loop_timer_init(&queue->timer, loop, NULL, blk_ring);
	queue->requests = calloc(count, sizeof(*queue->requests));
	queue->iovs = calloc((size_t)count * stride, sizeof(*queue->iovs));
	if (!queue->requests || !queue->iovs || block_bounce_init(&queue->bounce, blk->block) < 0)
		return -ENOMEM;
	for (unsigned i = count; i--;) {
		struct blk_request *req = &queue->requests[i];
		req->queue = queue;
		req->chain.iov = &queue->iovs[(size_t)i * stride];
		req->chain.iov_max = blk->chain_max;
		req->io.loop = loop;
		req->io.bounce = &queue->bounce;
		req->next_free = queue->free;
		queue->free = req;
	}
	return virtio_set_loop(&blk->vdev, index, loop);
}

static bool blk_host_managed(const struct block *block)
{
	return block->zones && block->zones->model == ZONE_MODEL_HOST_MANAGED;
}

static uint64_t blk_features(const struct block *block)
{
	uint64_t features = FEATURE(SEG_MAX) | FEATURE(BLK_SIZE) | FEATURE(FLUSH) | FEATURE(TOPOLOGY) |
	                    FEATURE(CONFIG_WCE) | FEATURE(MQ);
	if (block->zones)
		features |= 1ull << BLK_F_ZONED;
	if (block->read_only)
		return features | FEATURE(RO);
	if (blk_host_managed(block)) /* neither discards nor writes zeroes in zones that are written in sequence */
		return features;
	return features | FEATURE(WRITE_ZEROES) | (block->discard_granularity ? FEATURE(DISCARD) : 0);
}

static const struct virtio_ops blk_ops = {
	.name = "virtio-blk",
	.id = VIRTIO_ID_BLOCK,
	.config_size = BLK_CONFIG_SIZE,
	.config_read = blk_config_read,
	.config_write = blk_config_write,
	.notify = blk_notify,
	.quiesce = blk_quiesce,
	.reset = blk_reset,
	.free = blk_free,
	.state_size = sizeof(struct blk_state),
	.save = blk_save,
	.load = blk_load,
};

static int blk_init(struct virtio_blk *blk, const struct virtio_wiring *wiring, struct guest_memory *mem,
                    const struct virtio_blk_options *options)
{
	unsigned count = MIN(options->queues ? options->queues : 1, VIRTIO_BLK_QUEUES_MAX);
	uint16_t size = wiring->queue_size ? MIN(wiring->queue_size, QUEUE_SIZE_MAX) : QUEUE_SIZE_DEFAULT;
	blk->ops.features = blk_features(blk->block);
	if (blk_host_managed(blk->block)) /* 5.2.5: who does not know of zones cannot write to it */
		blk->ops.features_needed = 1ull << BLK_F_ZONED;
	if (blk->block->zones)
		blk->ops.config_size = BLK_ZONED_CONFIG_OFF + sizeof(struct blk_zoned_config);
	int ret = virtio_mmio_init(&blk->vdev, &blk->ops, count, size, wiring, mem);
	blk->queues = calloc(count, sizeof(*blk->queues));
	if (ret < 0 || !blk->queues)
		return -ENOMEM;
	blk->chain_max = blk->vdev.queues[0].size_max;
	for (; ret == 0 && blk->queue_count < count; blk->queue_count++)
		ret = blk_queue_init(&blk->queues[blk->queue_count], blk, blk->queue_count,
		                     options->loops[blk->queue_count % options->loop_count]);
	return ret;
}

struct device *virtio_blk_new(const struct virtio_wiring *wiring, struct guest_memory *mem, struct block *block,
                              const struct virtio_blk_options *options)
{
	struct virtio_blk *blk = calloc(1, sizeof(*blk));
	if (!blk)
		return NULL;
	*blk = (struct virtio_blk){
		.ops = blk_ops,
		.block = block,
		.borrowed = options->borrow,
		.clock = options->clock ? options->clock : &clock_host,
		.iops.rate = options->iops,
		.bw.rate = options->bw,
		.burst_ns = (options->burst_ms ? options->burst_ms : BURST_MS) * NSEC_PER_MSEC,
		.capacity = block_size(block) >> BLK_SECTOR_SHIFT,
	};
	if (options->serial)
		memcpy(blk->serial, options->serial, strnlen(options->serial, sizeof(blk->serial)));
	if (blk_init(blk, wiring, mem, options) == 0)
		return &blk->vdev.dev;
	blk->block = NULL; /* the caller's still */
	blk_free(&blk->vdev);
	return NULL;
}
