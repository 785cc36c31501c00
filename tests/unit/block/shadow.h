/* SPDX-License-Identifier: Apache-2.0 */
/* Random requests to a disk, beside a copy of it in memory that says what must come of each. */
#ifndef CVMM_TESTS_BLOCK_SHADOW_H
#define CVMM_TESTS_BLOCK_SHADOW_H

#include "tests/unit/unit.h"

#include <errno.h>
#include <limits.h>

#include "src/base/util.h"
#include "src/block/block.h"

enum { SHADOW_SEGMENTS = 5, SHADOW_LEN_MAX = 64 * 1024 };

struct shadow {
	struct block *block;
	uint8_t *bytes;
	uint64_t seed;
	struct block_bounce bounce;
	unsigned align;     /* of segments; 1: any */
	void (*wait)(void); /* for the request under way */
};

struct shadow_request {
	struct block_request io;
	bool done;
	int result;
};

static inline uint64_t shadow_random(struct shadow *shadow, uint64_t below)
{
	shadow->seed ^= shadow->seed << 13;
	shadow->seed ^= shadow->seed >> 7;
	shadow->seed ^= shadow->seed << 17;
	return shadow->seed % below;
}

static inline void shadow_done(struct block_request *io, int result)
{
	struct shadow_request *request = container_of(io, struct shadow_request, io);
	assert_false(request->done);
	request->done = true;
	request->result = result;
}

static inline void shadow_init(struct shadow *shadow, struct block *block, uint64_t seed, void (*wait)(void))
{
	*shadow = (struct shadow){ .block = block, .seed = seed * 2654435761u + 1, .align = 1, .wait = wait };
	shadow->bytes = calloc(1, block->size);
	assert_non_null(shadow->bytes);
	assert_int_equal(block_bounce_init(&shadow->bounce, block), 0);
}

static inline void shadow_fini(struct shadow *shadow)
{
	block_bounce_fini(&shadow->bounce);
	free(shadow->bytes);
}

/* @buf in up to SHADOW_SEGMENTS pieces. */
static inline unsigned shadow_split(struct shadow *shadow, uint8_t *buf, size_t len, struct iovec *iov)
{
	unsigned count = 0;
	while (len && count < SHADOW_SEGMENTS - 1) {
		size_t step = align_up(shadow_random(shadow, len) + 1, shadow->align);
		iov[count++] = (struct iovec){ buf, MIN(step, len) };
		buf += MIN(step, len);
		len -= MIN(step, len);
	}
	if (len)
		iov[count++] = (struct iovec){ buf, len };
	return count;
}

static inline int shadow_run(struct shadow *shadow, struct shadow_request *request)
{
	request->io.done = shadow_done;
	request->io.bounce = &shadow->bounce;
	request->done = false;
	block_submit(shadow->block, &request->io);
	while (!request->done)
		shadow->wait();
	return request->result;
}

/* @ops: a bit for each that may come. */
static inline void shadow_step_of(struct shadow *shadow, unsigned ops)
{
	enum block_op op;
	do
		op = (enum block_op)shadow_random(shadow, BLOCK_WRITE_ZEROES + 1);
	while (!(ops & 1u << op));
	static uint8_t space[SHADOW_LEN_MAX + 4096] __attribute__((aligned(4096)));
	struct iovec iov[SHADOW_SEGMENTS];
	uint64_t block = shadow->block->logical_block, blocks = shadow->block->size / block;
	uint64_t first = shadow_random(shadow, blocks);
	uint64_t count = 1 + shadow_random(shadow, MIN(blocks - first, SHADOW_LEN_MAX / block));
	struct shadow_request request = { .io = {
						  .op = op,
						  .flags = (unsigned)shadow_random(shadow, 4),
						  .off = first * block,
						  .len = count * block,
						  .iov = iov,
					  } };
	uint8_t *buf = space + (shadow->align > 1 ? 0 : shadow_random(shadow, 512)),
		*at = shadow->bytes + request.io.off;
	uint64_t len = request.io.len;
	request.io.iov_count = shadow_split(shadow, buf, len, iov);
	switch (request.io.op) {
	case BLOCK_READ:
		memset(buf, 0x5a, len);
		assert_int_equal(shadow_run(shadow, &request), 0);
		assert_memory_equal(buf, at, len);
		break;
	case BLOCK_WRITE:
		for (uint64_t i = 0; i < len; i++)
			buf[i] = (uint8_t)(shadow->seed + i * 7);
		memcpy(at, buf, len);
		assert_int_equal(shadow_run(shadow, &request), 0);
		break;
	case BLOCK_FLUSH:
		request.io.off = request.io.len = 0;
		assert_int_equal(shadow_run(shadow, &request), 0);
		break;
	case BLOCK_DISCARD:
	case BLOCK_WRITE_ZEROES:
		memset(at, 0, len);
		assert_int_equal(shadow_run(shadow, &request), 0);
		break;
	default:
		fail_msg("zones are not tried here");
	}
}

static inline void shadow_step(struct shadow *shadow)
{
	shadow_step_of(shadow, UINT_MAX);
}

/* The whole disk is as the shadow says. */
static inline void shadow_check(struct shadow *shadow)
{
	uint8_t *all = aligned_alloc(4096, align_up(shadow->block->size, 4096));
	struct iovec iov = { all, shadow->block->size };
	struct shadow_request request = { .io = { .op = BLOCK_READ, .len = iov.iov_len, .iov = &iov, .iov_count = 1 } };
	assert_non_null(all);
	assert_int_equal(shadow_run(shadow, &request), 0);
	assert_memory_equal(all, shadow->bytes, shadow->block->size);
	free(all);
}

#endif
