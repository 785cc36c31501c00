// SPDX-License-Identifier: Apache-2.0
/*
 * x86_64: a driver for the virtio-rng in slot 0 that goes through every form of ring, which no one kernel does: split and
 * packed, in order or not, with and without EVENT_IDX and INDIRECT_DESC, kicks with data, and the reset of a queue. It asks
 * the rings and not its interrupts, but the local APIC must have seen one.
 */
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>

#include "arch/x86_64/layout.h"
#include "machine-x86_64.h"
#include "tiny.h"

enum {
	F_INDIRECT = 1 << VIRTIO_RING_F_INDIRECT_DESC,
	F_EVENT_IDX = 1 << VIRTIO_RING_F_EVENT_IDX,
	/* of the upper half */
	F_VERSION_1 = 1 << (VIRTIO_F_VERSION_1 - 32),
	F_PACKED = 1 << (VIRTIO_F_RING_PACKED - 32),
	F_IN_ORDER = 1 << (VIRTIO_F_IN_ORDER - 32),
	F_DATA = 1 << (38 - 32),
	F_RING_RESET = 1 << (40 - 32),
	QUEUE_RESET = 0x0c0,
	RNG = 4,
	VECTOR = 0x50,
	SIZE = 8,
	BYTES = 24, /* of each buffer */
	ROUNDS = 5,
};

static uint8_t ring[4096] __attribute__((aligned(4096))), data[SIZE][BYTES];
static struct vring_desc tables[SIZE];

static volatile uint32_t *reg(uint64_t off)
{
	return (volatile uint32_t *)(VIRTIO_MMIO_BASE + off);
}

static void fail(const char *why)
{
	put_string("failed: ");
	put_string(why);
	put_string("\n");
	power_off();
}

static void must(int holds, const char *what)
{
	if (!holds)
		fail(what);
}

/* --- one form of ring after the other --- */

static struct form {
	uint32_t low, high; /* features */
	unsigned size, avail, used, laps_avail, laps_used;
	uint16_t kicked;
} form;

static uint8_t *area(unsigned which)
{
	return ring + 1024u * which;
}

static void set_up_queue(unsigned size)
{
	static const uint16_t regs[3] = { VIRTIO_MMIO_QUEUE_DESC_LOW, VIRTIO_MMIO_QUEUE_AVAIL_LOW,
		                          VIRTIO_MMIO_QUEUE_USED_LOW };
	for (unsigned i = 0; i < sizeof(ring); i++)
		((volatile uint8_t *)ring)[i] = 0;
	form.size = size;
	form.avail = form.used = form.laps_avail = form.laps_used = 0;
	*reg(VIRTIO_MMIO_QUEUE_SEL) = 0;
	must(*reg(VIRTIO_MMIO_QUEUE_READY) == 0, "ready before it was set up");
	*reg(VIRTIO_MMIO_QUEUE_NUM) = size;
	for (unsigned i = 0; i < 3; i++) {
		*reg(regs[i]) = (uint32_t)(uintptr_t)area(i);
		*reg(regs[i] + 4u) = 0;
	}
	*reg(VIRTIO_MMIO_QUEUE_READY) = 1;
	must(*reg(VIRTIO_MMIO_QUEUE_READY) == 1, "not ready");
}

static void begin(uint32_t low, uint32_t high)
{
	static const uint8_t steps[] = { 0, 1, 3 };
	form.low = low;
	form.high = high | F_VERSION_1;
	for (unsigned i = 0; i < sizeof(steps); i++)
		*reg(VIRTIO_MMIO_STATUS) = steps[i];
	*reg(VIRTIO_MMIO_DRIVER_FEATURES_SEL) = 1;
	*reg(VIRTIO_MMIO_DRIVER_FEATURES) = form.high;
	*reg(VIRTIO_MMIO_DRIVER_FEATURES_SEL) = 0;
	*reg(VIRTIO_MMIO_DRIVER_FEATURES) = form.low;
	*reg(VIRTIO_MMIO_STATUS) = 11;
	must(*reg(VIRTIO_MMIO_STATUS) == 11, "features refused");
	set_up_queue(high & F_PACKED ? SIZE - 1 : SIZE); /* a packed ring is of any size */
	*reg(VIRTIO_MMIO_STATUS) = 15;
}

static uint64_t describe(unsigned i, uint32_t *len, uint16_t *flags)
{
	for (unsigned j = 0; j < BYTES; j++)
		((volatile uint8_t *)data[i])[j] = 0;
	*len = BYTES;
	*flags = VRING_DESC_F_WRITE;
	if (!(form.low & F_INDIRECT))
		return (uintptr_t)data[i];
	volatile struct vring_desc *table = &tables[i];
	table->addr = (uintptr_t)data[i];
	table->len = BYTES;
	if (form.high & F_PACKED) { /* there flags and id stand the other way round */
		table->flags = 0;
		table->next = VRING_DESC_F_WRITE;
	} else {
		table->flags = VRING_DESC_F_WRITE;
		table->next = 0;
	}
	*len = sizeof(tables[i]);
	*flags = VRING_DESC_F_INDIRECT;
	return (uintptr_t)table;
}

static void offer(void)
{
	unsigned i = form.avail;
	uint32_t len;
	uint16_t flags;
	uint64_t addr = describe(i, &len, &flags);
	if (form.high & F_PACKED) {
		volatile struct vring_packed_desc *desc = (struct vring_packed_desc *)area(0) + i;
		desc->addr = addr;
		desc->len = len;
		desc->id = (uint16_t)i;
		__atomic_thread_fence(__ATOMIC_RELEASE);
		desc->flags = flags | (form.laps_avail & 1 ? 1u << 15 : 1u << 7);
	} else {
		volatile struct vring_desc *desc = (struct vring_desc *)area(0) + i;
		volatile uint16_t *avail = (uint16_t *)area(1);
		desc->addr = addr;
		desc->len = len;
		desc->flags = flags;
		avail[2 + i] = (uint16_t)i;
		__atomic_thread_fence(__ATOMIC_RELEASE);
		avail[1]++;
	}
	if (++form.avail == form.size) {
		form.avail = 0;
		form.laps_avail++;
	}
}

/* Is one more buffer used? *id: up to which. */
static int look(unsigned *id, uint32_t *len)
{
	if (form.high & F_PACKED) {
		volatile struct vring_packed_desc *desc = (struct vring_packed_desc *)area(0) + form.used;
		uint16_t both = 1u << 7 | 1u << 15, flags = desc->flags & both;
		if (flags != (form.laps_used & 1 ? 0 : both))
			return 0;
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		*id = desc->id;
		*len = desc->len;
		return 1;
	}
	volatile struct vring_used *used = (struct vring_used *)area(2);
	if (used->idx == (uint16_t)(form.laps_used * form.size + form.used))
		return 0;
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	*id = used->ring[form.used].id;
	*len = used->ring[form.used].len;
	return 1;
}

static void take_one(void)
{
	unsigned zeros = 0;
	for (unsigned j = 0; j < BYTES; j++)
		zeros += !((volatile uint8_t *)data[form.used])[j];
	must(zeros < BYTES / 2, "a buffer is not filled");
	if (++form.used == form.size) {
		form.used = 0;
		form.laps_used++;
	}
}

/* Buffers come back in order, from this device always; IN_ORDER in a packed ring: one may speak for those before it. */
static unsigned take(void)
{
	unsigned id, taken = 0, last;
	uint32_t len;
	while (look(&id, &len)) {
		must(id < form.size && len == BYTES, "a used element that cannot be");
		must(id == form.used || (form.high & F_PACKED && form.high & F_IN_ORDER), "out of order");
		do {
			must(taken++ < form.size, "an id that is not out");
			last = form.used;
			take_one();
		} while (last != id);
	}
	return taken;
}

/* Does the device want to hear of what was offered since @from, all of it one lap at most? */
static int kick_due(unsigned count)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (form.high & F_PACKED) {
		volatile struct vring_packed_desc_event *event = (struct vring_packed_desc_event *)area(2);
		if (event->flags != VRING_PACKED_EVENT_FLAG_DESC)
			return event->flags != VRING_PACKED_EVENT_FLAG_DISABLE;
		unsigned place = form.avail, lap = form.laps_avail;
		while (count--) {
			lap -= place == 0;
			place = place ? place - 1 : form.size - 1;
			if (event->off_wrap == (place | (lap & 1 ? 0u : 1u << 15)))
				return 1;
		}
		return 0;
	}
	volatile struct vring_used *used = (struct vring_used *)area(2);
	uint16_t idx = ((volatile uint16_t *)area(1))[1];
	if (form.low & F_EVENT_IDX)
		return vring_need_event(*(volatile uint16_t *)&used->ring[form.size], idx, (uint16_t)(idx - count));
	return !(used->flags & VRING_USED_F_NO_NOTIFY);
}

static void run(void)
{
	for (unsigned round = 0; round < ROUNDS; round++) {
		unsigned count = round ? form.size - round : form.size, taken = 0; /* the whole ring, and less */
		for (unsigned i = 0; i < count; i++)
			offer();
		if (kick_due(count))
			*reg(VIRTIO_MMIO_QUEUE_NOTIFY) = form.high & F_DATA ? form.avail << 16 : 0;
		while (taken < count)
			taken += take();
		must(taken == count, "more used than offered");
	}
	must(*reg(VIRTIO_MMIO_STATUS) == 15, "the device wants a reset");
}

/* --- interrupts, as far as the local APIC --- */

static volatile uint32_t *lapic(uint64_t off)
{
	return (volatile uint32_t *)(LAPIC_BASE + off);
}

static void ioapic_write(uint32_t which, uint32_t val)
{
	*(volatile uint32_t *)IOAPIC_BASE = which;
	*(volatile uint32_t *)(IOAPIC_BASE + 0x10) = val;
}

static void route_interrupt(void)
{
	unsigned pin = virtio_mmio_gsis[0];
	*lapic(0xf0) = 0x1ff;                 /* on */
	ioapic_write(0x11 + 2 * pin, 0);      /* to CPU 0 */
	ioapic_write(0x10 + 2 * pin, VECTOR); /* an edge, not masked */
}

static void interrupt_must_come(void)
{
	while (!(*lapic(0x200 + VECTOR / 32 * 0x10) & 1u << VECTOR % 32))
		;
	must(*reg(VIRTIO_MMIO_INTERRUPT_STATUS) == VIRTIO_MMIO_INT_VRING, "an interrupt without a cause");
	*reg(VIRTIO_MMIO_INTERRUPT_ACK) = VIRTIO_MMIO_INT_VRING;
	must(*reg(VIRTIO_MMIO_INTERRUPT_STATUS) == 0, "not acknowledged");
}

static void reset_the_queue(void)
{
	begin(0, F_RING_RESET | F_PACKED | F_IN_ORDER);
	run();
	*reg(VIRTIO_MMIO_QUEUE_SEL) = 0;
	*reg(QUEUE_RESET) = 1;
	while (*reg(QUEUE_RESET))
		;
	set_up_queue(3); /* begins anew, of another size, while the device lives */
	for (unsigned round = 0; round < 3 * ROUNDS; round++) {
		offer();
		*reg(VIRTIO_MMIO_QUEUE_NOTIFY) = 0;
		while (!take())
			;
	}
}

void tiny_main(void)
{
	must(*reg(VIRTIO_MMIO_MAGIC_VALUE) == 0x74726976 && *reg(VIRTIO_MMIO_DEVICE_ID) == RNG, "no virtio-rng");
	route_interrupt();
	begin(0, 0);
	run();
	interrupt_must_come();
	put_string("interrupt\n");
	for (unsigned i = 0; i < 32; i++) {
		begin((i & 1 ? F_INDIRECT : 0) | (i & 2 ? F_EVENT_IDX : 0),
		      (i & 4 ? F_PACKED : 0) | (i & 8 ? F_IN_ORDER : 0) | (i & 16 ? F_DATA : 0));
		run();
	}
	put_string("32 forms\n");
	reset_the_queue();
	put_string("reset\n");
}
