// SPDX-License-Identifier: Apache-2.0
/* virtio-blk behind its registers, over a disk made here that answers when and as a test wants. */
#include "tests/unit/devices/virtio/driver.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>

#include <linux/virtio_blk.h>

#include "src/block/block.h"

enum { DISK = 512 * 1024, RING = 64, CFG = VIRTIO_MMIO_CONFIG, SLOT = 0x40000, DATA_MAX = 0x20000, TABLE = 0x30000 };
enum { QUEUES = 2 };
#define F(name) (1ull << VIRTIO_BLK_F_##name)

/* --- time, and the disk --- */

static uint64_t fake_now;

static uint64_t fake_ns(const struct clock *clock)
{
	return fake_now;
}

static const struct clock fake_clock = { .monotonic_ns = fake_ns, .wall_ns = fake_ns };

struct seen {
	enum block_op op;
	unsigned flags;
	uint64_t off, len;
};

static struct lab {
	struct block block;
	uint8_t bytes[DISK];
	struct block_request *held[RING * QUEUES];
	struct seen seen[RING];
	unsigned held_count, seen_count, freed;
	bool hold;
	int result, fail_at; /* fail_at: which request has @result, counted from 1; 0: each */
} lab;

static void lab_do(struct block_request *io)
{
	uint8_t *at = lab.bytes + io->off;
	lab.seen[lab.seen_count++ % RING] = (struct seen){ io->op, io->flags, io->off, io->len };
	if (lab.result && (!lab.fail_at || (unsigned)lab.fail_at == lab.seen_count)) {
		io->done(io, lab.result);
		return;
	}
	for (unsigned i = 0; io->op <= BLOCK_WRITE && i < io->iov_count; at += io->iov[i++].iov_len) {
		if (io->op == BLOCK_READ)
			memcpy(io->iov[i].iov_base, at, io->iov[i].iov_len);
		else
			memcpy(at, io->iov[i].iov_base, io->iov[i].iov_len);
	}
	if (io->op >= BLOCK_DISCARD)
		memset(at, 0, io->len);
	io->done(io, 0);
}

static void lab_submit(struct block *block, struct block_request *io)
{
	if (lab.hold)
		lab.held[lab.held_count++] = io;
	else
		lab_do(io);
}

/* The last one first. */
static void lab_release(void)
{
	lab.hold = false;
	while (lab.held_count)
		lab_do(lab.held[--lab.held_count]);
}

static int lab_resize(struct block *block, uint64_t size, struct cvmm_error *err)
{
	if (size > DISK)
		return err_set(err, -EFBIG, "too large");
	block->size = size;
	return 0;
}

static void lab_free(struct block *block)
{
	assert_int_equal(lab.held_count, 0);
	lab.freed++;
}

static const struct block_ops lab_ops = { .submit = lab_submit, .resize = lab_resize, .free = lab_free };

/* --- the driver --- */

static struct driver drv;
static struct loop *loop;
static uint64_t seed;

static uint64_t random_below(uint64_t below)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed % below;
}

/* Until there is nothing left to do. */
static void turn(void)
{
	while (loop_turn(loop, loop_io_pending(loop) ? -1 : 0))
		;
}

static void plug(struct virtio_blk_options options)
{
	struct virtio_wiring wiring = driver_wiring(&drv, VIRTIO_RINGS_DEFAULT);
	wiring.queue_size = RING;
	options.loops = &loop;
	options.loop_count = 1;
	options.queues = QUEUES;
	options.clock = &fake_clock;
	driver_plug(&drv, virtio_blk_new(&wiring, &drv.mem, &lab.block, &options));
}

static int prepare(void **state)
{
	memset(&lab, 0, sizeof(lab));
	lab.block = (struct block){
		.ops = &lab_ops,
		.size = DISK,
		.logical_block = 512,
		.physical_block = 4096,
		.optimal_io = 65536,
		.discard_granularity = 4096,
		.memory_align = 1,
		.writeback = true,
	};
	fake_now = NSEC_PER_SEC;
	seed = 88172645463325252u;
	loop = loop_new(&fake_clock, NULL);
	driver_init(&drv);
	return !loop;
}

static int setup(void **state)
{
	int ret = prepare(state);
	plug((struct virtio_blk_options){ .serial = "abc" });
	return ret;
}

static int teardown(void **state)
{
	driver_fini(&drv);
	assert_int_equal(lab.freed, 1);
	loop_free(loop);
	return 0;
}

static void go_live(uint64_t features)
{
	assert_true(driver_negotiate(&drv, features | F_VERSION_1));
	for (unsigned queue = 0; queue < QUEUES; queue++)
		assert_true(driver_setup_queue(&drv, queue, RING, features & F_EVENT_IDX));
	driver_add_status(&drv, S_DRIVER_OK);
	turn();
}

/* A buffer in pieces, each with bytes before and behind it that nobody may touch. */
struct parts {
	struct {
		uint64_t gpa;
		uint32_t len;
	} at[RING];
	unsigned count;
};

static uint8_t *part(const struct parts *parts, unsigned i)
{
	return guest_at(&drv.mem, parts->at[i].gpa, parts->at[i].len);
}

static void parts_add(struct parts *parts, uint64_t *gpa, uint32_t len)
{
	if (!len)
		return;
	memset(guest_at(&drv.mem, *gpa, len + 16), 0xee, len + 16);
	*gpa += 8;
	parts->at[parts->count].gpa = *gpa;
	parts->at[parts->count++].len = len;
	*gpa += len + 8;
}

/* @cuts random places, most of them where header and status are. */
static void parts_cut(struct parts *parts, uint64_t gpa, uint32_t len, unsigned cuts)
{
	while (cuts-- && len > 1) {
		uint32_t step = 1 + (uint32_t)random_below(random_below(3) ? MIN(len - 1, 12) : len - 1);
		parts_add(parts, &gpa, step);
		len -= step;
	}
	parts_add(parts, &gpa, len);
}

static void parts_fill(const struct parts *parts, const uint8_t *from)
{
	for (unsigned i = 0; i < parts->count; from += parts->at[i++].len)
		memcpy(part(parts, i), from, parts->at[i].len);
}

static void parts_read(const struct parts *parts, uint8_t *to)
{
	for (unsigned i = 0; i < parts->count; to += parts->at[i++].len)
		memcpy(to, part(parts, i), parts->at[i].len);
}

static void parts_check(const struct parts *parts)
{
	static const uint8_t untouched[8] = { 0xee, 0xee, 0xee, 0xee, 0xee, 0xee, 0xee, 0xee };
	for (unsigned i = 0; i < parts->count; i++) {
		assert_memory_equal(guest_at(&drv.mem, parts->at[i].gpa - 8, 8), untouched, 8);
		assert_memory_equal(guest_at(&drv.mem, parts->at[i].gpa + parts->at[i].len, 8), untouched, 8);
	}
}

static struct request {
	struct parts out, in;
} requests[RING];

/* Make @out_len readable and @in_len writable bytes available on @queue, as request @slot: four descriptors of its own,
 * or with @cuts all of the ring's, or a table. */
static void offer(unsigned queue, unsigned slot, const void *out, uint32_t out_len, uint32_t in_len, unsigned cuts,
                  bool indirect)
{
	struct ring *ring = &drv.queues[queue];
	struct request *request = &requests[slot];
	uint64_t gpa = 4 * GIB + slot * (uint64_t)SLOT;
	*request = (struct request){ 0 };
	parts_cut(&request->out, gpa, out_len, cuts);
	parts_cut(&request->in, gpa + SLOT / 2 - 0x8000, in_len, cuts);
	parts_fill(&request->out, out);
	unsigned count = request->out.count + request->in.count, base = cuts || indirect ? 0 : slot * 4;
	struct vring_desc *table = indirect ? guest_at(&drv.mem, gpa + TABLE, 16u * count) : ring->desc;
	for (unsigned i = 0; i < count; i++) {
		bool writable = i >= request->out.count;
		const struct parts *parts = writable ? &request->in : &request->out;
		unsigned at = writable ? i - request->out.count : i;
		desc_set(&table[base + i], parts->at[at].gpa, parts->at[at].len,
		         (uint16_t)((writable ? VRING_DESC_F_WRITE : 0) | (i + 1 < count ? VRING_DESC_F_NEXT : 0)),
		         (uint16_t)(base + i + 1));
	}
	if (indirect) {
		base = slot;
		desc_set(&ring->desc[slot], gpa + TABLE, 16u * count, VRING_DESC_F_INDIRECT, 0);
	}
	ring_offer(ring, (uint16_t)base);
	driver_kick(&drv, queue);
}

static uint8_t bytes[DATA_MAX + 16];

static struct virtio_blk_outhdr *header(uint32_t type, uint64_t sector)
{
	struct virtio_blk_outhdr head = { .type = htole32(type), .sector = htole64(sector) };
	return memcpy(bytes, &head, sizeof(head));
}

/* One request from start to end; its writable part is in bytes[] then. Returns the status. */
static int run_raw(uint32_t out_len, uint32_t in_len, unsigned cuts, bool indirect, uint32_t *written)
{
	uint32_t id;
	offer(0, 0, bytes, out_len, in_len, cuts, indirect);
	turn();
	assert_true(ring_take(&drv.queues[0], &id, written));
	*ring_used_event(&drv.queues[0]) = htole16(drv.queues[0].last_used);
	assert_int_equal(id, 0);
	parts_read(&requests[0].in, bytes);
	parts_check(&requests[0].in);
	parts_check(&requests[0].out);
	assert_true(*written <= in_len);
	return in_len ? bytes[in_len - 1] : -1;
}

static int run(uint32_t type, uint64_t sector, uint32_t out_len, uint32_t in_len)
{
	uint32_t written;
	header(type, sector);
	int status = run_raw(16 + out_len, in_len + 1, 0, false, &written);
	assert_int_equal(written, status || type == VIRTIO_BLK_T_GET_ID ? MAX(written, 1) : in_len + 1);
	return status;
}

static int run_range(uint32_t type, uint64_t sector, uint32_t sectors, uint32_t flags)
{
	struct virtio_blk_discard_write_zeroes range = { htole64(sector), htole32(sectors), htole32(flags) };
	memcpy(bytes + 16, &range, sizeof(range));
	return run(type, 0, sizeof(range), 0);
}

enum { OK = VIRTIO_BLK_S_OK, IOERR = VIRTIO_BLK_S_IOERR, UNSUPP = VIRTIO_BLK_S_UNSUPP };
enum { IN = VIRTIO_BLK_T_IN, OUT = VIRTIO_BLK_T_OUT, FLUSH = VIRTIO_BLK_T_FLUSH, GET_ID = VIRTIO_BLK_T_GET_ID };
enum { DISCARD = VIRTIO_BLK_T_DISCARD, ZEROES = VIRTIO_BLK_T_WRITE_ZEROES };

/* --- what it says --- */

#define CONFIG(field)                                                                                                  \
	driver_read(&drv, CFG + offsetof(struct virtio_blk_config, field),                                             \
	            sizeof(((struct virtio_blk_config *)0)->field))

static const uint64_t common = F(SEG_MAX) | F(BLK_SIZE) | F(FLUSH) | F(TOPOLOGY) | F(CONFIG_WCE) | F(MQ) | F_VERSION_1 |
                               F_INDIRECT | F_EVENT_IDX;

static void test_probe(void **state)
{
	assert_int_equal(reg_read(&drv, VIRTIO_MMIO_DEVICE_ID), 2);
	assert_int_equal(driver_offered(&drv), common | F(DISCARD) | F(WRITE_ZEROES));
	assert_int_equal(driver_read(&drv, CFG, 4), DISK / 512); /* a 64-bit field is read in halves */
	assert_int_equal(driver_read(&drv, CFG + 4, 4), 0);
	assert_int_equal(CONFIG(seg_max), RING - 2);
	assert_int_equal(CONFIG(blk_size), 512);
	assert_int_equal(CONFIG(physical_block_exp), 3);
	assert_int_equal(CONFIG(min_io_size), 8);
	assert_int_equal(CONFIG(opt_io_size), 128);
	assert_int_equal(CONFIG(num_queues), QUEUES);
	assert_int_equal(CONFIG(max_discard_seg), 32);
	assert_true(CONFIG(max_discard_sectors) >= 2048);
	assert_int_equal(CONFIG(discard_sector_alignment), 8);
	assert_int_equal(CONFIG(max_write_zeroes_seg), 1);
	assert_int_equal(CONFIG(write_zeroes_may_unmap), 1);
	for (uint64_t off = offsetof(struct virtio_blk_config, max_secure_erase_sectors); off < 0x100; off++)
		assert_int_equal(driver_read(&drv, CFG + off, 1), 0);
}

static void test_probe_of_a_read_only_disk(void **state)
{
	lab.block.read_only = true;
	lab.block.logical_block = 4096;
	plug((struct virtio_blk_options){ 0 });
	assert_int_equal(driver_offered(&drv), common | F(RO));
	assert_int_equal(CONFIG(blk_size), 4096);
	assert_int_equal(CONFIG(physical_block_exp), 0);
	assert_int_equal(CONFIG(opt_io_size), 16);
	assert_int_equal(CONFIG(max_discard_seg), 0);
	assert_int_equal(CONFIG(max_write_zeroes_seg), 0);
	go_live(0);
	assert_int_equal(run(IN, 0, 0, 4096), OK);
	assert_int_equal(run(IN, 8, 0, 4096), OK);
	assert_int_equal(run(IN, 1, 0, 4096), IOERR);
	assert_int_equal(run(IN, 0, 0, 512), IOERR);
	assert_int_equal(run(OUT, 0, 4096, 0), IOERR);
	assert_int_equal(run_range(DISCARD, 0, 8, 0), IOERR);
	assert_int_equal(run_range(ZEROES, 0, 8, 0), IOERR);
	assert_int_equal(run(FLUSH, 0, 0, 0), OK);
	for (unsigned i = 0; i < lab.seen_count; i++)
		assert_true(lab.seen[i].op == BLOCK_READ || lab.seen[i].op == BLOCK_FLUSH);
}

static void test_get_id(void **state)
{
	static const char id[20] = "abc";
	uint32_t written;
	go_live(0);
	for (uint32_t len = 0; len < 40; len++) {
		header(GET_ID, 0);
		assert_int_equal(run_raw(16, len + 1, 0, false, &written), OK);
		assert_int_equal(written, MIN(len, 20) + 1);
		assert_memory_equal(bytes, id, MIN(len, 20));
	}
}

/* --- data --- */

static void check_read(uint64_t sector, uint32_t len, unsigned cuts, bool indirect)
{
	uint32_t written;
	header(IN, sector);
	assert_int_equal(run_raw(16, len + 1, cuts, indirect, &written), OK);
	assert_int_equal(written, len + 1);
	assert_memory_equal(bytes, lab.bytes + sector * 512, len);
}

static void check_write(uint64_t sector, uint32_t len, unsigned cuts, bool indirect, uint8_t *shadow)
{
	uint32_t written;
	header(OUT, sector);
	for (uint32_t i = 0; i < len; i++)
		bytes[16 + i] = (uint8_t)random_below(256);
	memcpy(shadow + sector * 512, bytes + 16, len);
	assert_int_equal(run_raw(16 + len, 1, cuts, indirect, &written), OK);
	assert_int_equal(written, 1);
}

/* Header, data and status cut anywhere, by chains and by tables. */
static void test_random_requests(void **state)
{
	static const uint64_t sets[] = { 0, F_EVENT_IDX, F_INDIRECT | F_EVENT_IDX };
	static uint8_t shadow[DISK];
	for (unsigned set = 0; set < ARRAY_SIZE(sets); set++) {
		go_live(sets[set] | F(FLUSH));
		for (unsigned i = 0; i < 1500; i++) {
			uint64_t sector = random_below(DISK / 512);
			uint32_t len = 512 * (1 + (uint32_t)random_below(MIN(DISK / 512 - sector, 16)));
			unsigned cuts = (unsigned)random_below(30);
			bool indirect = sets[set] & F_INDIRECT && random_below(2);
			if (random_below(2))
				check_read(sector, len, cuts, indirect);
			else
				check_write(sector, len, cuts, indirect, shadow);
		}
		assert_memory_equal(shadow, lab.bytes, DISK);
	}
}

/* Each single place in which two descriptors can meet. */
static void test_every_cut_of_header_and_status(void **state)
{
	go_live(0);
	for (uint32_t at = 1; at < 16 + 512; at++) {
		struct ring *ring = &drv.queues[0];
		uint32_t id, written;
		header(OUT, 3);
		memset(bytes + 16, (int)at, 512);
		assert_int_equal(guest_write(&drv.mem, 0x20000, bytes, 16 + 512), 0);
		desc_set(&ring->desc[0], 0x20000, at, VRING_DESC_F_NEXT, 1);
		desc_set(&ring->desc[1], 0x20000 + at, 16 + 512 - at, VRING_DESC_F_NEXT, 2);
		desc_set(&ring->desc[2], 0x30000, 1, VRING_DESC_F_WRITE, 0);
		ring_offer(ring, 0);
		driver_kick(&drv, 0);
		turn();
		assert_true(ring_take(ring, &id, &written));
		assert_int_equal(lab.bytes[3 * 512], (uint8_t)at);
		assert_int_equal(lab.bytes[4 * 512 - 1], (uint8_t)at);
		assert_int_equal(lab.bytes[2 * 512 + 511] | lab.bytes[4 * 512], 0);

		header(IN, 3);
		assert_int_equal(guest_write(&drv.mem, 0x20000, bytes, 16), 0);
		memset(guest_at(&drv.mem, 0x30000, 520), 0xee, 520);
		desc_set(&ring->desc[0], 0x20000, 16, VRING_DESC_F_NEXT, 1);
		desc_set(&ring->desc[1], 0x30000, MIN(at, 512), VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 2);
		desc_set(&ring->desc[2], 0x30000 + MIN(at, 512), 513 - MIN(at, 512), VRING_DESC_F_WRITE, 0);
		ring_offer(ring, 0);
		driver_kick(&drv, 0);
		turn();
		assert_true(ring_take(ring, &id, &written));
		assert_int_equal(written, 513);
		const uint8_t *in = guest_at(&drv.mem, 0x30000, 520);
		assert_memory_equal(in, lab.bytes + 3 * 512, 512);
		assert_int_equal(in[512], OK);
		assert_int_equal(in[513], 0xee);
	}
}

static void test_ranges(void **state)
{
	struct virtio_blk_discard_write_zeroes many[33];
	uint32_t written;
	go_live(F(DISCARD) | F(WRITE_ZEROES) | F(FLUSH));
	memset(lab.bytes, 0xff, DISK);
	assert_int_equal(run_range(DISCARD, 8, 8, 0), OK);
	assert_int_equal(lab.bytes[4095] & lab.bytes[8192], 0xff);
	assert_int_equal(lab.bytes[4096] | lab.bytes[8191], 0);
	assert_int_equal(run_range(ZEROES, 100, 1, 1), OK);
	assert_int_equal(lab.seen[1].op, BLOCK_WRITE_ZEROES);
	assert_int_equal(lab.seen[1].flags, BLOCK_MAY_UNMAP);
	assert_int_equal(run_range(ZEROES, 100, 1, 0), OK);
	assert_int_equal(lab.seen[2].flags, 0);

	for (unsigned count = 0; count <= 33; count++) {
		for (unsigned i = 0; i < count; i++)
			many[i] = (struct virtio_blk_discard_write_zeroes){ htole64(32 - i), htole32(1), 0 };
		lab.seen_count = 0;
		header(DISCARD, 0);
		memcpy(bytes + 16, many, count * 16);
		int status = run_raw(16 + count * 16, 1, (unsigned)random_below(20), false, &written);
		assert_int_equal(status, count && count <= 32 ? OK : IOERR);
		assert_int_equal(lab.seen_count, status == OK ? count : 0);
		for (unsigned i = 0; i < lab.seen_count; i++)
			assert_int_equal(lab.seen[i].off, (32 - i) * 512);
	}
	/* one that is wrong, and none is touched; one that fails, and it ends */
	many[0] = (struct virtio_blk_discard_write_zeroes){ htole64(0), htole32(1), 0 };
	many[1] = (struct virtio_blk_discard_write_zeroes){ htole64(DISK / 512), htole32(1), 0 };
	lab.seen_count = 0;
	header(DISCARD, 0);
	memcpy(bytes + 16, many, 32);
	assert_int_equal(run_raw(48, 1, 0, false, &written), IOERR);
	assert_int_equal(lab.seen_count, 0);
	for (unsigned i = 0; i < 3; i++)
		many[i] = many[0];
	lab.result = -EIO;
	lab.fail_at = 2;
	header(DISCARD, 0);
	memcpy(bytes + 16, many, 48);
	assert_int_equal(run_raw(64, 1, 0, false, &written), IOERR);
	assert_int_equal(lab.seen_count, 2);
}

/* --- hostile and wrong requests: a status each, and the device goes on --- */

static void test_wrong_requests(void **state)
{
	const uint64_t end = DISK / 512;
	uint32_t written;
	go_live(F(DISCARD) | F(WRITE_ZEROES) | F(FLUSH));
	memset(lab.bytes, 0xaa, DISK);
	static const uint32_t odd[] = { 1, 511, 513, 1000 };
	for (unsigned i = 0; i < ARRAY_SIZE(odd); i++) {
		assert_int_equal(run(IN, 0, 0, odd[i]), IOERR);
		assert_int_equal(run(OUT, 0, odd[i], 0), IOERR);
	}
	const uint64_t beyond[] = { end, end + 1, 1ull << 55, 1ull << 54, UINT64_MAX, UINT64_MAX >> 9, UINT64_MAX - 1 };
	for (unsigned i = 0; i < ARRAY_SIZE(beyond); i++) {
		assert_int_equal(run(IN, beyond[i], 0, 512), IOERR);
		assert_int_equal(run(OUT, beyond[i], 512, 0), IOERR);
		assert_int_equal(run_range(DISCARD, beyond[i], 1, 0), IOERR);
		assert_int_equal(run_range(ZEROES, beyond[i], 1, 0), IOERR);
	}
	assert_int_equal(run(IN, end - 1, 0, 1024), IOERR);
	assert_int_equal(run(IN, end - 1, 0, 512), OK);
	assert_int_equal(run_range(DISCARD, 0, UINT32_MAX, 0), IOERR);
	assert_int_equal(run_range(ZEROES, 0, (uint32_t)end + 1, 0), IOERR);
	assert_int_equal(run_range(DISCARD, 0, 1, 1), UNSUPP); /* unmap is not for discards */
	assert_int_equal(run_range(DISCARD, 0, 1, 2), UNSUPP);
	assert_int_equal(run_range(ZEROES, 0, 1, 2), UNSUPP);
	assert_int_equal(run_range(ZEROES, 0, 1, 0x80000001), UNSUPP);
	assert_int_equal(run(ZEROES, 0, 32, 0), IOERR); /* two ranges where one is the most */
	assert_int_equal(run(DISCARD, 0, 15, 0), IOERR);
	assert_int_equal(run(DISCARD, 0, 0, 0), IOERR);
	static const uint32_t unknown[] = {
		2, 3, 5, 9, 10, 12, 14, 15, 16, 18, 26, 0x80000000, 0x80000001, UINT32_MAX
	};
	for (unsigned i = 0; i < ARRAY_SIZE(unknown); i++)
		assert_int_equal(run(unknown[i], 0, 512, 0), UNSUPP);
	for (uint32_t len = 1; len < 16; len++) { /* part of a header */
		header(IN, 0);
		assert_int_equal(run_raw(len, 513, 0, false, &written), IOERR);
		assert_int_equal(written, 1);
	}
	assert_int_equal(run_raw(0, 513, 0, false, &written), IOERR);
	header(OUT, 0); /* no place for a status */
	assert_int_equal(run_raw(16 + 512, 0, 0, false, &written), -1);
	assert_int_equal(written, 0);
	for (unsigned i = 0; i < DISK; i++)
		assert_int_equal(lab.bytes[i], 0xaa);
	assert_int_equal(run(IN, 0, 0, 0), OK); /* nothing is a whole number of sectors */
	assert_int_equal(driver_status(&drv), S_LIVE);
}

static void test_what_was_not_offered(void **state)
{
	lab.block.discard_granularity = 0;
	plug((struct virtio_blk_options){ 0 });
	assert_int_equal(driver_offered(&drv), common | F(WRITE_ZEROES));
	assert_int_equal(CONFIG(write_zeroes_may_unmap), 0);
	go_live(F(WRITE_ZEROES));
	assert_int_equal(run_range(DISCARD, 0, 1, 0), UNSUPP);
	assert_int_equal(run_range(ZEROES, 0, 1, 0), OK);
}

static void test_errors_of_the_disk(void **state)
{
	static const struct {
		int result, status;
	} errors[] = { { -EIO, IOERR }, { -ENOSPC, IOERR }, { -EROFS, IOERR }, { -EOPNOTSUPP, UNSUPP }, { 0, OK } };
	go_live(F(FLUSH) | F(DISCARD));
	for (unsigned i = 0; i < ARRAY_SIZE(errors); i++) {
		lab.result = errors[i].result;
		assert_int_equal(run(IN, 0, 0, 512), errors[i].status);
		assert_int_equal(run(OUT, 0, 512, 0), errors[i].status);
		assert_int_equal(run(FLUSH, 0, 0, 0), errors[i].status);
		assert_int_equal(run_range(DISCARD, 0, 1, 0), errors[i].status);
	}
}

/* A chain that breaks the ring's rules while others are under way: these still end, before the reset does. */
static void release_call(struct loop_call *call)
{
	lab_release();
}

static void test_a_broken_queue(void **state)
{
	struct ring *ring = &drv.queues[0];
	struct loop_call release = { .fn = release_call };
	go_live(0);
	lab.hold = true;
	for (unsigned slot = 0; slot < 3; slot++) {
		header(IN, 0);
		offer(0, slot, bytes, 16, 513, 0, false);
	}
	desc_set(&ring->desc[60], 0x20000, 16, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 61);
	desc_set(&ring->desc[61], 0x20000, 16, 0, 0); /* readable after writable */
	ring_offer(ring, 60);
	driver_kick(&drv, 0);
	turn();
	assert_int_equal(lab.held_count, 3);
	assert_int_equal(driver_status(&drv), S_LIVE | S_NEEDS_RESET);
	loop_post(loop, &release);
	reg_write(&drv, VIRTIO_MMIO_STATUS, 0);
	assert_int_equal(lab.held_count, 0);
	assert_int_equal(driver_status(&drv), 0);
	go_live(0);
	assert_int_equal(run(IN, 0, 0, 512), OK);
}

/* --- stable storage --- */

static unsigned flags_of_a_write(void)
{
	lab.seen_count = 0;
	assert_int_equal(run(OUT, 0, 512, 0), OK);
	return lab.seen[0].flags;
}

static void test_write_through(void **state)
{
	go_live(0); /* neither FLUSH nor CONFIG_WCE: a driver that knows of no cache */
	assert_int_equal(CONFIG(wce), 0);
	assert_int_equal(flags_of_a_write(), BLOCK_FUA);
	go_live(F(CONFIG_WCE));
	assert_int_equal(CONFIG(wce), 0);
	assert_int_equal(flags_of_a_write(), BLOCK_FUA);
	go_live(F(FLUSH));
	assert_int_equal(flags_of_a_write(), 0);
	driver_write(&drv, CFG + offsetof(struct virtio_blk_config, wce), 1, 0); /* was not negotiated */
	assert_int_equal(flags_of_a_write(), 0);
	go_live(F(FLUSH) | F(CONFIG_WCE) | F(DISCARD) | F(WRITE_ZEROES));
	assert_int_equal(CONFIG(wce), 1);
	assert_int_equal(flags_of_a_write(), 0);
	driver_write(&drv, CFG + offsetof(struct virtio_blk_config, wce), 1, 0);
	assert_int_equal(CONFIG(wce), 0);
	assert_int_equal(flags_of_a_write(), BLOCK_FUA);
	lab.seen_count = 0;
	assert_int_equal(run_range(DISCARD, 0, 1, 0), OK);
	assert_int_equal(run_range(ZEROES, 0, 1, 1), OK);
	assert_int_equal(run(IN, 0, 0, 512), OK);
	assert_int_equal(lab.seen[0].flags, BLOCK_FUA);
	assert_int_equal(lab.seen[1].flags, BLOCK_FUA | BLOCK_MAY_UNMAP);
	assert_int_equal(lab.seen[2].flags, 0);
	driver_write(&drv, CFG, 1, 99); /* read-only */
	assert_int_equal(driver_read(&drv, CFG, 4), DISK / 512);
	driver_write(&drv, CFG + offsetof(struct virtio_blk_config, wce), 1, 1);
	assert_int_equal(flags_of_a_write(), 0);
}

static void test_save_and_load(void **state)
{
	uint8_t saved[512];
	assert_true(drv.dev->ops->state_size <= sizeof(saved));
	go_live(F(FLUSH) | F(CONFIG_WCE));
	driver_write(&drv, CFG + offsetof(struct virtio_blk_config, wce), 1, 0);
	drv.dev->ops->save(drv.dev, saved);
	driver_write(&drv, CFG + offsetof(struct virtio_blk_config, wce), 1, 1);
	assert_int_equal(drv.dev->ops->load(drv.dev, saved), 0);
	assert_int_equal(CONFIG(wce), 0);
	assert_int_equal(flags_of_a_write(), BLOCK_FUA);
	saved[drv.dev->ops->state_size - 1] = 2;
	assert_int_equal(drv.dev->ops->load(drv.dev, saved), -EINVAL);
	assert_int_equal(flags_of_a_write(), BLOCK_FUA);
	reg_write(&drv, VIRTIO_MMIO_STATUS, 0);
	assert_int_equal(CONFIG(wce), 1);
}

/* --- many at a time --- */

static void offer_reads(unsigned queue, unsigned count)
{
	header(IN, 0);
	for (unsigned slot = 0; slot < count; slot++)
		offer(queue, slot, bytes, 16, 513, 0, false);
}

static void assert_done(unsigned queue, unsigned count)
{
	uint32_t id, written, all = 0;
	for (unsigned i = 0; i < count; i++) {
		assert_true(ring_take(&drv.queues[queue], &id, &written));
		assert_int_equal(written, 513);
		all |= 1u << id / 4;
		assert_int_equal(*part(&requests[id / 4].in, 0), lab.bytes[0]);
	}
	assert_int_equal(all, (1u << count) - 1);
	assert_false(ring_take(&drv.queues[queue], &id, &written));
}

static void test_out_of_order_with_one_interrupt(void **state)
{
	go_live(0);
	lab.bytes[0] = 42;
	lab.hold = true;
	offer_reads(0, 16);
	turn();
	assert_int_equal(lab.held_count, 16);
	unsigned before = drv.irq_rises;
	lab_release();
	assert_int_equal(drv.irq_rises, before); /* not before the end of the turn */
	turn();
	assert_int_equal(drv.irq_rises, before + 1);
	assert_done(0, 16);
	assert_int_equal(driver_ack(&drv), VIRTIO_MMIO_INT_VRING);
	offer_reads(1, 8); /* and what is done at once */
	turn();
	assert_int_equal(drv.irq_rises, before + 2);
	assert_done(1, 8);
}

/* IN_ORDER: what is done before its turn waits, and is shown with the one that was missing. */
static void test_in_order(void **state)
{
	struct virtio_wiring wiring = driver_wiring(&drv, VIRTIO_RINGS_DEFAULT | VIRTIO_RINGS_IN_ORDER);
	struct virtio_blk_options options = { .loops = &loop, .loop_count = 1, .queues = QUEUES, .clock = &fake_clock };
	uint32_t id, written;
	wiring.queue_size = RING;
	driver_plug(&drv, virtio_blk_new(&wiring, &drv.mem, &lab.block, &options));
	for (unsigned round = 0; round < 10; round++) {
		go_live(VIRTIO_RINGS_IN_ORDER);
		lab.hold = true;
		offer_reads(0, 16);
		turn();
		while (lab.held_count > 1) { /* the last first */
			lab_do(lab.held[--lab.held_count]);
			turn();
			assert_int_equal(le16toh(drv.queues[0].used->idx), 0);
		}
		unsigned before = drv.irq_rises;
		lab_release();
		turn();
		assert_int_equal(drv.irq_rises, before + 1);
		for (unsigned slot = 0; slot < 16; slot++) {
			assert_true(ring_take(&drv.queues[0], &id, &written));
			assert_int_equal(id, 4 * slot);
			assert_int_equal(written, 513);
		}
	}
}

static void test_reset_waits_for_what_is_under_way(void **state)
{
	struct loop_call release = { .fn = release_call };
	for (unsigned i = 0; i < 3; i++) {
		go_live(0);
		lab.hold = true;
		offer_reads(0, 16);
		offer_reads(1, 4);
		turn();
		assert_int_equal(lab.held_count, 20);
		loop_post(loop, &release);
		if (i == 0)
			reg_write(&drv, VIRTIO_MMIO_STATUS, 0);
		else if (i == 1)
			drv.dev->ops->reset(drv.dev);
		else
			driver_negotiate(&drv, F_VERSION_1);
		assert_int_equal(lab.held_count, 0);
		unsigned before = drv.irq_rises;
		turn();
		assert_int_equal(drv.irq_rises, before);
	}
}

static void test_ended_with_requests_under_way(void **state)
{
	struct loop_call release = { .fn = release_call };
	go_live(0);
	lab.hold = true;
	offer_reads(0, 16);
	turn();
	assert_int_equal(lab.held_count, 16);
	loop_post(loop, &release); /* teardown takes the device away */
	driver_fini(&drv);
	assert_int_equal(lab.held_count, 0);
	driver_init(&drv);
	lab.freed = 0;
	plug((struct virtio_blk_options){ 0 });
}

static void test_save_loses_nothing(void **state)
{
	uint8_t saved[512];
	struct loop_call release = { .fn = release_call };
	go_live(0);
	lab.hold = true;
	offer_reads(0, 5);
	turn();
	loop_post(loop, &release);
	drv.dev->ops->save(drv.dev, saved);
	assert_done(0, 5);
	assert_int_equal(run(IN, 0, 0, 512), OK);
}

/* --- rate limits --- */

static unsigned reads_done(void)
{
	turn();
	return le16toh(drv.queues[0].used->idx);
}

static void test_iops(void **state)
{
	plug((struct virtio_blk_options){ .iops = 100, .burst_ms = 50 }); /* 10 ms each, five on credit */
	go_live(0);
	offer_reads(0, 16);
	assert_int_equal(reads_done(), 6);            /* the last of them on its way into debt */
	reg_write(&drv, VIRTIO_MMIO_QUEUE_NOTIFY, 0); /* kicks bring nothing */
	assert_int_equal(reads_done(), 6);
	for (unsigned i = 7; i <= 16; i++) {
		fake_now += 9999999;
		assert_int_equal(reads_done(), i - 1);
		fake_now += 1;
		assert_int_equal(reads_done(), i);
	}
	assert_done(0, 16);
	fake_now += 3600 * NSEC_PER_SEC; /* a rest is worth no more than the burst */
	offer_reads(0, 16);
	assert_int_equal(reads_done(), 16 + 6);
	uint8_t saved[512];
	drv.dev->ops->save(drv.dev, saved); /* the one that waits is not lost, nor waited for */
	assert_int_equal(le16toh(drv.queues[0].used->idx), 16 + 7);
	reg_write(&drv, VIRTIO_MMIO_STATUS, 0);
	turn();
	fake_now += NSEC_PER_SEC;
	turn();
	assert_int_equal(lab.held_count, 0);
}

static void test_bandwidth(void **state)
{
	plug((struct virtio_blk_options){ .bw = 512 * 1000, .burst_ms = 4 }); /* a sector a millisecond */
	go_live(F(FLUSH));
	offer_reads(0, 16);
	assert_int_equal(reads_done(), 5);
	fake_now += 2 * NSEC_PER_MSEC;
	assert_int_equal(reads_done(), 7);
	fake_now += 100 * NSEC_PER_MSEC;
	assert_int_equal(reads_done(), 7 + 1 + 5); /* one had paid; of 100 ms 4 count, and one goes into debt */
	fake_now += 4 * NSEC_PER_MSEC;
	assert_int_equal(reads_done(), 16);
	assert_done(0, 16);
}

static void test_limits_of_extremes(void **state)
{
	plug((struct virtio_blk_options){ .iops = UINT64_MAX, .bw = 1, .burst_ms = 1 });
	go_live(0);
	offer_reads(0, 3);
	assert_int_equal(reads_done(), 1);
	fake_now += 511 * NSEC_PER_SEC;
	assert_int_equal(reads_done(), 1);
	fake_now += NSEC_PER_SEC;
	assert_int_equal(reads_done(), 2);
}

/* --- resize --- */

static void test_resize(void **state)
{
	struct cvmm_error err = { 0 };
	go_live(0);
	driver_ack(&drv);
	uint32_t generation = reg_read(&drv, VIRTIO_MMIO_CONFIG_GENERATION);
	assert_int_equal(virtio_blk_resize(drv.dev, DISK / 2, &err), 0);
	assert_int_not_equal(reg_read(&drv, VIRTIO_MMIO_CONFIG_GENERATION), generation);
	assert_int_equal(driver_ack(&drv), VIRTIO_MMIO_INT_CONFIG);
	assert_int_equal(driver_read(&drv, CFG, 4), DISK / 512 / 2);
	assert_int_equal(run(IN, DISK / 512 / 2, 0, 512), IOERR);
	driver_ack(&drv);
	generation = reg_read(&drv, VIRTIO_MMIO_CONFIG_GENERATION);
	assert_int_equal(virtio_blk_resize(drv.dev, 2 * DISK, &err), -EFBIG);
	assert_int_equal(virtio_blk_resize(drv.dev, DISK / 2, &err), 0); /* as it was */
	assert_int_equal(reg_read(&drv, VIRTIO_MMIO_CONFIG_GENERATION), generation);
	assert_int_equal(driver_ack(&drv), 0);
	assert_int_equal(virtio_blk_resize(drv.dev, DISK, &err), 0);
	assert_int_equal(run(IN, DISK / 512 / 2, 0, 512), OK);
}

/* --- I/O threads --- */

static void *turn_loop(void *opaque)
{
	loop_run(opaque);
	return NULL;
}

static void wait_for(unsigned queue, uint16_t used)
{
	while (le16toh(__atomic_load_n(&drv.queues[queue].used->idx, __ATOMIC_ACQUIRE)) != used)
		sched_yield();
}

/* Each queue on a thread of its own, resets between. */
static void test_threads(void **state)
{
	struct loop *loops[QUEUES];
	pthread_t threads[QUEUES];
	struct virtio_wiring wiring = driver_wiring(&drv, VIRTIO_RINGS_DEFAULT);
	wiring.queue_size = RING;
	for (unsigned i = 0; i < QUEUES; i++)
		loops[i] = loop_new(&clock_host, NULL);
	struct virtio_blk_options options = {
		.loops = loops, .loop_count = QUEUES, .queues = QUEUES, .iops = 1000000000
	};
	struct block *memory = block_memory_new(DISK, 512, NULL);
	driver_plug(&drv, virtio_blk_new(&wiring, &drv.mem, memory, &options));
	for (unsigned i = 0; i < QUEUES; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, turn_loop, loops[i]), 0);
	for (unsigned round = 0; round < 20; round++) {
		go_live(F(FLUSH));
		for (unsigned batch = 1; batch <= 20; batch++) {
			for (unsigned i = 0; i < 8 * QUEUES; i++) {
				header(batch % 3 ? IN : OUT, 100 * (i % QUEUES) + batch);
				offer(i % QUEUES, i / QUEUES + 8 * (i % QUEUES), bytes, batch % 3 ? 16 : 16 + 512,
				      batch % 3 ? 513 : 1, 0, false);
			}
			if (batch == 20)
				break; /* and reset in the middle of it */
			for (unsigned queue = 0; queue < QUEUES; queue++)
				wait_for(queue, (uint16_t)(batch * 8));
			for (unsigned slot = 0; slot < 8 * QUEUES; slot++)
				assert_int_equal(
					*part(&requests[slot].in, requests[slot].in.count - 1) * (batch % 3 == 0), 0);
		}
	}
	reg_write(&drv, VIRTIO_MMIO_STATUS, 0);
	driver_fini(&drv);
	for (unsigned i = 0; i < QUEUES; i++) {
		loop_stop(loops[i]);
		pthread_join(threads[i], NULL);
		loop_free(loops[i]);
	}
	driver_init(&drv);
	plug((struct virtio_blk_options){ 0 }); /* for the teardown */
}

/* --- a file --- */

static void check_file(const char *path, const uint8_t *shadow)
{
	static uint8_t content[DISK];
	CLEANUP_CLOSE int fd = open(path, O_RDONLY);
	assert_int_equal(read(fd, content, DISK), DISK);
	assert_memory_equal(content, shadow, DISK);
}

/* Through the page cache and past it; with O_DIRECT most segments need the bounce buffer. */
static void test_file(void **state)
{
	static uint8_t shadow[DISK];
	char path[] = "test-blk-XXXXXX";
	CLEANUP_CLOSE int fd = mkstemp(path);
	assert_int_equal(ftruncate(fd, DISK), 0);
	for (unsigned direct = 0; direct < 2; direct++) {
		struct block_file_options options = { .path = path, .direct = direct };
		struct block *block = block_file_open(&options, NULL);
		if (!block)
			continue; /* a file system without O_DIRECT */
		struct virtio_wiring wiring = driver_wiring(&drv, VIRTIO_RINGS_DEFAULT);
		struct virtio_blk_options blk = {
			.loops = &loop, .loop_count = 1, .queues = QUEUES, .clock = &fake_clock
		};
		uint32_t unit = block->logical_block / 512;
		bool discard = block->discard_granularity;
		wiring.queue_size = RING;
		driver_plug(&drv, virtio_blk_new(&wiring, &drv.mem, block, &blk));
		go_live(F(FLUSH) | F(WRITE_ZEROES) | (discard ? F(DISCARD) : 0));
		for (unsigned i = 0; i < 300; i++) {
			uint64_t sector = random_below(DISK / 512 - 32) / unit * unit;
			uint32_t sectors = (1 + (uint32_t)random_below(16 / unit)) * unit, written;
			switch (random_below(5)) {
			case 0:
			case 1:
				check_write(sector, sectors * 512, (unsigned)random_below(12), false, shadow);
				break;
			case 2:
				header(IN, sector);
				assert_int_equal(
					run_raw(16, sectors * 512 + 1, (unsigned)random_below(12), false, &written),
					OK);
				assert_memory_equal(bytes, shadow + sector * 512, sectors * 512);
				break;
			case 3:
				memset(shadow + sector * 512, 0, sectors * 512);
				assert_int_equal(run_range(discard && i % 2 ? DISCARD : ZEROES, sector, sectors, 0),
				                 OK);
				break;
			case 4:
				assert_int_equal(run(FLUSH, 0, 0, 0), OK);
				break;
			}
		}
		driver_fini(&drv);
		driver_init(&drv);
		check_file(path, shadow);
	}
	unlink(path);
	plug((struct virtio_blk_options){ 0 }); /* for the teardown */
}

/* Many under way at once, and a reset that waits for the host. */
static void test_file_reset(void **state)
{
	char path[] = "test-blk-XXXXXX";
	CLEANUP_CLOSE int fd = mkstemp(path);
	assert_int_equal(ftruncate(fd, DISK), 0);
	struct block_file_options options = { .fd = fd };
	struct virtio_wiring wiring = driver_wiring(&drv, VIRTIO_RINGS_DEFAULT);
	struct virtio_blk_options blk = { .loops = &loop, .loop_count = 1, .queues = QUEUES, .clock = &fake_clock };
	wiring.queue_size = RING;
	driver_plug(&drv, virtio_blk_new(&wiring, &drv.mem, block_file_open(&options, NULL), &blk));
	for (unsigned i = 0; i < 50; i++) {
		go_live(F(FLUSH));
		header(OUT, 0);
		for (unsigned slot = 0; slot < 16; slot++)
			offer(0, slot, bytes, 16 + 4096, 1, 0, false);
		loop_turn(loop, 0);
		reg_write(&drv, VIRTIO_MMIO_STATUS, 0);
		assert_int_equal(loop_io_pending(loop), 0);
	}
	unlink(path);
	driver_fini(&drv);
	driver_init(&drv);
	plug((struct virtio_blk_options){ 0 });
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define TEST_UNPLUGGED(name) cmocka_unit_test_setup_teardown(name, prepare, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_probe),
		TEST_UNPLUGGED(test_probe_of_a_read_only_disk),
		TEST(test_get_id),
		TEST(test_random_requests),
		TEST(test_every_cut_of_header_and_status),
		TEST(test_ranges),
		TEST(test_wrong_requests),
		TEST_UNPLUGGED(test_what_was_not_offered),
		TEST(test_errors_of_the_disk),
		TEST(test_a_broken_queue),
		TEST(test_write_through),
		TEST(test_save_and_load),
		TEST(test_out_of_order_with_one_interrupt),
		TEST_UNPLUGGED(test_in_order),
		TEST(test_reset_waits_for_what_is_under_way),
		TEST(test_ended_with_requests_under_way),
		TEST(test_save_loses_nothing),
		TEST_UNPLUGGED(test_iops),
		TEST_UNPLUGGED(test_bandwidth),
		TEST_UNPLUGGED(test_limits_of_extremes),
		TEST(test_resize),
		TEST_UNPLUGGED(test_threads),
		TEST_UNPLUGGED(test_file),
		TEST_UNPLUGGED(test_file_reset),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
