/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of virtio-blk share: a request, and what zoned disks add (blk_zoned.c). */
#ifndef CVMM_DEVICES_VIRTIO_BLK_H
#define CVMM_DEVICES_VIRTIO_BLK_H

#include <linux/types.h>
#include <linux/virtio_blk.h>

#include "devices/virtio/virtqueue.h"
#include "src/block/block.h"

enum {
	BLK_SECTOR_SHIFT = 9,
	BLK_RANGES_MAX = 32,  /* of a DISCARD */
	BLK_UNDER_WAY = 0xff, /* unused in any status */
	BLK_F_ZONED = 17,     /* VIRTIO_BLK_F_ZONED, which linux/virtio_blk.h has since 6.3 */
};

/* The configuration space up to where secure erase begins, which there is not, and where zones begin. */
enum { BLK_CONFIG_SIZE = offsetof(struct virtio_blk_config, write_zeroes_may_unmap) + 4, BLK_ZONED_CONFIG_OFF = 72 };

struct blk_queue;

struct blk_request {
	struct block_request io;
	struct blk_queue *queue; /* not owned */
	struct blk_request *next_free;
	struct desc_chain chain;
	uint8_t *status;  /* in guest memory; NULL: there is no place for it */
	uint32_t written; /* if it succeeds, with the status */
	unsigned range, range_count;
	struct virtio_blk_discard_write_zeroes ranges[BLK_RANGES_MAX];
	/* ZONE_REPORT: zones told, how many there is room for, and where in the chain the next one goes */
	uint32_t zones, zones_max;
	unsigned zones_iov;
	size_t zones_off;
};

/* The configuration space's last part (virtio 1.3, 5.2.4). */
struct blk_zoned_config {
	__le32 zone_sectors, max_open_zones, max_active_zones, max_append_sectors, write_granularity;
	uint8_t model, unused2[3];
};
_Static_assert(sizeof(struct blk_zoned_config) == 24, "as the driver reads it");

void blk_zoned_config(const struct block *block, struct blk_zoned_config *config);

/* A request of a zoned disk whose driver knows of zones. Its header has been taken. A status, or BLK_UNDER_WAY when
 * req->io is to be submitted. @flags: of writes. */
uint8_t blk_zoned_decode(struct blk_request *req, const struct block *block, uint32_t type, uint64_t sector,
                         unsigned flags);
/* @req, of any type, is done: fill in what the driver is told; returns the status. */
uint8_t blk_zoned_done(struct blk_request *req, int result);

#endif
