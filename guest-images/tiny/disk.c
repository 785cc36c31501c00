// SPDX-License-Identifier: Apache-2.0
/*
 * Counts its starts in the first sector of the disk in the first virtio-mmio slot and says which one this is; resets
 * until it is the third. It polls, and has one request at a time.
 */
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>

#include "arch/x86_64/layout.h"
#include "tiny.h"

enum { QUEUE_SIZE = 4, STARTS = 3 };

static struct vring_desc desc[QUEUE_SIZE] __attribute__((aligned(16)));
static volatile struct {
	uint16_t flags, idx, ring[QUEUE_SIZE], used_event;
} avail __attribute__((aligned(2)));
static volatile struct {
	uint16_t flags, idx;
	struct vring_used_elem ring[QUEUE_SIZE];
	uint16_t avail_event;
} used __attribute__((aligned(4)));

static struct virtio_blk_outhdr header;
static volatile uint64_t sector[64];
static volatile uint8_t status;

static volatile uint32_t *reg(unsigned off)
{
	return (volatile uint32_t *)(VIRTIO_MMIO_BASE + off);
}

static void set_up(void)
{
	*reg(VIRTIO_MMIO_STATUS) = 0;
	*reg(VIRTIO_MMIO_STATUS) = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER;
	*reg(VIRTIO_MMIO_DRIVER_FEATURES_SEL) = 1;
	*reg(VIRTIO_MMIO_DRIVER_FEATURES) = 1u << (VIRTIO_F_VERSION_1 - 32);
	*reg(VIRTIO_MMIO_DRIVER_FEATURES_SEL) = 0;
	*reg(VIRTIO_MMIO_DRIVER_FEATURES) = 1u << VIRTIO_BLK_F_FLUSH;
	*reg(VIRTIO_MMIO_STATUS) |= VIRTIO_CONFIG_S_FEATURES_OK;
	*reg(VIRTIO_MMIO_QUEUE_SEL) = 0;
	*reg(VIRTIO_MMIO_QUEUE_NUM) = QUEUE_SIZE;
	*reg(VIRTIO_MMIO_QUEUE_DESC_LOW) = (uint32_t)(uintptr_t)desc;
	*reg(VIRTIO_MMIO_QUEUE_AVAIL_LOW) = (uint32_t)(uintptr_t)&avail;
	*reg(VIRTIO_MMIO_QUEUE_USED_LOW) = (uint32_t)(uintptr_t)&used;
	*reg(VIRTIO_MMIO_QUEUE_READY) = 1;
	*reg(VIRTIO_MMIO_STATUS) |= VIRTIO_CONFIG_S_DRIVER_OK;
}

/* Returns the status; the sector's bytes are in, or from, sector[]. */
static uint8_t request(uint32_t type)
{
	uint16_t direction = type == VIRTIO_BLK_T_IN ? VRING_DESC_F_WRITE : 0;
	header = (struct virtio_blk_outhdr){ .type = type };
	desc[0] = (struct vring_desc){ (uintptr_t)&header, sizeof(header), VRING_DESC_F_NEXT,
		                       type == VIRTIO_BLK_T_FLUSH ? 2 : 1 };
	desc[1] = (struct vring_desc){ (uintptr_t)sector, sizeof(sector), VRING_DESC_F_NEXT | direction, 2 };
	desc[2] = (struct vring_desc){ (uintptr_t)&status, 1, VRING_DESC_F_WRITE, 0 };
	status = 0xff;
	__sync_synchronize();
	avail.idx++; /* every element of its ring says: descriptor 0 */
	__sync_synchronize();
	*reg(VIRTIO_MMIO_QUEUE_NOTIFY) = 0;
	while (used.idx != avail.idx)
		__asm__ volatile("pause");
	while (!(*reg(VIRTIO_MMIO_INTERRUPT_STATUS) & VIRTIO_MMIO_INT_VRING))
		;
	*reg(VIRTIO_MMIO_INTERRUPT_ACK) = VIRTIO_MMIO_INT_VRING;
	return status;
}

void tiny_main(void)
{
	set_up();
	unsigned failed = request(VIRTIO_BLK_T_IN);
	uint64_t starts = ++sector[0];
	failed |= request(VIRTIO_BLK_T_OUT);
	failed |= request(VIRTIO_BLK_T_FLUSH);
	put_string(failed ? "failed " : "start ");
	put_number(failed ? failed : starts);
	put_string("\n");
	if (!failed && starts < STARTS)
		reset();
}
