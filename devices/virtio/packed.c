// SPDX-License-Identifier: Apache-2.0
/*
 * Packed virtqueues (virtio 1.3, 2.8): one ring of descriptors that the driver makes available and we overwrite as used,
 * and a word for each side that says when it wants to be told.
 *
 *   descriptor area: desc[size]             aligned 16, both write
 *   driver area:     off_wrap, flags        aligned 4, the driver writes: when to interrupt
 *   device area:     off_wrap, flags        aligned 4, we write: when to kick
 *
 * A place in the ring is kept as the specification writes it into off_wrap: 15 bits of index, above them the wrap
 * counter, which is 1 on the first way round. Ahead of the used place by no more than the size lies the available one.
 */
#include "devices/virtio/virtqueue.h"

#include <string.h>

#include <linux/virtio_ring.h>

#include "src/base/util.h"

enum {
	WRAP = 1 << VRING_PACKED_EVENT_F_WRAP_CTR,
	AVAIL = 1 << VRING_PACKED_DESC_F_AVAIL,
	USED = 1 << VRING_PACKED_DESC_F_USED,
};

static uint16_t ring_load(const __le16 *at, int order)
{
	return le16toh(__atomic_load_n(at, order));
}

static void ring_store(__le16 *at, uint16_t val, int order)
{
	__atomic_store_n(at, htole16(val), order);
}

/* --- places --- */

static unsigned place_index(uint16_t place)
{
	return place & (WRAP - 1);
}

static uint16_t place_after(const struct virtqueue *vq, uint16_t place, unsigned slots)
{
	unsigned index = place_index(place) + slots;
	if (index < vq->s.size)
		return (uint16_t)(place + slots);
	return (uint16_t)((index - vq->s.size) | (~place & WRAP));
}

/* How many slots @to is ahead of @from; not from 0 to the size: one of them is nonsense. */
static int place_ahead(const struct virtqueue *vq, uint16_t from, uint16_t to)
{
	int lap = (from ^ to) & WRAP ? vq->s.size : 0;
	return (int)place_index(to) - (int)place_index(from) + lap;
}

static struct vring_packed_desc *packed_at(const struct virtqueue *vq, uint16_t place)
{
	return (struct vring_packed_desc *)vq->desc + place_index(place);
}

static const char *packed_map(struct virtqueue *vq)
{
	uint64_t size = vq->s.size;
	if (!size || size > vq->size_max)
		return "its size is zero or too large";
	vq->desc = virtqueue_area(vq, vq->s.desc, sizeof(struct vring_packed_desc) * size, VRING_DESC_ALIGN_SIZE);
	vq->driver = virtqueue_area(vq, vq->s.driver, sizeof(struct vring_packed_desc_event), 4);
	vq->device = virtqueue_area(vq, vq->s.device, sizeof(struct vring_packed_desc_event), 4);
	if (!vq->desc || !vq->driver || !vq->device)
		return "an area is misaligned or not in guest memory";
	vq->batch = 0;
	return NULL;
}

static bool packed_state_valid(const struct virtqueue *vq)
{
	int outstanding = place_ahead(vq, vq->s.used, vq->s.last_avail);
	return place_index(vq->s.used) < vq->s.size && place_index(vq->s.last_avail) < vq->s.size && outstanding >= 0 &&
	       outstanding <= vq->s.size;
}

/* --- from the driver --- */

/* Ask for a kick when the driver goes on from last_avail. Whatever it added before is seen by who looks after this. */
static void packed_want_kick(struct virtqueue *vq)
{
	struct vring_packed_desc_event *event = vq->device;
	if (vq->event_idx) {
		ring_store(&event->off_wrap, vq->s.last_avail, __ATOMIC_RELAXED);
		ring_store(&event->flags, VRING_PACKED_EVENT_FLAG_DESC, __ATOMIC_RELEASE);
	} else {
		ring_store(&event->flags, VRING_PACKED_EVENT_FLAG_ENABLE, __ATOMIC_RELAXED);
	}
	vq->kicks_wanted = true;
	__atomic_thread_fence(__ATOMIC_SEQ_CST); /* the stores above before the load of a descriptor that follows */
}

/* While there is work we come back anyway. With EVENT_IDX the place left behind says so. */
static void packed_spare_kicks(struct virtqueue *vq)
{
	struct vring_packed_desc_event *event = vq->device;
	if (vq->kicks_wanted && !vq->event_idx)
		ring_store(&event->flags, VRING_PACKED_EVENT_FLAG_DISABLE, __ATOMIC_RELAXED);
	vq->kicks_wanted = false;
}

/* 2.8.1: the driver has set AVAIL to its wrap counter and USED to the other value. */
static bool packed_look(const struct virtqueue *vq)
{
	/* acquire: the driver writes the first descriptor's flags last */
	uint16_t flags = ring_load(&packed_at(vq, vq->s.last_avail)->flags, __ATOMIC_ACQUIRE);
	return (flags & (AVAIL | USED)) == (vq->s.last_avail & WRAP ? AVAIL : USED);
}

static bool packed_has_avail(struct virtqueue *vq)
{
	if (packed_look(vq))
		return true;
	packed_want_kick(vq);
	return packed_look(vq);
}

struct desc {
	uint64_t addr;
	uint32_t len;
	uint16_t id, flags;
};

/* Indirect tables have no alignment, hence bytes. */
static struct desc packed_fetch(const void *at)
{
	struct vring_packed_desc copy;
	memcpy(&copy, at, sizeof(copy));
	__atomic_signal_fence(__ATOMIC_SEQ_CST); /* the compiler shall not read it again later */
	return (struct desc){
		.addr = le64toh(copy.addr),
		.len = le32toh(copy.len),
		.id = le16toh(copy.id),
		.flags = le16toh(copy.flags),
	};
}

static const char *packed_add(const struct virtqueue *vq, struct desc_chain *chain, const struct desc *desc)
{
	return virtqueue_add_segment(vq, chain, desc->addr, desc->len, desc->flags & VRING_DESC_F_WRITE);
}

/* 2.8.7: all of the table, one entry after the other; of their flags only WRITE counts. */
static const char *packed_walk_indirect(const struct virtqueue *vq, struct desc_chain *chain, const struct desc *table)
{
	if (!vq->indirect)
		return "an indirect descriptor was not negotiated";
	if (chain->slots || table->flags & VRING_DESC_F_NEXT)
		return "an indirect descriptor is part of a chain";
	if (!table->len || table->len % sizeof(struct vring_packed_desc))
		return "an indirect table is empty or has a part of a descriptor";
	const uint8_t *at = guest_at(vq->mem, table->addr, table->len);
	if (!at)
		return "an indirect table is not in guest memory";
	const char *fault = NULL;
	for (uint32_t off = 0; !fault && off < table->len; off += sizeof(struct vring_packed_desc)) {
		const struct desc desc = packed_fetch(at + off);
		fault = packed_add(vq, chain, &desc); /* of no more than the size of the queue */
	}
	return fault;
}

/* NULL, or the rule that the chain breaks. At most @room slots of the ring are the driver's to offer. */
static const char *packed_walk(const struct virtqueue *vq, struct desc_chain *chain, int room)
{
	uint16_t place = vq->s.last_avail;
	for (chain->slots = 0;; place = place_after(vq, place, 1)) {
		if (chain->slots == room)
			return "more descriptors are outstanding than it has room for";
		const struct desc desc = packed_fetch(packed_at(vq, place));
		bool indirect = desc.flags & VRING_DESC_F_INDIRECT;
		const char *fault = indirect ? packed_walk_indirect(vq, chain, &desc) : packed_add(vq, chain, &desc);
		chain->slots++;
		chain->head = desc.id; /* 2.8.6: the last one has it */
		if (fault || indirect || !(desc.flags & VRING_DESC_F_NEXT))
			return fault;
	}
}

static bool packed_pop(struct virtqueue *vq, struct desc_chain *chain)
{
	if (!packed_has_avail(vq))
		return false;
	packed_spare_kicks(vq);
	/* what was not shown as used is not the driver's yet, so that a loop of pops ends */
	const char *fault = packed_walk(vq, chain, vq->s.size - place_ahead(vq, vq->published, vq->s.last_avail));
	if (fault) {
		virtqueue_break(vq, fault);
		return false;
	}
	vq->s.last_avail = place_after(vq, vq->s.last_avail, chain->slots);
	return true;
}

/* --- to the driver --- */

/* The driver looks at a used descriptor when the one before it is used, so the first one's flags publish them all. */
static void packed_write_used(struct virtqueue *vq, uint16_t place, const struct used_chain *used)
{
	struct vring_packed_desc *desc = packed_at(vq, place);
	uint16_t flags = (place & WRAP ? AVAIL | USED : 0) | (used->written ? VRING_DESC_F_WRITE : 0);
	desc->id = htole16(used->head);
	desc->len = htole32(used->written);
	if (place == vq->published)
		vq->first_flags = flags;
	else
		ring_store(&desc->flags, flags, __ATOMIC_RELAXED);
}

/*
 * 2.8.9 (IN_ORDER): one used descriptor, in the first place, with the id of the last, stands for a batch of chains. The
 * driver takes the others for filled, so a chain that is not ends its batch.
 */
static void packed_close_batch(struct virtqueue *vq)
{
	if (vq->batch)
		packed_write_used(vq, vq->batch_at, &vq->batch_last);
	vq->batch = 0;
}

static void packed_push(struct virtqueue *vq, const struct used_chain *used)
{
	if (!vq->batch++)
		vq->batch_at = vq->s.used;
	vq->batch_last = *used;
	vq->s.used = place_after(vq, vq->s.used, used->slots);
	if (!vq->in_order || vq->every_used || !used->full)
		packed_close_batch(vq);
}

static bool packed_wants_interrupt(const struct virtqueue *vq, uint16_t before)
{
	const struct vring_packed_desc_event *event = vq->driver;
	uint16_t flags = ring_load(&event->flags, __ATOMIC_ACQUIRE);
	if (flags != VRING_PACKED_EVENT_FLAG_DESC || !vq->event_idx)
		return flags != VRING_PACKED_EVENT_FLAG_DISABLE;
	uint16_t at = ring_load(&event->off_wrap, __ATOMIC_RELAXED);
	/* is @at one of the slots from @before to where we are? Counted back from there. */
	int lap = (at ^ vq->s.used) & WRAP ? vq->s.size : 0;
	int back = (int)place_index(vq->s.used) - (int)place_index(at) + lap;
	return back > 0 && back <= place_ahead(vq, before, vq->s.used);
}

static bool packed_publish(struct virtqueue *vq)
{
	uint16_t before = vq->published;
	packed_close_batch(vq);
	vq->published = vq->s.used;
	ring_store(&packed_at(vq, before)->flags, vq->first_flags,
	           __ATOMIC_RELEASE);            /* after the rest and the buffers */
	__atomic_thread_fence(__ATOMIC_SEQ_CST); /* and before the load of what the driver wants */
	return packed_wants_interrupt(vq, before);
}

const struct ring_ops packed_ring = {
	.first = WRAP,
	.map = packed_map,
	.state_valid = packed_state_valid,
	.pop = packed_pop,
	.push = packed_push,
	.publish = packed_publish,
	.want_kick = packed_want_kick,
};
