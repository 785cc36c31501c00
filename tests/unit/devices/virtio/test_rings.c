// SPDX-License-Identifier: Apache-2.0
/* Every form of ring against one shadow of it: split and packed, with and without INDIRECT_DESC, EVENT_IDX, IN_ORDER. */
#include "tests/unit/devices/virtio/driver.h"

#include <errno.h>

enum { RING_GPA = 0x1000, TABLES_GPA = 0x10000, DATA_GPA = 0x40000, SIZE_MAX_TESTED = 64, SEGMENTS_MAX = 6 };
enum { N = VRING_DESC_F_NEXT, W = VRING_DESC_F_WRITE, I = VRING_DESC_F_INDIRECT };

static struct driver drv; /* for its memory alone */

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

struct segment {
	uint64_t gpa;
	uint32_t len;
	bool writable;
};

struct offer { /* a chain on its way */
	uint16_t id;
	unsigned segments, slots; /* slots: of the ring, or of the split descriptor table */
	struct segment segment[SEGMENTS_MAX];
	uint16_t desc[SEGMENTS_MAX]; /* split: to be freed when it comes back */
	uint32_t written, writable_len;
	bool done; /* pushed */
	struct iovec iov[SIZE_MAX_TESTED];
	struct desc_chain chain;
};

/* A chain on its way has a number: its place in offers. */
struct shadow {
	uint64_t random, features;
	uint16_t size;
	bool packed, in_order;
	struct virtqueue vq;
	struct ring split;
	struct packed ring;
	struct offer offers[SIZE_MAX_TESTED];
	unsigned idle[SIZE_MAX_TESTED], idle_count;   /* numbers that are free */
	unsigned avail[SIZE_MAX_TESTED], avail_count; /* offered, not popped */
	unsigned out[SIZE_MAX_TESTED];                /* popped, not pushed */
	unsigned out_count;
	unsigned queue[SIZE_MAX_TESTED]; /* as they must be used: pushed, or IN_ORDER: popped */
	unsigned queue_count;
	unsigned shown;                 /* of these, how many were published */
	uint16_t free[SIZE_MAX_TESTED]; /* split: descriptors that the driver may use */
	unsigned free_slots;
	uint16_t next_desc; /* split, IN_ORDER */
	unsigned unkicked; /* slots since the driver last thought about a kick; packed places tell no more than a lap */
	bool asleep;       /* the device saw the queue empty: it relies on a kick */
	unsigned batched;  /* chains that no used descriptor was written for */
};

static struct shadow sh;

static uint32_t pick(uint32_t below)
{
	sh.random = sh.random * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(sh.random >> 33) % below;
}

static unsigned take_at(unsigned *list, unsigned *count, unsigned at)
{
	unsigned number = list[at];
	memmove(&list[at], &list[at + 1], (--*count - at) * sizeof(list[0]));
	return number;
}

static struct offer *offer_of(unsigned number)
{
	return &sh.offers[number];
}

/* --- the driver --- */

static void random_segments(struct offer *offer)
{
	unsigned readable = pick(offer->segments + 1);
	offer->writable_len = 0;
	for (unsigned i = 0; i < offer->segments; i++) {
		offer->segment[i] = (struct segment){
			.gpa = (pick(4) ? DATA_GPA : 4 * GIB) + pick(0x1000),
			.len = 1 + pick(5000),
			.writable = i >= readable,
		};
		offer->writable_len += offer->segment[i].writable ? offer->segment[i].len : 0;
	}
}

static uint64_t table_gpa(unsigned number)
{
	return TABLES_GPA + number * 0x200 + pick(16); /* aligned or not */
}

static void split_segment(struct vring_desc *at, const struct offer *offer, unsigned i, uint16_t next)
{
	const struct segment *seg = &offer->segment[i];
	desc_set(at, seg->gpa, seg->len, (seg->writable ? W : 0) | (i + 1 < offer->segments ? N : 0), next);
}

/* Descriptors of the ring for the first segments, an indirect table for the rest, if there is a rest. */
static void split_write(struct offer *offer, unsigned number, unsigned direct)
{
	for (unsigned i = 0; i < offer->slots; i++)
		offer->desc[i] = sh.in_order ? sh.next_desc++ % sh.size : sh.free[sh.free_slots + i];
	offer->id = offer->desc[0];
	for (unsigned i = 0; i < direct; i++)
		split_segment(&sh.split.desc[offer->desc[i]], offer, i, i + 1 < offer->slots ? offer->desc[i + 1] : 0);
	if (direct < offer->segments) {
		struct vring_desc table[SEGMENTS_MAX];
		uint64_t gpa = table_gpa(number);
		uint32_t len = (offer->segments - direct) * 16;
		for (unsigned i = direct; i < offer->segments; i++)
			split_segment(&table[i - direct], offer, i, (uint16_t)(i - direct + 1));
		assert_int_equal(guest_write(&drv.mem, gpa, table, len), 0);
		desc_set(&sh.split.desc[offer->desc[direct]], gpa, len, I | (pick(2) ? W : 0), 0xffff);
	}
	ring_offer(&sh.split, offer->id);
}

static void packed_write(struct offer *offer, unsigned number, bool indirect)
{
	struct vring_packed_desc descs[SEGMENTS_MAX];
	/* IN_ORDER: as Linux has it; else any id that is not in use, and only the last descriptor's counts */
	offer->id = sh.in_order ? sh.ring.avail & ~P_WRAP : (uint16_t)number;
	for (unsigned i = 0; i < offer->segments; i++) {
		const struct segment *seg = &offer->segment[i];
		bool last = i + 1 == offer->segments;
		uint16_t flags = (seg->writable ? W : 0) | (last ? 0 : N);
		if (indirect) /* of these only WRITE counts, and no id */
			flags = (seg->writable ? W : 0) | (pick(2) ? N : 0) | (pick(2) ? P_USED : 0);
		packed_set(&descs[i], seg->gpa, seg->len, indirect || !last ? (uint16_t)pick(65536) : offer->id, flags);
	}
	if (indirect) {
		uint64_t gpa = table_gpa(number);
		assert_int_equal(guest_write(&drv.mem, gpa, descs, offer->segments * 16), 0);
		packed_set(&descs[0], gpa, offer->segments * 16, offer->id, I | (pick(2) ? W : 0));
	}
	packed_offer(&sh.ring, descs, offer->slots);
}

static bool kick_due(void)
{
	return sh.packed ? packed_kick_due(&sh.ring) : ring_kick_due(&sh.split);
}

static void driver_adds(void)
{
	unsigned segments = 1 + pick(MIN(SEGMENTS_MAX, sh.size)), direct = segments;
	if (sh.features & F_INDIRECT && pick(2))
		direct = sh.packed ? 0 : pick(segments);
	unsigned slots = direct + (direct < segments);
	if (slots > sh.free_slots)
		return;
	unsigned number = take_at(sh.idle, &sh.idle_count, 0);
	struct offer *offer = offer_of(number);
	*offer = (struct offer){ .segments = segments, .slots = slots };
	random_segments(offer);
	sh.free_slots -= slots;
	if (sh.packed)
		packed_write(offer, number, !direct);
	else
		split_write(offer, number, direct);
	sh.avail[sh.avail_count++] = number;
	sh.unkicked += slots;
	if (pick(2) && sh.unkicked < sh.size) /* kicks may be thought about for several at once */
		return;
	sh.unkicked = 0;
	bool kick = kick_due();
	assert_true(kick || !sh.asleep);
	sh.asleep = false;
}

static void driver_fills_up(void)
{
	for (unsigned i = 0; i < 200 && sh.free_slots; i++)
		driver_adds();
}

/* The oldest that was used is back. */
static void driver_gets(uint32_t len, bool exact)
{
	assert_true(sh.shown);
	unsigned number = take_at(sh.queue, &sh.queue_count, 0);
	struct offer *offer = offer_of(number);
	sh.idle[sh.idle_count++] = number;
	sh.shown--;
	assert_true(offer->done);
	assert_int_equal(exact ? len : offer->writable_len, offer->written); /* who is skipped was filled */
	if (!sh.packed && !sh.in_order)
		memcpy(&sh.free[sh.free_slots], offer->desc, offer->slots * sizeof(sh.free[0]));
	sh.free_slots += offer->slots;
	for (unsigned i = 0; sh.packed && i < offer->slots; i++)
		sh.ring.used = packed_next(&sh.ring, sh.ring.used);
}

static void packed_takes(void)
{
	const struct vring_packed_desc *used;
	while ((used = packed_used(&sh.ring))) {
		uint16_t id = le16toh(used->id);
		uint32_t len = le32toh(used->len);
		assert_int_equal(le16toh(used->flags) & W, len ? W : 0);
		while (assert_true(sh.queue_count), offer_of(sh.queue[0])->id != id) {
			assert_true(sh.in_order && !sh.vq.every_used);
			driver_gets(0, false);
			sh.batched++;
		}
		driver_gets(len, true);
	}
	if (sh.ring.event_idx && pick(2)) {
		sh.ring.driver->off_wrap =
			htole16(pick(3) ? sh.ring.used : (uint16_t)(pick(sh.size) | (pick(2) ? P_WRAP : 0)));
		sh.ring.driver->flags = htole16(VRING_PACKED_EVENT_FLAG_DESC);
	} else {
		sh.ring.driver->flags = htole16(pick(2));
	}
}

static void split_takes(void)
{
	uint32_t id, len;
	while (ring_take(&sh.split, &id, &len)) {
		assert_true(sh.queue_count);
		assert_int_equal(id, offer_of(sh.queue[0])->id);
		driver_gets(len, true);
	}
	*ring_used_event(&sh.split) = htole16(sh.split.last_used + (pick(3) ? 0 : (uint16_t)pick(65536)));
	sh.split.avail->flags = htole16(pick(2)); /* of no meaning with EVENT_IDX: 2.7.7 */
}

static void driver_takes(void)
{
	if (sh.packed)
		packed_takes();
	else
		split_takes();
	assert_int_equal(sh.shown, 0);
}

/* --- the device --- */

static void check_chain(const struct offer *offer)
{
	const struct desc_chain *chain = &offer->chain;
	uint32_t len[2] = { 0 };
	assert_int_equal(chain->head, offer->id);
	assert_int_equal(chain->readable + chain->writable, offer->segments);
	for (unsigned i = 0; i < offer->segments; i++) {
		const struct segment *seg = &offer->segment[i];
		assert_int_equal(i >= chain->readable, seg->writable);
		assert_ptr_equal(chain->iov[i].iov_base, guest_at(&drv.mem, seg->gpa, seg->len));
		assert_int_equal(chain->iov[i].iov_len, seg->len);
		len[seg->writable] += seg->len;
	}
	assert_int_equal(chain->readable_len, len[0]);
	assert_int_equal(chain->writable_len, len[1]);
}

static void device_pops(void)
{
	struct offer *offer = offer_of(sh.avail[0]); /* if any */
	struct desc_chain chain = { .iov = offer->iov, .iov_max = SIZE_MAX_TESTED };
	bool popped = virtqueue_pop(&sh.vq, &chain);
	assert_false(sh.vq.broken);
	assert_int_equal(popped, sh.avail_count > 0);
	sh.asleep = !popped;
	if (!popped)
		return;
	offer->chain = chain;
	check_chain(offer);
	unsigned number = take_at(sh.avail, &sh.avail_count, 0);
	if (sh.in_order)
		sh.queue[sh.queue_count++] = number;
	sh.out[sh.out_count++] = number;
}

static void device_pushes(void)
{
	if (!sh.out_count)
		return;
	/* in any order, often the oldest or the newest */
	unsigned at[] = { 0, sh.out_count - 1, pick(sh.out_count) };
	unsigned number = take_at(sh.out, &sh.out_count, at[pick(3)]);
	struct offer *offer = offer_of(number);
	offer->written = pick(2) ? offer->writable_len : pick(offer->writable_len + 1);
	offer->done = true;
	virtqueue_push(&sh.vq, &offer->chain, offer->written);
	if (!sh.in_order)
		sh.queue[sh.queue_count++] = number;
}

/* How many of the queue the driver shall see now. */
static unsigned visible(void)
{
	unsigned count = sh.shown;
	while (count < sh.queue_count && offer_of(sh.queue[count])->done)
		count++;
	return count;
}

/* Is the driver's event among what the next ones of the queue are, from the device's place on? */
static bool interrupt_due(unsigned now)
{
	if (now == sh.shown)
		return false;
	uint16_t place = sh.vq.published;
	bool due = false;
	for (unsigned i = sh.shown; i < now; i++) {
		if (!sh.packed)
			due |= place++ == le16toh(*ring_used_event(&sh.split));
		for (unsigned j = 0; sh.packed && j < offer_of(sh.queue[i])->slots;
		     j++, place = packed_next(&sh.ring, place))
			due |= place == le16toh(sh.ring.driver->off_wrap);
	}
	if (!sh.packed)
		return sh.split.event_idx ? due : !(le16toh(sh.split.avail->flags) & VRING_AVAIL_F_NO_INTERRUPT);
	if (le16toh(sh.ring.driver->flags) == VRING_PACKED_EVENT_FLAG_DESC)
		return due;
	return le16toh(sh.ring.driver->flags) != VRING_PACKED_EVENT_FLAG_DISABLE;
}

static void device_publishes(void)
{
	unsigned now = visible();
	bool due = interrupt_due(now);
	assert_int_equal(virtqueue_publish(&sh.vq), due);
	sh.shown = now;
}

static struct virtqueue new_queue(void)
{
	return (struct virtqueue){
		.mem = &drv.mem,
		.owner = "test",
		.size_max = SIZE_MAX_TESTED,
		.held = sh.vq.held,
		.every_used = sh.vq.every_used,
	};
}

static void load_queue(const struct virtqueue_state *state)
{
	struct virtqueue vq = new_queue();
	assert_int_equal(virtqueue_load(&vq, state, sh.features, true), 0);
	sh.vq = vq;
}

/* Whatever is saved and loaded goes on as if nothing had happened; IN_ORDER: when no chain is out. */
static void device_moves(void)
{
	if (sh.in_order && sh.out_count)
		return;
	device_publishes();
	const struct virtqueue_state state = sh.vq.s;
	load_queue(&state);
}

/* --- runs --- */

static void begin(uint16_t size, uint64_t features, uint16_t start)
{
	bool event_idx = features & F_EVENT_IDX;
	sh.size = size;
	sh.features = features | F_VERSION_1;
	sh.packed = features & F_PACKED;
	sh.in_order = features & F_IN_ORDER;
	sh.free_slots = size;
	sh.idle_count = SIZE_MAX_TESTED;
	for (unsigned i = 0; i < SIZE_MAX_TESTED; i++) {
		sh.free[i] = (uint16_t)i;
		sh.idle[i] = i;
	}
	struct virtqueue_state state = { .size = size, .last_avail = start, .used = start, .ready = 1 };
	if (sh.packed) {
		packed_init(&sh.ring, &drv.mem, RING_GPA, size, event_idx);
		sh.ring.avail = sh.ring.used = sh.ring.kicked = start;
		for (uint16_t i = 0; !(start & P_WRAP) && i < size; i++) /* the first lap's descriptors are used */
			sh.ring.desc[i].flags = htole16(P_AVAIL | P_USED);
		state.desc = sh.ring.desc_gpa, state.driver = sh.ring.driver_gpa, state.device = sh.ring.device_gpa;
	} else {
		ring_init(&sh.split, &drv.mem, RING_GPA, size, event_idx);
		sh.split.idx = sh.split.kicked = sh.split.last_used = start;
		sh.split.avail->idx = sh.split.used->idx = htole16(start);
		state.desc = sh.split.desc_gpa, state.driver = sh.split.avail_gpa, state.device = sh.split.used_gpa;
	}
	sh.vq = new_queue();
	if (sh.in_order)
		assert_int_equal(virtqueue_make_order(&sh.vq), 0);
	load_queue(&state);
	virtqueue_start(&sh.vq);
}

static void drain(void)
{
	while (sh.avail_count)
		device_pops();
	while (sh.out_count)
		device_pushes();
	device_publishes();
	driver_takes();
	assert_int_equal(sh.queue_count, 0);
	assert_int_equal(sh.free_slots, sh.size);
}

static void end(void)
{
	drain();
	if (sh.packed && sh.ring.event_idx && sh.asleep)
		assert_int_equal(le16toh(sh.ring.device->off_wrap), sh.vq.s.last_avail);
	virtqueue_stop(&sh.vq);
	virtqueue_fini(&sh.vq);
}

static void random_run(uint32_t seed, uint64_t layout)
{
	sh = (struct shadow){ .random = seed };
	pick(1);
	uint64_t features = layout | (pick(2) ? F_INDIRECT : 0) | (pick(2) ? F_EVENT_IDX : 0);
	uint16_t start = pick(2) ? (uint16_t)((pick(2) ? 65536u : 32768u) - pick(100)) : 0;
	uint16_t size = (uint16_t)(1u << pick(7));
	if (layout & F_PACKED) {
		size = (uint16_t)(pick(3) ? 1 + pick(SIZE_MAX_TESTED) : 1 + pick(3));
		start = pick(2) ? P_WRAP : 0;
	}
	sh.vq.every_used = pick(2);
	begin(size, features, start);
	static void (*const steps[])(void) = {
		driver_adds,   driver_adds,  driver_adds,   driver_fills_up, device_pops,
		device_pops,   device_pops,  device_pushes, device_pushes,   device_publishes,
		device_pushes, driver_takes, device_moves,
	};
	for (unsigned i = 0; i < 300; i++)
		steps[pick(ARRAY_SIZE(steps))]();
	end();
}

static void random_runs(uint64_t layout)
{
	for (uint32_t seed = 1; seed <= 3000; seed++)
		random_run(seed, layout);
}

static void test_random_split(void **state)
{
	random_runs(0);
}

static void test_random_split_in_order(void **state)
{
	random_runs(F_IN_ORDER);
}

static void test_random_packed(void **state)
{
	random_runs(F_PACKED);
}

static void test_random_packed_in_order(void **state)
{
	random_runs(F_PACKED | F_IN_ORDER);
}

/* --- what IN_ORDER promises --- */

static const uint64_t layouts[] = { 0, F_PACKED };

/* @count chains of one descriptor each, popped. */
static void pop_many(unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		unsigned number = take_at(sh.idle, &sh.idle_count, 0);
		struct offer *offer = offer_of(number);
		*offer = (struct offer){ .segments = 1, .slots = 1, .writable_len = 8 };
		offer->segment[0] = (struct segment){ DATA_GPA, 8, true };
		sh.free_slots--;
		if (sh.packed)
			packed_write(offer, number, false);
		else
			split_write(offer, number, 1);
		sh.avail[sh.avail_count++] = number;
		device_pops();
	}
}

static void push_number(unsigned number)
{
	struct offer *offer = offer_of(number);
	offer->done = true;
	offer->written = offer->writable_len;
	for (unsigned i = 0; i < sh.out_count; i++)
		if (sh.out[i] == number)
			take_at(sh.out, &sh.out_count, i);
	virtqueue_push(&sh.vq, &offer->chain, offer->written);
}

/* The ring exactly full, its oldest chain the slowest: nothing is seen before it, then all at once. */
static void test_full_ring_waits_for_its_oldest(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(layouts); i++)
		for (unsigned every = 0; every < 2; every++)
			for (unsigned size = 1; size <= 64; size *= 2)
				for (unsigned backwards = 0; backwards < 2; backwards++) {
					sh = (struct shadow){ .random = 1, .vq.every_used = every };
					begin((uint16_t)size, layouts[i] | F_IN_ORDER, layouts[i] ? P_WRAP : 65530);
					pop_many(size / 2); /* not from the ring's start */
					while (sh.out_count)
						push_number(sh.out[0]);
					device_publishes();
					driver_takes();
					pop_many(size);
					unsigned first = sh.out[0];
					while (sh.out_count > 1)
						push_number(sh.out[backwards ? sh.out_count - 1 : 1]);
					assert_false(virtqueue_publish(&sh.vq));
					assert_int_equal(visible(), 0);
					driver_takes();
					push_number(first);
					device_publishes();
					assert_int_equal(sh.shown, size);
					sh.batched = 0;
					driver_takes();
					assert_int_equal(sh.batched, layouts[i] && !every ? size - 1 : 0);
					end();
				}
}

/* What was held when the queue was stopped does not come up after the next start. */
static void test_held_chains_are_forgotten(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(layouts); i++) {
		sh = (struct shadow){ .random = 1 };
		begin(8, layouts[i] | F_IN_ORDER, layouts[i] ? P_WRAP : 0);
		pop_many(4);
		push_number(2);
		push_number(1);
		virtqueue_stop(&sh.vq);
		struct virtqueue_held *held = sh.vq.held;
		sh = (struct shadow){ .random = 1, .vq.held = held };
		begin(8, layouts[i], layouts[i] ? P_WRAP : 0);
		sh.in_order = true;
		sh.features |= F_IN_ORDER;
		const struct virtqueue_state again = sh.vq.s;
		load_queue(&again);
		pop_many(4);
		push_number(0);
		device_publishes();
		assert_int_equal(sh.shown, 1);
		end();
	}
}

/* A chain that is not filled must not be skipped: its length counts. */
static void test_partly_filled_chain_ends_its_batch(void **state)
{
	sh = (struct shadow){ .random = 1 };
	begin(8, F_PACKED | F_IN_ORDER, P_WRAP);
	pop_many(4);
	push_number(0);
	offer_of(1)->writable_len = 3; /* for push_number(), and for driver_gets() */
	push_number(1);
	push_number(2);
	push_number(3);
	device_publishes();
	assert_int_equal(le16toh(sh.ring.desc[0].id), 1);
	assert_int_equal(le32toh(sh.ring.desc[0].len), 3);
	assert_int_equal(le16toh(sh.ring.desc[2].id), 3);
	driver_takes();
	assert_int_equal(sh.batched, 2);
	end();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_random_split),
		TEST(test_random_split_in_order),
		TEST(test_random_packed),
		TEST(test_random_packed_in_order),
		TEST(test_full_ring_waits_for_its_oldest),
		TEST(test_held_chains_are_forgotten),
		TEST(test_partly_filled_chain_ends_its_batch),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
