// SPDX-License-Identifier: Apache-2.0
/*
 * virtio-rng on a loop turned by hand: packed and split rings, IN_ORDER, QueueReset, kicks with data, saves. Some steps do
 * what a proper driver does, so that the others meet a device that is live.
 */
#include "tests/fuzz/virtio.h"

#include "src/base/loop.h"

static struct loop *loop;
static uint64_t now_ns;
static uint16_t place; /* where the driver goes on in the packed ring */
static uint16_t size;

static uint64_t fuzz_now(const struct clock *clock)
{
	return now_ns;
}

static const struct clock fuzz_clock = { .monotonic_ns = fuzz_now, .wall_ns = fuzz_now };

static void step_kick(struct input *in)
{
	reg_write(VIRTIO_MMIO_QUEUE_NOTIFY, next8(in) % 2 | (uint32_t)next8(in) << 20);
}

static void step_turn(struct input *in)
{
	now_ns += next8(in) * NSEC_PER_MSEC;
	loop_turn(loop, 0);
}

/* Size and features from the input; descriptors at RING, the other areas at +0x400 and +0x800. */
static void step_go_live(struct input *in)
{
	static const uint8_t high_bits[] = { 34 - 32, 35 - 32, 38 - 32, 40 - 32 };
	uint8_t choice = next8(in);
	uint32_t high = 1;
	for (unsigned i = 0; i < ARRAY_SIZE(high_bits); i++)
		high |= (choice >> i & 1u) << high_bits[i];
	reg_write(VIRTIO_MMIO_STATUS, 0);
	reg_write(VIRTIO_MMIO_STATUS, 3);
	reg_write(VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
	reg_write(VIRTIO_MMIO_DRIVER_FEATURES, high);
	reg_write(VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
	reg_write(VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)(choice >> 4 & 3) << 28);
	reg_write(VIRTIO_MMIO_STATUS, 11);
	reg_write(VIRTIO_MMIO_QUEUE_SEL, 0);
	size = next8(in) % 66; /* 0 and 65 are none */
	reg_write(VIRTIO_MMIO_QUEUE_NUM, size);
	reg_write(VIRTIO_MMIO_QUEUE_DESC_LOW, RING);
	reg_write(VIRTIO_MMIO_QUEUE_AVAIL_LOW, RING + 0x400);
	reg_write(VIRTIO_MMIO_QUEUE_USED_LOW, RING + 0x800);
	reg_write(VIRTIO_MMIO_QUEUE_READY, 1);
	reg_write(VIRTIO_MMIO_STATUS, 15);
	FUZZ_CHECK(reg_read(VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_DRIVER_OK);
	memset(guest_at(&mem, RING, 0x1000), 0, 0x1000);
	place = 0x8000;
}

/* A descriptor of any kind where the driver would put the next one of a packed ring; available, or not quite. */
static void step_offer_packed(struct input *in)
{
	if (!size)
		return;
	uint8_t *desc = guest_at(&mem, RING + 16u * (place & 0x7fffu), 16);
	uint16_t flags = next8(in) & 7; /* NEXT, WRITE, INDIRECT */
	if (!desc)
		return;
	store_le64(desc, next16(in));
	store_le32(desc + 8, next16(in));
	store_le16(desc + 12, next8(in));
	store_le16(desc + 14, flags | (place & 0x8000 ? 1 << 7 : 1 << 15));
	place = (place & 0x7fff) + 1 == size ? ~place & 0x8000 : (uint16_t)(place + 1);
}

/* A head at the split ring's next place. */
static void step_offer_split(struct input *in)
{
	if (!size)
		return;
	uint8_t *avail = guest_at(&mem, RING + 0x400, 0x200);
	uint16_t idx = load_le16(avail + 2);
	store_le16(avail + 4 + idx % size * 2, next8(in) % 65);
	store_le16(avail + 2, idx + 1);
}

static void step_queue_reset(struct input *in)
{
	reg_write(VIRTIO_MMIO_QUEUE_SEL, 0);
	reg_write(0x0c0, next8(in) & 1);
	FUZZ_CHECK(reg_read(0x0c0) == 0);
}

static void (*const steps[])(struct input *) = {
	step_access,  step_register,     step_kick,         step_turn,        step_memory,        step_turn,
	step_go_live, step_offer_packed, step_offer_split,  step_queue_reset, step_save_and_load, step_load,
	step_reset,   step_offer_packed, step_offer_packed, step_kick,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	const struct virtio_wiring wiring = { .irq = { .set = irq_record }, .rings = VIRTIO_RINGS_ALL };
	if (!loop && !(loop = loop_new(&fuzz_clock, NULL)))
		abort();
	fuzz_memory();
	place = size = 0;
	fuzz_device(virtio_rng_new(&wiring, &mem, loop, len ? (uint64_t)data[0] << 10 : 0));
	fuzz_steps(steps, ARRAY_SIZE(steps), data, len);
	device_free(dev);
	return 0;
}
