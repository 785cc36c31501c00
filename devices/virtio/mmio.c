// SPDX-License-Identifier: Apache-2.0
/* The MMIO transport, register layout version 2 (virtio 1.3, 4.2.2): registers of 32 bits, then the configuration space. */
#include "devices/virtio/mmio.h"

#include <linux/virtio_mmio.h>

#include "src/base/log.h"
#include "src/base/util.h"

enum {
	MAGIC = 0x74726976,  /* "virt" */
	VENDOR = 0x4d4d5643, /* "CVMM" */
	VERSION = 2,
};

enum { MMIO_QUEUE_RESET = 0x0c0 }; /* not in every <linux/virtio_mmio.h> */

/* 4.2.2.2: registers as aligned words; the configuration space as its fields are, naturally aligned. */
static bool mmio_admits(const struct virtio_device *vdev, uint64_t off, unsigned size)
{
	if (!(off & (size - 1)) && (size == 4 || off >= VIRTIO_MMIO_CONFIG))
		return true;
	log_guest("%s: access of %u bytes at offset 0x%llx", vdev->ops->name, size, (unsigned long long)off);
	return false;
}

/* Registers that are written only, absent or reserved read as 0; a missing shared memory region is as long as can be. */
static uint32_t mmio_read_register(const struct virtio_device *vdev, uint64_t off)
{
	const struct virtqueue *vq = virtio_selected_queue(vdev);
	switch (off) {
	case VIRTIO_MMIO_MAGIC_VALUE:
		return MAGIC;
	case VIRTIO_MMIO_VERSION:
		return VERSION;
	case VIRTIO_MMIO_DEVICE_ID:
		return vdev->ops->id;
	case VIRTIO_MMIO_VENDOR_ID:
		return VENDOR;
	case VIRTIO_MMIO_DEVICE_FEATURES:
		return virtio_read_features(vdev);
	case VIRTIO_MMIO_QUEUE_NUM_MAX:
		return vq ? vq->size_max : 0;
	case VIRTIO_MMIO_QUEUE_READY:
		return vq ? vq->s.ready : 0;
	case MMIO_QUEUE_RESET:
		return 0; /* a reset is over when the write of it is */
	case VIRTIO_MMIO_INTERRUPT_STATUS:
		return __atomic_load_n(&vdev->s.interrupt_status, __ATOMIC_SEQ_CST);
	case VIRTIO_MMIO_STATUS:
		return __atomic_load_n(&vdev->s.status, __ATOMIC_ACQUIRE);
	case VIRTIO_MMIO_SHM_LEN_LOW:
	case VIRTIO_MMIO_SHM_LEN_HIGH:
	case VIRTIO_MMIO_SHM_BASE_LOW:
	case VIRTIO_MMIO_SHM_BASE_HIGH:
		return UINT32_MAX;
	case VIRTIO_MMIO_CONFIG_GENERATION:
		return __atomic_load_n(&vdev->s.config_generation, __ATOMIC_SEQ_CST);
	}
	return 0;
}

static void set_low(uint64_t *reg, uint32_t val)
{
	*reg = (*reg & ~(uint64_t)UINT32_MAX) | val;
}

static void set_high(uint64_t *reg, uint32_t val)
{
	*reg = (*reg & UINT32_MAX) | (uint64_t)val << 32;
}

/* Size and addresses of the selected queue. They are checked when it becomes ready; then they are fixed (4.2.2.2). */
static void mmio_write_queue(struct virtio_device *vdev, uint64_t off, uint32_t val)
{
	struct virtqueue *vq = virtio_selected_queue(vdev);
	if (!vq || vq->s.ready) {
		log_guest("%s: register 0x%llx of queue %u, which is absent or in use", vdev->ops->name,
		          (unsigned long long)off, vdev->s.queue_sel);
		return;
	}
	switch (off) {
	case VIRTIO_MMIO_QUEUE_NUM:
		vq->s.size = val <= VIRTQUEUE_SIZE_MAX ? (uint16_t)val : 0; /* 0 is refused as well, and fits */
		break;
	case VIRTIO_MMIO_QUEUE_DESC_LOW:
		set_low(&vq->s.desc, val);
		break;
	case VIRTIO_MMIO_QUEUE_DESC_HIGH:
		set_high(&vq->s.desc, val);
		break;
	case VIRTIO_MMIO_QUEUE_AVAIL_LOW:
		set_low(&vq->s.driver, val);
		break;
	case VIRTIO_MMIO_QUEUE_AVAIL_HIGH:
		set_high(&vq->s.driver, val);
		break;
	case VIRTIO_MMIO_QUEUE_USED_LOW:
		set_low(&vq->s.device, val);
		break;
	case VIRTIO_MMIO_QUEUE_USED_HIGH:
		set_high(&vq->s.device, val);
		break;
	}
}

static void mmio_write_register(struct virtio_device *vdev, uint64_t off, uint32_t val)
{
	switch (off) {
	case VIRTIO_MMIO_DEVICE_FEATURES_SEL:
		vdev->s.device_features_sel = val;
		break;
	case VIRTIO_MMIO_DRIVER_FEATURES:
		virtio_write_features(vdev, val);
		break;
	case VIRTIO_MMIO_DRIVER_FEATURES_SEL:
		vdev->s.driver_features_sel = val;
		break;
	case VIRTIO_MMIO_QUEUE_SEL:
		vdev->s.queue_sel = val;
		break;
	case VIRTIO_MMIO_QUEUE_NUM:
	case VIRTIO_MMIO_QUEUE_DESC_LOW:
	case VIRTIO_MMIO_QUEUE_DESC_HIGH:
	case VIRTIO_MMIO_QUEUE_AVAIL_LOW:
	case VIRTIO_MMIO_QUEUE_AVAIL_HIGH:
	case VIRTIO_MMIO_QUEUE_USED_LOW:
	case VIRTIO_MMIO_QUEUE_USED_HIGH:
		mmio_write_queue(vdev, off, val);
		break;
	case VIRTIO_MMIO_QUEUE_READY:
		virtio_set_queue_ready(vdev, val);
		break;
	case MMIO_QUEUE_RESET:
		virtio_reset_queue(vdev, val);
		break;
	case VIRTIO_MMIO_QUEUE_NOTIFY:
		virtio_kick(vdev, val);
		break;
	case VIRTIO_MMIO_INTERRUPT_ACK:
		virtio_ack_interrupt(vdev, val);
		break;
	case VIRTIO_MMIO_STATUS:
		virtio_set_status(vdev, val);
		break;
	case VIRTIO_MMIO_SHM_SEL: /* no region exists, whichever is chosen */
		break;
	default:
		log_guest("%s: write to read-only register 0x%llx", vdev->ops->name, (unsigned long long)off);
	}
}

static uint64_t mmio_read(struct device *dev, uint64_t off, unsigned size)
{
	struct virtio_device *vdev = container_of(dev, struct virtio_device, dev);
	if (!mmio_admits(vdev, off, size))
		return UINT64_MAX; /* as the bus answers what it does not admit */
	if (off >= VIRTIO_MMIO_CONFIG)
		return virtio_read_config(vdev, off - VIRTIO_MMIO_CONFIG, size);
	return mmio_read_register(vdev, off);
}

static void mmio_write(struct device *dev, uint64_t off, unsigned size, uint64_t val)
{
	struct virtio_device *vdev = container_of(dev, struct virtio_device, dev);
	if (!mmio_admits(vdev, off, size))
		return;
	if (off >= VIRTIO_MMIO_CONFIG)
		virtio_write_config(vdev, off - VIRTIO_MMIO_CONFIG, size, val);
	else
		mmio_write_register(vdev, off, (uint32_t)val);
}

int virtio_mmio_init(struct virtio_device *vdev, const struct virtio_ops *ops, unsigned queue_count,
                     uint16_t queue_size, const struct virtio_wiring *wiring, struct guest_memory *mem)
{
	int ret = virtio_init(vdev, ops, queue_count, queue_size, wiring, mem);
	vdev->device_ops.widths = 1 | 2 | 4 | 8;
	vdev->device_ops.read = mmio_read;
	vdev->device_ops.write = mmio_write;
	return ret;
}
