/* SPDX-License-Identifier: Apache-2.0 */
/* A virtio device whose registers, memory and saved state come from the fuzzer's bytes, which are read as a list of steps. */
#ifndef CVMM_TESTS_FUZZ_VIRTIO_H
#define CVMM_TESTS_FUZZ_VIRTIO_H

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

static void step_memory(struct input *in)
{
	uint8_t bytes[16];
	uint16_t gpa = next16(in);
	size_t len = next8(in) % sizeof(bytes) + 1;
	next(in, bytes, len);
	guest_write(&mem, gpa, bytes, len);
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

static void check_device(void)
{
	uint32_t causes = reg_read(VIRTIO_MMIO_INTERRUPT_STATUS);
	FUZZ_CHECK(causes <= 3 && (irq || !(causes & ~causes_before)));
	causes_before = causes;
	uint32_t status = reg_read(VIRTIO_MMIO_STATUS) & 15;
	FUZZ_CHECK(status == 0 || status == 1 || status == 3 || status == 11 || status == 15);
}

static void fuzz_memory(void)
{
	if (!mem.count && (guest_memory_add(&mem, 0, RAM, NULL) || guest_memory_add(&mem, 4 * GIB, RAM, NULL)))
		abort();
	memset(mem.regions[0].hva, 0, RAM);
}

static void fuzz_device(struct device *made)
{
	dev = made;
	causes_before = 0;
	FUZZ_CHECK(dev && dev->ops->state_size <= STATE_MAX);
	bus = (struct bus){ .name = "mmio" };
	FUZZ_CHECK(bus_add(&bus, BASE, VIRTIO_MMIO_WINDOW, dev, NULL) == 0);
}

static void fuzz_steps(void (*const steps[])(struct input *), size_t count, const uint8_t *data, size_t len)
{
	struct input in = { data, len };
	while (in.len) {
		irq = false;
		steps[next8(&in) % count](&in);
		check_device();
	}
}

#endif
