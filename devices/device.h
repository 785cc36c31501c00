/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a device is, whole. A device sees offsets in its window, never addresses; it is handed its interrupt, guest
 * memory, loop and clock when made. The bus (on vCPU threads) and the loop (on the I/O thread) hold dev->lock around
 * every call into it, so a model is written as if single-threaded: it takes no lock, makes no thread, never sleeps.
 */
#ifndef CVMM_DEVICES_DEVICE_H
#define CVMM_DEVICES_DEVICE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* An interrupt line, held by value. A line without set() is not connected. */
struct irq_line {
	void (*set)(void *opaque, unsigned irq, bool level);
	void *opaque; /* not owned */
	unsigned irq;
};

static inline void irq_set(const struct irq_line *line, bool level)
{
	if (line->set)
		line->set(line->opaque, line->irq, level);
}

/* For edge-triggered lines. */
static inline void irq_pulse(const struct irq_line *line)
{
	irq_set(line, true);
	irq_set(line, false);
}

/* A level-triggered line with the level it has. Every irq_set() is a system call, so only changes are passed on. */
struct irq_level {
	struct irq_line line;
	bool high;
};

static inline void irq_level_set(struct irq_level *irq, bool high)
{
	if (irq->high == high)
		return;
	irq->high = high;
	irq_set(&irq->line, high);
}

/* The same after a load, when what is at the line's other end may not have the level that we remember. */
static inline void irq_level_sync(struct irq_level *irq, bool high)
{
	irq->high = high;
	irq_set(&irq->line, high);
}

/* What a device may ask of the machine it sits in; held by value. Called with dev->lock held, from any thread. */
enum machine_request { MACHINE_POWER_OFF, MACHINE_RESET };
struct machine_line {
	void (*request)(void *opaque, enum machine_request request);
	void *opaque; /* not owned */
};

static inline void machine_ask(const struct machine_line *line, enum machine_request request)
{
	if (line->request)
		line->request(line->opaque, request);
}

struct device;

struct device_ops {
	const char *name; /* for logs */
	unsigned widths;  /* admitted access sizes in bytes, ORed: 1 | 2 | 4 | 8 */
	/* The bus has checked that off + size lies in the window and that size is one of widths. Reads return the
	 * value in the low bytes; higher bits are ignored. */
	uint64_t (*read)(struct device *dev, uint64_t off, unsigned size);
	void (*write)(struct device *dev, uint64_t off, unsigned size, uint64_t val);
	void (*reset)(struct device *dev); /* to the state after power-on; lines fall, timers stop */
	/* Before I/O threads end, and then free() follows: finish what is under way on them. May be NULL. */
	void (*finish)(struct device *dev);
	void (*free)(struct device *dev);
	/* Guest-visible state, one plain struct of state_size bytes: save copies it out; load checks it, takes it and
	 * brings lines and timers into agreement. -EINVAL: nonsense, the device is unchanged. */
	size_t state_size;
	void (*save)(const struct device *dev, void *state);
	int (*load)(struct device *dev, const void *state);
};

struct device {
	const struct device_ops *ops;
	pthread_mutex_t lock;
};

static inline void device_init(struct device *dev, const struct device_ops *ops)
{
	dev->ops = ops;
	pthread_mutex_init(&dev->lock, NULL);
}

static inline void device_fini(struct device *dev)
{
	pthread_mutex_destroy(&dev->lock);
}

/* NULL is welcome. */
static inline void device_free(struct device *dev)
{
	if (dev)
		dev->ops->free(dev);
}

#endif
