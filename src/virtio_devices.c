// SPDX-License-Identifier: Apache-2.0
#include "src/virtio_devices.h"

#include <errno.h>
#include <inttypes.h>

#include "arch/arch.h"
#include "src/base/util.h"
#include "src/block/zone.h"
#include "src/virtio_wiring.h"
#include "src/vm.h"

/* ---- back ends --------------------------------------------------------------------------------------------------- */

static struct block *open_disk(const struct disk_config *disk, struct cvmm_error *err)
{
	if (!disk->path)
		return block_memory_new(disk->memory_mib * MIB, (uint32_t)disk->block_size, err);
	const struct block_file_options options = {
		.path = disk->path,
		.fd = -1,
		.read_only = disk->readonly,
		.direct = disk->direct,
		.share = disk->share,
		.cache = (enum block_cache)disk->cache,
		.logical_block = (uint32_t)disk->block_size,
	};
	if (disk->zoned == DISK_ZONED_FILE)
		return zoned_file_open(&options, err);
	if (disk->zoned == DISK_ZONED_HOST)
		return zoned_host_open(&options, err);
	return block_file_open(&options, err);
}

int backends_open(struct backends *backends, const struct config *config, struct cvmm_error *err)
{
	struct cvmm_error error = { 0 };
	*backends = (struct backends){ .blocks = calloc(MAX(config->device_count, 1), sizeof(struct block *)) };
	if (!backends->blocks)
		return err_set(err, -ENOMEM, "out of memory");
	for (size_t i = 0; i < config->device_count; i++) {
		const struct device_config *dev = &config->devices[i];
		struct block **block = &backends->blocks[backends->count++];
		if (dev->kind != DEVCONF_DISK)
			continue;
		*block = open_disk(&dev->disk, &error);
		if (!*block) {
			backends_close(backends);
			return err_set(err, error.code, "%s", error.msg);
		}
	}
	return 0;
}

void backends_close(struct backends *backends)
{
	while (backends->count)
		block_free(backends->blocks[--backends->count]);
	free(TAKE_PTR(backends->blocks));
}

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

/* The back end stays the VM's maker's. */
static struct device *make_disk(struct vm *vm, const struct device_config *dev, const struct virtio_wiring *wiring,
                                unsigned *turn)
{
	const struct disk_config *disk = &dev->disk;
	struct loop *loops[DISK_QUEUES_MAX];
	for (unsigned i = 0; i < disk->queues; i++)
		loops[i] = next_loop(vm, dev, turn);
	const struct virtio_blk_options options = {
		.serial = disk->serial,
		.loops = loops,
		.loop_count = (unsigned)disk->queues,
		.queues = (unsigned)disk->queues,
		.iops = disk->iops,
		.bw = disk->bw_mib * MIB,
		.burst_ms = disk->burst_ms,
		.clock = vm->clock,
		.borrow = true,
	};
	return virtio_blk_new(wiring, &vm->mem, vm->backends->blocks[dev - vm->config->devices], &options);
}

static int add_device(struct vm *vm, const struct device_config *dev, unsigned slot, unsigned *turn,
                      struct cvmm_error *err)
{
	static struct device *(*const make[DEVCONF_KINDS])(struct vm *, const struct device_config *,
	                                                   const struct virtio_wiring *, unsigned *) = {
		[DEVCONF_DISK] = make_disk,
		[DEVCONF_RNG] = make_rng,
	};
	struct virtio_slot at = arch_virtio_slot(slot);
	struct virtio_wiring wiring;
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
