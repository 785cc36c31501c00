// SPDX-License-Identifier: Apache-2.0
/*
 * virtio-blk over a disk in memory: registers, rings and requests from the fuzzer's bytes, which are read as a list of
 * steps. Some steps do what a proper driver does, so that the others meet a device that is live.
 */
#include "tests/fuzz/virtio.h"

#include <linux/virtio_blk.h>

#include "src/block/block.h"

enum { DISK = 64 * 1024, QUEUES = 2, ENTRIES = 64 };

static struct loop *loop;
static bool packed;
static uint16_t places[QUEUES]; /* where the driver goes on in a packed ring; bit 15: the wrap counter */
static uint64_t now;

static uint64_t now_ns(const struct clock *clock)
{
	return now;
}

static const struct clock hand_clock = { .monotonic_ns = now_ns, .wall_ns = now_ns };

/* What is there to do ends by itself. */
static void turn(void)
{
	unsigned turns = 0;
	while (loop_turn(loop, 0))
		FUZZ_CHECK(++turns < 1000);
}

static void step_kick(struct input *in)
{
	reg_write(VIRTIO_MMIO_QUEUE_NOTIFY, next8(in) % (QUEUES + 1));
	turn();
}

/* Ring @queue: descriptors, avail at +0x400, used at +0x800, all in a page. */
static uint64_t ring_gpa(unsigned queue)
{
	return RING * (1 + queue);
}

static void offer(unsigned queue, unsigned head)
{
	uint8_t *avail = guest_at(&mem, ring_gpa(queue) + 0x400, 6 + 2 * ENTRIES);
	uint16_t idx = load_le16(avail + 2);
	store_le16(avail + 4 + idx % ENTRIES * 2, (uint16_t)head);
	store_le16(avail + 2, (uint16_t)(idx + 1));
}

static void step_offer(struct input *in)
{
	unsigned queue = next8(in) % QUEUES, head = next8(in) % ENTRIES;
	uint8_t *desc = guest_at(&mem, ring_gpa(queue), 16 * ENTRIES);
	next(in, desc + head * 16u, MIN(32u, (ENTRIES - head) * 16u));
	offer(queue, head);
}

/* Descriptor @i of a split ring, or the next one of a packed ring, and that is available at once. */
static void put_desc(unsigned queue, unsigned i, uint64_t gpa, uint32_t len, uint16_t flags)
{
	uint16_t *place = &places[queue];
	uint8_t *desc = guest_at(&mem, ring_gpa(queue) + 16 * (packed ? *place & 0x7fffu : i), 16);
	store_le64(desc, gpa);
	store_le32(desc + 8, len);
	store_le16(desc + 12, packed ? (uint16_t)i : flags);
	store_le16(desc + 14, packed ? flags | (*place & 0x8000 ? 1 << 7 : 1 << 15) : (uint16_t)(i + 1));
	*place = (*place & 0x7fff) + 1 == ENTRIES ? ~*place & 0x8000 : (uint16_t)(*place + 1);
}

/* A request whose parts are nearly right: a header, up to three buffers, a status. */
static void step_request(struct input *in)
{
	static const uint8_t types[] = { 0, 1, 4, 8, 11, 13, 14, 15 };
	unsigned queue = next8(in) % QUEUES, head = next8(in) % (ENTRIES - 5), shape = next8(in),
		 count = 1 + (shape & 3);
	uint64_t gpa = 0x4000 + (next16(in) & 0x7fff);
	struct virtio_blk_outhdr header = {
		.type = htole32(types[next8(in) % sizeof(types)]),
		.sector = htole64(next8(in)),
	};
	guest_write(&mem, gpa, &header, sizeof(header));
	for (unsigned i = 0; i <= count; i++) {
		uint32_t len = i == 0 ? 16 : i == count ? 1 : shape & 4 ? next16(in) : 512u * (next8(in) % 16);
		bool writable = i == count || (i && shape & 8);
		len += shape & 0x80 && !i ? next8(in) % 32 : 0;
		put_desc(queue, head + i, gpa, len, (uint16_t)((writable ? 2 : 0) | (i < count ? 1 : 0)));
		gpa += shape & 0x10 ? len : 512;
	}
	if (!packed)
		offer(queue, head);
}

static void step_go_live(struct input *in)
{
	static const uint8_t high_bits[] = { 34 - 32, 35 - 32, 38 - 32, 40 - 32 };
	uint32_t low, high = 1;
	next(in, &low, sizeof(low));
	for (unsigned i = 0; i < ARRAY_SIZE(high_bits); i++)
		high |= (low >> i & 1) << high_bits[i]; /* the lowest features of a disk are not offered */
	reg_write(VIRTIO_MMIO_STATUS, 0);
	reg_write(VIRTIO_MMIO_STATUS, 3);
	reg_write(VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
	reg_write(VIRTIO_MMIO_DEVICE_FEATURES_SEL, 1);
	high &= reg_read(VIRTIO_MMIO_DEVICE_FEATURES);
	reg_write(VIRTIO_MMIO_DRIVER_FEATURES, high);
	packed = high & 1 << (34 - 32);
	reg_write(VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
	reg_write(VIRTIO_MMIO_DEVICE_FEATURES_SEL, 0);
	reg_write(VIRTIO_MMIO_DRIVER_FEATURES, low & reg_read(VIRTIO_MMIO_DEVICE_FEATURES));
	reg_write(VIRTIO_MMIO_STATUS, 11);
	memset(mem.regions[0].hva, 0, RING * (QUEUES + 1));
	for (unsigned queue = 0; queue < QUEUES; queue++) {
		places[queue] = 0x8000;
		reg_write(VIRTIO_MMIO_QUEUE_SEL, queue);
		reg_write(VIRTIO_MMIO_QUEUE_NUM, ENTRIES);
		reg_write(VIRTIO_MMIO_QUEUE_DESC_LOW, (uint32_t)ring_gpa(queue));
		reg_write(VIRTIO_MMIO_QUEUE_AVAIL_LOW, (uint32_t)ring_gpa(queue) + 0x400);
		reg_write(VIRTIO_MMIO_QUEUE_USED_LOW, (uint32_t)ring_gpa(queue) + 0x800);
		reg_write(VIRTIO_MMIO_QUEUE_READY, 1);
	}
	reg_write(VIRTIO_MMIO_STATUS, 15);
	FUZZ_CHECK(reg_read(VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_DRIVER_OK);
	turn();
}

static void step_time(struct input *in)
{
	now += (uint64_t)next16(in) << 14;
	turn();
}

static void (*const steps[])(struct input *) = {
	step_access,  step_register, step_kick,  step_memory,        step_offer, step_request,
	step_go_live, step_time,     step_reset, step_save_and_load, step_load,  step_request,
};

static struct device *make_device(uint8_t kind)
{
	const struct virtio_wiring wiring = {
		.irq = { .set = irq_record },
		.rings = kind & 1 ? VIRTIO_RINGS_ALL : VIRTIO_RINGS_DEFAULT,
		.queue_size = ENTRIES,
	};
	const struct virtio_blk_options options = {
		.serial = "fuzz",
		.loops = &loop,
		.loop_count = 1,
		.queues = QUEUES,
		.iops = kind & 2 ? 1000 : 0,
		.bw = kind & 4 ? MIB : 0,
		.clock = &hand_clock,
	};
	struct block *block = block_memory_new(DISK, kind & 8 ? 4096 : 512, NULL);
	FUZZ_CHECK(block);
	block->read_only = kind & 16;
	return virtio_blk_new(&wiring, &mem, block, &options);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	if (!loop && !(loop = loop_new(&hand_clock, NULL)))
		abort();
	fuzz_memory();
	packed = false;
	memset(places, 0, sizeof(places));
	fuzz_device(make_device(len ? data[0] : 0));
	fuzz_steps(steps, ARRAY_SIZE(steps), data, len);
	device_free(dev);
	turn();
	return 0;
}
