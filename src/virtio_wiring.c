// SPDX-License-Identifier: Apache-2.0
#include "src/virtio_wiring.h"

#include <errno.h>
#include <sys/eventfd.h>

#include <linux/virtio_mmio.h>

#include "src/base/log.h"
#include "src/base/util.h"
#include "src/irq.h"
#include "src/kvm.h"
#include "src/vm.h"

/* ---- interrupts ------------------------------------------------------------------------------------------------- */

static void irqfd_set(void *opaque, unsigned gsi, bool level)
{
	struct irqfd *irqfd = opaque;
	if (!level) /* KVM lets go by itself */
		return;
	if (irqfd->in_kvm) {
		uint64_t one = 1;
		ssize_t written = write(irqfd->fd, &one, sizeof(one)); /* full: a pulse is on its way anyway */
		(void)written;
		return;
	}
	const struct irq_line line = irq_line(irqfd->vm, gsi);
	pthread_mutex_lock(&irqfd->lock);
	irq_pulse(&line);
	pthread_mutex_unlock(&irqfd->lock);
}

static struct irqfd *irqfd_find(const struct vm *vm, unsigned gsi)
{
	struct irqfd *irqfd = vm->irqfds;
	while (irqfd && irqfd->gsi != gsi)
		irqfd = irqfd->next;
	return irqfd;
}

static struct irqfd *irqfd_new(struct vm *vm, unsigned gsi)
{
	struct irqfd *irqfd = calloc(1, sizeof(*irqfd));
	if (!irqfd)
		return NULL;
	*irqfd = (struct irqfd){ .fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), .gsi = gsi, .vm = vm };
	pthread_mutex_init(&irqfd->lock, NULL);
	if (irqfd->fd >= 0) {
		const struct kvm_irqfd arg = { .fd = (uint32_t)irqfd->fd, .gsi = gsi };
		int ret = kvm_ioctl_ptr(vm->fd, KVM_IRQFD, &arg);
		irqfd->in_kvm = ret >= 0;
		if (ret < 0)
			log_info("irq %u: no irqfd in KVM: %s", gsi, strerror(-ret));
	}
	irqfd->next = vm->irqfds;
	vm->irqfds = irqfd;
	return irqfd;
}

int irqfd_line(struct vm *vm, unsigned gsi, struct irq_line *line, struct cvmm_error *err)
{
	struct irqfd *irqfd = irqfd_find(vm, gsi);
	if (!irqfd)
		irqfd = irqfd_new(vm, gsi);
	if (!irqfd)
		return err_set(err, -ENOMEM, "out of memory");
	*line = (struct irq_line){ .set = irqfd_set, .opaque = irqfd, .irq = gsi };
	return 0;
}

void virtio_wiring_fini(struct vm *vm)
{
	while (vm->irqfds) {
		struct irqfd *irqfd = vm->irqfds;
		vm->irqfds = irqfd->next;
		cleanup_close(&irqfd->fd); /* which also takes it out of KVM */
		pthread_mutex_destroy(&irqfd->lock);
		free(irqfd);
	}
}

/* ---- kicks ------------------------------------------------------------------------------------------------------ */

static int kick_watch(void *opaque, uint64_t base, unsigned queue, int fd, bool on)
{
	const struct vm *vm = opaque;
	const struct kvm_ioeventfd arg = {
		.addr = base + VIRTIO_MMIO_QUEUE_NOTIFY,
		.len = 4,
		.datamatch = queue,
		.fd = fd,
		.flags = KVM_IOEVENTFD_FLAG_DATAMATCH | (on ? 0u : KVM_IOEVENTFD_FLAG_DEASSIGN),
	};
	int ret = kvm_ioctl_ptr(vm->fd, KVM_IOEVENTFD, &arg);
	return ret < 0 ? ret : 0;
}

/* ---- all of it -------------------------------------------------------------------------------------------------- */

static uint64_t wiring_rings(const struct virtio_config *config)
{
	const struct {
		bool on;
		uint64_t ring;
	} rings[] = {
		{ config->indirect, VIRTIO_RINGS_INDIRECT },
		{ config->event_idx, VIRTIO_RINGS_EVENT_IDX },
		{ config->packed, VIRTIO_RINGS_PACKED },
		{ config->in_order, VIRTIO_RINGS_IN_ORDER },
		{ config->notification_data, VIRTIO_RINGS_NOTIFICATION_DATA },
		{ config->ring_reset, VIRTIO_RINGS_RESET },
	};
	uint64_t all = 0;
	for (size_t i = 0; i < ARRAY_SIZE(rings); i++)
		all |= rings[i].on ? rings[i].ring : 0;
	return all;
}

int virtio_wire(struct vm *vm, uint64_t base, unsigned gsi, const struct virtio_config *config,
                struct virtio_wiring *wiring, struct cvmm_error *err)
{
	*wiring = (struct virtio_wiring){
		.kicks = { .watch = kick_watch, .opaque = vm, .where = base },
		.rings = config ? wiring_rings(config) : VIRTIO_RINGS_DEFAULT,
		.queue_size = config ? (uint16_t)config->queue_size : 0,
	};
	return irqfd_line(vm, gsi, &wiring->irq, err);
}
