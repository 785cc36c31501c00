// SPDX-License-Identifier: Apache-2.0
/*
 * virtio-input device (virtio 1.3, 5.8): a keyboard whose only key is KEY_POWER, which is how a machine without ACPI has
 * a power button that distributions' kernels and init systems honour.
 */
#include "devices/virtio/mmio.h"

#include <errno.h>

#include <linux/input-event-codes.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_input.h>

#include "src/base/log.h"
#include "src/base/util.h"

enum { EVENTQ, STATUSQ, QUEUE_COUNT };
enum {
	QUEUE_SIZE = 64,    /* as many buffers as Linux's driver ever offers */
	BUS_VIRTUAL = 0x06, /* linux/input.h */
	PRESSES_MAX = 16,   /* that wait for a driver; the button was pressed often enough then */
};

/* What a press is for the driver: a press and a release, each closed by a report. */
static const struct {
	uint16_t type, code;
	uint32_t value;
} press[] = {
	{ EV_KEY, KEY_POWER, 1 },
	{ EV_SYN, SYN_REPORT, 0 },
	{ EV_KEY, KEY_POWER, 0 },
	{ EV_SYN, SYN_REPORT, 0 },
};
enum { PRESS_EVENTS = ARRAY_SIZE(press) };

struct power_key_state {
	uint8_t select, subsel;
	uint16_t pending; /* events that no buffer was there for: the last ones of so many presses */
};

struct power_key {
	struct virtio_device vdev;
	struct power_key_state s;
	struct iovec iov[QUEUE_SIZE];
};

static struct power_key *power_key_of(const struct virtio_device *vdev)
{
	return container_of(vdev, struct power_key, vdev);
}

static void power_key_set_string(struct virtio_input_config *config, const char *string)
{
	config->size = (uint8_t)strlen(string);
	memcpy(config->u.string, string, config->size);
}

static void power_key_set_ids(struct virtio_input_config *config)
{
	config->size = sizeof(config->u.ids);
	config->u.ids.bustype = htole16(BUS_VIRTUAL);
	config->u.ids.product = htole16(1);
	config->u.ids.version = htole16(1);
}

static void power_key_set_key(struct virtio_input_config *config)
{
	config->size = KEY_POWER / 8 + 1;
	config->u.bitmap[KEY_POWER / 8] = 1 << (KEY_POWER % 8);
}

/* 5.8.4: what the two selectors choose; size 0 is how the device says that it has nothing there. */
static void power_key_config_read(struct virtio_device *vdev, size_t off, void *buf, size_t len)
{
	const struct power_key *key = power_key_of(vdev);
	struct virtio_input_config config = { .select = key->s.select, .subsel = key->s.subsel };
	switch (key->s.select << 8 | key->s.subsel) {
	case VIRTIO_INPUT_CFG_ID_NAME << 8:
		power_key_set_string(&config, "cvmm power button");
		break;
	case VIRTIO_INPUT_CFG_ID_SERIAL << 8:
		power_key_set_string(&config, "power");
		break;
	case VIRTIO_INPUT_CFG_ID_DEVIDS << 8:
		power_key_set_ids(&config);
		break;
	case VIRTIO_INPUT_CFG_EV_BITS << 8 | EV_KEY:
		power_key_set_key(&config);
		break;
	}
	memcpy(buf, (const uint8_t *)&config + off, len);
}

static void power_key_config_write(struct virtio_device *vdev, size_t off, const void *buf, size_t len)
{
	struct power_key *key = power_key_of(vdev);
	const uint8_t *bytes = buf;
	for (size_t i = 0; i < len; i++) {
		if (off + i == offsetof(struct virtio_input_config, select))
			key->s.select = bytes[i];
		else if (off + i == offsetof(struct virtio_input_config, subsel))
			key->s.subsel = bytes[i];
	}
}

/* Into one buffer of the driver; 5.8.6.1: each holds an event, so one that does not goes back empty. */
static uint32_t power_key_fill(struct power_key *key, const struct desc_chain *chain)
{
	unsigned i = (PRESS_EVENTS - key->s.pending % PRESS_EVENTS) % PRESS_EVENTS;
	struct virtio_input_event event = {
		.type = htole16(press[i].type),
		.code = htole16(press[i].code),
		.value = htole32(press[i].value),
	};
	if (chain->writable_len < sizeof(event)) {
		log_guest("%s: an event buffer is too small", key->vdev.ops->name);
		return 0;
	}
	key->s.pending--;
	return (uint32_t)desc_chain_write(chain, &event, sizeof(event));
}

/* What waits goes out as far as there are buffers; the driver's next ones bring us back. */
static void power_key_send(struct power_key *key)
{
	struct virtqueue *eventq = &key->vdev.queues[EVENTQ];
	struct desc_chain chain = { .iov = key->iov, .iov_max = ARRAY_SIZE(key->iov) };
	while (key->s.pending && virtqueue_pop(eventq, &chain))
		virtqueue_push(eventq, &chain, power_key_fill(key, &chain));
}

/* There is no light to turn on or off: status events are taken and their buffers returned. */
static void power_key_return_status(struct power_key *key)
{
	struct virtqueue *statusq = &key->vdev.queues[STATUSQ];
	struct desc_chain chain = { .iov = key->iov, .iov_max = ARRAY_SIZE(key->iov) };
	while (virtqueue_pop(statusq, &chain))
		virtqueue_push(statusq, &chain, 0);
}

static void power_key_notify(struct virtio_device *vdev, unsigned queue)
{
	struct power_key *key = power_key_of(vdev);
	if (queue == EVENTQ)
		power_key_send(key);
	else
		power_key_return_status(key);
}

/* A press made before the driver came is for the driver: drivers start with a reset. One half delivered is not. */
static void power_key_reset(struct virtio_device *vdev, bool machine)
{
	struct power_key *key = power_key_of(vdev);
	uint16_t pending = machine ? 0 : key->s.pending - key->s.pending % PRESS_EVENTS;
	key->s = (struct power_key_state){ .pending = pending };
}

static void power_key_save(const struct virtio_device *vdev, void *state)
{
	memcpy(state, &power_key_of(vdev)->s, sizeof(struct power_key_state));
}

static int power_key_load(struct virtio_device *vdev, const void *state)
{
	struct power_key_state s;
	memcpy(&s, state, sizeof(s));
	if (s.pending > PRESSES_MAX * PRESS_EVENTS)
		return -EINVAL;
	power_key_of(vdev)->s = s;
	return 0;
}

static void power_key_free(struct virtio_device *vdev)
{
	virtio_fini(vdev);
	free(power_key_of(vdev));
}

static const struct virtio_ops power_key_ops = {
	.name = "virtio-input",
	.id = VIRTIO_ID_INPUT,
	.config_size = sizeof(struct virtio_input_config),
	.config_read = power_key_config_read,
	.config_write = power_key_config_write,
	.notify = power_key_notify,
	.reset = power_key_reset,
	.free = power_key_free,
	.state_size = sizeof(struct power_key_state),
	.save = power_key_save,
	.load = power_key_load,
};

struct device *virtio_power_key_new(struct irq_line irq, struct guest_memory *mem)
{
	const struct virtio_wiring wiring = { .irq = irq, .rings = VIRTIO_RINGS_DEFAULT };
	struct power_key *key = calloc(1, sizeof(*key));
	if (!key)
		return NULL;
	if (virtio_mmio_init(&key->vdev, &power_key_ops, QUEUE_COUNT, QUEUE_SIZE, &wiring, mem) < 0) {
		power_key_free(&key->vdev);
		return NULL;
	}
	return &key->vdev.dev;
}

void virtio_power_key_press(struct device *dev)
{
	struct virtio_device *vdev = container_of(dev, struct virtio_device, dev);
	struct power_key *key = power_key_of(vdev);
	pthread_mutex_lock(&dev->lock);
	if (key->s.pending <= (PRESSES_MAX - 1) * PRESS_EVENTS) {
		key->s.pending += PRESS_EVENTS;
		power_key_send(key);
		virtio_flush(vdev, &vdev->queues[EVENTQ]);
	} else {
		log_debug("%s: a press is lost, %d wait already", vdev->ops->name, PRESSES_MAX);
	}
	pthread_mutex_unlock(&dev->lock);
}
