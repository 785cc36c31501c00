/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Virtio 1.3 over the MMIO transport (register layout version 2), split virtqueues. A virtio device model supplies
 * struct virtio_ops; the transport supplies registers, feature negotiation, queues and the interrupt.
 */
#ifndef CVMM_DEVICES_VIRTIO_VIRTIO_H
#define CVMM_DEVICES_VIRTIO_VIRTIO_H

#include "devices/device.h"
#include "src/base/memory.h"

enum { VIRTIO_MMIO_WINDOW = 0x200 };

/* virtio-input keyboard with one key, KEY_POWER (virtio 1.3, 5.8). @irq: level. @mem: not owned. NULL: no memory. */
struct device *virtio_power_key_new(struct irq_line irq, struct guest_memory *mem);
/* Press and release the key: any thread; takes the device's lock. */
void virtio_power_key_press(struct device *dev);

#endif
