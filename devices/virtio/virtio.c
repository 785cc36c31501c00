// SPDX-License-Identifier: Apache-2.0
/* What every virtio device does alike, on any transport (virtio 1.3, 2.1 to 2.5 and 3.1). */
#include "devices/virtio/virtio.h"

#include <errno.h>

#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>

#include "src/base/log.h"
#include "src/base/util.h"

enum {
	S_ACKNOWLEDGE = VIRTIO_CONFIG_S_ACKNOWLEDGE,
	S_DRIVER = VIRTIO_CONFIG_S_DRIVER,
	S_FEATURES_OK = VIRTIO_CONFIG_S_FEATURES_OK,
	S_DRIVER_OK = VIRTIO_CONFIG_S_DRIVER_OK,
	S_FAILED = VIRTIO_CONFIG_S_FAILED,
	S_NEEDS_RESET = VIRTIO_CONFIG_S_NEEDS_RESET, /* ours to set; the others are the driver's */
	S_STEPS = S_ACKNOWLEDGE | S_DRIVER | S_FEATURES_OK | S_DRIVER_OK,
};

static const uint64_t core_features =
	1ull << VIRTIO_F_VERSION_1 | 1ull << VIRTIO_RING_F_INDIRECT_DESC | 1ull << VIRTIO_RING_F_EVENT_IDX;

static void virtio_free(struct device *dev)
{
	struct virtio_device *vdev = container_of(dev, struct virtio_device, dev);
	vdev->ops->free(vdev);
}

void virtio_fini(struct virtio_device *vdev)
{
	free(TAKE_PTR(vdev->queues));
	device_fini(&vdev->dev);
}

/* --- interrupts --- */

static void virtio_update_irq(struct virtio_device *vdev)
{
	irq_level_set(&vdev->irq, vdev->s.interrupt_status != 0);
}

static void virtio_interrupt(struct virtio_device *vdev, uint32_t cause)
{
	vdev->s.interrupt_status |= cause;
	virtio_update_irq(vdev);
}

void virtio_ack_interrupt(struct virtio_device *vdev, uint32_t causes)
{
	vdev->s.interrupt_status &= ~causes;
	virtio_update_irq(vdev);
}

void virtio_config_changed(struct virtio_device *vdev)
{
	vdev->s.config_generation++;
	if (vdev->s.status & S_DRIVER_OK)
		virtio_interrupt(vdev, VIRTIO_MMIO_INT_CONFIG);
}

/* --- status --- */

static bool status_is_live(uint32_t status)
{
	return (status & (S_DRIVER_OK | S_NEEDS_RESET | S_FAILED)) == S_DRIVER_OK;
}

/* Has the driver come this far without leaving out a step (3.1.1)? */
static bool status_in_order(uint32_t status)
{
	switch (status & S_STEPS) {
	case 0:
	case S_ACKNOWLEDGE:
	case S_ACKNOWLEDGE | S_DRIVER:
	case S_ACKNOWLEDGE | S_DRIVER | S_FEATURES_OK:
	case S_STEPS:
		return true;
	}
	return false;
}

static bool features_acceptable(const struct virtio_device *vdev, uint64_t features)
{
	return !(features & ~vdev->features) && features & (1ull << VIRTIO_F_VERSION_1);
}

static void virtio_stop(struct virtio_device *vdev)
{
	for (unsigned i = 0; i < vdev->queue_count; i++)
		virtqueue_stop(&vdev->queues[i]);
}

/* DRIVER_OK. Some drivers kick before it: look at every queue once. */
static void virtio_start(struct virtio_device *vdev)
{
	for (unsigned i = 0; i < vdev->queue_count; i++)
		virtqueue_start(&vdev->queues[i]);
	for (unsigned i = 0; i < vdev->queue_count; i++)
		virtio_kick(vdev, i);
}

static void virtio_reset_by(struct virtio_device *vdev, bool machine)
{
	virtio_stop(vdev);
	vdev->ops->reset(vdev, machine);
	for (unsigned i = 0; i < vdev->queue_count; i++)
		virtqueue_reset(&vdev->queues[i]);
	vdev->s = (struct virtio_state){ .config_generation = vdev->s.config_generation };
	virtio_update_irq(vdev);
}

static void virtio_reset(struct device *dev)
{
	virtio_reset_by(container_of(dev, struct virtio_device, dev), true);
}

void virtio_set_status(struct virtio_device *vdev, uint32_t val)
{
	if (!val) {
		virtio_reset_by(vdev, false);
		return;
	}
	uint32_t before = vdev->s.status;
	uint32_t now = (val & (S_STEPS | S_FAILED)) | (before & S_NEEDS_RESET);
	if (before & ~now || !status_in_order(now)) { /* 2.1.1: bits are set in order and cleared by a reset only */
		log_guest("%s: status 0x%x does not follow 0x%x", vdev->ops->name, val, before);
		return;
	}
	if (now & ~before & S_FEATURES_OK && !features_acceptable(vdev, vdev->s.driver_features)) {
		log_guest("%s: features 0x%llx are not acceptable", vdev->ops->name,
		          (unsigned long long)vdev->s.driver_features);
		now &= ~(uint32_t)(S_FEATURES_OK | S_DRIVER_OK);
	}
	vdev->s.status = now;
	if (!status_is_live(now))
		virtio_stop(vdev);
	else if (!status_is_live(before))
		virtio_start(vdev);
}

/* 2.1.2: a driver that runs is told, once. */
static void virtio_need_reset(struct virtio_device *vdev)
{
	virtio_stop(vdev);
	if (vdev->s.status & S_NEEDS_RESET)
		return;
	vdev->s.status |= S_NEEDS_RESET;
	virtio_config_changed(vdev);
}

/* --- features --- */

uint32_t virtio_read_features(const struct virtio_device *vdev)
{
	uint32_t sel = vdev->s.device_features_sel;
	return sel < 2 ? (uint32_t)(vdev->features >> (32 * sel)) : 0;
}

void virtio_write_features(struct virtio_device *vdev, uint32_t val)
{
	struct virtio_state *s = &vdev->s;
	if (s->driver_features_sel >= 2 || s->status & S_FEATURES_OK) {
		log_guest("%s: features cannot be written now", vdev->ops->name);
		return;
	}
	unsigned shift = 32 * s->driver_features_sel;
	s->driver_features = (s->driver_features & ~((uint64_t)UINT32_MAX << shift)) | (uint64_t)val << shift;
}

/* --- queues --- */

struct virtqueue *virtio_selected_queue(const struct virtio_device *vdev)
{
	return vdev->s.queue_sel < vdev->queue_count ? &vdev->queues[vdev->s.queue_sel] : NULL;
}

void virtio_set_queue_ready(struct virtio_device *vdev, uint32_t val)
{
	struct virtqueue *vq = virtio_selected_queue(vdev);
	if (!vq || val > 1)
		log_guest("%s: ready %u for queue %u", vdev->ops->name, val, vdev->s.queue_sel);
	else if (!val)
		virtqueue_disable(vq);
	else if ((vdev->s.status & (S_STEPS | S_FAILED)) != (S_STEPS & ~S_DRIVER_OK)) /* 3.1.1, step 7 */
		log_guest("%s: queue %u cannot be ready now", vdev->ops->name, vq->index);
	else
		virtqueue_enable(vq, vdev->s.driver_features);
}

void virtio_kick(struct virtio_device *vdev, uint32_t queue)
{
	if (queue >= vdev->queue_count || !vdev->queues[queue].running)
		return; /* spurious kicks are no fault: drivers kick early, and late */
	vdev->ops->notify(vdev, queue);
	virtio_flush(vdev, &vdev->queues[queue]);
}

void virtio_flush(struct virtio_device *vdev, struct virtqueue *vq)
{
	if (vq->broken)
		virtio_need_reset(vdev);
	else if (virtqueue_publish(vq))
		virtio_interrupt(vdev, VIRTIO_MMIO_INT_VRING);
}

/* --- configuration space --- */

/* How many of @size bytes at @off are in it. */
static size_t config_part(const struct virtio_device *vdev, uint64_t off, unsigned size)
{
	return off < vdev->ops->config_size ? MIN(size, vdev->ops->config_size - off) : 0;
}

uint64_t virtio_read_config(struct virtio_device *vdev, uint64_t off, unsigned size)
{
	uint8_t bytes[8] = { 0 };
	size_t len = config_part(vdev, off, size);
	if (len)
		vdev->ops->config_read(vdev, off, bytes, len);
	return load_le64(bytes);
}

void virtio_write_config(struct virtio_device *vdev, uint64_t off, unsigned size, uint64_t val)
{
	uint8_t bytes[8];
	size_t len = config_part(vdev, off, size);
	if (!len || !vdev->ops->config_write) {
		log_guest("%s: write to read-only configuration at 0x%llx", vdev->ops->name, (unsigned long long)off);
		return;
	}
	store_le64(bytes, val);
	vdev->ops->config_write(vdev, off, bytes, len);
	vdev->s.config_generation++; /* 2.5.3: it may read differently now; the driver knows, so no interrupt */
}

/* --- save and load: the core's state, each queue's, the model's --- */

static void virtio_save(const struct device *dev, void *state)
{
	const struct virtio_device *vdev = container_of(dev, struct virtio_device, dev);
	uint8_t *at = state;
	memcpy(at, &vdev->s, sizeof(vdev->s));
	at += sizeof(vdev->s);
	for (unsigned i = 0; i < vdev->queue_count; i++, at += sizeof(struct virtqueue_state))
		memcpy(at, &vdev->queues[i].s, sizeof(struct virtqueue_state));
	if (vdev->ops->state_size)
		vdev->ops->save(vdev, at);
}

static bool state_acceptable(const struct virtio_device *vdev, const struct virtio_state *s)
{
	if (s->status & ~(uint32_t)(S_STEPS | S_FAILED | S_NEEDS_RESET) || !status_in_order(s->status))
		return false;
	if (s->status & S_FEATURES_OK && !features_acceptable(vdev, s->driver_features))
		return false;
	return !(s->interrupt_status & ~(uint32_t)(VIRTIO_MMIO_INT_VRING | VIRTIO_MMIO_INT_CONFIG));
}

/* Queue @i as the saved @state has it, beside the one in use. */
static int virtio_load_queue(const struct virtio_device *vdev, const struct virtio_state *s, unsigned i,
                             const uint8_t *state, struct virtqueue *vq)
{
	struct virtqueue_state queue_state;
	memcpy(&queue_state, state + sizeof(*s) + i * sizeof(queue_state), sizeof(queue_state));
	if (queue_state.ready && !(s->status & S_FEATURES_OK))
		return -EINVAL;
	*vq = vdev->queues[i];
	return virtqueue_load(vq, &queue_state, s->driver_features, status_is_live(s->status));
}

/* All is checked before anything is taken. */
static int virtio_load(struct device *dev, const void *state)
{
	struct virtio_device *vdev = container_of(dev, struct virtio_device, dev);
	struct virtio_state s;
	struct virtqueue vq;
	memcpy(&s, state, sizeof(s));
	if (!state_acceptable(vdev, &s))
		return -EINVAL;
	for (unsigned i = 0; i < vdev->queue_count; i++)
		if (virtio_load_queue(vdev, &s, i, state, &vq) < 0)
			return -EINVAL;
	const uint8_t *model = (const uint8_t *)state + vdev->device_ops.state_size - vdev->ops->state_size;
	int ret = vdev->ops->state_size ? vdev->ops->load(vdev, model) : 0;
	if (ret < 0)
		return ret;
	for (unsigned i = 0; i < vdev->queue_count; i++) {
		virtio_load_queue(vdev, &s, i, state, &vq);
		vdev->queues[i] = vq;
	}
	vdev->s = s;
	irq_level_sync(&vdev->irq, s.interrupt_status != 0);
	return 0;
}

int virtio_init(struct virtio_device *vdev, const struct virtio_ops *ops, unsigned queue_count, uint16_t queue_size,
                struct irq_line irq, struct guest_memory *mem)
{
	*vdev = (struct virtio_device){
		.device_ops = {
			.name = ops->name,
			.reset = virtio_reset,
			.free = virtio_free,
			.state_size = sizeof(struct virtio_state) + queue_count * sizeof(struct virtqueue_state) +
			              ops->state_size,
			.save = virtio_save,
			.load = virtio_load,
		},
		.ops = ops,
		.irq.line = irq,
		.mem = mem,
		.features = ops->features | core_features,
		.queues = calloc(queue_count, sizeof(struct virtqueue)),
		.queue_count = queue_count,
	};
	device_init(&vdev->dev, &vdev->device_ops);
	if (!vdev->queues)
		return -ENOMEM;
	for (unsigned i = 0; i < queue_count; i++)
		vdev->queues[i] = (struct virtqueue){
			.mem = mem,
			.owner = ops->name,
			.index = i,
			.size_max = queue_size,
		};
	return 0;
}
