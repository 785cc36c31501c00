// SPDX-License-Identifier: Apache-2.0
#include "devices/virtio/virtqueue.h"

#include <errno.h>
#include <string.h>

#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>

#include "src/base/log.h"
#include "src/base/util.h"

size_t desc_chain_write(const struct desc_chain *chain, const void *buf, size_t len)
{
	const uint8_t *from = buf;
	size_t done = 0;
	for (unsigned i = chain->readable; i < chain->readable + chain->writable && done < len; i++) {
		size_t step = MIN(len - done, chain->iov[i].iov_len);
		memcpy(chain->iov[i].iov_base, from + done, step);
		done += step;
	}
	return done;
}

static uint16_t order_after(const struct virtqueue *vq, uint16_t order)
{
	return order + 1 < vq->s.size ? order + 1 : 0;
}

bool virtqueue_pop(struct virtqueue *vq, struct desc_chain *chain)
{
	chain->readable = chain->writable = 0;
	chain->readable_len = chain->writable_len = 0;
	if (!vq->running || vq->draining || !vq->ring->pop(vq, chain))
		return false;
	chain->order = vq->next_pop;
	vq->next_pop = order_after(vq, vq->next_pop);
	return true;
}

/* Whose turn it is goes to the ring, and those that waited for it; the others wait. */
static void virtqueue_push_in_order(struct virtqueue *vq, uint16_t order, const struct used_chain *used)
{
	if (order != vq->next_push) {
		vq->held[order] = (struct virtqueue_held){ .used = *used, .done = true };
		return;
	}
	vq->ring->push(vq, used);
	vq->next_push = order_after(vq, order);
	for (struct virtqueue_held *held; (held = &vq->held[vq->next_push])->done;) {
		held->done = false;
		vq->ring->push(vq, &held->used);
		vq->next_push = order_after(vq, vq->next_push);
	}
}

void virtqueue_push(struct virtqueue *vq, const struct desc_chain *chain, uint32_t written)
{
	const struct used_chain used = {
		.head = chain->head,
		.slots = chain->slots,
		.full = written == chain->writable_len,
		.written = written,
	};
	if (vq->running && vq->in_order)
		virtqueue_push_in_order(vq, chain->order, &used);
	else if (vq->running)
		vq->ring->push(vq, &used);
}

bool virtqueue_publish(struct virtqueue *vq)
{
	return vq->running && vq->s.used != vq->published && vq->ring->publish(vq);
}

/* Become ready with the areas and indices in vq->s. */
static const char *virtqueue_map(struct virtqueue *vq, uint64_t features)
{
	vq->indirect = features & (1ull << VIRTIO_RING_F_INDIRECT_DESC);
	vq->event_idx = features & (1ull << VIRTIO_RING_F_EVENT_IDX);
	vq->in_order = features & (1ull << VIRTIO_F_IN_ORDER);
	vq->next_pop = vq->next_push = 0;
	vq->avail_idx = vq->s.last_avail;
	vq->published = vq->s.used;
	vq->kicks_wanted = false;
	vq->broken = false;
	return vq->ring->map(vq);
}

static const struct ring_ops *virtqueue_ring(uint64_t features)
{
	return features & (1ull << VIRTIO_F_RING_PACKED) ? &packed_ring : &split_ring;
}

int virtqueue_enable(struct virtqueue *vq, uint64_t features)
{
	vq->ring = virtqueue_ring(features);
	vq->s.last_avail = vq->s.used = vq->ring->first;
	const char *fault = virtqueue_map(vq, features);
	if (fault) {
		log_guest("%s: queue %u cannot be ready: %s", vq->owner, vq->index, fault);
		return -EINVAL;
	}
	vq->s.ready = 1;
	return 0;
}

void virtqueue_disable(struct virtqueue *vq)
{
	virtqueue_stop(vq);
	vq->s.ready = 0;
}

void virtqueue_start(struct virtqueue *vq)
{
	vq->draining = false;
	vq->running = vq->s.ready && !vq->broken;
	vq->next_pop = vq->next_push = 0; /* no chain is out */
	if (vq->running)
		vq->ring->want_kick(vq);
}

void virtqueue_drain(struct virtqueue *vq)
{
	vq->draining = true;
}

void virtqueue_stop(struct virtqueue *vq)
{
	vq->running = false;
	for (unsigned i = 0; vq->held && i < vq->size_max; i++)
		vq->held[i].done = false; /* of chains that never had their turn */
}

void virtqueue_reset(struct virtqueue *vq)
{
	virtqueue_disable(vq);
	vq->s = (struct virtqueue_state){ 0 };
	vq->broken = false;
}

int virtqueue_make_order(struct virtqueue *vq)
{
	vq->held = calloc(vq->size_max, sizeof(*vq->held));
	return vq->held ? 0 : -ENOMEM;
}

void virtqueue_fini(struct virtqueue *vq)
{
	free(TAKE_PTR(vq->held));
}

int virtqueue_load(struct virtqueue *vq, const struct virtqueue_state *state, uint64_t features, bool live)
{
	virtqueue_reset(vq);
	vq->s = *state;
	if (vq->s.ready > 1)
		return -EINVAL;
	if (!vq->s.ready)
		return 0;
	vq->ring = virtqueue_ring(features);
	if (virtqueue_map(vq, features) || !vq->ring->state_valid(vq))
		return -EINVAL;
	vq->running = live;
	return 0;
}

void virtqueue_break(struct virtqueue *vq, const char *why)
{
	log_guest("%s: queue %u is broken: %s", vq->owner, vq->index, why);
	vq->broken = true;
	vq->running = false;
}

void *virtqueue_area(const struct virtqueue *vq, uint64_t gpa, uint64_t len, uint64_t align)
{
	/* guest pages are host pages: an address aligned within its page is so in both */
	return gpa % align ? NULL : guest_at(vq->mem, gpa, len);
}

const char *virtqueue_add_segment(const struct virtqueue *vq, struct desc_chain *chain, uint64_t gpa, uint32_t len,
                                  bool writable)
{
	unsigned count = chain->readable + chain->writable;
	if (count == vq->s.size) /* 2.6: also how a loop ends */
		return "a chain is longer than the queue";
	if (count == chain->iov_max)
		return "a chain is longer than the device takes";
	if (!writable && chain->writable) /* 2.7.4.2 */
		return "a readable buffer follows a writable one";
	uint64_t total = (uint64_t)chain->readable_len + chain->writable_len + len;
	if (total > UINT32_MAX) /* 2.7.5: at most 2^32 bytes; used lengths cannot say that */
		return "a chain is longer than 4 GiB";
	void *hva = guest_at(vq->mem, gpa, len);
	if (!hva)
		return "a buffer is empty or not in guest memory";
	chain->iov[count] = (struct iovec){ .iov_base = hva, .iov_len = len };
	*(writable ? &chain->writable : &chain->readable) += 1;
	*(writable ? &chain->writable_len : &chain->readable_len) += len;
	return NULL;
}
