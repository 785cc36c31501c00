// SPDX-License-Identifier: Apache-2.0
/* What every virtio device does alike, on any transport (virtio 1.3, 2.1 to 2.5 and 3.1). */
#include "devices/virtio/virtio.h"

#include <assert.h>
#include <errno.h>
#include <sys/eventfd.h>

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

static void virtio_free(struct device *dev)
{
	struct virtio_device *vdev = container_of(dev, struct virtio_device, dev);
	vdev->ops->free(vdev);
}

/* --- what queues' loops change as well as registers do --- */

static uint32_t virtio_status(const struct virtio_device *vdev)
{
	return __atomic_load_n(&vdev->s.status, __ATOMIC_ACQUIRE);
}

/* The cause first, then the edge: a driver acknowledges causes before it looks for what they are about, so that none is
 * lost, whoever comes between. */
static void virtio_interrupt(struct virtio_device *vdev, uint32_t cause)
{
	__atomic_fetch_or(&vdev->s.interrupt_status, cause, __ATOMIC_SEQ_CST);
	irq_pulse(&vdev->wiring.irq);
}

void virtio_ack_interrupt(struct virtio_device *vdev, uint32_t causes)
{
	__atomic_fetch_and(&vdev->s.interrupt_status, ~causes, __ATOMIC_SEQ_CST);
}

void virtio_config_changed(struct virtio_device *vdev)
{
	__atomic_fetch_add(&vdev->s.config_generation, 1, __ATOMIC_SEQ_CST);
	if (virtio_status(vdev) & S_DRIVER_OK)
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
	uint64_t needed = vdev->ops->features_needed | 1ull << VIRTIO_F_VERSION_1;
	return !(features & ~vdev->features) && (features & needed) == needed;
}

/* --- serving queues --- */

static bool virtio_negotiated(const struct virtio_device *vdev, uint64_t rings)
{
	return vdev->s.driver_features & rings;
}

static unsigned service_index(const struct virtio_service *service)
{
	return (unsigned)(service - service->vdev->services);
}

static struct virtqueue *service_queue(const struct virtio_service *service)
{
	return &service->vdev->queues[service_index(service)];
}

/* Have @fn run where the queue is served, and wait for it. */
static void service_run(struct virtio_service *service, void (*fn)(void *service))
{
	if (service->loop)
		loop_run_sync(service->loop, fn, service);
	else
		fn(service);
}

void virtio_look(struct virtio_device *vdev, unsigned queue)
{
	const struct virtio_service *service = &vdev->services[queue];
	if (!service->serving || service->draining || !status_is_live(virtio_status(vdev)))
		return; /* spurious kicks are no fault: drivers kick early, and late */
	vdev->ops->notify(vdev, queue);
	virtio_flush(vdev, &vdev->queues[queue]);
}

void virtio_look_later(struct virtio_device *vdev, unsigned queue)
{
	uint64_t one = 1;
	ssize_t written =
		write(vdev->services[queue].kick.fd, &one, sizeof(one)); /* a full counter kicks just as well */
	(void)written;
}

static void service_kicked(struct loop_fd *source, uint32_t events)
{
	struct virtio_service *service = container_of(source, struct virtio_service, kick);
	virtio_look(service->vdev, service_index(service));
}

static void service_begin(void *opaque)
{
	struct virtio_service *service = opaque;
	virtqueue_start(service_queue(service));
	service->serving = true;
}

/* Catch kicks before they reach the register. Not with NOTIFICATION_DATA: the value written then is ever another one. */
static void service_watch(struct virtio_service *service)
{
	const struct kick_line *kicks = &service->vdev->wiring.kicks;
	if (!service->loop || !kicks->watch || virtio_negotiated(service->vdev, VIRTIO_RINGS_NOTIFICATION_DATA))
		return;
	int ret = kicks->watch(kicks->opaque, kicks->where, service_index(service), service->kick.fd, true);
	service->watched = ret == 0;
	if (ret < 0)
		log_warn("%s: kicks of queue %u take the slow way: %s", service->vdev->ops->name,
		         service_index(service), strerror(-ret));
}

static void service_unwatch(struct virtio_service *service)
{
	const struct kick_line *kicks = &service->vdev->wiring.kicks;
	if (service->watched)
		kicks->watch(kicks->opaque, kicks->where, service_index(service), service->kick.fd, false);
	service->watched = false;
}

static void service_start(struct virtio_service *service)
{
	if (service->started || !service_queue(service)->s.ready)
		return;
	service->started = true;
	service_watch(service);
	service_run(service, service_begin);
}

/* Some drivers kick before the queue runs: look once. */
static void service_first_look(struct virtio_service *service)
{
	if (service->started && service->loop)
		virtio_look_later(service->vdev, service_index(service));
	else if (service->started)
		virtio_look(service->vdev, service_index(service));
}

void virtio_quiesced(struct virtio_device *vdev, unsigned queue)
{
	struct virtio_service *service = &vdev->services[queue];
	struct virtqueue *vq = &vdev->queues[queue];
	if (!service->draining)
		return;
	virtio_flush(vdev, vq);
	virtqueue_stop(vq);
	service->serving = service->draining = false;
	sem_post(&service->quiesced);
}

static void service_drain(void *opaque)
{
	struct virtio_service *service = opaque;
	struct virtio_device *vdev = service->vdev;
	/* no thread turns the loop yet, or any more: who waits has to */
	service->turn = pthread_equal(service->stopper, pthread_self());
	service->draining = true;
	virtqueue_drain(service_queue(service));
	if (vdev->ops->quiesce)
		vdev->ops->quiesce(vdev, service_index(service));
	else
		virtio_quiesced(vdev, service_index(service));
}

static void service_stop_begin(struct virtio_service *service)
{
	if (!service->started)
		return;
	service_unwatch(service);
	service->stopper = pthread_self();
	service_run(service, service_drain);
}

static void service_stop_end(struct virtio_service *service)
{
	if (!service->started)
		return;
	while (service->turn ? sem_trywait(&service->quiesced) : sem_wait(&service->quiesced)) {
		if (!service->turn)
			continue; /* a signal */
		assert(service->loop);
		loop_turn(service->loop, -1);
	}
	service->started = false;
}

static void service_stop(struct virtio_service *service)
{
	service_stop_begin(service);
	service_stop_end(service);
}

/* No queue runs and no chain is held any more when it returns. They drain side by side. */
static void virtio_stop(struct virtio_device *vdev)
{
	for (unsigned i = 0; i < vdev->queue_count; i++)
		service_stop_begin(&vdev->services[i]);
	for (unsigned i = 0; i < vdev->queue_count; i++)
		service_stop_end(&vdev->services[i]);
}

static void virtio_start(struct virtio_device *vdev)
{
	for (unsigned i = 0; i < vdev->queue_count; i++)
		service_start(&vdev->services[i]);
	for (unsigned i = 0; i < vdev->queue_count; i++)
		service_first_look(&vdev->services[i]);
}

int virtio_set_loop(struct virtio_device *vdev, unsigned queue, struct loop *loop)
{
	struct virtio_service *service = &vdev->services[queue];
	service->kick = (struct loop_fd){ .fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), .fn = service_kicked };
	if (service->kick.fd < 0)
		return -errno;
	service->loop = loop;
	return loop_fd_add(loop, &service->kick, LOOP_EVENTFD);
}

static void service_remove_kick(void *opaque)
{
	struct virtio_service *service = opaque;
	loop_fd_remove(&service->kick);
}

static void service_fini(struct virtio_service *service)
{
	service_stop(service);
	service_run(service, service_remove_kick);
	cleanup_close(&service->kick.fd);
	sem_destroy(&service->quiesced);
}

void virtio_fini(struct virtio_device *vdev)
{
	for (unsigned i = 0; vdev->services && i < vdev->queue_count; i++)
		service_fini(&vdev->services[i]);
	free(TAKE_PTR(vdev->services));
	for (unsigned i = 0; vdev->queues && i < vdev->queue_count; i++)
		virtqueue_fini(&vdev->queues[i]);
	free(TAKE_PTR(vdev->queues));
	device_fini(&vdev->dev);
}

/* --- reset and status --- */

static void virtio_reset_by(struct virtio_device *vdev, bool machine)
{
	virtio_stop(vdev);
	vdev->ops->reset(vdev, machine);
	for (unsigned i = 0; i < vdev->queue_count; i++)
		virtqueue_reset(&vdev->queues[i]);
	vdev->s = (struct virtio_state){ .config_generation = vdev->s.config_generation };
}

static void virtio_reset(struct device *dev)
{
	virtio_reset_by(container_of(dev, struct virtio_device, dev), true);
}

static void virtio_finish(struct device *dev)
{
	virtio_stop(container_of(dev, struct virtio_device, dev));
}

void virtio_set_status(struct virtio_device *vdev, uint32_t val)
{
	if (!val) {
		virtio_reset_by(vdev, false);
		return;
	}
	uint32_t before = virtio_status(vdev);
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
	__atomic_fetch_or(&vdev->s.status, now, __ATOMIC_SEQ_CST); /* a queue may break meanwhile */
	if (!status_is_live(now))
		virtio_stop(vdev);
	else if (!status_is_live(before))
		virtio_start(vdev);
}

/* 2.1.2: a driver that runs is told, once. Of the queues, @vq has stopped, and those served where it is; the others find
 * out when they look next. */
static void virtio_need_reset(struct virtio_device *vdev, const struct virtqueue *vq)
{
	if (__atomic_fetch_or(&vdev->s.status, S_NEEDS_RESET, __ATOMIC_SEQ_CST) & S_NEEDS_RESET)
		return;
	for (unsigned i = 0; i < vdev->queue_count; i++)
		if (vdev->services[i].loop == vdev->services[vq->index].loop && vdev->services[i].serving)
			virtqueue_stop(&vdev->queues[i]);
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

/* While the driver sets the device up (3.1.1, step 7), or again after a reset of the queue (2.6.1). */
static bool queue_may_be_ready(const struct virtio_device *vdev)
{
	uint32_t status = virtio_status(vdev);
	if (status_is_live(status))
		return virtio_negotiated(vdev, VIRTIO_RINGS_RESET);
	return (status & (S_STEPS | S_FAILED)) == (S_STEPS & ~S_DRIVER_OK);
}

static void queue_enable(struct virtio_device *vdev, struct virtqueue *vq)
{
	struct virtio_service *service = &vdev->services[vq->index];
	if (virtqueue_enable(vq, vdev->s.driver_features) < 0 || !status_is_live(virtio_status(vdev)))
		return;
	service_start(service);
	service_first_look(service);
}

static void queue_disable(struct virtio_device *vdev, struct virtqueue *vq)
{
	service_stop(&vdev->services[vq->index]);
	virtqueue_disable(vq);
}

void virtio_set_queue_ready(struct virtio_device *vdev, uint32_t val)
{
	struct virtqueue *vq = virtio_selected_queue(vdev);
	if (!vq || val > 1)
		log_guest("%s: ready %u for queue %u", vdev->ops->name, val, vdev->s.queue_sel);
	else if (!val)
		queue_disable(vdev, vq);
	else if (vq->s.ready)
		log_guest("%s: queue %u is ready already", vdev->ops->name, vq->index);
	else if (!queue_may_be_ready(vdev))
		log_guest("%s: queue %u cannot be ready now", vdev->ops->name, vq->index);
	else
		queue_enable(vdev, vq);
}

void virtio_reset_queue(struct virtio_device *vdev, uint32_t val)
{
	struct virtqueue *vq = virtio_selected_queue(vdev);
	if (!vq || val != 1 || !virtio_negotiated(vdev, VIRTIO_RINGS_RESET) || !(virtio_status(vdev) & S_DRIVER_OK)) {
		log_guest("%s: reset %u for queue %u", vdev->ops->name, val, vdev->s.queue_sel);
		return;
	}
	service_stop(&vdev->services[vq->index]);
	virtqueue_reset(vq);
}

/* With NOTIFICATION_DATA the upper half tells how far the driver has got, which the ring says better (4.2.2.2). */
void virtio_kick(struct virtio_device *vdev, uint32_t val)
{
	uint32_t queue = virtio_negotiated(vdev, VIRTIO_RINGS_NOTIFICATION_DATA) ? val & 0xffff : val;
	if (queue >= vdev->queue_count)
		return;
	if (vdev->services[queue].loop)
		virtio_look_later(vdev, queue);
	else
		virtio_look(vdev, queue);
}

void virtio_flush(struct virtio_device *vdev, struct virtqueue *vq)
{
	if (vq->broken)
		virtio_need_reset(vdev, vq);
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
	__atomic_fetch_add(
		&vdev->s.config_generation, 1,
		__ATOMIC_SEQ_CST); /* 2.5.3: it may read differently now; the driver knows, so no interrupt */
}

/* --- save and load: the core's state, each queue's, the model's --- */

/* Queues that are served elsewhere, or hold chains, come to rest with every chain handed back. */
static void virtio_pause(struct virtio_device *vdev)
{
	for (unsigned i = 0; i < vdev->queue_count; i++) {
		struct virtio_service *service = &vdev->services[i];
		service->paused = service->started && (service->loop || vdev->ops->quiesce);
		if (service->paused)
			service_stop_begin(service);
	}
	for (unsigned i = 0; i < vdev->queue_count; i++)
		if (vdev->services[i].paused)
			service_stop_end(&vdev->services[i]);
}

static void virtio_resume(struct virtio_device *vdev)
{
	for (unsigned i = 0; i < vdev->queue_count; i++)
		if (vdev->services[i].paused) {
			service_start(&vdev->services[i]);
			service_first_look(&vdev->services[i]);
		}
}

static void virtio_save(const struct device *dev, void *state)
{
	/* what it saves does not change by it, only where it is */
	struct virtio_device *vdev = container_of((struct device *)(uintptr_t)dev, struct virtio_device, dev);
	uint8_t *at = state;
	virtio_pause(vdev);
	memcpy(at, &vdev->s, sizeof(vdev->s));
	at += sizeof(vdev->s);
	for (unsigned i = 0; i < vdev->queue_count; i++, at += sizeof(struct virtqueue_state))
		memcpy(at, &vdev->queues[i].s, sizeof(struct virtqueue_state));
	if (vdev->ops->state_size)
		vdev->ops->save(vdev, at);
	virtio_resume(vdev);
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
	vq->held = NULL; /* in use, perhaps */
	return virtqueue_load(vq, &queue_state, s->driver_features, status_is_live(s->status));
}

/* All queues are at rest. */
static void virtio_take_queue(struct virtio_device *vdev, const struct virtio_state *s, unsigned i,
                              const uint8_t *state)
{
	struct virtio_service *service = &vdev->services[i];
	struct virtqueue vq;
	virtio_load_queue(vdev, s, i, state, &vq);
	vq.held = vdev->queues[i].held;
	bool running = vq.running;
	vq.running = running && !service->loop; /* else when it is started there */
	vdev->queues[i] = vq;
	if (!service->loop)
		service->started = service->serving = running;
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
	virtio_pause(vdev);
	int ret = vdev->ops->state_size ? vdev->ops->load(vdev, model) : 0;
	if (ret < 0) {
		virtio_resume(vdev);
		return ret;
	}
	for (unsigned i = 0; i < vdev->queue_count; i++)
		virtio_take_queue(vdev, &s, i, state);
	vdev->s = s;
	if (status_is_live(s.status))
		for (unsigned i = 0; i < vdev->queue_count; i++)
			if (vdev->services[i].loop) {
				service_start(&vdev->services[i]);
				service_first_look(&vdev->services[i]);
			}
	if (s.interrupt_status)
		irq_pulse(
			&vdev->wiring
				 .irq); /* the edge may have been before the state was saved, or lost with the old machine */
	return 0;
}

/* Each part that could be had; virtio_fini() takes what there is. */
static int virtio_init_queue(struct virtio_device *vdev, unsigned i, uint16_t size)
{
	vdev->services[i] = (struct virtio_service){ .vdev = vdev, .kick.fd = -1 };
	sem_init(&vdev->services[i].quiesced, 0, 0);
	vdev->queues[i] = (struct virtqueue){
		.mem = vdev->mem,
		.owner = vdev->ops->name,
		.index = i,
		.size_max = size,
	};
	return vdev->features & VIRTIO_RINGS_IN_ORDER ? virtqueue_make_order(&vdev->queues[i]) : 0;
}

int virtio_init(struct virtio_device *vdev, const struct virtio_ops *ops, unsigned queue_count, uint16_t queue_size,
                const struct virtio_wiring *wiring, struct guest_memory *mem)
{
	*vdev = (struct virtio_device){
		.device_ops = {
			.name = ops->name,
			.reset = virtio_reset,
			.finish = virtio_finish,
			.free = virtio_free,
			.state_size = sizeof(struct virtio_state) + queue_count * sizeof(struct virtqueue_state) +
			              ops->state_size,
			.save = virtio_save,
			.load = virtio_load,
		},
		.ops = ops,
		.wiring = *wiring,
		.mem = mem,
		.features = ops->features | 1ull << VIRTIO_F_VERSION_1 | (wiring->rings & VIRTIO_RINGS_ALL),
		.queues = calloc(queue_count, sizeof(struct virtqueue)),
		.services = calloc(queue_count, sizeof(struct virtio_service)),
	};
	device_init(&vdev->dev, &vdev->device_ops);
	if (!vdev->queues || !vdev->services)
		return -ENOMEM;
	if (wiring->queue_size)
		queue_size = MIN(queue_size, wiring->queue_size);
	int ret = 0;
	for (; !ret && vdev->queue_count < queue_count; vdev->queue_count++)
		ret = virtio_init_queue(vdev, vdev->queue_count, queue_size);
	return ret;
}
