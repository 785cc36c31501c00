/* SPDX-License-Identifier: Apache-2.0 */
/* The devices that the user described. */
#ifndef CVMM_SRC_VIRTIO_DEVICES_H
#define CVMM_SRC_VIRTIO_DEVICES_H

#include "src/config.h"

struct vm;

/* Is there a slot for each device? -EINVAL: not on this architecture's machine. */
int virtio_devices_check(const struct config *config, struct cvmm_error *err);

/* Make the devices of vm->config, and put each into its slot. */
int virtio_devices_add(struct vm *vm, struct cvmm_error *err);

#endif
