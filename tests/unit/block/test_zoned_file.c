// SPDX-License-Identifier: Apache-2.0
/* Zones over a back end that the test holds: it can fail, hold requests back, and be cut off at any point. */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>

#include "src/base/util.h"
#include "src/block/zoned.h"

enum { ZONE = 64 << 10, BLOCK = 4096, ZONES = 300, LOG_MAX = 4096 };

static const struct zone_geometry geometry = {
	.model = ZONE_MODEL_HOST_MANAGED,
	.size = ZONES * (uint64_t)ZONE,
	.zone_size = ZONE,
	.zone_capacity = 48 << 10,
	.conventional = 2,
	.max_append = 32 << 10,
	.block_size = BLOCK,
};

/* ---- the file below ---------------------------------------------------------------------------------------------- */

struct entry { /* what reached the file, in order */
	enum block_op op;
	uint64_t off, len;
	uint8_t *data; /* owned; as it is then */
};

struct disk {
	struct block block;
	uint8_t *bytes; /* borrowed, or owned */
	bool owned, hold, logging;
	struct entry log[LOG_MAX];
	unsigned logged, requests;
	unsigned fail_at; /* the request of this number, from 1 on, fails */
	struct block_request *held[64];
	unsigned held_count;
};

static void disk_log(struct disk *disk, const struct block_request *request)
{
	assert_true(disk->logged < LOG_MAX);
	struct entry *entry = &disk->log[disk->logged++];
	*entry = (struct entry){ .op = request->op, .off = request->off, .len = request->len };
	if (!request->len)
		return;
	entry->data = malloc(request->len);
	assert_non_null(entry->data);
	memcpy(entry->data, disk->bytes + request->off, request->len);
}

static void disk_serve(struct disk *disk, struct block_request *request)
{
	uint8_t *at = disk->bytes + request->off;
	if (++disk->requests == disk->fail_at) {
		request->done(request, -EIO);
		return;
	}
	for (unsigned i = 0; i < request->iov_count && request->op <= BLOCK_WRITE; at += request->iov[i++].iov_len)
		if (request->op == BLOCK_READ)
			memcpy(request->iov[i].iov_base, at, request->iov[i].iov_len);
		else
			memcpy(at, request->iov[i].iov_base, request->iov[i].iov_len);
	if (request->op == BLOCK_DISCARD || request->op == BLOCK_WRITE_ZEROES)
		memset(at, 0, request->len);
	if (request->op != BLOCK_READ && disk->logging)
		disk_log(disk, request);
	request->done(request, 0);
}

static void disk_submit(struct block *block, struct block_request *request)
{
	struct disk *disk = container_of(block, struct disk, block);
	if (!disk->hold) {
		disk_serve(disk, request);
		return;
	}
	assert_true(disk->held_count < ARRAY_SIZE(disk->held));
	disk->held[disk->held_count++] = request;
}

static void disk_let_go(struct disk *disk, unsigned which)
{
	assert_true(which < disk->held_count);
	struct block_request *request = disk->held[which];
	disk->held_count--;
	memmove(&disk->held[which], &disk->held[which + 1], (disk->held_count - which) * sizeof(disk->held[0]));
	disk_serve(disk, request);
}

static void disk_free(struct block *block)
{
	struct disk *disk = container_of(block, struct disk, block);
	for (unsigned i = 0; i < disk->logged; i++)
		free(disk->log[i].data);
	if (disk->owned)
		free(disk->bytes);
	free(disk);
}

static const struct block_ops disk_ops = { .submit = disk_submit, .free = disk_free };

/* @bytes: NULL: its own, full of what no guest has written. */
static struct disk *disk_new(uint8_t *bytes, uint64_t size)
{
	struct disk *disk = calloc(1, sizeof(*disk));
	assert_non_null(disk);
	disk->owned = !bytes;
	disk->bytes = bytes ? bytes : malloc(size);
	assert_non_null(disk->bytes);
	if (!bytes)
		memset(disk->bytes, 0xee, size);
	disk->block = (struct block){ .ops = &disk_ops,
		                      .size = size,
		                      .logical_block = 512,
		                      .physical_block = 4096,
		                      .memory_align = 1,
		                      .discard_granularity = 4096,
		                      .writeback = true };
	return disk;
}

static uint64_t file_size(const struct zone_geometry *of)
{
	return zone_format_data_off(of) + of->size;
}

static struct disk *disk_formatted(const struct zone_geometry *of)
{
	struct disk *disk = disk_new(NULL, file_size(of));
	assert_int_equal(zone_image_format(&disk->block, of, 0x1234567890abcdef), 0);
	return disk;
}

static struct block *zoned_over(struct disk *disk)
{
	struct zone_image image;
	struct cvmm_error err = { 0 };
	int ret = zone_image_load(&image, &disk->block, &err);
	if (ret < 0)
		fail_msg("%s", err.msg);
	struct block *block = zoned_new(&image, &err);
	assert_non_null(block);
	return block;
}

/* ---- the device above -------------------------------------------------------------------------------------------- */

static struct loop *loop;

struct call {
	struct block_request request;
	struct iovec iov;
	bool done;
	int result;
};

static void call_done(struct block_request *request, int result)
{
	struct call *call = container_of(request, struct call, request);
	assert_false(call->done);
	call->done = true;
	call->result = result;
}

static void begin(struct call *call, struct block *block, enum block_op op, uint64_t off, void *buf, uint64_t len,
                  unsigned flags)
{
	*call = (struct call){ .iov = { buf, len } };
	call->request = (struct block_request){
		.done = call_done,
		.loop = loop,
		.op = op,
		.off = off,
		.len = len,
		.flags = flags,
		.iov = &call->iov,
		.iov_count = buf ? 1 : 0,
	};
	block_submit(block, &call->request);
}

static int run_flags(struct block *block, enum block_op op, uint64_t *off, void *buf, uint64_t len, unsigned flags)
{
	struct call call;
	begin(&call, block, op, *off, buf, len, flags);
	while (!call.done)
		assert_true(loop_turn(loop, 0) > 0);
	assert_ptr_equal(call.request.block, block);
	assert_int_equal(call.request.op, op);
	*off = call.request.off;
	return call.result;
}

static int run(struct block *block, enum block_op op, uint64_t off, void *buf, uint64_t len)
{
	return run_flags(block, op, &off, buf, len, 0);
}

static uint64_t start(uint32_t zone)
{
	return zone * (uint64_t)ZONE;
}

static struct zone_info infos[ZONES];
static unsigned reported, report_max;

static bool keep_info(struct block_request *request, const struct zone_info *info)
{
	infos[reported++] = *info;
	return reported < report_max;
}

static unsigned report(struct block *block, uint64_t off, unsigned max)
{
	struct call call = {
		.request = { .done = call_done, .loop = loop, .op = BLOCK_ZONE_REPORT, .off = off, .report = keep_info }
	};
	reported = 0;
	report_max = max;
	block_submit(block, &call.request);
	assert_true(call.done);
	assert_int_equal(call.result, 0);
	return reported;
}

static struct zone_info info_of(struct block *block, uint32_t zone)
{
	assert_int_equal(report(block, start(zone), 1), 1);
	return infos[0];
}

/* ---- what it does ------------------------------------------------------------------------------------------------ */

static uint8_t buf[4 * ZONE], back[4 * ZONE];

static bool all(const uint8_t *bytes, size_t len, uint8_t value)
{
	for (size_t i = 0; i < len; i++)
		if (bytes[i] != value)
			return false;
	return true;
}

static void test_reads_and_writes(void **test)
{
	struct block *block = zoned_over(disk_formatted(&geometry));
	assert_int_equal(block->size, geometry.size);
	assert_int_equal(block->logical_block, BLOCK);
	assert_int_equal(block->discard_granularity, 0);
	memset(buf, 'a', sizeof(buf));
	assert_int_equal(run(block, BLOCK_READ, start(4), back, ZONE), 0);
	assert_true(all(back, ZONE, 0)); /* whatever the file holds there */
	assert_int_equal(run(block, BLOCK_WRITE, start(4), buf, 2 * BLOCK), 0);
	assert_int_equal(run(block, BLOCK_READ, start(4), back, ZONE), 0);
	assert_true(all(back, 2 * BLOCK, 'a'));
	assert_true(all(back + 2 * BLOCK, ZONE - 2 * BLOCK, 0));
	assert_int_equal(info_of(block, 4).wp, start(4) + 2 * BLOCK);
	assert_int_equal(run(block, BLOCK_WRITE, start(4), buf, BLOCK), ZONE_UNALIGNED);
	assert_int_equal(run(block, BLOCK_WRITE, start(4) + 2 * BLOCK, buf, 512), ZONE_UNALIGNED);
	assert_int_equal(run(block, BLOCK_READ, start(4), back, 512), -EINVAL);
	assert_int_equal(run(block, BLOCK_READ, start(4), back, 2 * ZONE), ZONE_INVALID);
	assert_int_equal(run(block, BLOCK_WRITE, geometry.size, buf, BLOCK), -EINVAL);
	assert_int_equal(run(block, BLOCK_WRITE, start(1), buf, ZONE), 0); /* conventional: anywhere */
	assert_int_equal(run(block, BLOCK_WRITE, start(0) + BLOCK, buf, BLOCK), 0);
	assert_int_equal(run(block, BLOCK_READ, start(0) + BLOCK, back, ZONE), 0);
	assert_true(all(back, BLOCK, 'a'));
	assert_true(all(back + ZONE - BLOCK, BLOCK, 'a'));
	assert_int_equal(run(block, BLOCK_DISCARD, start(4), NULL, BLOCK), -EOPNOTSUPP);
	assert_int_equal(run(block, BLOCK_WRITE_ZEROES, start(4) + 2 * BLOCK, NULL, BLOCK), 0);
	assert_int_equal(info_of(block, 4).wp, start(4) + 3 * BLOCK);
	block_free(block);
}

/* Segments of which some, or parts, are above the write pointer; empty ones in between. */
static void test_read_segments(void **test)
{
	struct block *block = zoned_over(disk_formatted(&geometry));
	memset(buf, 'b', sizeof(buf));
	assert_int_equal(run(block, BLOCK_WRITE, start(4), buf, BLOCK), 0);
	memset(back, 'x', sizeof(back));
	struct iovec iov[] = {
		{ back, 0 }, { back, 512 }, { back + 512, 0 }, { back + 1024, 4096 }, { back + 8192, 3584 }
	};
	struct call call = { .request = { .done = call_done,
		                          .loop = loop,
		                          .op = BLOCK_READ,
		                          .off = start(4),
		                          .len = 2 * BLOCK,
		                          .iov = iov,
		                          .iov_count = ARRAY_SIZE(iov) } };
	block_submit(block, &call.request);
	assert_int_equal(call.result, 0);
	assert_int_equal(call.request.len, 2 * BLOCK);
	assert_true(all(back, 512, 'b'));
	assert_true(all(back + 512, 512, 'x'));
	assert_true(all(back + 1024, 3584, 'b'));
	assert_true(all(back + 1024 + 3584, 512, 0));
	assert_true(all(back + 8192, 3584, 0));
	assert_true(all(back + 8192 + 3584, 512, 'x'));
	block_free(block);
}

static void test_append_says_where(void **test)
{
	struct block *block = zoned_over(disk_formatted(&geometry));
	memset(buf, 'c', sizeof(buf));
	for (unsigned i = 0; i < 3; i++) {
		uint64_t off = start(9);
		assert_int_equal(run_flags(block, BLOCK_ZONE_APPEND, &off, buf, BLOCK, 0), 0);
		assert_int_equal(off, start(9) + i * BLOCK);
	}
	assert_int_equal(run(block, BLOCK_READ, start(9), back, 4 * BLOCK), 0);
	assert_true(all(back, 3 * BLOCK, 'c'));
	assert_true(all(back + 3 * BLOCK, BLOCK, 0));
	assert_int_equal(run(block, BLOCK_ZONE_APPEND, geometry.size, buf, BLOCK), ZONE_INVALID);
	assert_int_equal(run(block, BLOCK_ZONE_APPEND, start(9) + BLOCK, buf, BLOCK), ZONE_INVALID);
	assert_int_equal(run(block, BLOCK_ZONE_APPEND, start(0), buf, BLOCK), ZONE_INVALID);
	block_free(block);
}

static void test_report(void **test)
{
	struct block *block = zoned_over(disk_formatted(&geometry));
	assert_int_equal(report(block, 0, ZONES), ZONES);
	for (unsigned i = 0; i < ZONES; i++) {
		assert_int_equal(infos[i].start, start(i));
		assert_int_equal(infos[i].state, i < 2 ? ZONE_NOT_WP : ZONE_EMPTY);
	}
	assert_int_equal(report(block, start(7) + 512, 2), 2); /* inside of a zone */
	assert_int_equal(infos[0].start, start(7));
	assert_int_equal(report(block, start(ZONES - 1), 5), 1);
	assert_int_equal(report(block, geometry.size, 5), 0);
	assert_int_equal(report(block, UINT64_MAX, 5), 0);
	block_free(block);
}

static void test_operations(void **test)
{
	struct block *block = zoned_over(disk_formatted(&geometry));
	assert_int_equal(run(block, BLOCK_ZONE_OPEN, start(5), NULL, 0), 0);
	assert_int_equal(info_of(block, 5).state, ZONE_EXPLICIT_OPEN);
	assert_int_equal(run(block, BLOCK_WRITE, start(5), buf, BLOCK), 0);
	assert_int_equal(run(block, BLOCK_ZONE_CLOSE, start(5), NULL, 0), 0);
	assert_int_equal(info_of(block, 5).state, ZONE_CLOSED);
	assert_int_equal(run(block, BLOCK_ZONE_FINISH, start(5), NULL, 0), 0);
	assert_int_equal(info_of(block, 5).state, ZONE_FULL);
	assert_int_equal(run(block, BLOCK_ZONE_OPEN, start(5), NULL, 0), ZONE_INVALID);
	assert_int_equal(run(block, BLOCK_ZONE_RESET, start(5), NULL, 0), 0);
	assert_int_equal(info_of(block, 5).state, ZONE_EMPTY);
	assert_int_equal(run(block, BLOCK_ZONE_RESET, start(5), NULL, 0), 0);
	assert_int_equal(run(block, BLOCK_ZONE_RESET, start(5) + BLOCK, NULL, 0), ZONE_INVALID);
	assert_int_equal(run(block, BLOCK_ZONE_RESET, start(1), NULL, 0), ZONE_INVALID);
	assert_int_equal(run(block, BLOCK_ZONE_RESET, geometry.size, NULL, 0), ZONE_INVALID);
	for (uint32_t i = 2; i < ZONES; i += 3)
		assert_int_equal(run(block, BLOCK_WRITE, start(i), buf, BLOCK), 0);
	assert_int_equal(run(block, BLOCK_ZONE_RESET_ALL, 0, NULL, 0), 0);
	report(block, 0, ZONES);
	for (uint32_t i = 2; i < ZONES; i++)
		assert_int_equal(infos[i].state, ZONE_EMPTY);
	block_free(block);
}

static void test_plain_disk_has_no_zones(void **test)
{
	struct disk *disk = disk_new(NULL, MIB);
	for (enum block_op op = BLOCK_ZONE_REPORT; op <= BLOCK_ZONE_RESET_ALL; op++)
		assert_int_equal(run(&disk->block, op, 0, NULL, 0), -EOPNOTSUPP);
	block_free(&disk->block);
}

static void test_read_only(void **test)
{
	struct disk *disk = disk_formatted(&geometry);
	disk->block.read_only = true;
	struct block *block = zoned_over(disk);
	assert_int_equal(report(block, 0, ZONES), ZONES);
	for (enum block_op op = BLOCK_ZONE_APPEND; op <= BLOCK_ZONE_RESET_ALL; op++)
		assert_int_equal(run(block, op, start(4), NULL, 0), -EROFS);
	assert_int_equal(run(block, BLOCK_FLUSH, 0, NULL, 0), 0);
	block_free(block);
}

static void test_memory(void **test)
{
	struct cvmm_error err;
	struct block *block = zoned_memory_new(&geometry, &err);
	assert_non_null(block);
	memset(buf, 'm', BLOCK);
	assert_int_equal(run(block, BLOCK_WRITE, start(4), buf, BLOCK), 0);
	assert_int_equal(run(block, BLOCK_FLUSH, 0, NULL, 0), 0);
	assert_int_equal(run(block, BLOCK_READ, start(4), back, 2 * BLOCK), 0);
	assert_true(all(back, BLOCK, 'm') && all(back + BLOCK, BLOCK, 0));
	assert_int_equal(run(block, BLOCK_ZONE_RESET_ALL, 0, NULL, 0), 0);
	assert_int_equal(run(block, BLOCK_READ, start(4), back, BLOCK), 0);
	assert_true(all(back, BLOCK, 0));
	block_free(block);
	struct zone_geometry bad = geometry;
	bad.zone_size = 3;
	assert_null(zoned_memory_new(&bad, &err));
	assert_int_equal(err.code, -EINVAL);
}

static void test_host_aware(void **test)
{
	struct zone_geometry aware = geometry;
	aware.model = ZONE_MODEL_HOST_AWARE;
	aware.zone_capacity = ZONE;
	aware.max_append = 0;
	struct disk *disk = disk_formatted(&aware);
	memset(disk->bytes + zone_format_data_off(&aware), 0, aware.size); /* as a new file is */
	struct block *block = zoned_over(disk);
	memset(buf, 'h', sizeof(buf));
	assert_int_equal(block->discard_granularity, 4096);
	assert_int_equal(run(block, BLOCK_WRITE, start(3) + 8 * BLOCK, buf, 2 * ZONE),
	                 0); /* over borders, with a gap */
	assert_int_equal(info_of(block, 3).state, ZONE_FULL);
	assert_int_equal(info_of(block, 4).state, ZONE_FULL);
	assert_int_equal(info_of(block, 5).wp, start(5) + 8 * BLOCK);
	assert_int_equal(run(block, BLOCK_READ, start(3), back, 3 * ZONE), 0);
	assert_true(all(back, 8 * BLOCK, 0));
	assert_true(all(back + 8 * BLOCK, 2 * ZONE, 'h'));
	assert_int_equal(run(block, BLOCK_ZONE_RESET, start(4), NULL, 0), 0);
	assert_int_equal(run(block, BLOCK_READ, start(3), back, 3 * ZONE), 0);
	assert_true(all(back + 8 * BLOCK, ZONE - 8 * BLOCK, 'h'));
	assert_true(all(back + ZONE, ZONE, 0));
	assert_int_equal(info_of(block, 4).state, ZONE_EMPTY);
	assert_int_equal(run(block, BLOCK_DISCARD, start(3), NULL, 3 * ZONE), 0);
	disk->fail_at = disk->requests + 1; /* the zeroing */
	assert_int_equal(run(block, BLOCK_ZONE_RESET, start(3), NULL, 0), -EIO);
	assert_int_equal(info_of(block, 3).state, ZONE_FULL);
	block_free(block);
}

/* ---- one at a time for each zone --------------------------------------------------------------------------------- */

static void turn(void)
{
	while (loop_turn(loop, 0) > 0)
		;
}

static void test_writes_queue_up(void **test)
{
	struct disk *disk = disk_formatted(&geometry);
	struct block *block = zoned_over(disk);
	struct call writes[4], other, reset, append;
	disk->hold = true;
	for (unsigned i = 0; i < 4; i++)
		begin(&writes[i], block, BLOCK_WRITE, start(4) + i * BLOCK, buf, BLOCK, 0);
	begin(&other, block, BLOCK_WRITE, start(5), buf, BLOCK, 0);
	begin(&append, block, BLOCK_ZONE_APPEND, start(4), buf, BLOCK, 0);
	begin(&reset, block, BLOCK_ZONE_RESET_ALL, 0, NULL, 0, 0);
	assert_int_equal(disk->held_count, 2); /* one for each zone */
	disk_let_go(disk, 1);
	assert_true(other.done);
	for (unsigned i = 0; i < 4; i++) {
		assert_false(writes[i].done);
		assert_int_equal(info_of(block, 4).wp, start(4) + i * BLOCK);
		disk_let_go(disk, 0);
		turn();
		assert_int_equal(disk->held_count, 1);
		assert_true(writes[i].done);
		assert_int_equal(writes[i].result, 0);
	}
	disk_let_go(disk, 0);
	assert_int_equal(append.request.off, start(4) + 4 * BLOCK);
	turn();
	assert_false(reset.done); /* it waited for all */
	disk->hold = false;
	while (disk->held_count)
		disk_let_go(disk, 0);
	turn();
	assert_true(reset.done);
	assert_int_equal(info_of(block, 4).state, ZONE_EMPTY);
	assert_int_equal(info_of(block, 5).state, ZONE_EMPTY);
	block_free(block);
}

/* The one that fails leaves the write pointer, and so those behind it fail, too. */
static void test_write_fails(void **test)
{
	struct disk *disk = disk_formatted(&geometry);
	struct block *block = zoned_over(disk);
	struct call writes[3];
	disk->hold = true;
	for (unsigned i = 0; i < 3; i++)
		begin(&writes[i], block, BLOCK_WRITE, start(4) + i * BLOCK, buf, BLOCK, 0);
	disk->fail_at = disk->requests + 1;
	disk_let_go(disk, 0);
	turn();
	assert_int_equal(writes[0].result, -EIO);
	assert_int_equal(writes[1].result, ZONE_UNALIGNED);
	assert_int_equal(writes[2].result, ZONE_UNALIGNED);
	assert_int_equal(info_of(block, 4).wp, start(4));
	disk->hold = false;
	assert_int_equal(run(block, BLOCK_WRITE, start(4), buf, BLOCK), 0);
	block_free(block);
}

/* A flush makes stable what was done before it began; those that come meanwhile wait for the next one, together. */
static void test_flushes_join(void **test)
{
	struct disk *disk = disk_formatted(&geometry);
	struct block *block = zoned_over(disk);
	struct call flushes[4], late;
	assert_int_equal(run(block, BLOCK_WRITE, start(4), buf, BLOCK), 0);
	disk->hold = true;
	begin(&flushes[0], block, BLOCK_FLUSH, 0, NULL, 0, 0);
	begin(&late, block, BLOCK_WRITE, start(4) + BLOCK, buf, BLOCK, 0);
	disk_let_go(disk, 1); /* done while the flush is under way: not in its table */
	assert_true(late.done);
	for (unsigned i = 1; i < 4; i++)
		begin(&flushes[i], block, BLOCK_FLUSH, 0, NULL, 0, 0);
	for (unsigned i = 0; i < 3; i++) { /* data, a page, the page made stable */
		assert_false(flushes[0].done);
		assert_int_equal(disk->held_count, 1);
		disk_let_go(disk, 0);
	}
	assert_true(flushes[0].done);
	struct zone_image image;
	struct disk *copy = disk_new(disk->bytes, disk->block.size);
	assert_int_equal(zone_image_load(&image, &copy->block, NULL), 0);
	assert_int_equal(image.zones.zone[4].written, BLOCK);
	zone_image_fini(&image);
	unsigned before = disk->requests;
	while (disk->held_count)
		disk_let_go(disk, 0);
	assert_int_equal(disk->requests - before, 3);
	for (unsigned i = 1; i < 4; i++)
		assert_true(flushes[i].done && flushes[i].result == 0);
	copy = disk_new(disk->bytes, disk->block.size);
	assert_int_equal(zone_image_load(&image, &copy->block, NULL), 0);
	assert_int_equal(image.zones.zone[4].written, 2 * BLOCK);
	zone_image_fini(&image);
	disk->hold = false;
	block_free(block);
}

/* Wherever a commit fails, who waits hears of it, and the next one is as good as new. */
static void test_commit_fails(void **test)
{
	for (unsigned at = 1; at <= 3; at++) {
		struct disk *disk = disk_formatted(&geometry);
		struct block *block = zoned_over(disk);
		assert_int_equal(run(block, BLOCK_WRITE, start(4), buf, BLOCK), 0);
		disk->fail_at = disk->requests + at;
		assert_int_equal(run(block, BLOCK_FLUSH, 0, NULL, 0), -EIO);
		assert_int_equal(run(block, BLOCK_FLUSH, 0, NULL, 0), 0);
		struct zone_image image;
		struct disk *copy = disk_new(disk->bytes, disk->block.size);
		assert_int_equal(zone_image_load(&image, &copy->block, NULL), 0);
		assert_int_equal(image.zones.zone[4].written, BLOCK);
		zone_image_fini(&image);
		disk->fail_at = disk->requests + at;
		assert_int_equal(run(block, BLOCK_ZONE_RESET, start(4), NULL, 0), -EIO);
		block_free(block);
	}
}

static void test_freed_is_kept(void **test)
{
	struct disk *disk = disk_formatted(&geometry);
	uint8_t *bytes = disk->bytes;
	disk->owned = false;
	struct block *block = zoned_over(disk);
	assert_int_equal(run(block, BLOCK_WRITE, start(270), buf, BLOCK), 0);
	block_free(block);
	block = zoned_over(disk_new(bytes, file_size(&geometry)));
	assert_int_equal(info_of(block, 270).wp, start(270) + BLOCK);
	assert_int_equal(info_of(block, 270).state, ZONE_CLOSED);
	block_free(block);
	free(bytes);
}

/* ---- cut off at every write -------------------------------------------------------------------------------------- */

/*
 * A guest works on a few zones, in both pages of the table, and remembers what it was told is stable. Each block that it
 * writes says which zone, which life of the zone (a reset begins the next one) and which block it is. Then the file is
 * built again as a power cut at each point could leave it: what was made stable, and of the rest nothing, all, some, or
 * some with the last page torn. In each such file, whatever was stable is there, and nothing is that was not written.
 */
static const uint32_t used_zones[] = { 2, 3, 200, 260, 299 };
enum { USED = ARRAY_SIZE(used_zones) };

struct life {
	uint32_t generation, blocks;
	bool finished;
};

struct fact { /* from this entry of the log on, at least that */
	unsigned since;
	struct life life[USED];
};

static struct fact facts[LOG_MAX];
static unsigned fact_count;

static uint32_t next_random(uint32_t *seed)
{
	*seed = *seed * 1664525 + 1013904223;
	return *seed >> 8;
}

static void stamp(uint8_t *block, uint32_t zone, uint32_t generation, uint32_t number)
{
	uint32_t words[BLOCK / 4];
	for (unsigned i = 0; i < ARRAY_SIZE(words); i += 4) {
		words[i] = zone;
		words[i + 1] = generation;
		words[i + 2] = number;
		words[i + 3] = 0x600d600d;
	}
	memcpy(block, words, BLOCK);
}

static void remember(const struct disk *disk, const struct life *life)
{
	assert_true(fact_count < LOG_MAX);
	facts[fact_count].since = disk->logged;
	memcpy(facts[fact_count++].life, life, sizeof(facts[0].life));
}

static void guest_write(struct block *block, struct life *life, struct life *stable, unsigned which, uint32_t *seed)
{
	uint32_t zone = used_zones[which], blocks = 1 + next_random(seed) % 3;
	uint64_t off = start(zone) + life->blocks * (uint64_t)BLOCK;
	bool fua = next_random(seed) % 8 == 0, append = next_random(seed) % 2;
	for (uint32_t i = 0; i < blocks; i++)
		stamp(buf + i * BLOCK, zone, life->generation, life->blocks + i);
	if (append)
		off = start(zone);
	int ret = run_flags(block, append ? BLOCK_ZONE_APPEND : BLOCK_WRITE, &off, buf, blocks * BLOCK,
	                    fua ? BLOCK_FUA : 0);
	if (ret == 0)
		life->blocks += blocks;
	else
		assert_int_equal(ret, ZONE_INVALID); /* full */
	if (ret == 0 && fua)
		*stable = *life;
}

static void guest_reset(struct life *life)
{
	if (life->blocks || life->finished)
		*life = (struct life){ .generation = life->generation + 1 };
}

static void guest_work(struct disk *disk, struct block *block, uint32_t seed)
{
	struct life life[USED] = { 0 }, stable[USED] = { 0 };
	fact_count = 0;
	remember(disk, stable);
	for (unsigned step = 0; step < 60; step++) {
		unsigned which = next_random(&seed) % USED, what = next_random(&seed) % 24;
		if (what < 15) {
			guest_write(block, &life[which], &stable[which], which, &seed);
		} else if (what < 20) {
			assert_int_equal(run(block, BLOCK_FLUSH, 0, NULL, 0), 0);
			memcpy(stable, life, sizeof(stable));
		} else if (what < 22) {
			assert_int_equal(run(block, BLOCK_ZONE_RESET, start(used_zones[which]), NULL, 0), 0);
			guest_reset(&life[which]);
			stable[which] = life[which];
		} else if (what == 22) {
			assert_int_equal(run(block, BLOCK_ZONE_FINISH, start(used_zones[which]), NULL, 0), 0);
			life[which].finished = true;
			stable[which] = life[which];
		} else if (next_random(&seed) % 3 == 0) {
			assert_int_equal(run(block, BLOCK_ZONE_RESET_ALL, 0, NULL, 0), 0);
			for (unsigned i = 0; i < USED; i++)
				guest_reset(&life[i]);
			memcpy(stable, life, sizeof(stable));
		}
		remember(disk, stable);
	}
}

/* How much of the zone is there, of which life; fails on anything that was not written as one. */
static struct life read_zone(struct block *block, uint32_t zone)
{
	struct zone_info info = info_of(block, zone);
	struct life life = { .finished = info.state == ZONE_FULL };
	uint32_t words[4];
	uint8_t expected[BLOCK];
	assert_true(info.state == ZONE_EMPTY || info.state == ZONE_CLOSED || info.state == ZONE_FULL);
	assert_int_equal(run(block, BLOCK_READ, start(zone), back, ZONE), 0);
	memcpy(words, back, sizeof(words));
	life.generation = words[1];
	for (; life.blocks < geometry.zone_capacity / BLOCK; life.blocks++) {
		stamp(expected, zone, life.generation, life.blocks);
		if (memcmp(expected, back + life.blocks * BLOCK, BLOCK))
			break;
	}
	assert_true(all(back + life.blocks * BLOCK, ZONE - life.blocks * BLOCK, 0));
	if (!life.finished)
		assert_int_equal(info.wp, start(zone) + life.blocks * BLOCK);
	return life;
}

/* The zone may have gone on since; it may have been reset, then it is empty or another life's. */
static void assert_at_least(const struct life *found, const struct life *stable)
{
	bool bare = !found->blocks && !found->finished;
	if (!stable->blocks && !stable->finished) {
		assert_true(!found->blocks || found->generation >= stable->generation);
		return;
	}
	assert_false(bare);
	if (found->generation == stable->generation || !found->blocks) {
		assert_true(found->blocks >= stable->blocks);
		assert_true(found->finished || !stable->finished);
	} else {
		assert_true(found->generation > stable->generation);
	}
}

static void check_cut(uint8_t *bytes, const struct fact *fact, bool reset_on_its_way)
{
	struct block *block = zoned_over(disk_new(bytes, file_size(&geometry)));
	for (unsigned i = 0; i < USED; i++) {
		struct life found = read_zone(block, used_zones[i]);
		bool bare = !found.blocks && !found.finished;
		if (!(bare && reset_on_its_way))
			assert_at_least(&found, &fact->life[i]);
	}
	for (uint32_t zone = 4; zone < 200; zone += 39)
		assert_int_equal(info_of(block, zone).state, ZONE_EMPTY);
	block_free(block);
}

struct undo {
	uint64_t off, len;
	uint8_t *data;
};

static void overlay(uint8_t *bytes, const struct entry *entry, uint64_t len, struct undo *undo)
{
	*undo = (struct undo){ entry->off, len, malloc(len) };
	assert_non_null(undo->data);
	memcpy(undo->data, bytes + entry->off, len);
	memcpy(bytes + entry->off, entry->data, len);
}

enum cut { NOTHING, EVERYTHING, SOME, TORN, CUTS };

/* Leave in @bytes, which hold what is stable, some of the entries [from, to); check; take them away. */
static void try_cut(uint8_t *bytes, const struct disk *disk, unsigned from, unsigned to, enum cut cut, uint32_t *seed,
                    const struct fact *fact, bool reset_on_its_way)
{
	struct undo undo[64];
	unsigned count = 0;
	assert_true(to - from <= ARRAY_SIZE(undo));
	for (unsigned i = from; i < to; i++) {
		const struct entry *entry = &disk->log[i];
		bool torn = cut == TORN && i + 1 == to;
		if (!entry->len || cut == NOTHING || (cut != EVERYTHING && !torn && next_random(seed) % 2))
			continue;
		uint64_t len = torn ? next_random(seed) % (entry->len / 512) * 512 : entry->len;
		overlay(bytes, entry, len, &undo[count++]);
	}
	check_cut(bytes, fact, reset_on_its_way);
	while (count--) {
		memcpy(bytes + undo[count].off, undo[count].data, undo[count].len);
		free(undo[count].data);
	}
}

/* Between two facts there is one step of the guest: does it end in another life of some zone? */
static bool is_reset_next(unsigned fact)
{
	for (unsigned i = 0; fact + 1 < fact_count && i < USED; i++)
		if (facts[fact].life[i].generation != facts[fact + 1].life[i].generation)
			return true;
	return false;
}

static void cut_everywhere(const struct disk *disk, uint8_t *bytes, uint32_t seed)
{
	unsigned stable = 0, fact = 0;
	for (unsigned at = 0; at <= disk->logged; at++) {
		while (fact + 1 < fact_count && facts[fact + 1].since <= at)
			fact++;
		for (enum cut cut = 0; cut < CUTS; cut++)
			try_cut(bytes, disk, stable, at, cut, &seed, &facts[fact], is_reset_next(fact));
		if (at == disk->logged || disk->log[at].op != BLOCK_FLUSH)
			continue;
		for (; stable <= at; stable++)
			if (disk->log[stable].len)
				memcpy(bytes + disk->log[stable].off, disk->log[stable].data, disk->log[stable].len);
	}
}

static void test_cut_everywhere(void **test)
{
	for (uint32_t seed = 1; seed <= 8; seed++) {
		struct disk *disk = disk_formatted(&geometry);
		uint8_t *bytes = malloc(disk->block.size);
		assert_non_null(bytes);
		memcpy(bytes, disk->bytes, disk->block.size);
		disk->logging = true;
		struct block *block = zoned_over(disk);
		guest_work(disk, block, seed);
		cut_everywhere(disk, bytes, seed);
		block_free(block);
		free(bytes);
	}
}

/* ---- what is no such file ---------------------------------------------------------------------------------------- */

static int load_code(uint8_t *bytes, uint64_t size, struct cvmm_error *err)
{
	struct zone_image image;
	int ret = zone_image_load(&image, &disk_new(bytes, size)->block, err);
	zone_image_fini(&image);
	return ret;
}

static void test_damage(void **test)
{
	struct cvmm_error err;
	struct disk *disk = disk_formatted(&geometry);
	uint8_t *bytes = disk->bytes;
	uint64_t size = disk->block.size;
	assert_int_equal(load_code(bytes, size, &err), 0);
	bytes[20] ^= 1; /* one superblock: the other one serves */
	assert_int_equal(load_code(bytes, size, &err), 0);
	bytes[ZONE_PAGE_SIZE + 4000] ^= 1;
	assert_int_equal(load_code(bytes, size, &err), -ENOEXEC);
	assert_non_null(strstr(err.msg, "both copies of its superblock"));
	bytes[20] ^= 1;
	uint64_t page = zone_format_page_off(1, 0);
	bytes[page + 40] ^= 1; /* the only copy written yet */
	assert_int_equal(load_code(bytes, size, &err), -ENOEXEC);
	assert_non_null(strstr(err.msg, "page 1 of its table, from zone 254 on"));
	bytes[page + 40] ^= 1;
	assert_int_equal(load_code(bytes, size - 512, &err), -ENOEXEC);
	assert_int_equal(load_code(bytes, 512, &err), -ENOEXEC);
	assert_int_equal(load_code(bytes, size, &err), 0);
	zone_format_page(bytes + page, 1, 1, 1, NULL, 0); /* of another file */
	assert_int_equal(load_code(bytes, size, &err), -ENOEXEC);
	memset(bytes, 0, size);
	assert_int_equal(load_code(bytes, size, &err), -ENOEXEC);
	assert_non_null(strstr(err.msg, "is not a zoned file"));
	block_free(&disk->block);
}

/* A whole page with what cannot be: no crash, no state that does not exist. */
static void test_hostile_records(void **test)
{
	static const struct zone_record bad[] = {
		{ .written = 52 << 10 },
		{ .written = 512 },
		{ .written = UINT64_MAX },
		{ .written = UINT64_MAX - 4095 },
	};
	struct cvmm_error err;
	struct disk *disk = disk_formatted(&geometry);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct zone_record records[ZONE_RECORDS] = { [7] = bad[i] };
		zone_format_page(disk->bytes + zone_format_page_off(0, 1), 0x1234567890abcdef, 0, 2, records,
		                 ZONE_RECORDS);
		assert_int_equal(load_code(disk->bytes, disk->block.size, &err), -ENOEXEC);
		assert_non_null(strstr(err.msg, "zone 7"));
	}
	/* A sequence that could not grow does not count. */
	struct zone_record records[ZONE_RECORDS] = { { 0 } };
	zone_format_page(disk->bytes + zone_format_page_off(0, 1), 0x1234567890abcdef, 0, UINT64_MAX, records,
	                 ZONE_RECORDS);
	struct zone_image image;
	assert_int_equal(zone_image_load(&image, &disk_new(disk->bytes, disk->block.size)->block, &err), 0);
	assert_int_equal(image.table.page[0].sequence, 1);
	zone_image_fini(&image);
	block_free(&disk->block);
}

static void test_forced_states_last(void **test)
{
	struct disk *disk = disk_formatted(&geometry);
	struct zone_image image;
	assert_int_equal(zone_image_load(&image, &disk_new(disk->bytes, disk->block.size)->block, NULL), 0);
	assert_int_equal(zones_force(&image.zones, 4, ZONE_READ_ONLY), 0);
	assert_int_equal(zones_force(&image.zones, 270, ZONE_OFFLINE), 0);
	assert_int_equal(zone_image_store(&image, 4), 0);
	assert_int_equal(zone_image_store(&image, 270), 0);
	zone_image_fini(&image);
	struct block *block = zoned_over(disk);
	assert_int_equal(info_of(block, 4).state, ZONE_READ_ONLY);
	assert_int_equal(info_of(block, 270).state, ZONE_OFFLINE);
	assert_int_equal(run(block, BLOCK_READ, start(4), back, BLOCK), 0);
	assert_int_equal(run(block, BLOCK_READ, start(270), back, BLOCK), ZONE_INVALID);
	assert_int_equal(run(block, BLOCK_WRITE, start(4), buf, BLOCK), ZONE_INVALID);
	assert_int_equal(run(block, BLOCK_WRITE, start(270), buf, BLOCK), ZONE_INVALID);
	assert_int_equal(run(block, BLOCK_ZONE_RESET, start(4), NULL, 0), ZONE_INVALID);
	assert_int_equal(run(block, BLOCK_ZONE_RESET_ALL, 0, NULL, 0), 0);
	assert_int_equal(info_of(block, 4).state, ZONE_READ_ONLY);
	block_free(block);
}

static int make_loop(void **test)
{
	struct cvmm_error err;
	loop = loop_new(&clock_host, &err);
	return loop ? 0 : -1;
}

static int drop_loop(void **test)
{
	loop_free(loop);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reads_and_writes),  cmocka_unit_test(test_read_segments),
		cmocka_unit_test(test_append_says_where), cmocka_unit_test(test_report),
		cmocka_unit_test(test_operations),        cmocka_unit_test(test_plain_disk_has_no_zones),
		cmocka_unit_test(test_read_only),         cmocka_unit_test(test_memory),
		cmocka_unit_test(test_host_aware),        cmocka_unit_test(test_writes_queue_up),
		cmocka_unit_test(test_write_fails),       cmocka_unit_test(test_flushes_join),
		cmocka_unit_test(test_commit_fails),      cmocka_unit_test(test_freed_is_kept),
		cmocka_unit_test(test_cut_everywhere),    cmocka_unit_test(test_damage),
		cmocka_unit_test(test_hostile_records),   cmocka_unit_test(test_forced_states_last),
	};
	return cmocka_run_group_tests(tests, make_loop, drop_loop);
}
