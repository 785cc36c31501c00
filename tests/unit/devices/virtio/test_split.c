// SPDX-License-Identifier: Apache-2.0
/* The split ring against a shadow of it, and against drivers that mean no good. */
#include "tests/unit/devices/virtio/driver.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

enum { RING_GPA = 0x1000, TABLES_GPA = 0x10000, DATA_GPA = 0x40000, SIZE_MAX_TESTED = 64 };
enum { N = VRING_DESC_F_NEXT, W = VRING_DESC_F_WRITE, I = VRING_DESC_F_INDIRECT };

static struct driver drv; /* for its memory alone */
static struct virtqueue vq;
static struct ring ring;
static struct iovec iov[SIZE_MAX_TESTED];
static struct desc_chain chain;

static int setup(void **state)
{
	driver_init(&drv);
	return 0;
}

static int teardown(void **state)
{
	guest_memory_fini(&drv.mem);
	return 0;
}

static struct virtqueue_state ring_state(uint16_t start)
{
	return (struct virtqueue_state){
		.desc = ring.desc_gpa,
		.driver = ring.avail_gpa,
		.device = ring.used_gpa,
		.size = ring.size,
		.last_avail = start,
		.used = start,
		.ready = 1,
	};
}

/* A running queue, both sides of it; indices begin at @start. */
static void begin(uint16_t size, uint64_t features, uint16_t start)
{
	ring_init(&ring, &drv.mem, RING_GPA, size, features & F_EVENT_IDX);
	vq = (struct virtqueue){ .mem = &drv.mem, .owner = "test", .size_max = SIZE_MAX_TESTED };
	chain = (struct desc_chain){ .iov = iov, .iov_max = SIZE_MAX_TESTED };
	ring.idx = ring.kicked = ring.last_used = start;
	ring.avail->idx = ring.used->idx = htole16(start);
	const struct virtqueue_state state = ring_state(start);
	assert_int_equal(virtqueue_load(&vq, &state, features | F_VERSION_1, true), 0);
	virtqueue_start(&vq);
}

/* --- random operation --- */

enum { SEGMENTS_MAX = 6 };

struct segment {
	uint64_t gpa;
	uint32_t len;
	bool writable;
};

struct offer { /* a chain on its way */
	uint16_t head;
	unsigned segments, descs; /* descs: of the ring's table, to be freed when it comes back */
	struct segment segment[SEGMENTS_MAX];
	uint16_t desc[SEGMENTS_MAX];
	uint32_t written;
};

struct shadow {
	uint64_t random;
	uint64_t features;
	uint16_t free[SIZE_MAX_TESTED]; /* descriptors that the driver may use */
	unsigned free_count;
	struct offer offers[SIZE_MAX_TESTED];                                              /* by head */
	uint16_t avail[SIZE_MAX_TESTED], popped[SIZE_MAX_TESTED], pushed[SIZE_MAX_TESTED]; /* heads, oldest first */
	unsigned avail_count, popped_count, pushed_count, published_count; /* published: of the pushed, taken last */
	bool asleep; /* the device saw the queue empty: it relies on a kick */
};

static uint32_t pick(struct shadow *sh, uint32_t below)
{
	sh->random = sh->random * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(sh->random >> 33) % below;
}

static uint16_t take_at(uint16_t *heads, unsigned *count, unsigned at)
{
	uint16_t head = heads[at];
	memmove(&heads[at], &heads[at + 1], (--*count - at) * sizeof(heads[0]));
	return head;
}

static void random_segments(struct shadow *sh, struct offer *offer)
{
	unsigned readable = pick(sh, offer->segments + 1);
	for (unsigned i = 0; i < offer->segments; i++)
		offer->segment[i] = (struct segment){
			.gpa = (pick(sh, 4) ? DATA_GPA : 4 * GIB) + pick(sh, 0x1000),
			.len = 1 + pick(sh, 5000),
			.writable = i >= readable,
		};
}

/* Write descriptor @i of @offer into @at; the next one is @next. */
static void write_segment(struct vring_desc *at, const struct offer *offer, unsigned i, uint16_t next)
{
	const struct segment *seg = &offer->segment[i];
	desc_set(at, seg->gpa, seg->len, (seg->writable ? W : 0) | (i + 1 < offer->segments ? N : 0), next);
}

/* Descriptors of the ring for the first segments, an indirect table for the rest, if there is a rest. */
static void write_chain(struct shadow *sh, const struct offer *offer, unsigned direct)
{
	for (unsigned i = 0; i < direct; i++)
		write_segment(&ring.desc[offer->desc[i]], offer, i, i + 1 < offer->descs ? offer->desc[i + 1] : 0);
	if (direct == offer->segments)
		return;
	uint64_t gpa = TABLES_GPA + offer->head * 0x200 + pick(sh, 16); /* aligned or not */
	uint32_t len = (offer->segments - direct) * 16;
	struct vring_desc table[SEGMENTS_MAX];
	for (unsigned i = direct; i < offer->segments; i++)
		write_segment(&table[i - direct], offer, i, (uint16_t)(i - direct + 1));
	assert_int_equal(guest_write(&drv.mem, gpa, table, len), 0);
	desc_set(&ring.desc[offer->desc[direct]], gpa, len, I | (pick(sh, 2) ? W : 0), 0xffff);
}

static void driver_adds(struct shadow *sh)
{
	if (!sh->free_count)
		return;
	unsigned segments = 1 + pick(sh, MIN(SEGMENTS_MAX, ring.size));
	unsigned direct = sh->features & F_INDIRECT ? pick(sh, segments + 1) : segments;
	unsigned descs = direct + (direct < segments);
	if (descs > sh->free_count)
		return;
	struct offer offer = { .segments = segments, .descs = descs };
	for (unsigned i = 0; i < descs; i++)
		offer.desc[i] = take_at(sh->free, &sh->free_count, pick(sh, sh->free_count));
	offer.head = offer.desc[0];
	random_segments(sh, &offer);
	write_chain(sh, &offer, direct);
	sh->offers[offer.head] = offer;
	sh->avail[sh->avail_count++] = offer.head;
	ring_offer(&ring, offer.head);
	if (pick(sh, 2)) /* kicks may be thought about for several at once */
		return;
	bool kick = ring_kick_due(&ring);
	assert_true(kick || !sh->asleep);
	sh->asleep = false;
}

static void check_chain(const struct offer *offer)
{
	uint32_t len[2] = { 0 };
	assert_int_equal(chain.head, offer->head);
	assert_int_equal(chain.readable + chain.writable, offer->segments);
	for (unsigned i = 0; i < offer->segments; i++) {
		const struct segment *seg = &offer->segment[i];
		assert_int_equal(i >= chain.readable, seg->writable);
		assert_ptr_equal(chain.iov[i].iov_base, guest_at(&drv.mem, seg->gpa, seg->len));
		assert_int_equal(chain.iov[i].iov_len, seg->len);
		len[seg->writable] += seg->len;
	}
	assert_int_equal(chain.readable_len, len[0]);
	assert_int_equal(chain.writable_len, len[1]);
}

static void device_pops(struct shadow *sh)
{
	bool popped = virtqueue_pop(&vq, &chain);
	assert_false(vq.broken);
	assert_int_equal(popped, sh->avail_count > 0);
	sh->asleep = !popped;
	if (!popped)
		return;
	uint16_t head = take_at(sh->avail, &sh->avail_count, 0);
	check_chain(&sh->offers[head]);
	sh->popped[sh->popped_count++] = head;
}

static void device_pushes(struct shadow *sh)
{
	if (!sh->popped_count)
		return;
	uint16_t head = take_at(sh->popped, &sh->popped_count, pick(sh, sh->popped_count)); /* in any order */
	sh->offers[head].written = pick(sh, 10000);
	chain.head = head;
	virtqueue_push(&vq, &chain, sh->offers[head].written);
	sh->pushed[sh->pushed_count++] = head;
}

static void device_publishes(struct shadow *sh)
{
	uint16_t from = vq.published;
	unsigned fresh = sh->pushed_count - sh->published_count;
	bool expected = fresh && !(le16toh(ring.avail->flags) & VRING_AVAIL_F_NO_INTERRUPT);
	if (ring.event_idx) {
		expected = false;
		for (unsigned i = 0; i < fresh; i++)
			expected |= (uint16_t)(from + i) == le16toh(*ring_used_event(&ring));
	}
	assert_int_equal(virtqueue_publish(&vq), expected);
	sh->published_count = sh->pushed_count;
}

static void driver_takes(struct shadow *sh)
{
	uint32_t id, len;
	while (ring_take(&ring, &id, &len)) {
		assert_true(sh->published_count);
		uint16_t head = take_at(sh->pushed, &sh->pushed_count, 0);
		sh->published_count--;
		assert_int_equal(id, head);
		assert_int_equal(len, sh->offers[head].written);
		for (unsigned i = 0; i < sh->offers[head].descs; i++)
			sh->free[sh->free_count++] = sh->offers[head].desc[i];
	}
	assert_int_equal(sh->published_count, 0);
	*ring_used_event(&ring) = htole16(ring.last_used + (pick(sh, 3) ? 0 : (uint16_t)pick(sh, 65536)));
	ring.avail->flags = htole16(pick(sh, 2)); /* of no meaning with EVENT_IDX: 2.7.7 */
}

/* Whatever is saved and loaded goes on as if nothing had happened. */
static void device_moves(struct shadow *sh)
{
	device_publishes(sh);
	const struct virtqueue_state state = vq.s;
	struct virtqueue other = { .mem = &drv.mem, .owner = "other", .size_max = SIZE_MAX_TESTED };
	assert_int_equal(virtqueue_load(&other, &state, sh->features | F_VERSION_1, true), 0);
	vq = other;
}

static void random_run(uint32_t seed)
{
	struct shadow sh = { .random = seed };
	pick(&sh, 1);
	uint16_t size = 1 << pick(&sh, 7);
	sh.features = (pick(&sh, 2) ? F_INDIRECT : 0) | (pick(&sh, 2) ? F_EVENT_IDX : 0);
	begin(size, sh.features, pick(&sh, 2) ? (uint16_t)(65536 - pick(&sh, 100)) : 0);
	for (uint16_t i = 0; i < size; i++)
		sh.free[sh.free_count++] = i;
	static void (*const steps[])(struct shadow *) = {
		driver_adds,   driver_adds,   driver_adds,   device_pops,      device_pops,  device_pops,
		device_pushes, device_pushes, device_pushes, device_publishes, driver_takes, device_moves,
	};
	for (unsigned i = 0; i < 300; i++)
		steps[pick(&sh, ARRAY_SIZE(steps))](&sh);
	while (sh.avail_count)
		device_pops(&sh);
	while (sh.popped_count)
		device_pushes(&sh);
	device_publishes(&sh);
	driver_takes(&sh);
	assert_int_equal(sh.free_count, size);
	if (ring.event_idx) /* 2.7.10: then flags stay 0 */
		assert_int_equal(ring.used->flags, 0);
}

static void test_random_operation(void **state)
{
	for (uint32_t seed = 1; seed <= 4000; seed++)
		random_run(seed);
}

/* --- what a ring must be to become ready --- */

static void test_areas_are_checked(void **state)
{
	static const struct {
		uint64_t size, desc, driver, device;
		int ret;
	} cases[] = {
		{ 8, 0x1000, 0x2000, 0x3000, 0 },
		{ 64, 0x1000, 0x2000, 0x3000, 0 },
		{ 8, 4 * GIB, 4 * GIB + 0x1002, 4 * GIB + 0x2004, 0 },
		{ 8, MIB - 128, 0x2000, 0x3000, 0 }, /* up to the last byte */
		{ 8, 0x1000, MIB - 22, 0x3000, 0 },
		{ 1, 0x1000, 0x2000, MIB - 16, 0 },
		{ 0, 0x1000, 0x2000, 0x3000, -EINVAL },
		{ 6, 0x1000, 0x2000, 0x3000, -EINVAL },
		{ 128, 0x1000, 0x2000, 0x3000, -EINVAL }, /* more than the device's maximum */
		{ 32768, 0x1000, 0x2000, 0x3000, -EINVAL },
		{ 8, 0x1008, 0x2000, 0x3000, -EINVAL }, /* alignment */
		{ 8, 0x1000, 0x2001, 0x3000, -EINVAL },
		{ 8, 0x1000, 0x2000, 0x3002, -EINVAL },
		{ 8, MIB - 112, 0x2000, 0x3000, -EINVAL }, /* an end outside */
		{ 8, 0x1000, MIB - 20, 0x3000, -EINVAL },
		{ 8, 0x1000, 0x2000, MIB - 64, -EINVAL },
		{ 8, 2 * MIB, 0x2000, 0x3000, -EINVAL }, /* all outside */
		{ 8, 0x1000, 3 * GIB, 0x3000, -EINVAL },
		{ 8, 0x1000, 0x2000, 1ull << 52, -EINVAL },
		{ 8, UINT64_MAX - 15, 0x2000, 0x3000, -EINVAL }, /* wraps */
		{ 8, 0x1000, UINT64_MAX - 1, 0x3000, -EINVAL },
		{ 8, 0x1000, 0x2000, UINT64_MAX - 3, -EINVAL },
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		vq = (struct virtqueue){ .mem = &drv.mem, .owner = "test", .size_max = SIZE_MAX_TESTED };
		vq.s = (struct virtqueue_state){
			.size = (uint16_t)cases[i].size,
			.desc = cases[i].desc,
			.driver = cases[i].driver,
			.device = cases[i].device,
		};
		assert_int_equal(virtqueue_enable(&vq, F_VERSION_1), cases[i].ret);
		assert_int_equal(vq.s.ready, !cases[i].ret);
		const struct virtqueue_state saved = vq.s;
		assert_int_equal(virtqueue_load(&vq, &saved, F_VERSION_1, true), 0);
		assert_int_equal(vq.running, !cases[i].ret);
	}
}

static void test_saved_nonsense_is_refused(void **state)
{
	ring_init(&ring, &drv.mem, RING_GPA, 8, false);
	struct virtqueue_state good = ring_state(5), bad;
	vq = (struct virtqueue){ .mem = &drv.mem, .owner = "test", .size_max = SIZE_MAX_TESTED };
	good.last_avail = 13;
	assert_int_equal(virtqueue_load(&vq, &good, F_VERSION_1, true), 0);
	bad = good, bad.ready = 2;
	assert_int_equal(virtqueue_load(&vq, &bad, F_VERSION_1, true), -EINVAL);
	bad = good, bad.last_avail = 14; /* nine of eight outstanding */
	assert_int_equal(virtqueue_load(&vq, &bad, F_VERSION_1, true), -EINVAL);
	bad = good, bad.last_avail = 4; /* used before made available */
	assert_int_equal(virtqueue_load(&vq, &bad, F_VERSION_1, true), -EINVAL);
	bad = good, bad.desc = UINT64_MAX & ~15ull;
	assert_int_equal(virtqueue_load(&vq, &bad, F_VERSION_1, true), -EINVAL);
}

/* --- chains that break rules --- */

#define D DATA_GPA
#define T TABLES_GPA

static const struct hostile {
	const char *what;
	struct vring_desc desc[5];  /* of the ring, which has four */
	struct vring_desc table[6]; /* at T */
	uint16_t head;
	bool fine; /* odd, but not forbidden */
} hostiles[] = {
	{ "head beyond the table", { { D, 8, 0, 0 } }, .head = 4 },
	{ "head far beyond the table", { { D, 8, 0, 0 } }, .head = 0xffff },
	{ "next beyond the table", { { D, 8, N, 4 } } },
	{ "next far beyond the table", { { D, 8, N, 0xffff } } },
	{ "loop of one", { { D, 8, N, 0 } } },
	{ "loop of two", { { D, 8, N, 1 }, { D, 8, N, 0 } } },
	{ "loop of four", { { D, 8, N, 1 }, { D, 8, N, 2 }, { D, 8, N, 3 }, { D, 8, N, 0 } } },
	{ "empty buffer", { { D, 0, 0, 0 } } },
	{ "empty buffer behind", { { D, 8, N, 1 }, { D, 0, W, 0 } } },
	{ "buffer in no memory", { { 2 * MIB, 8, 0, 0 } } },
	{ "buffer in device registers", { { DRIVER_BASE, 8, W, 0 } } },
	{ "buffer leaves memory", { { MIB - 4, 8, W, 0 } } },
	{ "buffer over the hole", { { 0, 0xffffffff, W, 0 } } },
	{ "buffer wraps", { { UINT64_MAX - 3, 8, W, 0 } } },
	{ "buffer at the end of the world", { { UINT64_MAX, 1, W, 0 } } },
	{ "readable after writable", { { D, 8, W | N, 1 }, { D, 8, 0, 0 } } },
	{ "more than 4 GiB", { { 4 * GIB, 0x80000000, N, 1 }, { 4 * GIB, 0x80000000, W, 0 } } },
	{ "indirect of no bytes", { { T, 0, I, 0 } } },
	{ "indirect of half a descriptor", { { T, 8, I, 0 } } },
	{ "indirect of one and a half", { { T, 24, I, 0 } }, { { D, 8, 0, 0 } } },
	{ "indirect in no memory", { { 2 * MIB, 16, I, 0 } } },
	{ "indirect leaves memory", { { MIB - 16, 32, I, 0 } } },
	{ "indirect of 4 GiB", { { 0, 0xfffffff0, I, 0 } } },
	{ "indirect wraps", { { UINT64_MAX - 15, 32, I, 0 } } },
	{ "indirect with next", { { T, 16, I | N, 1 }, { D, 8, 0, 0 } }, { { D, 8, 0, 0 } } },
	{ "indirect in indirect", { { T, 32, I, 0 } }, { { T + 16, 16, I, 0 }, { D, 8, 0, 0 } } },
	{ "indirect in itself", { { T, 16, I, 0 } }, { { T, 16, I, 0 } } },
	{ "indirect next beyond its table", { { T, 32, I, 0 } }, { { D, 8, N, 2 }, { 0 }, { D, 8, 0, 0 } } },
	{ "indirect loop", { { T, 32, I, 0 } }, { { D, 8, N, 1 }, { D, 8, N, 0 } } },
	{ "indirect longer than the queue",
	  { { T, 80, I, 0 } },
	  { { D, 8, N, 1 }, { D, 8, N, 2 }, { D, 8, N, 3 }, { D, 8, N, 4 }, { D, 8, 0, 0 } } },
	{ "direct and indirect longer than the queue",
	  { { D, 8, N, 1 }, { T, 64, I, 0 } },
	  { { D, 8, N, 1 }, { D, 8, N, 2 }, { D, 8, N, 3 }, { D, 8, 0, 0 } } },
	{ "as long as the queue", { { D, 8, N, 1 }, { D, 8, N, 2 }, { D, 8, N, 3 }, { D, 8, W, 0 } }, .fine = true },
	{ "direct, then indirect",
	  { { D, 8, N, 3 }, [3] = { T, 48, I | W, 0 } },
	  { { D, 8, N, 1 }, { D, 8, N | W, 2 }, { D, 8, W, 0 } },
	  .fine = true },
	{ "indirect with unused descriptors", { { T, 80, I, 0 } }, { { D, 8, 0, 0 } }, .fine = true },
	{ "4 GiB but one byte", { { 4 * GIB, 0x80000000, N, 1 }, { 4 * GIB, 0x7fffffff, W, 0 } }, .fine = true },
	{ "unknown flags", { { D, 8, 0xfff8, 9 } }, .fine = true },
};

static void hostile_begin(const struct hostile *h, uint64_t features)
{
	begin(4, features, 0);
	for (unsigned i = 0; i < 4; i++)
		desc_set(&ring.desc[i], h->desc[i].addr, h->desc[i].len, h->desc[i].flags, h->desc[i].next);
	for (unsigned i = 0; i < ARRAY_SIZE(h->table); i++)
		desc_set((struct vring_desc *)guest_at(&drv.mem, T, 96) + i, h->table[i].addr, h->table[i].len,
		         h->table[i].flags, h->table[i].next);
	ring_offer(&ring, h->head);
}

static void test_hostile_chains(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(hostiles); i++) {
		hostile_begin(&hostiles[i], F_INDIRECT);
		bool popped = virtqueue_pop(&vq, &chain);
		if (popped != hostiles[i].fine || vq.broken == hostiles[i].fine)
			fail_msg("%s: popped %d, broken %d", hostiles[i].what, popped, vq.broken);
		if (hostiles[i].fine)
			continue;
		ring_offer(&ring, 0); /* a broken queue stays so, and is not written to */
		assert_false(virtqueue_pop(&vq, &chain));
		virtqueue_push(&vq, &chain, 0);
		assert_false(virtqueue_publish(&vq));
		assert_int_equal(ring.used->idx, 0);
	}
}

static void test_indirect_must_be_negotiated(void **state)
{
	const struct hostile h = { "", { { T, 16, I, 0 } }, { { D, 8, 0, 0 } } };
	hostile_begin(&h, 0);
	assert_false(virtqueue_pop(&vq, &chain));
	assert_true(vq.broken);
}

static void test_chain_longer_than_the_device_takes(void **state)
{
	const struct hostile h = { "", { { D, 8, N, 1 }, { D, 8, N, 2 }, { D, 8, 0, 0 } } };
	hostile_begin(&h, 0);
	chain.iov_max = 2;
	assert_false(virtqueue_pop(&vq, &chain));
	assert_true(vq.broken);
}

/* --- indices that break rules --- */

static bool breaks_with_idx(uint16_t idx)
{
	__atomic_store_n(&ring.avail->idx, htole16(idx), __ATOMIC_RELAXED);
	while (virtqueue_pop(&vq, &chain))
		virtqueue_push(&vq, &chain, 0);
	return vq.broken;
}

static void one_buffer(uint16_t size, uint16_t start)
{
	begin(size, F_EVENT_IDX, start);
	desc_set(&ring.desc[0], D, 8, W, 0); /* every entry of the avail ring names it */
}

static void test_avail_index_jumps(void **state)
{
	static const uint16_t starts[] = { 0, 3, 32767, 32768, 65533, 65535 };
	for (size_t i = 0; i < ARRAY_SIZE(starts); i++) {
		one_buffer(4, starts[i]);
		assert_false(breaks_with_idx(starts[i] + 4));
		virtqueue_publish(&vq);
		assert_false(breaks_with_idx(starts[i] + 4));
		assert_true(breaks_with_idx(starts[i] + 9));
		one_buffer(4, starts[i]);
		assert_true(breaks_with_idx(starts[i] + 5));
		one_buffer(4, starts[i]);
		assert_true(breaks_with_idx(starts[i] - 1));
		one_buffer(4, starts[i]);
		assert_true(breaks_with_idx(starts[i] + 32768));
	}
}

/* Whoever makes available again what was not given back would keep a device popping for ever. */
static void test_more_outstanding_than_the_queue_holds(void **state)
{
	one_buffer(4, 0);
	assert_false(breaks_with_idx(3));
	assert_true(breaks_with_idx(5));
	one_buffer(4, 0);
	assert_false(breaks_with_idx(4));
	assert_true(breaks_with_idx(3)); /* backwards while all are out */
}

static void test_largest_ring_does_not_confuse_directions(void **state)
{
	enum { LARGEST = 32768 };
	ring_init(&ring, &drv.mem, 4 * GIB, LARGEST, false);
	vq = (struct virtqueue){ .mem = &drv.mem, .owner = "test", .size_max = LARGEST };
	const struct virtqueue_state state_ = ring_state(0);
	assert_int_equal(virtqueue_load(&vq, &state_, F_VERSION_1, true), 0);
	desc_set(&ring.desc[0], D, 8, W, 0);
	chain = (struct desc_chain){ .iov = iov, .iov_max = SIZE_MAX_TESTED };
	assert_false(breaks_with_idx(LARGEST));
	assert_true(breaks_with_idx(0)); /* 32768 back, or on: more than there is room for */
}

/* --- a driver that rewrites everything while we read --- */

static atomic_bool rewriting;
static atomic_uint rewritten;

__attribute__((no_sanitize_thread)) /* a guest: its races are the point */
static void *
rewrite(void *arg)
{
	static const struct vring_desc shapes[] = {
		{ D, 8, N, 1 },
		{ D, 8, W, 0 },
		{ 2 * MIB, 8, 0, 0 },
		{ T, 32, I, 0 },
		{ MIB - 4, 4, N, 2 },
		{ D, 0, N, 0 },
		{ UINT64_MAX, 0xffffffff, W | N, 3 },
		{ MIB - 4, 0xffff, W, 0xffff },
		{ D, 4096, 0, 0 },
		{ T, 32, I, 0 },
	};
	uint64_t random = 1;
	for (unsigned i = 0; rewriting; i++) {
		random = random * 6364136223846793005u + 1442695040888963407u;
		ring.desc[i % 4] = shapes[(random >> 33) % ARRAY_SIZE(shapes)];
		((struct vring_desc *)arg)[i % 2] = shapes[(random >> 40) % ARRAY_SIZE(shapes)];
		ring.avail->ring[i % 4] = (uint16_t)(i % 5);
		rewritten++;
	}
	return NULL;
}

static void check_chain_is_inside(void)
{
	uint64_t len = 0;
	assert_in_range(chain.readable + chain.writable, 1, ring.size);
	for (unsigned i = 0; i < chain.readable + chain.writable; i++) {
		const struct guest_region *region = &drv.mem.regions[0];
		uint8_t *start = chain.iov[i].iov_base;
		assert_true(start >= region->hva &&
		            chain.iov[i].iov_len <= (size_t)(region->hva + region->size - start));
		len += chain.iov[i].iov_len;
	}
	assert_int_equal(len, chain.readable_len + chain.writable_len);
}

static void test_ring_rewritten_while_read(void **state)
{
	if (under_valgrind()) /* it runs one thread at a time: the other can be kept waiting for ever */
		return;
	begin(4, F_INDIRECT, 0);
	pthread_t thread;
	rewriting = true;
	assert_int_equal(pthread_create(&thread, NULL, rewrite, guest_at(&drv.mem, T, 32)), 0);
	while (!rewritten)
		sched_yield();
	unsigned popped = 0;
	const struct virtqueue_state empty = ring_state(0);
	for (unsigned i = 0; i < 200000 || popped < 1000; i++) {
		if (i % 64 == 0)
			sched_yield(); /* also on one CPU, each has its turn */
		assert_int_equal(virtqueue_load(&vq, &empty, F_VERSION_1 | F_INDIRECT, true), 0);
		__atomic_store_n(&ring.avail->idx, 4, __ATOMIC_RELAXED);
		while (virtqueue_pop(&vq, &chain)) {
			check_chain_is_inside();
			popped++;
		}
	}
	rewriting = false;
	pthread_join(thread, NULL);
}

static void test_copying_into_chains(void **state)
{
	const struct hostile h = { "", { { D, 8, N, 1 }, { D + 16, 3, W | N, 2 }, { D + 32, 4, W, 0 } } };
	char got[4];
	hostile_begin(&h, 0);
	assert_true(virtqueue_pop(&vq, &chain));
	assert_int_equal(desc_chain_write(&chain, "abcde", 5), 5);
	assert_int_equal(guest_read(&drv.mem, D + 16, got, 4), 0);
	assert_memory_equal(got, "abc\0", 4);
	assert_int_equal(guest_read(&drv.mem, D + 32, got, 4), 0);
	assert_memory_equal(got, "de\0\0", 4);
	assert_int_equal(desc_chain_write(&chain, "0123456789", 10), 7); /* no more than there is room for */
	assert_int_equal(guest_read(&drv.mem, D, got, 4), 0);
	assert_memory_equal(got, "\0\0\0\0", 4); /* what is readable is not ours */
}

/* A chain that comes back after its queue stopped, be it for a reset, is not put into the ring. */
static void test_push_to_a_stopped_queue(void **state)
{
	one_buffer(4, 0);
	ring_offer(&ring, 0);
	ring_offer(&ring, 0);
	assert_true(virtqueue_pop(&vq, &chain));
	virtqueue_stop(&vq);
	virtqueue_push(&vq, &chain, 8);
	assert_false(virtqueue_publish(&vq));
	assert_false(virtqueue_pop(&vq, &chain));
	assert_int_equal(ring.used->idx, 0);
	assert_int_equal(ring.used->ring[0].len, 0);
	assert_int_equal(vq.s.used, 0);
	virtqueue_reset(&vq);
	assert_int_equal(vq.s.ready | vq.s.size | vq.s.last_avail, 0);
	assert_false(vq.running);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_random_operation, setup, teardown),
		cmocka_unit_test_setup_teardown(test_areas_are_checked, setup, teardown),
		cmocka_unit_test_setup_teardown(test_saved_nonsense_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_hostile_chains, setup, teardown),
		cmocka_unit_test_setup_teardown(test_indirect_must_be_negotiated, setup, teardown),
		cmocka_unit_test_setup_teardown(test_chain_longer_than_the_device_takes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_avail_index_jumps, setup, teardown),
		cmocka_unit_test_setup_teardown(test_more_outstanding_than_the_queue_holds, setup, teardown),
		cmocka_unit_test_setup_teardown(test_largest_ring_does_not_confuse_directions, setup, teardown),
		cmocka_unit_test_setup_teardown(test_ring_rewritten_while_read, setup, teardown),
		cmocka_unit_test_setup_teardown(test_push_to_a_stopped_queue, setup, teardown),
		cmocka_unit_test_setup_teardown(test_copying_into_chains, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
