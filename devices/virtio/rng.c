// SPDX-License-Identifier: Apache-2.0
/*
 * virtio-rng (virtio 1.3, 5.4): the host's getrandom(), straight into the driver's buffers. A buffer may come back with
 * fewer bytes than it holds (5.4.6.1: at least one), so none keeps the loop for long.
 *
 * The rate is a bucket that a timer fills: who finds it empty leaves the buffers in the ring until then. It is the
 * machine's, not the driver's: a reset fills nothing.
 */
#include "devices/virtio/mmio.h"

#include <errno.h>
#include <sys/random.h>

#include <linux/virtio_ids.h>

#include "src/base/log.h"
#include "src/base/util.h"

enum {
	QUEUE_SIZE = 64,
	BYTES_PER_BUFFER = 16 * 1024,
	BYTES_PER_LOOK = 64 * 1024, /* then the loop's other users have their turn */
	FILLS_PER_SECOND = 10,
};

struct rng {
	struct virtio_device vdev;
	uint64_t bucket, bucket_max; /* bytes; bucket_max 0: no limit */
	uint64_t fill_ns;            /* how long bucket_max takes at the rate */
	struct loop_timer fill;
	struct iovec iov[QUEUE_SIZE];
};

static struct rng *rng_of(const struct virtio_device *vdev)
{
	return container_of(vdev, struct rng, vdev);
}

/* How many of @want bytes may be had now. */
static size_t rng_allowance(const struct rng *rng, size_t want)
{
	return rng->bucket_max ? MIN(want, rng->bucket) : want;
}

static void rng_take(struct rng *rng, size_t bytes)
{
	if (!rng->bucket_max || !bytes)
		return;
	if (rng->bucket == rng->bucket_max)
		loop_timer_set(&rng->fill, rng->fill_ns);
	rng->bucket -= bytes;
}

static void rng_filled(struct loop_timer *timer)
{
	struct rng *rng = container_of(timer, struct rng, fill);
	rng->bucket = rng->bucket_max;
	virtio_look(&rng->vdev, 0);
}

/* Up to @most bytes into the writable part; returns how many. */
static size_t rng_fill_chain(const struct desc_chain *chain, size_t most)
{
	size_t done = 0;
	for (unsigned i = chain->readable; i < chain->readable + chain->writable && done < most; i++) {
		size_t want = MIN(most - done, chain->iov[i].iov_len);
		ssize_t got = getrandom(chain->iov[i].iov_base, want, 0);
		if (got <= 0)
			break;
		done += (size_t)got;
		if ((size_t)got < want)
			break;
	}
	return done;
}

static void rng_notify(struct virtio_device *vdev, unsigned queue)
{
	struct rng *rng = rng_of(vdev);
	struct virtqueue *vq = &vdev->queues[queue];
	struct desc_chain chain = { .iov = rng->iov, .iov_max = ARRAY_SIZE(rng->iov) };
	size_t done = 0;
	while (done < BYTES_PER_LOOK && rng_allowance(rng, 1) && virtqueue_pop(vq, &chain)) {
		size_t got = rng_fill_chain(&chain, rng_allowance(rng, MIN(chain.writable_len, BYTES_PER_BUFFER)));
		rng_take(rng, got);
		virtqueue_push(vq, &chain, (uint32_t)got);
		done += got;
	}
	if (done >= BYTES_PER_LOOK)
		virtio_look_later(vdev, queue);
}

static void rng_reset(struct virtio_device *vdev, bool machine)
{
}

/* On the timer's loop: it does not run at the same time, or after. */
static void rng_cancel(void *opaque)
{
	struct rng *rng = opaque;
	loop_timer_cancel(&rng->fill);
}

static void rng_free(struct virtio_device *vdev)
{
	struct rng *rng = rng_of(vdev);
	if (rng->fill.loop)
		loop_run_sync(rng->fill.loop, rng_cancel, rng);
	virtio_fini(vdev);
	free(rng);
}

static const struct virtio_ops rng_ops = {
	.name = "virtio-rng",
	.id = VIRTIO_ID_RNG,
	.notify = rng_notify,
	.reset = rng_reset,
	.free = rng_free,
};

/* A tenth of a second's bytes at a time; at least one. */
static void rng_set_rate(struct rng *rng, uint64_t rate)
{
	if (!rate)
		return;
	rng->bucket = rng->bucket_max = MAX(rate / FILLS_PER_SECOND, 1);
	rng->fill_ns = rate < FILLS_PER_SECOND ? NSEC_PER_SEC / rate : NSEC_PER_SEC / FILLS_PER_SECOND;
}

struct device *virtio_rng_new(const struct virtio_wiring *wiring, struct guest_memory *mem, struct loop *loop,
                              uint64_t rate)
{
	struct rng *rng = calloc(1, sizeof(*rng));
	if (!rng)
		return NULL;
	int ret = virtio_mmio_init(&rng->vdev, &rng_ops, 1, QUEUE_SIZE, wiring, mem);
	if (!ret)
		ret = virtio_set_loop(&rng->vdev, 0, loop);
	if (ret < 0) {
		rng_free(&rng->vdev);
		return NULL;
	}
	loop_timer_init(&rng->fill, loop, NULL, rng_filled);
	rng_set_rate(rng, rate);
	return &rng->vdev.dev;
}
