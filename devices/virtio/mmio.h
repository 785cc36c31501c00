/* SPDX-License-Identifier: Apache-2.0 */
/* The MMIO transport of virtio devices. */
#ifndef CVMM_DEVICES_VIRTIO_MMIO_H
#define CVMM_DEVICES_VIRTIO_MMIO_H

#include "devices/virtio/virtio.h"

/* Make @vdev a device of @queue_count queues of at most @queue_size (a power of two) whose registers are a window of
 * VIRTIO_MMIO_WINDOW bytes. 0 or -ENOMEM; virtio_fini() is welcome after either. */
int virtio_mmio_init(struct virtio_device *vdev, const struct virtio_ops *ops, unsigned queue_count,
                     uint16_t queue_size, const struct virtio_wiring *wiring, struct guest_memory *mem);

#endif
