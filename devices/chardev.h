/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The wire between a serial device and what is at its other end (a console back end, or a test). The back end owns the
 * struct chardev and fills ops; the device that is plugged in fills the client. Neither side ever blocks.
 */
#ifndef CVMM_DEVICES_CHARDEV_H
#define CVMM_DEVICES_CHARDEV_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

struct chardev;

struct chardev_ops {
	/* Take up to @len bytes the guest sent; returns how many. Fewer: full, writable() will be called when there
	 * is room. Any thread, with the device's lock held. */
	size_t (*write)(struct chardev *chr, const uint8_t *buf, size_t len);
	/* The device, which had no room for input, has some again. Any thread, with the device's lock held. */
	void (*accept_input)(struct chardev *chr);
};

/* The device's side. Called on the I/O thread by a back end that holds *lock. */
struct chardev_client {
	pthread_mutex_t *lock;                                       /* the device's; NULL: nothing is plugged in */
	size_t (*input_room)(void *opaque);                          /* bytes that input() would take now */
	void (*input)(void *opaque, const uint8_t *buf, size_t len); /* at most input_room() */
	void (*writable)(void *opaque);                              /* write() would take at least one byte again */
	void *opaque;                                                /* the device; not owned */
};

struct chardev {
	const struct chardev_ops *ops;
	struct chardev_client client;
};

/* Both welcome a NULL @chr: output is dropped. */
static inline size_t chardev_write(struct chardev *chr, const uint8_t *buf, size_t len)
{
	return chr ? chr->ops->write(chr, buf, len) : len;
}

static inline void chardev_accept_input(struct chardev *chr)
{
	if (chr)
		chr->ops->accept_input(chr);
}

#endif
