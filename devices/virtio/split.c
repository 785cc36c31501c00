// SPDX-License-Identifier: Apache-2.0
/*
 * Split virtqueues (virtio 1.3, 2.7). The areas are checked and found once, when the queue becomes ready; from then on
 * only the buffers that descriptors name are looked up.
 *
 *   descriptor area: desc[size]                              aligned 16
 *   driver area:     flags, idx, ring[size], used_event      aligned 2, the driver writes
 *   device area:     flags, idx, ring[size], avail_event     aligned 4, we write
 */
#include "devices/virtio/virtqueue.h"

#include <string.h>

#include <linux/virtio_ring.h>

#include "src/base/util.h"

/* One load or store each: the driver works on the other side. */
static uint16_t ring_load(const __virtio16 *at, int order)
{
	return le16toh(__atomic_load_n(at, order));
}

static void ring_store(__virtio16 *at, uint16_t val, int order)
{
	__atomic_store_n(at, htole16(val), order);
}

static struct vring_avail *split_avail(const struct virtqueue *vq)
{
	return vq->driver;
}

static struct vring_used *split_used(const struct virtqueue *vq)
{
	return vq->device;
}

static const __virtio16 *split_used_event(const struct virtqueue *vq)
{
	return &split_avail(vq)->ring[vq->s.size];
}

static __virtio16 *split_avail_event(const struct virtqueue *vq)
{
	return (__virtio16 *)&split_used(vq)->ring[vq->s.size];
}

static const char *split_map(struct virtqueue *vq)
{
	uint64_t size = vq->s.size;
	if (!size || size > vq->size_max || size & (size - 1))
		return "its size is zero, too large or not a power of two";
	vq->desc = virtqueue_area(vq, vq->s.desc, sizeof(struct vring_desc) * size, VRING_DESC_ALIGN_SIZE);
	vq->driver = virtqueue_area(vq, vq->s.driver, 6 + sizeof(__virtio16) * size, VRING_AVAIL_ALIGN_SIZE);
	vq->device = virtqueue_area(vq, vq->s.device, 6 + sizeof(struct vring_used_elem) * size, VRING_USED_ALIGN_SIZE);
	if (!vq->desc || !vq->driver || !vq->device)
		return "an area is misaligned or not in guest memory";
	return NULL;
}

static bool split_state_valid(const struct virtqueue *vq)
{
	return (uint16_t)(vq->s.last_avail - vq->s.used) <= vq->s.size;
}

/* Ask for a kick when the driver goes on from last_avail. Whatever it added before is seen by who looks after this. */
static void split_want_kick(struct virtqueue *vq)
{
	if (vq->event_idx)
		ring_store(split_avail_event(vq), vq->s.last_avail, __ATOMIC_RELAXED);
	else
		ring_store(&split_used(vq)->flags, 0, __ATOMIC_RELAXED);
	vq->kicks_wanted = true;
	__atomic_thread_fence(__ATOMIC_SEQ_CST); /* the store above before the load of avail.idx that follows */
}

/* While there is work we come back anyway. With EVENT_IDX the index left behind says so (2.7.10: flags stay 0). */
static void split_spare_kicks(struct virtqueue *vq)
{
	if (vq->kicks_wanted && !vq->event_idx)
		ring_store(&split_used(vq)->flags, VRING_USED_F_NO_NOTIFY, __ATOMIC_RELAXED);
	vq->kicks_wanted = false;
}

/* Look how far the driver has got. Whether there is something to pop; the queue may have been broken. */
static bool split_look(struct virtqueue *vq)
{
	uint16_t idx = ring_load(&split_avail(vq)->idx, __ATOMIC_ACQUIRE); /* the chains before it are complete */
	uint16_t outstanding = vq->s.last_avail - vq->published; /* at most the size: this check, ever before */
	if ((uint16_t)(idx - vq->s.last_avail) > vq->s.size - outstanding) {
		virtqueue_break(vq, "more chains are outstanding than it has room for");
		return false;
	}
	vq->avail_idx = idx;
	return idx != vq->s.last_avail;
}

static bool split_has_avail(struct virtqueue *vq)
{
	if (vq->avail_idx != vq->s.last_avail || split_look(vq))
		return true;
	if (vq->broken)
		return false;
	split_want_kick(vq);
	return split_look(vq);
}

struct desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};

struct desc_table {
	const uint8_t *at;
	uint32_t count;
	bool indirect;
};

/* Indirect tables have no alignment (2.7.5.3), hence bytes. */
static struct desc split_fetch(const struct desc_table *table, uint32_t i)
{
	struct vring_desc copy;
	memcpy(&copy, table->at + i * sizeof(copy), sizeof(copy));
	__atomic_signal_fence(__ATOMIC_SEQ_CST); /* the compiler shall not read it again later */
	return (struct desc){
		.addr = le64toh(copy.addr),
		.len = le32toh(copy.len),
		.flags = le16toh(copy.flags),
		.next = le16toh(copy.next),
	};
}

static const char *split_enter_indirect(const struct virtqueue *vq, const struct desc *desc, struct desc_table *table)
{
	if (!vq->indirect)
		return "an indirect descriptor was not negotiated";
	if (table->indirect || desc->flags & VRING_DESC_F_NEXT) /* 2.7.5.3.1 */
		return "an indirect descriptor is nested or has a successor";
	if (!desc->len || desc->len % sizeof(struct vring_desc))
		return "an indirect table is empty or has a part of a descriptor";
	table->at = guest_at(vq->mem, desc->addr, desc->len);
	table->count = desc->len / sizeof(struct vring_desc);
	table->indirect = true;
	return table->at ? NULL : "an indirect table is not in guest memory";
}

/* NULL, or the rule that the chain breaks. Each turn adds a segment, of which there may be s.size, or enters the one
 * indirect table; so it ends. */
static const char *split_walk(const struct virtqueue *vq, struct desc_chain *chain)
{
	struct desc_table table = { .at = vq->desc, .count = vq->s.size };
	uint32_t i = chain->head;
	for (;;) {
		if (i >= table.count)
			return "a descriptor index is beyond its table";
		const struct desc desc = split_fetch(&table, i);
		const char *fault;
		if (desc.flags & VRING_DESC_F_INDIRECT) {
			fault = split_enter_indirect(vq, &desc, &table);
			i = 0;
		} else {
			fault = virtqueue_add_segment(vq, chain, desc.addr, desc.len, desc.flags & VRING_DESC_F_WRITE);
			i = desc.next;
		}
		if (fault || !(desc.flags & (VRING_DESC_F_NEXT | VRING_DESC_F_INDIRECT)))
			return fault;
	}
}

static bool split_pop(struct virtqueue *vq, struct desc_chain *chain)
{
	if (!split_has_avail(vq))
		return false;
	split_spare_kicks(vq);
	chain->head = ring_load(&split_avail(vq)->ring[vq->s.last_avail & (vq->s.size - 1)], __ATOMIC_RELAXED);
	const char *fault = split_walk(vq, chain);
	if (fault) {
		virtqueue_break(vq, fault);
		return false;
	}
	vq->s.last_avail++;
	return true;
}

static void split_push(struct virtqueue *vq, const struct used_chain *used)
{
	split_used(vq)->ring[vq->s.used & (vq->s.size - 1)] = (struct vring_used_elem){
		.id = htole32(used->head),
		.len = htole32(used->written),
	};
	vq->s.used++;
}

static bool split_publish(struct virtqueue *vq)
{
	uint16_t before = vq->published;
	vq->published = vq->s.used;
	ring_store(&split_used(vq)->idx, vq->s.used, __ATOMIC_RELEASE); /* after the elements and the buffers */
	__atomic_thread_fence(__ATOMIC_SEQ_CST); /* and before the load of what the driver wants */
	if (vq->event_idx)
		return vring_need_event(ring_load(split_used_event(vq), __ATOMIC_RELAXED), vq->s.used, before);
	return !(ring_load(&split_avail(vq)->flags, __ATOMIC_RELAXED) & VRING_AVAIL_F_NO_INTERRUPT);
}

const struct ring_ops split_ring = {
	.map = split_map,
	.state_valid = split_state_valid,
	.pop = split_pop,
	.push = split_push,
	.publish = split_publish,
	.want_kick = split_want_kick,
};
