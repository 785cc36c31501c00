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
 *     which allocates, calls virtio_mmio_init() (mmio.h), gives each queue that is to be served on an I/O thread its loop
 *     (virtio_set_loop()) and returns &vdev.dev. Declare NAME_new() at the end of this file.
 *  2. notify() is called when a queue may have something new. Pop until there is no more, push each chain back once:
 *
 *	struct iovec iov[QUEUE_SIZE];
 *	struct desc_chain chain = { .iov = iov, .iov_max = QUEUE_SIZE };
 *	while (virtqueue_pop(&vdev->queues[queue], &chain))
 *		virtqueue_push(&vdev->queues[queue], &chain, answer(&chain));
 *
 *     The core flushes the queue after notify(). A model that pushes at another time calls virtio_flush() itself, once
 *     for a batch. A queue that does not run pops nothing, so models need not ask for the device's status.
 *     Who holds chains beyond notify() has a quiesce() that lets go of them.
 *  3. Chains are checked, their bytes are not: copy a request's header out of guest memory, then parse the copy.
 *     Write no more than writable_len, and push as written no more than was.
 *  4. Guest-visible state of the model's own goes into one plain struct with save() and load(); that of the queues, the
 *     status and the features is the core's.
 *  5. A line in src/virtio_devices.c makes it from its description; the slot gives address and interrupt.
 *  6. Tests: tests/unit/devices/virtio/ has a driver over plain memory (driver.h); tests/fuzz/ gets a target.
 *
 * Threads. A queue either has a loop (virtio_set_loop()) or not.
 *   without  kicks come by the register; notify() and everything else holds dev->lock, as in every device (device.h).
 *   with     kicks come by an eventfd; notify() runs on the loop's thread and holds no lock, and nobody but that thread
 *            touches the queue between the start of the device and its stop. Completions are pushed and flushed there.
 * Registers stay with vCPUs, under dev->lock. What stops such a queue there (reset, QueueReady, QueueReset, save) has the
 * loop do it and waits, dev->lock held: pops end, the model's quiesce() lets go of every chain, and says so by
 * virtio_quiesced(), at once or from a later callback of that loop. Hence the order of locks: dev->lock, then whatever
 * a loop's callback takes; notify(), quiesce() and what a model does on a loop never take dev->lock. The status, the
 * causes of interrupts and the generation of the configuration are atomic: either side changes them.
 */
#ifndef CVMM_DEVICES_VIRTIO_VIRTIO_H
#define CVMM_DEVICES_VIRTIO_VIRTIO_H

#include <semaphore.h>

#include "devices/device.h"
#include "devices/virtio/virtqueue.h"
#include "src/base/loop.h"
#include "src/base/memory.h"

struct virtio_device;

/* What rings may do: bits of the features register that a machine may have its devices offer. */
#define VIRTIO_RINGS_INDIRECT (1ull << 28)
#define VIRTIO_RINGS_EVENT_IDX (1ull << 29)
#define VIRTIO_RINGS_DEFAULT (VIRTIO_RINGS_INDIRECT | VIRTIO_RINGS_EVENT_IDX)
#define VIRTIO_RINGS_PACKED (1ull << 34)
#define VIRTIO_RINGS_IN_ORDER (1ull << 35)
#define VIRTIO_RINGS_NOTIFICATION_DATA (1ull << 38)
#define VIRTIO_RINGS_RESET (1ull << 40)
#define VIRTIO_RINGS_ALL                                                                                               \
	(VIRTIO_RINGS_DEFAULT | VIRTIO_RINGS_PACKED | VIRTIO_RINGS_IN_ORDER | VIRTIO_RINGS_NOTIFICATION_DATA |         \
	 VIRTIO_RINGS_RESET)

/* Where kicks of a device can be caught before they reach its register; held by value. */
struct kick_line {
	/* From now on (@on) a write of @queue to QueueNotify signals @fd instead of reaching the register, or does so no
	 * longer. 0 or a negative errno: then the register gets them, which works as well, only slower. NULL: as that. */
	int (*watch)(void *opaque, uint64_t where, unsigned queue, int fd, bool on);
	void *opaque;   /* not owned */
	uint64_t where; /* tells the maker which device it is */
};

/* How a device sits in its machine; held by value. */
struct virtio_wiring {
	struct irq_line irq;    /* edge: a pulse for each cause; from any thread */
	struct kick_line kicks; /* of queues that have a loop */
	uint64_t rings;         /* VIRTIO_RINGS_*: what is offered */
	uint16_t queue_size;    /* at most so many entries; 0: as many as the device likes */
};

/* What a model is. Functions that say so may be NULL. */
struct virtio_ops {
	const char *name;  /* for logs */
	uint32_t id;       /* VIRTIO_ID_* */
	uint64_t features; /* those of its own that it offers; the core adds VERSION_1 and what the rings can do */
	uint64_t features_needed; /* those that a driver has to accept, or it may not go on */
	size_t config_size;       /* of its configuration space; beyond, reads are 0 and writes are lost */
	/* [off, off + len) lies in the configuration space. May be NULL where config_size is 0. */
	void (*config_read)(struct virtio_device *vdev, size_t off, void *buf, size_t len);
	/* Ignores what is read-only. May be NULL. */
	void (*config_write)(struct virtio_device *vdev, size_t off, const void *buf, size_t len);
	/* The driver kicked @queue, or the device just became live, or for no reason: look. Where the queue's loop is. */
	void (*notify)(struct virtio_device *vdev, unsigned queue);
	/* Where notify() is called: hand every chain of @queue back, whatever that takes, then call virtio_quiesced(). After
	 * that the queue is not to be touched before the next notify(). Without a loop: before it returns. NULL: the model
	 * holds no chain between calls. */
	void (*quiesce)(struct virtio_device *vdev, unsigned queue);
	/* By the driver; @machine: by the machine's reset. All queues have been quiesced. */
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
	uint32_t status;            /* atomic; VIRTIO_CONFIG_S_* */
	uint32_t interrupt_status;  /* atomic; VIRTIO_MMIO_INT_* */
	uint32_t config_generation; /* atomic; only ever grows, also over a reset */
};
_Static_assert(sizeof(struct virtio_state) == 32, "saved as it is");

/* Who serves a queue. */
struct virtio_service {
	struct virtio_device *vdev;
	struct loop *loop;      /* not owned; NULL: whoever writes the register */
	struct loop_fd kick;    /* its eventfd is owned */
	bool started, watched;  /* under dev->lock: between start and stop; kicks reach the eventfd by themselves */
	bool paused;            /* under dev->lock: stopped only while the state is saved or loaded */
	bool serving, draining; /* the loop's (or under dev->lock): notify() may be called; quiesce() was */
	sem_t quiesced;         /* up when draining has ended */
	pthread_t stopper;      /* who waits for that */
	bool turn;              /* and turns the loop, which has no thread of its own */
};

/* Embedded in the model's struct. */
struct virtio_device {
	struct device dev;
	struct device_ops device_ops; /* what dev.ops points to: the transport's functions, this device's sizes */
	const struct virtio_ops *ops;
	struct virtio_wiring wiring;
	struct guest_memory *mem;        /* not owned */
	uint64_t features;               /* offered */
	struct virtqueue *queues;        /* owned array */
	struct virtio_service *services; /* owned array: one a queue */
	unsigned queue_count;
	struct virtio_state s;
};

/* --- for models --- */

void virtio_fini(struct virtio_device *vdev);
/* Serve @queue on @loop, once and before the device is used. 0 or a negative errno. */
int virtio_set_loop(struct virtio_device *vdev, unsigned queue, struct loop *loop);
/* Where the queue is served: go on as if there had been a kick. Does nothing while the queue is stopped: what a model's
 * timer should call. */
void virtio_look(struct virtio_device *vdev, unsigned queue);
/* The same from any thread, or to let others have a turn first. Only for queues with a loop. */
void virtio_look_later(struct virtio_device *vdev, unsigned queue);
/* The answer to quiesce(). */
void virtio_quiesced(struct virtio_device *vdev, unsigned queue);
/* Show the driver what was pushed and interrupt it if it wants that; tell it if the queue broke. */
void virtio_flush(struct virtio_device *vdev, struct virtqueue *vq);
/* The configuration space changed by itself. Any thread. */
void virtio_config_changed(struct virtio_device *vdev);

/* --- for transports --- */

/* A device without registers. 0 or -ENOMEM; virtio_fini() is welcome after either. */
int virtio_init(struct virtio_device *vdev, const struct virtio_ops *ops, unsigned queue_count, uint16_t queue_size,
                const struct virtio_wiring *wiring, struct guest_memory *mem);
/* The 32-bit windows on the features that the selectors choose. */
uint32_t virtio_read_features(const struct virtio_device *vdev);
void virtio_write_features(struct virtio_device *vdev, uint32_t val);
/* Writes of the status register; 0 resets. */
void virtio_set_status(struct virtio_device *vdev, uint32_t val);
/* The queue that queue_sel names, or NULL. */
struct virtqueue *virtio_selected_queue(const struct virtio_device *vdev);
void virtio_set_queue_ready(struct virtio_device *vdev, uint32_t val);
/* QueueReset = @val (virtio 1.3, 2.6.1). */
void virtio_reset_queue(struct virtio_device *vdev, uint32_t val);
/* QueueNotify = @val. */
void virtio_kick(struct virtio_device *vdev, uint32_t val);
void virtio_ack_interrupt(struct virtio_device *vdev, uint32_t causes);
uint64_t virtio_read_config(struct virtio_device *vdev, uint64_t off, unsigned size);
void virtio_write_config(struct virtio_device *vdev, uint64_t off, unsigned size, uint64_t val);

/* --- the devices --- */

enum { VIRTIO_MMIO_WINDOW = 0x200 };

/* virtio-input keyboard with one key, KEY_POWER (virtio 1.3, 5.8). @irq: edge. @mem: not owned. NULL: no memory. */
struct device *virtio_power_key_new(struct irq_line irq, struct guest_memory *mem);
/* Press and release the key: any thread; takes the device's lock. */
void virtio_power_key_press(struct device *dev);

/* Entropy (virtio 1.3, 5.4) from the host's getrandom(), at most @rate bytes a second (0: as fast as it goes), served on
 * @loop. @mem, @loop: not owned. NULL: no memory or no descriptor. */
struct device *virtio_rng_new(const struct virtio_wiring *wiring, struct guest_memory *mem, struct loop *loop,
                              uint64_t rate);

struct block;

enum { VIRTIO_BLK_QUEUES_MAX = 64 };

struct virtio_blk_options {
	const char *serial;        /* at most 20 bytes of it; may be NULL */
	struct loop *const *loops; /* not owned; queue i is served on loops[i % loop_count] */
	unsigned loop_count;
	unsigned queues;           /* 0: one */
	uint64_t iops, bw;         /* requests, bytes a second; 0: no limit */
	uint64_t burst_ms;         /* what these may run ahead after a rest; 0: 100 */
	const struct clock *clock; /* of the loops; not owned; NULL: the host's */
	bool borrow;               /* @block stays the caller's: a machine that is made anew keeps its disks open */
};

/* A disk (virtio 1.3, 5.2). @block: taken over, unless borrowed. @mem: not owned. NULL: no memory or no descriptor, @block is untouched. */
struct device *virtio_blk_new(const struct virtio_wiring *wiring, struct guest_memory *mem, struct block *block,
                              const struct virtio_blk_options *options);
/* block_resize() of its disk, and the driver is told. Any thread but the loops'; takes the device's lock. */
int virtio_blk_resize(struct device *dev, uint64_t size, struct cvmm_error *err);

#endif
