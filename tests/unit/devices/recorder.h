/* SPDX-License-Identifier: Apache-2.0 */
/* What a device is handed in place of the real thing: an interrupt line, a chardev, a machine, a clock that write down
 * what happens to them; and accesses as the bus makes them. */
#ifndef CVMM_TESTS_DEVICES_RECORDER_H
#define CVMM_TESTS_DEVICES_RECORDER_H

#include "tests/unit/unit.h"

#include <errno.h>
#include <string.h>

#include "devices/chardev.h"
#include "devices/device.h"
#include "src/base/loop.h"
#include "src/base/util.h"

/* ---- interrupts ------------------------------------------------------------------------------------------------- */

struct irq_recorder {
	bool high;
	unsigned calls, rises; /* each call would be a system call */
};

static inline void irq_recorder_set(void *opaque, unsigned irq, bool level)
{
	struct irq_recorder *rec = opaque;
	rec->calls++;
	rec->rises += level && !rec->high;
	rec->high = level;
}

static inline struct irq_line irq_recorder_line(struct irq_recorder *rec)
{
	return (struct irq_line){ .set = irq_recorder_set, .opaque = rec };
}

/* ---- the machine ------------------------------------------------------------------------------------------------ */

struct machine_recorder {
	unsigned resets, power_offs;
};

static inline void machine_recorder_request(void *opaque, enum machine_request request)
{
	struct machine_recorder *rec = opaque;
	*(request == MACHINE_RESET ? &rec->resets : &rec->power_offs) += 1;
}

static inline struct machine_line machine_recorder_line(struct machine_recorder *rec)
{
	return (struct machine_line){ .request = machine_recorder_request, .opaque = rec };
}

/* ---- accesses, with the lock held as by the bus ----------------------------------------------------------------- */

static inline uint64_t dev_read(struct device *dev, uint64_t off, unsigned size)
{
	assert_true(dev->ops->widths & size);
	pthread_mutex_lock(&dev->lock);
	uint64_t val = dev->ops->read(dev, off, size);
	pthread_mutex_unlock(&dev->lock);
	return val & (size == 8 ? UINT64_MAX : (1ull << 8 * size) - 1);
}

static inline void dev_write(struct device *dev, uint64_t off, unsigned size, uint64_t val)
{
	assert_true(dev->ops->widths & size);
	pthread_mutex_lock(&dev->lock);
	dev->ops->write(dev, off, size, val);
	pthread_mutex_unlock(&dev->lock);
}

static inline void dev_reset(struct device *dev)
{
	pthread_mutex_lock(&dev->lock);
	dev->ops->reset(dev);
	pthread_mutex_unlock(&dev->lock);
}

enum { DEV_STATE_MAX = 512 };

static inline void dev_save(struct device *dev, uint8_t state[DEV_STATE_MAX])
{
	assert_true(dev->ops->state_size <= DEV_STATE_MAX);
	pthread_mutex_lock(&dev->lock);
	dev->ops->save(dev, state);
	pthread_mutex_unlock(&dev->lock);
}

static inline int dev_load(struct device *dev, const uint8_t state[DEV_STATE_MAX])
{
	pthread_mutex_lock(&dev->lock);
	int ret = dev->ops->load(dev, state);
	pthread_mutex_unlock(&dev->lock);
	return ret;
}

/* Whatever is done to one byte of a saved state, load takes it or refuses it with the device unchanged; what it took
 * saves as something that loads, and leaves a device that works (@check, may be NULL). */
static inline void dev_check_load_is_safe(struct device *dev, void (*check)(void *opaque), void *opaque)
{
	uint8_t good[DEV_STATE_MAX], bad[DEV_STATE_MAX], after[DEV_STATE_MAX];
	size_t size = dev->ops->state_size;
	unsigned refused = 0;
	dev_save(dev, good);
	assert_int_equal(dev_load(dev, good), 0);
	dev_save(dev, good); /* what a load settles is settled */
	for (size_t at = 0; at < size; at++)
		for (unsigned val = 0; val < 256; val += 17) {
			memcpy(bad, good, size);
			bad[at] = (uint8_t)val;
			int ret = dev_load(dev, bad);
			dev_save(dev, after);
			if (ret) {
				assert_int_equal(ret, -EINVAL);
				assert_memory_equal(after, good, size);
				refused++;
			} else if (check) {
				check(opaque);
			}
			assert_int_equal(dev_load(dev, after), 0);
			assert_int_equal(dev_load(dev, good), 0);
		}
	assert_true(refused);
}

/* ---- the other end of a serial line ----------------------------------------------------------------------------- */

struct chardev_recorder {
	struct chardev chr;
	uint8_t out[4096];
	size_t out_len;
	size_t room; /* how many more bytes write() takes; SIZE_MAX: any number */
	unsigned writes, accepts;
	const uint8_t *in; /* still to be sent to the device */
	size_t in_len;
};

static inline size_t chardev_recorder_write(struct chardev *chr, const uint8_t *buf, size_t len)
{
	struct chardev_recorder *rec = container_of(chr, struct chardev_recorder, chr);
	assert_int_equal(pthread_mutex_trylock(chr->client.lock), EBUSY);
	rec->writes++;
	size_t taken = MIN(len, rec->room);
	assert_true(taken <= sizeof(rec->out) - rec->out_len);
	memcpy(rec->out + rec->out_len, buf, taken);
	rec->out_len += taken;
	if (rec->room != SIZE_MAX)
		rec->room -= taken;
	return taken;
}

static inline void chardev_recorder_accept(struct chardev *chr)
{
	struct chardev_recorder *rec = container_of(chr, struct chardev_recorder, chr);
	assert_int_equal(pthread_mutex_trylock(chr->client.lock), EBUSY);
	rec->accepts++;
}

static inline void chardev_recorder_init(struct chardev_recorder *rec)
{
	static const struct chardev_ops ops = { chardev_recorder_write, chardev_recorder_accept };
	*rec = (struct chardev_recorder){ .chr.ops = &ops, .room = SIZE_MAX };
}

/* There is room for @room more bytes: tell the device, as a back end does. */
static inline void chardev_recorder_drain(struct chardev_recorder *rec, size_t room)
{
	struct chardev_client *client = &rec->chr.client;
	rec->room = room;
	pthread_mutex_lock(client->lock);
	client->writable(client->opaque);
	pthread_mutex_unlock(client->lock);
}

/* Send as much of rec->in as the device has room for. */
static inline size_t chardev_recorder_feed(struct chardev_recorder *rec)
{
	struct chardev_client *client = &rec->chr.client;
	pthread_mutex_lock(client->lock);
	size_t len = MIN(client->input_room(client->opaque), rec->in_len);
	if (len)
		client->input(client->opaque, rec->in, len);
	pthread_mutex_unlock(client->lock);
	rec->in += len;
	rec->in_len -= len;
	return len;
}

static inline size_t chardev_recorder_type(struct chardev_recorder *rec, const char *text)
{
	rec->in = (const uint8_t *)text;
	rec->in_len = strlen(text);
	return chardev_recorder_feed(rec);
}

/* A stream in which every lost, doubled or swapped byte shows. */
static inline void fill_pattern(uint8_t *buf, size_t len)
{
	uint32_t x = 1;
	for (size_t i = 0; i < len; i++) {
		x = x * 1664525u + 1013904223u;
		buf[i] = (uint8_t)(x >> 24);
	}
}

/* ---- time ------------------------------------------------------------------------------------------------------- */

struct fake_clock {
	struct clock clock;
	uint64_t mono_ns, wall_ns;
};

static inline uint64_t fake_clock_monotonic(const struct clock *clock)
{
	return container_of(clock, struct fake_clock, clock)->mono_ns;
}

static inline uint64_t fake_clock_wall(const struct clock *clock)
{
	return container_of(clock, struct fake_clock, clock)->wall_ns;
}

static inline void fake_clock_init(struct fake_clock *fake, uint64_t wall_ns)
{
	*fake = (struct fake_clock){
		.clock = { fake_clock_monotonic, fake_clock_wall },
		.mono_ns = NSEC_PER_SEC,
		.wall_ns = wall_ns,
	};
}

static inline void fake_clock_pass(struct fake_clock *fake, uint64_t ns)
{
	fake->mono_ns += ns;
	fake->wall_ns += ns;
}

#endif
