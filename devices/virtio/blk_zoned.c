// SPDX-License-Identifier: Apache-2.0
/*
 * What virtio-blk adds for zoned disks (virtio 1.3, 5.2.6): requests for zones, how they are answered, and how they
 * fail. What may be done to a zone is the back end's to know (src/block/zone.h).
 */
#include "devices/virtio/blk.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

#include "src/base/util.h"
#include "src/block/zone.h"

enum { S_ZONE_INVALID_CMD = 3, S_ZONE_UNALIGNED_WP = 4, S_ZONE_OPEN_RESOURCE = 5, S_ZONE_ACTIVE_RESOURCE = 6 };

enum {
	T_ZONE_APPEND = 15,
	T_ZONE_REPORT = 16,
	T_ZONE_OPEN = 18,
	T_ZONE_CLOSE = 20,
	T_ZONE_FINISH = 22,
	T_ZONE_RESET = 24,
	T_ZONE_RESET_ALL = 26,
};

struct report_header {
	__le64 nr_zones;
	uint8_t reserved[56];
};
_Static_assert(sizeof(struct report_header) == 64, "as the driver reads it");

struct report_zone {
	__le64 z_cap, z_start, z_wp; /* sectors */
	uint8_t z_type, z_state;
	uint8_t reserved[38];
};
_Static_assert(sizeof(struct report_zone) == 64, "as the driver reads it");

void blk_zoned_config(const struct block *block, struct blk_zoned_config *config)
{
	const struct zone_geometry *geometry = block->zones;
	*config = (struct blk_zoned_config){
		.zone_sectors = htole32((uint32_t)(geometry->zone_size >> BLK_SECTOR_SHIFT)),
		.max_open_zones = htole32(geometry->max_open),
		.max_active_zones = htole32(geometry->max_active),
		.max_append_sectors = htole32(geometry->max_append >> BLK_SECTOR_SHIFT),
		.write_granularity = htole32(geometry->block_size),
		.model = (uint8_t)geometry->model,
	};
}

/* ---- report ------------------------------------------------------------------------------------------------------ */

/* Go on in the writable part where the last one ended; there is room. */
static void put(struct blk_request *req, const void *buf, size_t len)
{
	const struct iovec *iov = req->chain.iov + req->chain.readable;
	const uint8_t *from = buf;
	while (len) {
		size_t step = MIN(len, iov[req->zones_iov].iov_len - req->zones_off);
		memcpy((uint8_t *)iov[req->zones_iov].iov_base + req->zones_off, from, step);
		from += step;
		len -= step;
		req->zones_off += step;
		if (req->zones_off == iov[req->zones_iov].iov_len) {
			req->zones_iov++;
			req->zones_off = 0;
		}
	}
}

static bool report_zone(struct block_request *io, const struct zone_info *info)
{
	struct blk_request *req = container_of(io, struct blk_request, io);
	struct report_zone zone = {
		.z_cap = htole64(info->capacity >> BLK_SECTOR_SHIFT),
		.z_start = htole64(info->start >> BLK_SECTOR_SHIFT),
		.z_wp = htole64(info->wp >> BLK_SECTOR_SHIFT),
		.z_type = (uint8_t)info->type,
		.z_state = (uint8_t)info->state,
	};
	put(req, &zone, sizeof(zone));
	return ++req->zones < req->zones_max;
}

static uint8_t report_end(struct blk_request *req)
{
	struct report_header header = { .nr_zones = htole64(req->zones) };
	desc_chain_write(&req->chain, &header, sizeof(header));
	req->written = (uint32_t)(sizeof(header) + req->zones * sizeof(struct report_zone));
	return VIRTIO_BLK_S_OK;
}

/* The header is filled in at the end, when it is known how many zones follow. */
static uint8_t report(struct blk_request *req)
{
	static const struct report_header none;
	if (req->chain.writable_len < sizeof(none))
		return S_ZONE_INVALID_CMD;
	req->zones_max = (uint32_t)((req->chain.writable_len - sizeof(none)) / sizeof(struct report_zone));
	req->zones_iov = 0;
	req->zones_off = 0;
	put(req, &none, sizeof(none));
	req->io.report = report_zone;
	return req->zones_max ? BLK_UNDER_WAY : report_end(req);
}

/* ---- append ------------------------------------------------------------------------------------------------------ */

/* The writable part is the sector where it went, then the status, which has been taken off. */
static uint8_t append(struct blk_request *req, unsigned flags)
{
	uint32_t len = req->chain.readable_len - (uint32_t)sizeof(struct virtio_blk_outhdr);
	if (req->chain.writable_len != sizeof(__le64) || !len)
		return S_ZONE_INVALID_CMD;
	req->io.len = len;
	req->io.flags = flags;
	return BLK_UNDER_WAY;
}

static uint8_t append_end(struct blk_request *req)
{
	__le64 sector = htole64(req->io.off >> BLK_SECTOR_SHIFT);
	req->written = (uint32_t)desc_chain_write(&req->chain, &sector, sizeof(sector));
	return VIRTIO_BLK_S_OK;
}

/* ---- all --------------------------------------------------------------------------------------------------------- */

static const struct {
	uint32_t type;
	enum block_op op;
} zone_types[] = {
	{ T_ZONE_APPEND, BLOCK_ZONE_APPEND },       { T_ZONE_REPORT, BLOCK_ZONE_REPORT },
	{ T_ZONE_OPEN, BLOCK_ZONE_OPEN },           { T_ZONE_CLOSE, BLOCK_ZONE_CLOSE },
	{ T_ZONE_FINISH, BLOCK_ZONE_FINISH },       { T_ZONE_RESET, BLOCK_ZONE_RESET },
	{ T_ZONE_RESET_ALL, BLOCK_ZONE_RESET_ALL },
};

/* A sector beyond all bytes is one beyond the disk: the back end says what that is. */
static uint64_t off_of(uint64_t sector)
{
	return sector > UINT64_MAX >> BLK_SECTOR_SHIFT ? align_down(UINT64_MAX, 1 << BLK_SECTOR_SHIFT)
	                                               : sector << BLK_SECTOR_SHIFT;
}

uint8_t blk_zoned_decode(struct blk_request *req, const struct block *block, uint32_t type, uint64_t sector,
                         unsigned flags)
{
	unsigned i = 0;
	while (i < ARRAY_SIZE(zone_types) && zone_types[i].type != type)
		i++;
	if (i == ARRAY_SIZE(zone_types))
		return VIRTIO_BLK_S_UNSUPP;
	req->io.op = zone_types[i].op;
	req->io.off = type == T_ZONE_RESET_ALL ? 0 : off_of(sector);
	req->io.len = 0;
	req->io.flags = 0;
	req->zones = 0;
	if (type == T_ZONE_REPORT)
		return report(req);
	if (block->read_only)
		return VIRTIO_BLK_S_IOERR;
	return type == T_ZONE_APPEND ? append(req, flags) : BLK_UNDER_WAY;
}

static uint8_t status_of(int result)
{
	switch (result) {
	case ZONE_INVALID:
		return S_ZONE_INVALID_CMD;
	case ZONE_UNALIGNED:
		return S_ZONE_UNALIGNED_WP;
	case ZONE_OPEN_RESOURCE:
		return S_ZONE_OPEN_RESOURCE;
	case ZONE_ACTIVE_RESOURCE:
		return S_ZONE_ACTIVE_RESOURCE;
	case -EOPNOTSUPP:
		return VIRTIO_BLK_S_UNSUPP;
	default:
		return VIRTIO_BLK_S_IOERR;
	}
}

uint8_t blk_zoned_done(struct blk_request *req, int result)
{
	if (result < 0)
		return status_of(result);
	if (req->io.op == BLOCK_ZONE_REPORT)
		return report_end(req);
	return req->io.op == BLOCK_ZONE_APPEND ? append_end(req) : VIRTIO_BLK_S_OK;
}
