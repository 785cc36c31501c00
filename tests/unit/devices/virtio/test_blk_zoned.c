// SPDX-License-Identifier: Apache-2.0
/* virtio-blk on zoned disks: negotiation, requests for zones and every status, over zones in memory. */
#include "tests/unit/devices/virtio/driver.h"

#include <linux/virtio_blk.h>

#include "src/block/block.h"
#include "src/block/zone.h"

enum { RING = 16, ZONE = 128, ZONES = 10, CAPACITY = 96, BLOCK = 8, CFG = VIRTIO_MMIO_CONFIG }; /* sectors */
enum { OUT_GPA = 0x20000, IN_GPA = 0x40000, IN_MAX = 0x20000 };

#define F(name) (1ull << VIRTIO_BLK_F_##name)
#define F_ZONED (1ull << 17)

enum { OK, IOERR, UNSUPP, INVALID, UNALIGNED, OPEN_RESOURCE, ACTIVE_RESOURCE };
enum {
	IN = 0,
	OUT = 1,
	FLUSH = 4,
	APPEND = 15,
	REPORT = 16,
	OPEN = 18,
	CLOSE = 20,
	FINISH = 22,
	RESET = 24,
	RESET_ALL = 26
};
enum { EMPTY = 1, IOPEN = 2, EOPEN = 3, CLOSED = 4, FULL = 14 };

static const struct zone_geometry managed = {
	.model = ZONE_MODEL_HOST_MANAGED,
	.size = ZONES * ZONE * 512,
	.zone_size = ZONE * 512,
	.zone_capacity = CAPACITY * 512,
	.conventional = 1,
	.max_open = 2,
	.max_active = 3,
	.max_append = 64 * 512,
	.block_size = BLOCK * 512,
};

static struct driver drv;
static struct loop *loop;

static void plug(const struct zone_geometry *geometry)
{
	struct virtio_wiring wiring = driver_wiring(&drv, VIRTIO_RINGS_DEFAULT);
	struct virtio_blk_options options = { .loops = &loop, .loop_count = 1, .queues = 1 };
	struct block *block = geometry ? zoned_memory_new(geometry, NULL) : block_memory_new(MIB, 512, NULL);
	assert_non_null(block);
	wiring.queue_size = RING;
	loop = loop_new(&clock_host, NULL);
	assert_non_null(loop);
	driver_init(&drv);
	driver_plug(&drv, virtio_blk_new(&wiring, &drv.mem, block, &options));
}

static int teardown(void **test)
{
	driver_fini(&drv);
	loop_free(loop);
	return 0;
}

static void live(uint64_t features)
{
	assert_true(driver_negotiate(&drv, features | F_VERSION_1));
	assert_true(driver_setup_queue(&drv, 0, RING, false));
	driver_add_status(&drv, S_DRIVER_OK);
}

static int setup(void **test)
{
	plug(&managed);
	live(F_ZONED);
	return 0;
}

/* ---- requests ---------------------------------------------------------------------------------------------------- */

static uint8_t *out, *in;
static uint32_t written;

/* @in_len bytes and the status, the writable part cut into pieces of @piece bytes. */
static int run_cut(uint32_t type, uint64_t sector, uint32_t out_len, uint32_t in_len, uint32_t piece)
{
	struct virtio_blk_outhdr header = { .type = htole32(type), .sector = htole64(sector) };
	struct ring *ring = &drv.queues[0];
	uint32_t id, total = in_len + 1;
	uint16_t next = 0;
	out = guest_at(&drv.mem, OUT_GPA, 16 + out_len);
	in = guest_at(&drv.mem, IN_GPA, IN_MAX);
	memcpy(out, &header, sizeof(header));
	memset(in, 0xee, IN_MAX);
	desc_set(&ring->desc[next++], OUT_GPA, 16 + out_len, VRING_DESC_F_NEXT, 1);
	for (uint32_t at = 0; at < total; at += piece, next++) {
		assert_true(next < RING);
		bool last = at + piece >= total;
		desc_set(&ring->desc[next], IN_GPA + at, last ? total - at : piece,
		         (uint16_t)(VRING_DESC_F_WRITE | (last ? 0 : VRING_DESC_F_NEXT)), (uint16_t)(next + 1));
	}
	ring_offer(ring, 0);
	driver_kick(&drv, 0);
	while (!ring_take(ring, &id, &written))
		assert_true(loop_turn(loop, 0) > 0);
	assert_true(written <= total);
	assert_int_equal(in[total], 0xee); /* not beyond */
	return in[in_len];
}

static int run(uint32_t type, uint64_t sector, uint32_t out_len, uint32_t in_len)
{
	return run_cut(type, sector, out_len, in_len, IN_MAX);
}

static int put(uint64_t sector, uint32_t sectors)
{
	return run(OUT, sector, sectors * 512, 0);
}

static int append(uint64_t sector, uint32_t sectors)
{
	return run(APPEND, sector, sectors * 512, 8);
}

struct zone_desc {
	uint64_t cap, start, wp;
	uint8_t type, state, reserved[38];
};

static struct zone_desc zone_at(unsigned i)
{
	struct zone_desc desc;
	memcpy(&desc, in + 64 + 64 * i, sizeof(desc));
	return desc;
}

static unsigned state_of(unsigned zone, uint64_t *wp)
{
	assert_int_equal(run(REPORT, zone * ZONE, 0, 128), OK);
	struct zone_desc desc = zone_at(0);
	assert_int_equal(load_le64(in), 1);
	assert_int_equal(desc.start, zone * ZONE);
	if (wp)
		*wp = desc.wp;
	return desc.state;
}

/* ---- what it says ------------------------------------------------------------------------------------------------ */

static void test_negotiation(void **test)
{
	uint64_t offered = driver_offered(&drv);
	assert_true(offered & F_ZONED);
	assert_false(offered & (F(DISCARD) | F(WRITE_ZEROES)));
	assert_false(driver_negotiate(&drv, F_VERSION_1)); /* who knows nothing of zones may not go on */
	assert_true(driver_negotiate(&drv, F_VERSION_1 | F_ZONED));
}

static void test_config(void **test)
{
	static const uint32_t expected[] = { ZONE, 2, 3, 64, 4096, 1 };
	for (unsigned i = 0; i < ARRAY_SIZE(expected); i++)
		assert_int_equal(driver_read(&drv, CFG + 72 + 4 * i, 4), expected[i]);
	assert_int_equal(driver_read(&drv, CFG + 92, 1), 1);
	assert_int_equal(driver_read(&drv, CFG + 20, 4), 4096);
	assert_int_equal(driver_read(&drv, CFG + 0, 4), ZONES * ZONE);
	assert_int_equal(driver_read(&drv, CFG + 60, 4), 0); /* no secure erase */
	assert_int_equal(driver_read(&drv, CFG + 96, 4), 0);
}

static void test_host_aware(void **test)
{
	struct zone_geometry aware = managed;
	aware.model = ZONE_MODEL_HOST_AWARE;
	aware.zone_capacity = aware.zone_size;
	aware.max_open = aware.max_active = aware.max_append = 0;
	plug(&aware);
	assert_int_equal(driver_read(&drv, CFG + 92, 1), 2);
	assert_true(driver_offered(&drv) & F(DISCARD));
	live(0); /* a disk as any */
	for (unsigned off = 72; off < 96; off += 4)
		assert_int_equal(driver_read(&drv, CFG + off, 4), 0);
	assert_int_equal(put(3 * ZONE + BLOCK, ZONE), OK);
	for (uint32_t type = APPEND; type <= RESET_ALL; type++)
		assert_int_equal(run(type, ZONE, 512, 128), UNSUPP);
	live(F_ZONED);
	assert_int_equal(driver_read(&drv, CFG + 92, 1), 2);
	assert_int_equal(state_of(3, NULL), FULL);
	assert_int_equal(state_of(4, NULL), IOPEN);
	assert_int_equal(append(5 * ZONE, BLOCK), UNSUPP);
	assert_int_equal(run(RESET, 3 * ZONE, 0, 0), OK);
	assert_int_equal(state_of(3, NULL), EMPTY);
	teardown(test);
}

static void test_disk_without_zones(void **test)
{
	plug(NULL);
	assert_false(driver_offered(&drv) & F_ZONED);
	live(0);
	assert_int_equal(driver_read(&drv, CFG + 72, 4), 0);
	for (uint32_t type = APPEND; type <= RESET_ALL; type++)
		assert_int_equal(run(type, 0, 512, 128), UNSUPP);
	teardown(test);
}

/* ---- report ------------------------------------------------------------------------------------------------------ */

static void test_report(void **test)
{
	assert_int_equal(put(2 * ZONE, BLOCK), OK);
	static const uint32_t pieces[] = { IN_MAX, 64, 100, 333 };
	for (unsigned p = 0; p < ARRAY_SIZE(pieces); p++) {
		assert_int_equal(run_cut(REPORT, 0, 0, 64 + 64 * ZONES, pieces[p]), OK);
		assert_int_equal(written, 64 + 64 * ZONES + 1);
		assert_int_equal(load_le64(in), ZONES);
		for (unsigned i = 8; i < 64; i++)
			assert_int_equal(in[i], 0);
		for (unsigned i = 0; i < ZONES; i++) {
			static const uint8_t zeroes[38];
			struct zone_desc desc = zone_at(i);
			assert_int_equal(desc.start, i * ZONE);
			assert_int_equal(desc.cap, i ? CAPACITY : ZONE);
			assert_int_equal(desc.type, i ? ZONE_WRITE_REQUIRED : ZONE_CONVENTIONAL);
			assert_int_equal(desc.state, !i ? 0 : i == 2 ? IOPEN : EMPTY);
			assert_int_equal(desc.wp, !i ? ZONE : i == 2 ? i * ZONE + BLOCK : i * ZONE);
			assert_memory_equal(desc.reserved, zeroes, sizeof(zeroes));
		}
	}
}

static void test_report_of_some(void **test)
{
	assert_int_equal(run(REPORT, 3 * ZONE + 5, 0, 64 + 64 * 2 + 63), OK); /* from inside a zone; two fit */
	assert_int_equal(load_le64(in), 2);
	assert_int_equal(zone_at(0).start, 3 * ZONE);
	assert_int_equal(in[64 + 128], 0xee);
	assert_int_equal(run(REPORT, 8 * ZONE, 0, 1024), OK); /* more room than zones */
	assert_int_equal(load_le64(in), 2);
	assert_int_equal(run(REPORT, ZONES * ZONE, 0, 1024), OK); /* past the end */
	assert_int_equal(load_le64(in), 0);
	assert_int_equal(run(REPORT, UINT64_MAX, 0, 1024), OK);
	assert_int_equal(load_le64(in), 0);
	assert_int_equal(run(REPORT, 0, 0, 64), OK);
	assert_int_equal(load_le64(in), 0);
	assert_int_equal(written, 65);
	assert_int_equal(run(REPORT, 0, 0, 63), INVALID);
	assert_int_equal(run(REPORT, 0, 0, 0), INVALID);
}

/* ---- writes and append ------------------------------------------------------------------------------------------- */

static void test_append(void **test)
{
	for (unsigned piece = 1; piece <= 9; piece++) {
		out = guest_at(&drv.mem, OUT_GPA, 16 + BLOCK * 512);
		memset(out + 16, 'a' + (int)piece, BLOCK * 512);
		assert_int_equal(run_cut(APPEND, 5 * ZONE, BLOCK * 512, 8, piece), OK);
		assert_int_equal(load_le64(in), 5 * ZONE + (piece - 1) * BLOCK);
		assert_int_equal(written, 9);
	}
	assert_int_equal(run(IN, 5 * ZONE + 3 * BLOCK, 0, BLOCK * 512), OK);
	assert_int_equal(in[0], 'a' + 4);
	assert_int_equal(append(5 * ZONE + BLOCK, BLOCK), INVALID); /* not a zone's start */
	assert_int_equal(load_le64(in), 0xeeeeeeeeeeeeeeee);
	assert_int_equal(written, 1);
	assert_int_equal(append(0, BLOCK), INVALID);      /* conventional */
	assert_int_equal(append(6 * ZONE, 72), INVALID);  /* too large */
	assert_int_equal(append(6 * ZONE, 1), UNALIGNED); /* no whole block */
	assert_int_equal(append(6 * ZONE, 0), INVALID);   /* nothing */
	assert_int_equal(append(ZONES * ZONE, BLOCK), INVALID);
	assert_int_equal(append(UINT64_MAX, BLOCK), INVALID);
	assert_int_equal(append(5 * ZONE, 4 * BLOCK), INVALID);    /* no room left for that */
	assert_int_equal(run(APPEND, 6 * ZONE, 4096, 7), INVALID); /* no place for the answer, or too much */
	assert_int_equal(run(APPEND, 6 * ZONE, 4096, 16), INVALID);
	assert_int_equal(state_of(6, NULL), EMPTY);
}

static void test_reads_and_writes(void **test)
{
	uint64_t wp;
	assert_int_equal(put(2 * ZONE + BLOCK, BLOCK), UNALIGNED);
	assert_int_equal(put(2 * ZONE, 1), UNALIGNED);
	assert_int_equal(put(2 * ZONE, CAPACITY + BLOCK), INVALID);
	assert_int_equal(put(2 * ZONE + CAPACITY, BLOCK), INVALID);
	assert_int_equal(put(2 * ZONE - BLOCK, 2 * BLOCK), INVALID); /* over a border */
	assert_int_equal(put(ZONES * ZONE, BLOCK), IOERR);
	assert_int_equal(put(0, BLOCK), OK);
	assert_int_equal(put(2 * ZONE, BLOCK), OK);
	assert_int_equal(put(2 * ZONE, BLOCK), UNALIGNED);
	assert_int_equal(run(IN, 2 * ZONE, 0, 4 * BLOCK * 512), OK);
	for (unsigned i = BLOCK * 512; i < 4 * BLOCK * 512; i++)
		assert_int_equal(in[i], 0); /* above the write pointer */
	assert_int_equal(run(IN, 2 * ZONE, 0, (ZONE + BLOCK) * 512), INVALID);
	assert_int_equal(put(2 * ZONE + BLOCK, CAPACITY - BLOCK), OK);
	assert_int_equal(state_of(2, &wp), FULL);
	assert_int_equal(wp, 3 * ZONE);
	assert_int_equal(put(2 * ZONE, BLOCK), INVALID);
	assert_int_equal(run(FLUSH, 0, 0, 0), OK);
}

/* ---- operations, limits ------------------------------------------------------------------------------------------ */

static void test_operations(void **test)
{
	static const struct {
		uint32_t type;
		int status;
		unsigned state;
	} steps[] = {
		{ CLOSE, INVALID, EMPTY }, { OPEN, OK, EOPEN },   { OPEN, OK, EOPEN },     { CLOSE, OK, EMPTY },
		{ OUT, OK, IOPEN },        { CLOSE, OK, CLOSED }, { CLOSE, OK, CLOSED },   { OPEN, OK, EOPEN },
		{ FINISH, OK, FULL },      { FINISH, OK, FULL },  { OPEN, INVALID, FULL }, { CLOSE, INVALID, FULL },
		{ RESET, OK, EMPTY },      { RESET, OK, EMPTY },  { FINISH, OK, FULL },    { RESET_ALL, OK, EMPTY },
	};
	for (unsigned i = 0; i < ARRAY_SIZE(steps); i++) {
		assert_int_equal(run(steps[i].type, 4 * ZONE, steps[i].type == OUT ? 4096 : 0, 0), steps[i].status);
		assert_int_equal(state_of(4, NULL), steps[i].state);
	}
	for (uint32_t type = OPEN; type <= RESET; type += 2) {
		assert_int_equal(run(type, 4 * ZONE + 1, 0, 0), INVALID); /* not a start */
		assert_int_equal(run(type, 0, 0, 0), INVALID);            /* conventional */
		assert_int_equal(run(type, ZONES * ZONE, 0, 0), INVALID);
		assert_int_equal(run(type, UINT64_MAX, 0, 0), INVALID);
		assert_int_equal(run(type, 1ull << 55, 0, 0), INVALID); /* bytes wrap */
		assert_int_equal(run(type + 1, 4 * ZONE, 0, 0), UNSUPP);
	}
	assert_int_equal(run(RESET_ALL, UINT64_MAX, 0, 0), OK); /* its sector means nothing */
}

static void test_limits(void **test)
{
	assert_int_equal(run(OPEN, 1 * ZONE, 0, 0), OK);
	assert_int_equal(run(OPEN, 2 * ZONE, 0, 0), OK);
	assert_int_equal(put(3 * ZONE, BLOCK), OPEN_RESOURCE);
	assert_int_equal(append(3 * ZONE, BLOCK), OPEN_RESOURCE);
	assert_int_equal(run(OPEN, 3 * ZONE, 0, 0), OPEN_RESOURCE);
	assert_int_equal(put(1 * ZONE, BLOCK), OK);
	assert_int_equal(run(CLOSE, 1 * ZONE, 0, 0), OK);
	assert_int_equal(put(3 * ZONE, BLOCK), OK);
	assert_int_equal(run(CLOSE, 2 * ZONE, 0, 0), OK);
	assert_int_equal(put(4 * ZONE, BLOCK), OK);
	assert_int_equal(put(5 * ZONE, BLOCK), ACTIVE_RESOURCE); /* both limits: this one */
	assert_int_equal(put(1 * ZONE + BLOCK, BLOCK), OK);      /* active already; one is closed for it */
	assert_int_equal(state_of(3, NULL), CLOSED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_negotiation, setup, teardown),
		cmocka_unit_test_setup_teardown(test_config, setup, teardown),
		cmocka_unit_test(test_host_aware),
		cmocka_unit_test(test_disk_without_zones),
		cmocka_unit_test_setup_teardown(test_report, setup, teardown),
		cmocka_unit_test_setup_teardown(test_report_of_some, setup, teardown),
		cmocka_unit_test_setup_teardown(test_append, setup, teardown),
		cmocka_unit_test_setup_teardown(test_reads_and_writes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_operations, setup, teardown),
		cmocka_unit_test_setup_teardown(test_limits, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
