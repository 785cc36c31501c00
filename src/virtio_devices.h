/* SPDX-License-Identifier: Apache-2.0 */
/* The devices that the user described: their back ends, which outlive a reset of the guest, and the models, which do not. */
#ifndef CVMM_SRC_VIRTIO_DEVICES_H
#define CVMM_SRC_VIRTIO_DEVICES_H

#include "src/block/block.h"
#include "src/config.h"

struct vm;

/* What the host has for each device of a description. */
struct backends {
	struct block **blocks; /* owned array of owned; NULL: the device has none */
	size_t count;
};

/* Is there a slot for each device? -EINVAL: not on this architecture's machine. */
int virtio_devices_check(const struct config *config, struct cvmm_error *err);

/* Open files, take locks. On failure @backends is empty. */
int backends_open(struct backends *backends, const struct config *config, struct cvmm_error *err);
void backends_close(struct backends *backends); /* after the devices are gone */

/* Make the devices of vm->config with the back ends vm->backends, and put each into its slot. */
int virtio_devices_add(struct vm *vm, struct cvmm_error *err);

#endif
