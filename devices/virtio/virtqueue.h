/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One virtqueue, whatever the form of its ring (virtio 1.3, 2.6). A ring form (split.c) is a struct ring_ops; models and
 * transports call the functions below and never look into a ring. Everything in the ring is the driver's to change at any
 * time: it is read once, checked, and used from the copy. What breaks a rule breaks the queue: it stops, and the next
 * virtio_flush() sets DEVICE_NEEDS_RESET.
 */
#ifndef CVMM_DEVICES_VIRTIO_VIRTQUEUE_H
#define CVMM_DEVICES_VIRTIO_VIRTQUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "src/base/memory.h"

enum { VIRTQUEUE_SIZE_MAX = 32768 };

/* A buffer that the driver made available: first what we may read, then what we may write. Lies in guest memory, so its
 * bytes may change under us: parse from a copy. */
struct desc_chain {
	struct iovec *iov;                   /* the caller's, set before pop(); holds iov_max segments */
	unsigned iov_max;                    /* not less than the queue's size, or a longer chain breaks the queue */
	unsigned readable;                   /* iov[0 .. readable) */
	unsigned writable;                   /* iov[readable .. readable + writable) */
	uint32_t readable_len, writable_len; /* bytes; their sum fits 32 bits */
	/* for push() alone: */
	uint16_t head;  /* the driver's name of it, which a hostile driver gives twice, so it indexes nothing of ours */
	uint16_t slots; /* packed: of the ring */
	uint16_t order; /* IN_ORDER: popped as which, counted round the queue's size */
};

/* Copy @len bytes to the start of the writable part; returns how many found room. */
size_t desc_chain_write(const struct desc_chain *chain, const void *buf, size_t len);

/* What the guest can see of a queue, and so what is saved. */
struct virtqueue_state {
	uint64_t desc, driver, device; /* guest addresses of the three areas */
	uint16_t size;
	uint16_t last_avail; /* where the next chain is popped; split: free-running; packed: see packed.c */
	uint16_t used;       /* where the next used element is written; likewise */
	uint16_t ready;      /* 0 or 1: QueueReady */
};
_Static_assert(sizeof(struct virtqueue_state) == 32, "saved as it is");

struct virtqueue;

/* What the driver is told of a chain that goes back. */
struct used_chain {
	uint16_t head, slots;
	bool full; /* every writable byte is written */
	uint32_t written;
};

/* IN_ORDER: a chain that was done before its turn. */
struct virtqueue_held {
	struct used_chain used;
	bool done;
};

/* A form of ring. All but the first three are used only while the queue runs. */
struct ring_ops {
	uint16_t first; /* last_avail and used of a new queue */
	/* Check size and addresses, and find the areas in host memory. NULL, or what is wrong with them. */
	const char *(*map)(struct virtqueue *vq);
	/* After map(): do last_avail and used agree? */
	bool (*state_valid)(const struct virtqueue *vq);
	bool (*pop)(struct virtqueue *vq, struct desc_chain *chain);
	void (*push)(struct virtqueue *vq, const struct used_chain *used);
	bool (*publish)(struct virtqueue *vq);
	void (*want_kick)(struct virtqueue *vq);
};
extern const struct ring_ops split_ring, packed_ring;

struct virtqueue {
	struct virtqueue_state s;
	const struct ring_ops *ring;    /* chosen by the negotiated features when the queue becomes ready */
	const struct guest_memory *mem; /* not owned */
	const char *owner;              /* the device's name, for logs; not owned */
	unsigned index;
	uint16_t size_max;
	bool indirect, event_idx, in_order; /* negotiated */
	bool every_used; /* packed and IN_ORDER: a used descriptor for every chain, although one a batch would do */
	bool running;    /* ready, and the device live: the ring may be touched */
	bool draining;   /* nothing is popped any more */
	bool broken;     /* the driver broke a rule; virtio_flush() tells it */

	/* Beside the state, and rebuilt from it. */
	void *desc, *driver, *device; /* host addresses of the areas, while ready */
	uint16_t avail_idx;   /* split: how far the driver had got when last looked at; never before last_avail */
	uint16_t published;   /* the value of used that the driver was last told */
	uint16_t first_flags; /* packed: of the used descriptor at @published, written last */
	unsigned batch;       /* packed: chains since batch_at that no used descriptor is written for */
	uint16_t batch_at;
	struct used_chain batch_last;
	bool kicks_wanted;            /* as far as we know; only ever spares a store */
	struct virtqueue_held *held;  /* owned, size_max of them by order; NULL unless IN_ORDER is offered */
	uint16_t next_pop, next_push; /* orders */
};

/* --- for models --- */

/*
 * The next available chain. False: there is none, and the driver will kick when there is; or the queue does not run.
 * Kicks are only ensured by a false: who stops before it comes back by himself. A loop up to the false ends: a queue
 * holds at most its size of chains that were not flushed back.
 */
bool virtqueue_pop(struct virtqueue *vq, struct desc_chain *chain);
/* Hand a popped chain back, @written bytes of its writable part being filled; the driver sees it after virtio_flush(). */
void virtqueue_push(struct virtqueue *vq, const struct desc_chain *chain, uint32_t written);

/* --- for the device core (virtio.c) --- */

/* QueueReady = 1. -EINVAL: size or addresses do not hold, the queue is not ready. */
int virtqueue_enable(struct virtqueue *vq, uint64_t features);
void virtqueue_disable(struct virtqueue *vq);
/* The device became live: run if ready. */
void virtqueue_start(struct virtqueue *vq);
/* Pop no more; pushes are still taken. */
void virtqueue_drain(struct virtqueue *vq);
void virtqueue_stop(struct virtqueue *vq);
void virtqueue_reset(struct virtqueue *vq);
/* What IN_ORDER needs, made in advance. 0 or -ENOMEM. */
int virtqueue_make_order(struct virtqueue *vq);
void virtqueue_fini(struct virtqueue *vq);
/* Show the driver what was pushed. Returns whether it wants an interrupt for that. */
bool virtqueue_publish(struct virtqueue *vq);
/* Take a saved state; @live: run if it is ready. -EINVAL: nonsense, and then @vq is in an undefined state. */
int virtqueue_load(struct virtqueue *vq, const struct virtqueue_state *state, uint64_t features, bool live);

/* --- for ring forms --- */

/* The driver broke a rule: stop for good. */
void virtqueue_break(struct virtqueue *vq, const char *why);
/* An area of the ring in host memory, or NULL: misaligned, or not in guest memory. */
void *virtqueue_area(const struct virtqueue *vq, uint64_t gpa, uint64_t len, uint64_t align);
/* Append a segment to a chain that is being popped. NULL, or the rule that it breaks. Admits at most s.size segments. */
const char *virtqueue_add_segment(const struct virtqueue *vq, struct desc_chain *chain, uint64_t gpa, uint32_t len,
                                  bool writable);

#endif
