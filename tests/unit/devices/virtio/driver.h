/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The other side of virtio devices, for tests: a driver over plain guest memory, that reaches registers through a bus as
 * vCPUs do. The ring functions do what a driver must (virtio 1.3, 2.7.13); hostile ones write into ring->desc and so on.
 */
#ifndef CVMM_TESTS_VIRTIO_DRIVER_H
#define CVMM_TESTS_VIRTIO_DRIVER_H

#include "tests/unit/unit.h"

#include <stdatomic.h>
#include <string.h>

#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>

#include "devices/bus.h"
#include "devices/virtio/mmio.h"
#include "src/base/util.h"

#define F_VERSION_1 (1ull << VIRTIO_F_VERSION_1)
#define F_INDIRECT (1ull << VIRTIO_RING_F_INDIRECT_DESC)
#define F_PACKED (1ull << VIRTIO_F_RING_PACKED)
#define F_IN_ORDER (1ull << VIRTIO_F_IN_ORDER)
#define F_EVENT_IDX (1ull << VIRTIO_RING_F_EVENT_IDX)

enum {
	S_ACK = VIRTIO_CONFIG_S_ACKNOWLEDGE,
	S_DRIVER = VIRTIO_CONFIG_S_DRIVER,
	S_DRIVER_OK = VIRTIO_CONFIG_S_DRIVER_OK,
	S_FEATURES_OK = VIRTIO_CONFIG_S_FEATURES_OK,
	S_NEEDS_RESET = VIRTIO_CONFIG_S_NEEDS_RESET,
	S_FAILED = VIRTIO_CONFIG_S_FAILED,
	S_LIVE = S_ACK | S_DRIVER | S_FEATURES_OK | S_DRIVER_OK,
};

/* --- a split ring, as its driver sees it --- */

struct ring {
	uint64_t desc_gpa, avail_gpa, used_gpa;
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	uint16_t size;
	uint16_t idx;       /* what avail->idx is, or will be */
	uint16_t last_used; /* the next used element to take */
	uint16_t kicked;    /* idx when the driver last thought about a kick */
	bool event_idx;
};

/* The ring's areas one after the other from @gpa on; a page is enough for 64 entries, which is the most tests use. */
static inline void ring_init(struct ring *ring, struct guest_memory *mem, uint64_t gpa, uint16_t size, bool event_idx)
{
	*ring = (struct ring){ .size = size, .event_idx = event_idx };
	ring->desc_gpa = gpa;
	ring->avail_gpa = ring->desc_gpa + 16u * size;
	ring->used_gpa = align_up(ring->avail_gpa + 6 + 2u * size, 4);
	ring->desc = guest_at(mem, ring->desc_gpa, 16u * size);
	ring->avail = guest_at(mem, ring->avail_gpa, 6 + 2u * size);
	ring->used = guest_at(mem, ring->used_gpa, 6 + 8u * size);
	assert_true(ring->desc && ring->avail && ring->used);
	memset(ring->desc, 0, 16u * size);
	memset(ring->avail, 0, 6 + 2u * size);
	memset(ring->used, 0, 6 + 8u * size);
}

static inline __virtio16 *ring_used_event(const struct ring *ring)
{
	return &ring->avail->ring[ring->size];
}

static inline uint16_t ring_avail_event(const struct ring *ring)
{
	return le16toh(__atomic_load_n((const __virtio16 *)&ring->used->ring[ring->size], __ATOMIC_RELAXED));
}

static inline void desc_set(struct vring_desc *desc, uint64_t addr, uint32_t len, uint16_t flags, uint16_t next)
{
	*desc = (struct vring_desc){ htole64(addr), htole32(len), htole16(flags), htole16(next) };
}

/* Make the chain that starts at @head available. */
static inline void ring_offer(struct ring *ring, uint16_t head)
{
	ring->avail->ring[ring->idx % ring->size] = htole16(head);
	__atomic_store_n(&ring->avail->idx, htole16(++ring->idx), __ATOMIC_RELEASE);
}

/* Would the driver kick for what it offered since it last asked? The rule itself, not the arithmetic for it (2.7.10). */
static inline bool ring_kick_due(struct ring *ring)
{
	uint16_t from = ring->kicked;
	__atomic_thread_fence(__ATOMIC_SEQ_CST); /* what was offered before what the device wants */
	ring->kicked = ring->idx;
	if (!ring->event_idx)
		return from != ring->idx &&
		       !(le16toh(__atomic_load_n(&ring->used->flags, __ATOMIC_SEQ_CST)) & VRING_USED_F_NO_NOTIFY);
	for (; from != ring->idx; from++)
		if (from == ring_avail_event(ring))
			return true;
	return false;
}

static inline bool ring_take(struct ring *ring, uint32_t *id, uint32_t *len)
{
	*id = *len = 0;
	if (ring->last_used == le16toh(__atomic_load_n(&ring->used->idx, __ATOMIC_ACQUIRE)))
		return false;
	const struct vring_used_elem *elem = &ring->used->ring[ring->last_used++ % ring->size];
	*id = le32toh(elem->id);
	*len = le32toh(elem->len);
	return true;
}

/* --- a packed ring, likewise; places are an index with the wrap counter in bit 15 (virtio 1.3, 2.8) --- */

enum { P_AVAIL = 1 << 7, P_USED = 1 << 15, P_WRAP = 1 << 15 };

struct packed {
	uint64_t desc_gpa, driver_gpa, device_gpa;
	struct vring_packed_desc *desc;
	struct vring_packed_desc_event *driver, *device;
	uint16_t size;
	uint16_t avail;  /* where the next descriptor is made available */
	uint16_t used;   /* where the next used one is looked for */
	uint16_t kicked; /* avail when the driver last thought about a kick */
	bool event_idx;
};

static inline void packed_init(struct packed *ring, struct guest_memory *mem, uint64_t gpa, uint16_t size,
                               bool event_idx)
{
	*ring = (struct packed){ .size = size, .event_idx = event_idx };
	ring->avail = ring->used = ring->kicked = P_WRAP;
	ring->desc_gpa = gpa;
	ring->driver_gpa = gpa + 16u * size;
	ring->device_gpa = ring->driver_gpa + 4;
	ring->desc = guest_at(mem, gpa, 16u * size + 8);
	assert_non_null(ring->desc);
	ring->driver = guest_at(mem, ring->driver_gpa, 4);
	ring->device = guest_at(mem, ring->device_gpa, 4);
	memset(ring->desc, 0, 16u * size + 8);
}

/* One slot further. By the book, not by the device's arithmetic. */
static inline uint16_t packed_next(const struct packed *ring, uint16_t place)
{
	return (place & ~P_WRAP) + 1 == ring->size ? ~place & P_WRAP : (uint16_t)(place + 1);
}

static inline uint16_t packed_avail_flags(uint16_t place)
{
	return place & P_WRAP ? P_AVAIL : P_USED;
}

static inline void packed_set(struct vring_packed_desc *desc, uint64_t addr, uint32_t len, uint16_t id, uint16_t flags)
{
	*desc = (struct vring_packed_desc){ htole64(addr), htole32(len), htole16(id), htole16(flags) };
}

/* Make @count descriptors available as a chain: @descs as they shall be, but for AVAIL and USED. */
static inline void packed_offer(struct packed *ring, const struct vring_packed_desc *descs, unsigned count)
{
	uint16_t first = ring->avail, flags = 0;
	for (unsigned i = 0; i < count; i++, ring->avail = packed_next(ring, ring->avail)) {
		struct vring_packed_desc *at = &ring->desc[ring->avail & ~P_WRAP];
		at->addr = descs[i].addr;
		at->len = descs[i].len;
		at->id = descs[i].id;
		uint16_t own = htole16(le16toh(descs[i].flags) | packed_avail_flags(ring->avail));
		if (i)
			__atomic_store_n(&at->flags, own, __ATOMIC_RELAXED);
		else
			flags = own;
	}
	__atomic_store_n(&ring->desc[first & ~P_WRAP].flags, flags, __ATOMIC_RELEASE);
}

static inline bool packed_kick_due(struct packed *ring)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST); /* what was offered before what the device wants */
	uint16_t from = ring->kicked, flags = le16toh(__atomic_load_n(&ring->device->flags, __ATOMIC_ACQUIRE));
	ring->kicked = ring->avail;
	if (flags != VRING_PACKED_EVENT_FLAG_DESC)
		return from != ring->avail && flags != VRING_PACKED_EVENT_FLAG_DISABLE;
	assert_true(ring->event_idx);
	for (; from != ring->avail; from = packed_next(ring, from))
		if (from == le16toh(__atomic_load_n(&ring->device->off_wrap, __ATOMIC_RELAXED)))
			return true;
	return false;
}

/* The used descriptor at ring->used, if it is one; who knows how many slots it stands for goes on from there. */
static inline const struct vring_packed_desc *packed_used(const struct packed *ring)
{
	const struct vring_packed_desc *at = &ring->desc[ring->used & ~P_WRAP];
	uint16_t flags = le16toh(__atomic_load_n(&at->flags, __ATOMIC_ACQUIRE)) & (P_AVAIL | P_USED);
	return flags == (ring->used & P_WRAP ? P_AVAIL | P_USED : 0) ? at : NULL;
}

/* --- a device behind its registers --- */

enum { DRIVER_BASE = 0x10000000, DRIVER_QUEUES = 2 };

struct driver {
	struct guest_memory mem;
	struct bus bus;
	struct device *dev;
	struct ring queues[DRIVER_QUEUES];
	atomic_bool irq; /* the edge came, and was not handled yet */
	atomic_uint irq_rises;
};

static inline void driver_irq_set(void *opaque, unsigned irq, bool level)
{
	struct driver *drv = opaque;
	assert_int_equal(irq, 7);
	if (!level)
		return;
	drv->irq_rises++;
	drv->irq = true;
}

static inline struct irq_line driver_irq(struct driver *drv)
{
	return (struct irq_line){ .set = driver_irq_set, .opaque = drv, .irq = 7 };
}

static inline struct virtio_wiring driver_wiring(struct driver *drv, uint64_t rings)
{
	return (struct virtio_wiring){ .irq = driver_irq(drv), .rings = rings };
}

static inline uint64_t driver_read(struct driver *drv, uint64_t off, unsigned size)
{
	uint64_t val = 0;
	assert_true(bus_read(&drv->bus, DRIVER_BASE + off, &val, size));
	return le64toh(val);
}

static inline void driver_write(struct driver *drv, uint64_t off, unsigned size, uint64_t val)
{
	val = htole64(val);
	assert_true(bus_write(&drv->bus, DRIVER_BASE + off, &val, size));
}

static inline uint32_t reg_read(struct driver *drv, uint64_t off)
{
	return (uint32_t)driver_read(drv, off, 4);
}

static inline void reg_write(struct driver *drv, uint64_t off, uint32_t val)
{
	driver_write(drv, off, 4, val);
}

static inline uint32_t driver_status(struct driver *drv)
{
	return reg_read(drv, VIRTIO_MMIO_STATUS);
}

static inline void driver_add_status(struct driver *drv, uint32_t bits)
{
	reg_write(drv, VIRTIO_MMIO_STATUS, driver_status(drv) | bits);
}

/* 1 MiB of RAM from 0, 2 GiB more from 4 GiB on (never touched whole); @dev comes from the caller. */
static inline void driver_init(struct driver *drv)
{
	*drv = (struct driver){ .bus = { .name = "mmio" } };
	assert_int_equal(guest_memory_add(&drv->mem, 0, MIB, NULL), 0);
	assert_int_equal(guest_memory_add(&drv->mem, 4 * GIB, 2 * GIB, NULL), 0);
}

static inline void driver_plug(struct driver *drv, struct device *dev)
{
	assert_non_null(dev);
	drv->dev = dev;
	assert_int_equal(bus_add(&drv->bus, DRIVER_BASE, VIRTIO_MMIO_WINDOW, dev, NULL), 0);
}

static inline void driver_fini(struct driver *drv)
{
	device_free(drv->dev);
	guest_memory_fini(&drv->mem);
}

static inline uint64_t driver_offered(struct driver *drv)
{
	reg_write(drv, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 1);
	uint64_t features = (uint64_t)reg_read(drv, VIRTIO_MMIO_DEVICE_FEATURES) << 32;
	reg_write(drv, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 0);
	return features | reg_read(drv, VIRTIO_MMIO_DEVICE_FEATURES);
}

static inline void driver_accept(struct driver *drv, uint64_t features)
{
	reg_write(drv, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
	reg_write(drv, VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)(features >> 32));
	reg_write(drv, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
	reg_write(drv, VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)features);
}

/* From reset to FEATURES_OK, in the order in which Linux does it. Returns whether the device accepted. */
static inline bool driver_negotiate(struct driver *drv, uint64_t features)
{
	reg_write(drv, VIRTIO_MMIO_STATUS, 0);
	assert_int_equal(driver_status(drv), 0);
	drv->irq = false; /* of before */
	driver_add_status(drv, S_ACK);
	driver_add_status(drv, S_DRIVER);
	driver_accept(drv, features);
	driver_add_status(drv, S_FEATURES_OK);
	return driver_status(drv) & S_FEATURES_OK;
}

static inline void driver_write_ring(struct driver *drv, unsigned queue, const struct ring *ring)
{
	reg_write(drv, VIRTIO_MMIO_QUEUE_SEL, queue);
	reg_write(drv, VIRTIO_MMIO_QUEUE_NUM, ring->size);
	reg_write(drv, VIRTIO_MMIO_QUEUE_DESC_LOW, (uint32_t)ring->desc_gpa);
	reg_write(drv, VIRTIO_MMIO_QUEUE_DESC_HIGH, (uint32_t)(ring->desc_gpa >> 32));
	reg_write(drv, VIRTIO_MMIO_QUEUE_AVAIL_LOW, (uint32_t)ring->avail_gpa);
	reg_write(drv, VIRTIO_MMIO_QUEUE_AVAIL_HIGH, (uint32_t)(ring->avail_gpa >> 32));
	reg_write(drv, VIRTIO_MMIO_QUEUE_USED_LOW, (uint32_t)ring->used_gpa);
	reg_write(drv, VIRTIO_MMIO_QUEUE_USED_HIGH, (uint32_t)(ring->used_gpa >> 32));
}

/* Set queue @queue up as Linux does, its ring in a page of its own. Returns whether the device took it. */
static inline bool driver_setup_queue(struct driver *drv, unsigned queue, uint16_t size, bool event_idx)
{
	reg_write(drv, VIRTIO_MMIO_QUEUE_SEL, queue);
	assert_int_equal(reg_read(drv, VIRTIO_MMIO_QUEUE_READY), 0);
	assert_true(reg_read(drv, VIRTIO_MMIO_QUEUE_NUM_MAX) >= size);
	ring_init(&drv->queues[queue], &drv->mem, 0x1000 * (1 + queue), size, event_idx);
	driver_write_ring(drv, queue, &drv->queues[queue]);
	reg_write(drv, VIRTIO_MMIO_QUEUE_READY, 1);
	return reg_read(drv, VIRTIO_MMIO_QUEUE_READY);
}

static inline void driver_kick(struct driver *drv, unsigned queue)
{
	if (ring_kick_due(&drv->queues[queue]))
		reg_write(drv, VIRTIO_MMIO_QUEUE_NOTIFY, queue);
}

/* The interrupt handler: what caused it, acknowledged. */
static inline uint32_t driver_ack(struct driver *drv)
{
	drv->irq = false;
	uint32_t causes = reg_read(drv, VIRTIO_MMIO_INTERRUPT_STATUS);
	reg_write(drv, VIRTIO_MMIO_INTERRUPT_ACK, causes);
	return causes;
}

#endif
