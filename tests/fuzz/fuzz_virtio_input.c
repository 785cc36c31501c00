// SPDX-License-Identifier: Apache-2.0
/*
 * The virtio power key: registers, configuration space and rings from the fuzzer's bytes, which are read as a list of
 * steps. Some steps do what a proper driver does, so that the others meet a device that is live.
 */
#include "tests/fuzz/fuzz.h"

#include <errno.h>

#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>

#include "devices/bus.h"
#include "devices/virtio/mmio.h"
#include "src/base/util.h"

enum { BASE = 0x10000000, RAM = 0x10000, RING = 0x1000, STATE_MAX = 512 };

static struct guest_memory mem;
static struct bus bus;
static struct device *dev;
static bool irq; /* an edge came in this step */
static uint32_t causes_before;

struct input {
	const uint8_t *data;
	size_t len;
};

/* The next @len bytes, zeros where there are no more. */
static void next(struct input *in, void *to, size_t len)
{
	size_t have = MIN(len, in->len);
	memset(to, 0, len);
	memcpy(to, in->data, have);
	in->data += have;
	in->len -= have;
}

static uint8_t next8(struct input *in)
{
	uint8_t val;
	next(in, &val, 1);
	return val;
}

static uint16_t next16(struct input *in)
{
	uint8_t val[2];
	next(in, val, 2);
	return load_le16(val);
}

static void irq_record(void *opaque, unsigned line, bool level)
{
	irq |= level;
}

static uint32_t reg_read(uint64_t off)
{
	uint32_t val;
	FUZZ_CHECK(bus_read(&bus, BASE + off, &val, 4));
	return le32toh(val);
}

static void reg_write(uint64_t off, uint32_t val)
{
	val = htole32(val);
	FUZZ_CHECK(bus_write(&bus, BASE + off, &val, 4));
}

static void step_access(struct input *in)
{
	unsigned size = 1 << (next8(in) & 3);
	uint64_t off = next16(in) % (VIRTIO_MMIO_WINDOW - size + 1), val;
	next(in, &val, sizeof(val));
	bus_write(&bus, BASE + off, &val, size);
	bus_read(&bus, BASE + off, &val, size);
}

static void step_register(struct input *in)
{
	uint64_t off = next8(in) % (VIRTIO_MMIO_CONFIG / 4) * 4;
	uint32_t val;
	next(in, &val, sizeof(val));
	reg_write(off, val);
	reg_read(off);
}

static void step_kick(struct input *in)
{
	reg_write(VIRTIO_MMIO_QUEUE_NOTIFY, next8(in) % 3);
}

static void step_memory(struct input *in)
{
	uint8_t bytes[16];
	uint16_t gpa = next16(in);
	size_t len = next8(in) % sizeof(bytes) + 1;
	next(in, bytes, len);
	guest_write(&mem, gpa, bytes, len);
}

/* Ring @queue: descriptors, avail at +0x400, used at +0x800, all in a page. */
static uint64_t ring_gpa(unsigned queue)
{
	return RING * (1 + queue);
}

/* Put a chain of up to two buffers at the avail ring's next place. */
static void step_offer(struct input *in)
{
	uint64_t gpa = ring_gpa(next8(in) % 2);
	uint8_t *desc = guest_at(&mem, gpa, RING), *avail = desc + 0x400;
	uint16_t head = next8(in) % 64, idx = load_le16(avail + 2);
	next(in, desc + head * 16u, MIN(32u, (64u - head) * 16));
	store_le16(avail + 4 + idx % 64 * 2, head);
	store_le16(avail + 2, idx + 1);
}

static void step_go_live(struct input *in)
{
	uint32_t features = next8(in) & 3; /* INDIRECT_DESC, EVENT_IDX */
	reg_write(VIRTIO_MMIO_STATUS, 0);
	reg_write(VIRTIO_MMIO_STATUS, 3);
	reg_write(VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
	reg_write(VIRTIO_MMIO_DRIVER_FEATURES, 1);
	reg_write(VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
	reg_write(VIRTIO_MMIO_DRIVER_FEATURES, features << 28);
	reg_write(VIRTIO_MMIO_STATUS, 11);
	for (unsigned queue = 0; queue < 2; queue++) {
		reg_write(VIRTIO_MMIO_QUEUE_SEL, queue);
		reg_write(VIRTIO_MMIO_QUEUE_NUM, 1u << (next8(in) & 7));
		reg_write(VIRTIO_MMIO_QUEUE_DESC_LOW, (uint32_t)ring_gpa(queue));
		reg_write(VIRTIO_MMIO_QUEUE_AVAIL_LOW, (uint32_t)ring_gpa(queue) + 0x400);
		reg_write(VIRTIO_MMIO_QUEUE_USED_LOW, (uint32_t)ring_gpa(queue) + 0x800);
		reg_write(VIRTIO_MMIO_QUEUE_READY, 1);
	}
	reg_write(VIRTIO_MMIO_STATUS, 15);
	FUZZ_CHECK(reg_read(VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_DRIVER_OK);
}

static void step_press(struct input *in)
{
	virtio_power_key_press(dev);
}

static void step_reset(struct input *in)
{
	dev->ops->reset(dev);
	FUZZ_CHECK(!reg_read(VIRTIO_MMIO_STATUS) && !reg_read(VIRTIO_MMIO_INTERRUPT_STATUS));
}

/* What was saved is taken back, and is what is saved next. */
static void check_state(const uint8_t *state)
{
	uint8_t again[STATE_MAX];
	dev->ops->save(dev, again);
	FUZZ_CHECK(memcmp(state, again, dev->ops->state_size) == 0);
}

static void step_save_and_load(struct input *in)
{
	uint8_t state[STATE_MAX];
	dev->ops->save(dev, state);
	FUZZ_CHECK(dev->ops->load(dev, state) == 0);
	check_state(state);
}

/* A few bytes of the saved state changed: all of it is taken or nothing. */
static void step_load(struct input *in)
{
	uint8_t before[STATE_MAX], state[STATE_MAX];
	dev->ops->save(dev, before);
	memcpy(state, before, dev->ops->state_size);
	for (unsigned i = next8(in) % 8 + 1; i; i--) {
		size_t at = next8(in) % dev->ops->state_size;
		state[at] = next8(in);
	}
	int ret = dev->ops->load(dev, state);
	FUZZ_CHECK(ret == 0 || ret == -EINVAL);
	check_state(ret ? before : state);
}

static void (*const steps[])(struct input *) = {
	step_access,  step_register, step_kick,  step_memory,        step_offer,
	step_go_live, step_press,    step_reset, step_save_and_load, step_load,
};

static void check_device(void)
{
	uint32_t causes = reg_read(VIRTIO_MMIO_INTERRUPT_STATUS);
	FUZZ_CHECK(causes <= 3 && (irq || !(causes & ~causes_before)));
	causes_before = causes;
	uint32_t status = reg_read(VIRTIO_MMIO_STATUS) & 15;
	FUZZ_CHECK(status == 0 || status == 1 || status == 3 || status == 11 || status == 15);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	if (!mem.count && (guest_memory_add(&mem, 0, RAM, NULL) || guest_memory_add(&mem, 4 * GIB, RAM, NULL)))
		abort();
	memset(mem.regions[0].hva, 0, RAM);
	causes_before = 0;
	dev = virtio_power_key_new((struct irq_line){ .set = irq_record }, &mem);
	FUZZ_CHECK(dev && dev->ops->state_size <= STATE_MAX);
	bus = (struct bus){ .name = "mmio" };
	FUZZ_CHECK(bus_add(&bus, BASE, VIRTIO_MMIO_WINDOW, dev, NULL) == 0);
	struct input in = { data, len };
	while (in.len) {
		irq = false;
		steps[next8(&in) % ARRAY_SIZE(steps)](&in);
		check_device();
	}
	device_free(dev);
	return 0;
}
