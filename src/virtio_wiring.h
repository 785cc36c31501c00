/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How virtio-mmio devices are tied to KVM: kicks by ioeventfd, interrupts by irqfd, so that a request passes no vCPU
 * thread. Where KVM has the one or the other not, the slow way is taken in silence: registers and KVM_IRQ_LINE.
 */
#ifndef CVMM_SRC_VIRTIO_WIRING_H
#define CVMM_SRC_VIRTIO_WIRING_H

#include "devices/virtio/virtio.h"
#include "src/devconf.h"

struct vm;

/* An interrupt for each GSI, however many devices share it: KVM turns every write of the eventfd into a pulse, one after
 * the other, so that no edge hides in another's. */
struct irqfd {
	int fd; /* owned */
	unsigned gsi;
	struct vm *vm;        /* not owned */
	pthread_mutex_t lock; /* without an irqfd in KVM: a pulse at a time */
	bool in_kvm;
	struct irqfd *next;
};

/* The edge-triggered line of @gsi, from any thread, made when it is first asked for; the VM's to free, by
 * virtio_wiring_fini(). 0 or a negative errno. */
int irqfd_line(struct vm *vm, unsigned gsi, struct irq_line *line, struct cvmm_error *err);

/* The wiring of a virtio-mmio device whose registers are at @base. @config NULL: defaults. */
int virtio_wire(struct vm *vm, uint64_t base, unsigned gsi, const struct virtio_config *config,
                struct virtio_wiring *wiring, struct cvmm_error *err);

/* After the devices are gone. */
void virtio_wiring_fini(struct vm *vm);

#endif
