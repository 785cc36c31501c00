/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Virtio 1.3 devices. Three layers, each blind to what is beyond the next:
 *
 *   a model      input.c ...   what the device does: struct virtio_ops
 *   the core     virtio.c      status, negotiation, the set of queues, interrupt causes, reset, save and load
 *   a transport  mmio.c        registers -> the core
 *
 * How to write a new device:
 *  1. devices/virtio/NAME.c: a struct with a struct virtio_device in it, a const struct virtio_ops, and NAME_new(),
 *     which allocates, calls virtio_mmio_init() (mmio.h) and returns &vdev.dev. Declare NAME_new() at the end of this file.
 *  2. notify() is called when a queue may have something new. Pop until there is no more, push each chain back once:
 *
 *	struct iovec iov[QUEUE_SIZE];
 *	struct desc_chain chain = { .iov = iov, .iov_max = QUEUE_SIZE };
 *	while (virtqueue_pop(&vdev->queues[queue], &chain))
 *		virtqueue_push(&vdev->queues[queue], &chain, answer(&chain));
 *
 *     The core flushes the queue after notify(). A model that pushes at another time calls virtio_flush() itself, once
 *     for a batch. A queue that does not run pops nothing, so models need not ask for the device's status.
 *  3. Chains are checked, their bytes are not: copy a request's header out of guest memory, then parse the copy.
 *     Write no more than writable_len, and push as written no more than was.
 *  4. Guest-visible state of the model's own goes into one plain struct with save() and load(); that of the queues, the
 *     status and the features is the core's.
 *  5. An address and an interrupt: one line in the architecture's table of devices.
 *  6. Tests: tests/unit/devices/virtio/ has a driver over plain memory (driver.h); tests/fuzz/ gets a target.
 *
 * Locking is that of every device (device.h): all calls hold dev->lock.
 */
#ifndef CVMM_DEVICES_VIRTIO_VIRTIO_H
#define CVMM_DEVICES_VIRTIO_VIRTIO_H

#include "devices/device.h"
#include "devices/virtio/virtqueue.h"
#include "src/base/memory.h"

struct virtio_device;

/* What a model is. Functions that say so may be NULL. */
struct virtio_ops {
	const char *name;   /* for logs */
	uint32_t id;        /* VIRTIO_ID_* */
	uint64_t features;  /* those of its own that it offers; the core adds VERSION_1 and what the rings can do */
	size_t config_size; /* of its configuration space; beyond, reads are 0 and writes are lost */
	/* [off, off + len) lies in the configuration space. May be NULL where config_size is 0. */
	void (*config_read)(struct virtio_device *vdev, size_t off, void *buf, size_t len);
	/* Ignores what is read-only. May be NULL. */
	void (*config_write)(struct virtio_device *vdev, size_t off, const void *buf, size_t len);
	/* The driver kicked @queue, or the device just became live, or for no reason: look. */
	void (*notify)(struct virtio_device *vdev, unsigned queue);
	/* By the driver; @machine: by the machine's reset. No chain is held when it returns. */
	void (*reset)(struct virtio_device *vdev, bool machine);
	void (*free)(struct virtio_device *vdev); /* calls virtio_fini() */
	/* The model's own state, as in struct device_ops. May be NULL where state_size is 0. */
	size_t state_size;
	void (*save)(const struct virtio_device *vdev, void *state);
	int (*load)(struct virtio_device *vdev, const void *state);
};

/* Saved as it is, followed by the queues' states and the model's. */
struct virtio_state {
	uint64_t driver_features;
	uint32_t device_features_sel, driver_features_sel, queue_sel;
	uint32_t status;            /* VIRTIO_CONFIG_S_* */
	uint32_t interrupt_status;  /* VIRTIO_MMIO_INT_*; the line is high while it is not 0 */
	uint32_t config_generation; /* only ever grows, also over a reset */
};
_Static_assert(sizeof(struct virtio_state) == 32, "saved as it is");

/* Embedded in the model's struct. */
struct virtio_device {
	struct device dev;
	struct device_ops device_ops; /* what dev.ops points to: the transport's functions, this device's sizes */
	const struct virtio_ops *ops;
	struct irq_level irq;
	struct guest_memory *mem; /* not owned */
	uint64_t features;        /* offered */
	struct virtqueue *queues; /* owned array */
	unsigned queue_count;
	struct virtio_state s;
};

/* --- for models --- */

void virtio_fini(struct virtio_device *vdev);
/* Show the driver what was pushed and interrupt it if it wants that; tell it if the queue broke. */
void virtio_flush(struct virtio_device *vdev, struct virtqueue *vq);
/* The configuration space changed by itself. */
void virtio_config_changed(struct virtio_device *vdev);

/* --- for transports --- */

/* A device without registers. 0 or -ENOMEM; virtio_fini() is welcome after either. */
int virtio_init(struct virtio_device *vdev, const struct virtio_ops *ops, unsigned queue_count, uint16_t queue_size,
                struct irq_line irq, struct guest_memory *mem);
/* The 32-bit windows on the features that the selectors choose. */
uint32_t virtio_read_features(const struct virtio_device *vdev);
void virtio_write_features(struct virtio_device *vdev, uint32_t val);
/* Writes of the status register; 0 resets. */
void virtio_set_status(struct virtio_device *vdev, uint32_t val);
/* The queue that queue_sel names, or NULL. */
struct virtqueue *virtio_selected_queue(const struct virtio_device *vdev);
void virtio_set_queue_ready(struct virtio_device *vdev, uint32_t val);
void virtio_kick(struct virtio_device *vdev, uint32_t queue);
void virtio_ack_interrupt(struct virtio_device *vdev, uint32_t causes);
uint64_t virtio_read_config(struct virtio_device *vdev, uint64_t off, unsigned size);
void virtio_write_config(struct virtio_device *vdev, uint64_t off, unsigned size, uint64_t val);

/* --- the devices --- */

enum { VIRTIO_MMIO_WINDOW = 0x200 };

/* virtio-input keyboard with one key, KEY_POWER (virtio 1.3, 5.8). @irq: level. @mem: not owned. NULL: no memory. */
struct device *virtio_power_key_new(struct irq_line irq, struct guest_memory *mem);
/* Press and release the key: any thread; takes the device's lock. */
void virtio_power_key_press(struct device *dev);

#endif
