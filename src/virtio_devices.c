// SPDX-License-Identifier: Apache-2.0
#include "src/virtio_devices.h"

#include <errno.h>
#include <inttypes.h>

#include "arch/arch.h"
#include "src/base/util.h"
#include "src/virtio_wiring.h"
#include "src/vm.h"

/* ---- slots ------------------------------------------------------------------------------------------------------- */

/* Two devices that ask for the same slot were refused by config_check(); so the rest find one each. */
int virtio_devices_check(const struct config *config, struct cvmm_error *err)
{
	if (config->device_count > arch_virtio_slots)
		return err_set(err, -EINVAL, "%zu devices: this machine has slots for %u", config->device_count,
		               arch_virtio_slots);
	for (size_t i = 0; i < config->device_count; i++) {
		uint64_t slot = config->devices[i].slot;
		if (slot != DEVCONF_ANY && slot >= arch_virtio_slots)
			return err_set(err, -EINVAL, "%s: slot %" PRIu64 ": the last of this machine is %u",
			               devconf_kind_name(config->devices[i].kind), slot, arch_virtio_slots - 1);
	}
	return 0;
}

static const struct device_config *find_by_slot(const struct config *config, uint64_t slot)
{
	for (size_t i = 0; i < config->device_count; i++)
		if (config->devices[i].slot == slot)
			return &config->devices[i];
	return NULL;
}

/* The first device from @index on that has no slot of its own. */
static const struct device_config *next_without_slot(const struct config *config, size_t *index)
{
	while (*index < config->device_count) {
		const struct device_config *dev = &config->devices[(*index)++];
		if (dev->slot == DEVCONF_ANY)
			return dev;
	}
	return NULL;
}

/* ---- models ------------------------------------------------------------------------------------------------------ */

/* The loop of the device's next queue. @turn counts those that were left to us. */
static struct loop *next_loop(const struct vm *vm, const struct device_config *dev, unsigned *turn)
{
	return vm->loops[dev->iothread == DEVCONF_ANY ? (*turn)++ % vm->loop_count : dev->iothread];
}

static struct device *make_rng(struct vm *vm, const struct device_config *dev, const struct virtio_wiring *wiring,
                               unsigned *turn)
{
	return virtio_rng_new(wiring, &vm->mem, next_loop(vm, dev, turn), dev->rng.rate);
}

static int add_device(struct vm *vm, const struct device_config *dev, unsigned slot, unsigned *turn,
                      struct cvmm_error *err)
{
	static struct device *(*const make[DEVCONF_KINDS])(struct vm *, const struct device_config *,
	                                                   const struct virtio_wiring *, unsigned *) = {
		[DEVCONF_RNG] = make_rng,
	};
	struct virtio_slot at = arch_virtio_slot(slot);
	struct virtio_wiring wiring;
	if (!make[dev->kind])
		return err_set(err, -EOPNOTSUPP, "%s: not there yet", devconf_kind_name(dev->kind));
	int ret = virtio_wire(vm, at.base, at.gsi, &dev->virtio, &wiring, err);
	return ret < 0 ? ret : arch_add_virtio(vm, slot, make[dev->kind](vm, dev, &wiring, turn), err);
}

/* In the order of slots, which is that in which a guest finds and so names them. */
int virtio_devices_add(struct vm *vm, struct cvmm_error *err)
{
	unsigned turn = 0;
	size_t next = 0;
	int ret = 0;
	for (unsigned slot = 0; ret == 0 && slot < arch_virtio_slots; slot++) {
		const struct device_config *dev = find_by_slot(vm->config, slot);
		if (!dev)
			dev = next_without_slot(vm->config, &next);
		if (dev)
			ret = add_device(vm, dev, slot, &turn, err);
	}
	return ret;
}
