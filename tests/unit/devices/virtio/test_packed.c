// SPDX-License-Identifier: Apache-2.0
/* The packed ring, step by step, and against drivers that mean no good. (test_rings.c has random operation.) */
#include "tests/unit/devices/virtio/driver.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>

enum { RING_GPA = 0x1000, TABLE_GPA = 0x10000, DATA_GPA = 0x40000, SIZE_MAX_TESTED = 64 };
enum { N = VRING_DESC_F_NEXT, W = VRING_DESC_F_WRITE, I = VRING_DESC_F_INDIRECT };
enum { D = DATA_GPA, T = TABLE_GPA };

static struct driver drv; /* for its memory alone */
static struct virtqueue vq;
static struct packed ring;
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

static struct virtqueue_state ring_state(void)
{
	return (struct virtqueue_state){
		.desc = ring.desc_gpa,
		.driver = ring.driver_gpa,
		.device = ring.device_gpa,
		.size = ring.size,
		.last_avail = P_WRAP,
		.used = P_WRAP,
		.ready = 1,
	};
}

static void begin_at(uint64_t gpa, uint16_t size, uint64_t features)
{
	packed_init(&ring, &drv.mem, gpa, size, features & F_EVENT_IDX);
	vq = (struct virtqueue){ .mem = &drv.mem, .owner = "test", .size_max = VIRTQUEUE_SIZE_MAX };
	vq.s = ring_state();
	vq.s.ready = 0;
	chain = (struct desc_chain){ .iov = iov, .iov_max = SIZE_MAX_TESTED };
	assert_int_equal(virtqueue_enable(&vq, features | F_PACKED | F_VERSION_1), 0);
	virtqueue_start(&vq);
}

static void begin(uint16_t size, uint64_t features)
{
	begin_at(RING_GPA, size, features);
}

/* A chain of @count writable descriptors of 8 bytes; all but the last have another id. */
static void offer(unsigned count, uint16_t id)
{
	struct vring_packed_desc descs[8];
	for (unsigned i = 0; i < count; i++)
		packed_set(&descs[i], D + 8 * i, 8, i + 1 < count ? 0x5555 : id, W | (i + 1 < count ? N : 0));
	packed_offer(&ring, descs, count);
}

static void assert_used(uint16_t id, uint32_t len, unsigned slots)
{
	const struct vring_packed_desc *used = packed_used(&ring);
	assert_non_null(used);
	assert_int_equal(le16toh(used->id), id);
	assert_int_equal(le32toh(used->len), len);
	while (slots--)
		ring.used = packed_next(&ring, ring.used);
}

/* --- step by step --- */

static void test_id_is_the_last_descriptors(void **state)
{
	begin(8, 0);
	offer(3, 7);
	assert_true(virtqueue_pop(&vq, &chain));
	assert_int_equal(chain.writable, 3);
	virtqueue_push(&vq, &chain, 24);
	virtqueue_publish(&vq);
	assert_used(7, 24, 3);
}

static void test_used_place_skips_the_chain(void **state)
{
	for (uint16_t size = 5; size <= 9; size++) { /* also over the ring's end */
		begin(size, 0);
		for (unsigned turn = 0; turn < 40; turn++) {
			offer(3, (uint16_t)turn);
			offer(2, (uint16_t)(100 + turn));
			for (unsigned i = 0; i < 2; i++) {
				assert_true(virtqueue_pop(&vq, &chain));
				virtqueue_push(&vq, &chain, i);
			}
			assert_null(packed_used(&ring)); /* all at once, when published */
			virtqueue_publish(&vq);
			assert_used((uint16_t)turn, 0, 3);
			assert_used((uint16_t)(100 + turn), 1, 2);
			assert_null(packed_used(&ring));
			assert_false(virtqueue_pop(&vq, &chain));
			assert_false(vq.broken);
		}
	}
}

/* Indices of 15 bits, none of which is lost. */
static void test_largest_ring_goes_round(void **state)
{
	begin_at(4 * GIB, VIRTQUEUE_SIZE_MAX, F_EVENT_IDX);
	for (unsigned i = 0; i < 2 * VIRTQUEUE_SIZE_MAX + 10; i++) {
		ring.driver->off_wrap = htole16(ring.used);
		ring.driver->flags = htole16(VRING_PACKED_EVENT_FLAG_DESC);
		assert_false(virtqueue_pop(&vq, &chain));
		offer(1, (uint16_t)i);
		assert_true(packed_kick_due(&ring));
		assert_true(virtqueue_pop(&vq, &chain));
		virtqueue_push(&vq, &chain, 8);
		assert_true(virtqueue_publish(&vq));
		assert_used((uint16_t)i, 8, 1);
	}
	for (unsigned i = 0; i < VIRTQUEUE_SIZE_MAX; i++)
		offer(1, (uint16_t)i);
	for (unsigned i = 0; i < VIRTQUEUE_SIZE_MAX; i++)
		assert_true(virtqueue_pop(&vq, &chain));
	assert_false(virtqueue_pop(&vq, &chain));
	assert_false(vq.broken);
}

static void test_kicks_are_spared_while_there_is_work(void **state)
{
	begin(8, 0);
	assert_false(virtqueue_pop(&vq, &chain));
	offer(1, 0);
	assert_true(packed_kick_due(&ring));
	assert_true(virtqueue_pop(&vq, &chain));
	offer(1, 1);
	assert_false(packed_kick_due(&ring));
	assert_true(virtqueue_pop(&vq, &chain));
	assert_false(virtqueue_pop(&vq, &chain));
	offer(1, 2);
	assert_true(packed_kick_due(&ring));
}

/* A driver that knows no DESC, or writes nonsense, is interrupted rather than not. */
static void test_interrupts_as_the_driver_says(void **state)
{
	static const struct {
		uint16_t flags;
		bool event_idx, interrupt;
	} cases[] = {
		{ VRING_PACKED_EVENT_FLAG_ENABLE, false, true },
		{ VRING_PACKED_EVENT_FLAG_ENABLE, true, true },
		{ VRING_PACKED_EVENT_FLAG_DISABLE, false, false },
		{ VRING_PACKED_EVENT_FLAG_DISABLE, true, false },
		{ VRING_PACKED_EVENT_FLAG_DESC, false, true },
		{ VRING_PACKED_EVENT_FLAG_DESC, true, false },
		{ 3, true, true },
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		begin(8, cases[i].event_idx ? F_EVENT_IDX : 0);
		ring.driver->flags = htole16(cases[i].flags);
		ring.driver->off_wrap = htole16(5 | P_WRAP);
		offer(2, 1);
		assert_true(virtqueue_pop(&vq, &chain));
		virtqueue_push(&vq, &chain, 0);
		assert_int_equal(virtqueue_publish(&vq), cases[i].interrupt);
	}
}

/* --- what a ring must be --- */

static void test_areas_are_checked(void **state)
{
	static const struct {
		uint64_t size, desc, driver, device;
		int ret;
	} cases[] = {
		{ 1, 0x1000, 0x2000, 0x3000, 0 },
		{ 2, 0x1000, 0x2000, 0x3000, 0 },
		{ 7, 0x1000, 0x2000, 0x3000, 0 }, /* any number: 2.8.10 */
		{ 63, 0x1010, 0x2004, 0x3004, 0 },
		{ 64, MIB - 1024, MIB - 4, 0x3000, 0 }, /* up to the last byte */
		{ 0, 0x1000, 0x2000, 0x3000, -EINVAL },
		{ 65, 0x1000, 0x2000, 0x3000, -EINVAL },
		{ 32768, 0x1000, 0x2000, 0x3000, -EINVAL },
		{ 8, 0x1008, 0x2000, 0x3000, -EINVAL }, /* alignment */
		{ 8, 0x1000, 0x2002, 0x3000, -EINVAL },
		{ 8, 0x1000, 0x2000, 0x3002, -EINVAL },
		{ 8, MIB - 112, 0x2000, 0x3000, -EINVAL }, /* an end outside */
		{ 8, 0x1000, MIB, 0x3000, -EINVAL },
		{ 8, 0x1000, 0x2000, 3 * GIB, -EINVAL },
		{ 8, UINT64_MAX - 15, 0x2000, 0x3000, -EINVAL }, /* wraps */
		{ 8, 0x1000, UINT64_MAX - 3, 0x3000, -EINVAL },
		{ 8, 0x1000, 0x2000, 1ull << 52, -EINVAL },
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		vq = (struct virtqueue){ .mem = &drv.mem, .owner = "test", .size_max = SIZE_MAX_TESTED };
		vq.s = (struct virtqueue_state){
			.size = (uint16_t)cases[i].size,
			.desc = cases[i].desc,
			.driver = cases[i].driver,
			.device = cases[i].device,
		};
		assert_int_equal(virtqueue_enable(&vq, F_PACKED | F_VERSION_1), cases[i].ret);
		assert_int_equal(vq.s.ready, !cases[i].ret);
		assert_int_equal(vq.s.last_avail, P_WRAP);
		assert_int_equal(vq.s.used, P_WRAP);
	}
}

static void test_saved_nonsense_is_refused(void **state)
{
	static const struct {
		uint16_t used, last_avail;
		int ret;
	} cases[] = {
		{ P_WRAP, P_WRAP, 0 },
		{ 0, 0, 0 },
		{ P_WRAP, P_WRAP | 6, 0 },
		{ P_WRAP | 6, 6, 0 },                /* all seven outstanding */
		{ P_WRAP, 0, 0 },                    /* likewise */
		{ 3, P_WRAP | 2, 0 },                /* six */
		{ P_WRAP | 3, P_WRAP | 2, -EINVAL }, /* used before made available */
		{ P_WRAP | 3, 4, -EINVAL },          /* eight */
		{ P_WRAP | 7, P_WRAP | 7, -EINVAL }, /* beyond the ring */
		{ P_WRAP, P_WRAP | 7, -EINVAL },
		{ 0x7fff, 0x7fff, -EINVAL },
	};
	packed_init(&ring, &drv.mem, RING_GPA, 7, false);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct virtqueue_state saved = ring_state();
		saved.used = cases[i].used;
		saved.last_avail = cases[i].last_avail;
		vq = (struct virtqueue){ .mem = &drv.mem, .owner = "test", .size_max = SIZE_MAX_TESTED };
		assert_int_equal(virtqueue_load(&vq, &saved, F_PACKED | F_VERSION_1, true), cases[i].ret);
	}
}

/* --- chains that break rules --- */

struct raw {
	uint64_t addr;
	uint32_t len;
	uint16_t flags;
};

static const struct hostile {
	const char *what;
	struct raw desc[5], table[6]; /* desc: made available up to the first of length 0 and address 0 */
	bool fine;
} hostiles[] = {
	{ "not in memory", { { 2 * MIB, 8, 0 } } },
	{ "end not in memory", { { MIB - 4, 8, 0 } } },
	{ "wraps", { { UINT64_MAX - 3, 8, 0 } } },
	{ "empty", { { D, 0, 0 } } },
	{ "empty and writable", { { D, 8, N }, { D, 0, W } } },
	{ "readable after writable", { { D, 8, W | N }, { D, 8, 0 } } },
	{ "chain longer than the ring", { { D, 8, N }, { D, 8, N }, { D, 8, N }, { D, 8, N } } },
	{ "4 GiB", { { 4 * GIB, 0x80000000, N }, { 4 * GIB, 0x80000000, W } } },
	{ "indirect of no entries", { { T, 0, I } } },
	{ "indirect with part of an entry", { { T, 24, I } }, { { D, 8, 0 } } },
	{ "indirect of less than an entry", { { T, 8, I } }, { { D, 8, 0 } } },
	{ "indirect not in memory", { { 2 * MIB, 16, I } } },
	{ "indirect with its end outside", { { MIB - 16, 32, I } } },
	{ "indirect of 4 GiB", { { 0, 0xfffffff0, I } } },
	{ "indirect wraps", { { UINT64_MAX - 15, 32, I } } },
	{ "indirect with next", { { T, 16, I | N }, { D, 8, 0 } }, { { D, 8, 0 } } },
	{ "indirect after direct", { { D, 8, N }, { T, 16, I } }, { { D, 8, 0 } } },
	{ "indirect longer than the queue",
	  { { T, 80, I } },
	  { { D, 8, 0 }, { D, 8, 0 }, { D, 8, 0 }, { D, 8, 0 }, { D, 8, 0 } } },
	{ "indirect with an empty buffer", { { T, 32, I } }, { { D, 8, 0 }, { D, 0, 0 } } },
	{ "readable after writable in a table", { { T, 32, I } }, { { D, 8, W }, { D, 8, 0 } } },
	{ "as long as the ring", { { D, 8, N }, { D, 8, N }, { D, 8, N }, { D, 8, W } }, .fine = true },
	{ "indirect as long as the queue",
	  { { T, 64, I | W } },
	  { { D, 8, 0 }, { D, 8, N }, { D, 8, W | I }, { D, 8, W } }, /* NEXT and INDIRECT mean nothing there */
	  .fine = true },
	{ "4 GiB but one byte", { { 4 * GIB, 0x80000000, N }, { 4 * GIB, 0x7fffffff, W } }, .fine = true },
	{ "unknown flags", { { D, 8, 0x7f78 } }, .fine = true },
};

static void hostile_begin(const struct hostile *h, uint64_t features)
{
	struct vring_packed_desc descs[5];
	unsigned count = 0;
	begin(4, features);
	for (; h->desc[count].addr || h->desc[count].len; count++)
		packed_set(&descs[count], h->desc[count].addr, h->desc[count].len, 0xabcd, h->desc[count].flags);
	for (unsigned i = 0; i < ARRAY_SIZE(h->table); i++)
		packed_set((struct vring_packed_desc *)guest_at(&drv.mem, T, 96) + i, h->table[i].addr, h->table[i].len,
		           0, h->table[i].flags);
	packed_offer(&ring, descs, count);
}

static void test_hostile_chains(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(hostiles); i++) {
		hostile_begin(&hostiles[i], F_INDIRECT);
		bool popped = virtqueue_pop(&vq, &chain);
		if (popped != hostiles[i].fine || vq.broken == hostiles[i].fine)
			fail_msg("%s: popped %d, broken %d", hostiles[i].what, popped, vq.broken);
		if (hostiles[i].fine) {
			assert_int_equal(chain.head, 0xabcd); /* an id that names nothing is the driver's affair */
			continue;
		}
		uint8_t before[16 * 4 + 8];
		memcpy(before, ring.desc, sizeof(before));
		assert_false(virtqueue_pop(&vq, &chain)); /* a broken queue stays so, and is not written to */
		virtqueue_push(&vq, &chain, 0);
		assert_false(virtqueue_publish(&vq));
		assert_memory_equal(before, ring.desc, sizeof(before));
	}
}

static void test_indirect_must_be_negotiated(void **state)
{
	const struct hostile h = { "", { { T, 16, I } }, { { D, 8, 0 } } };
	hostile_begin(&h, 0);
	assert_false(virtqueue_pop(&vq, &chain));
	assert_true(vq.broken);
}

static void test_chain_longer_than_the_device_takes(void **state)
{
	const struct hostile h = { "", { { D, 8, N }, { D, 8, N }, { D, 8, 0 } } };
	hostile_begin(&h, 0);
	chain.iov_max = 2;
	assert_false(virtqueue_pop(&vq, &chain));
	assert_true(vq.broken);
}

/* Whoever makes available again what was not given back would keep a device popping for ever. */
static void test_more_outstanding_than_the_ring_holds(void **state)
{
	for (uint16_t size = 1; size <= 5; size++)
		for (unsigned pushed = 0; pushed < 2; pushed++) {
			begin(size, 0);
			for (unsigned i = 0; i < size; i++) {
				offer(1, 0);
				assert_true(virtqueue_pop(&vq, &chain));
				if (pushed) /* but not published */
					virtqueue_push(&vq, &chain, 0);
			}
			offer(1, 0);
			assert_false(virtqueue_pop(&vq, &chain));
			assert_true(vq.broken);
		}
	begin(4, 0); /* a chain that runs into what is outstanding */
	offer(2, 0);
	assert_true(virtqueue_pop(&vq, &chain));
	offer(3, 0);
	assert_false(virtqueue_pop(&vq, &chain));
	assert_true(vq.broken);
}

/* Every word a descriptor's flags can be: popped, left alone, or the end of the queue. */
static void test_all_flags(void **state)
{
	for (unsigned flags = 0; flags < 65536; flags++) {
		packed_init(&ring, &drv.mem, RING_GPA, 2, false);
		packed_set(&ring.desc[0], D, 8, 1, (uint16_t)flags);
		vq = (struct virtqueue){ .mem = &drv.mem, .owner = "test", .size_max = 2 };
		const struct virtqueue_state fresh = ring_state();
		assert_int_equal(virtqueue_load(&vq, &fresh, F_PACKED | F_VERSION_1, true), 0);
		chain = (struct desc_chain){ .iov = iov, .iov_max = SIZE_MAX_TESTED };
		bool avail = (flags & (P_AVAIL | P_USED)) == P_AVAIL;
		bool fine = avail && !(flags & (N | I)); /* the next one is empty */
		assert_int_equal(virtqueue_pop(&vq, &chain), fine);
		assert_int_equal(vq.broken, avail && !fine);
	}
}

/* --- a driver that rewrites everything while we read --- */

static atomic_bool rewriting;
static atomic_uint rewritten;

__attribute__((no_sanitize_thread)) /* a guest: its races are the point */
static void *
rewrite(void *arg)
{
	static const struct raw shapes[] = {
		{ D, 8, N },
		{ D, 8, W },
		{ 2 * MIB, 8, 0 },
		{ T, 32, I },
		{ MIB - 4, 4, N },
		{ D, 0, N },
		{ UINT64_MAX, 0xffffffff, W | N },
		{ MIB - 4, 0xffff, W },
		{ D, 4096, 0 },
		{ T, 16, I },
	};
	volatile struct vring_packed_desc *table = arg;
	uint64_t random = 1;
	for (unsigned i = 0; rewriting; i++) {
		random = random * 6364136223846793005u + 1442695040888963407u;
		const struct raw *shape = &shapes[(random >> 33) % ARRAY_SIZE(shapes)];
		volatile struct vring_packed_desc *at = i % 3 ? &ring.desc[i % 4] : &table[i % 2];
		at->addr = shape->addr;
		at->len = shape->len;
		at->flags = shape->flags | P_AVAIL;
		rewritten++;
	}
	return NULL;
}

static void check_chain_is_inside(void)
{
	uint64_t len = 0;
	assert_in_range(chain.readable + chain.writable, 1, ring.size);
	assert_in_range(chain.slots, 1, ring.size);
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
	begin(4, F_INDIRECT);
	pthread_t thread;
	rewriting = true;
	rewritten = 0;
	assert_int_equal(pthread_create(&thread, NULL, rewrite, guest_at(&drv.mem, T, 32)), 0);
	while (!rewritten)
		sched_yield();
	unsigned popped = 0;
	const struct virtqueue_state fresh = ring_state();
	for (unsigned i = 0; i < 100000 || popped < 1000; i++) {
		if (i % 64 == 0)
			sched_yield(); /* also on one CPU, each has its turn */
		assert_int_equal(virtqueue_load(&vq, &fresh, F_PACKED | F_VERSION_1 | F_INDIRECT, true), 0);
		unsigned turns = 0;
		while (virtqueue_pop(&vq, &chain)) {
			check_chain_is_inside();
			virtqueue_push(&vq, &chain, 0);
			assert_true(++turns <= ring.size);
			popped++;
		}
	}
	rewriting = false;
	pthread_join(thread, NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_id_is_the_last_descriptors),
		TEST(test_used_place_skips_the_chain),
		TEST(test_largest_ring_goes_round),
		TEST(test_kicks_are_spared_while_there_is_work),
		TEST(test_interrupts_as_the_driver_says),
		TEST(test_areas_are_checked),
		TEST(test_saved_nonsense_is_refused),
		TEST(test_hostile_chains),
		TEST(test_indirect_must_be_negotiated),
		TEST(test_chain_longer_than_the_device_takes),
		TEST(test_more_outstanding_than_the_ring_holds),
		TEST(test_all_flags),
		TEST(test_ring_rewritten_while_read),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
