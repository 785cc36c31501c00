/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The zones of a disk as a state machine (virtio 1.3, 5.2.6.2; specs of the errors there): what may be done to a zone,
 * and what it is afterwards. Pure: no I/O, no lock, no time. Results are 0 or one of the ZONE_ errors of zone.h.
 */
#ifndef CVMM_SRC_BLOCK_ZONES_H
#define CVMM_SRC_BLOCK_ZONES_H

#include "src/block/zone.h"

enum {
	ZONES_MAX = 1 << 18, /* zones of one disk: 64 TiB of 256 MiB each */
};
#define ZONE_SIZE_MIN ((uint64_t)64 << 10)
#define ZONE_SIZE_MAX ((uint64_t)1 << 40) /* its sectors fit virtio-blk's 32 bits */

struct zone {
	uint64_t written; /* bytes from its start: below lies data, above zeroes */
	uint8_t type, state;
	bool finished; /* FULL by command: written may be less than the capacity */
	bool writing;  /* between zones_begin_write() and zones_end_write() */
};

struct zones {
	struct zone_geometry geometry;
	struct zone *zone; /* owned array */
	uint32_t count;
	uint32_t max_open, max_active;       /* in force; UINT32_MAX: none */
	uint32_t implicit, explicit, closed; /* how many are in these states; together: active */
	uint32_t cursor;                     /* the last zone closed to make room */
};

/* 0, or -EINVAL with @err: what no zoned disk can be. */
int zone_geometry_check(const struct zone_geometry *geometry, struct cvmm_error *err);

/* All empty. 0, -EINVAL (zone_geometry_check()) or -ENOMEM; zones_fini() is welcome after each. */
int zones_init(struct zones *zones, const struct zone_geometry *geometry, struct cvmm_error *err);
void zones_fini(struct zones *zones);

/* Which zone byte @off lies in; @off is below the disk's size. */
static inline uint32_t zones_index(const struct zones *zones, uint64_t off)
{
	return (uint32_t)(off / zones->geometry.zone_size);
}

static inline uint64_t zones_start(const struct zones *zones, uint32_t index)
{
	return index * zones->geometry.zone_size;
}

uint64_t zones_len(const struct zones *zones, uint32_t index);
uint64_t zones_capacity(const struct zones *zones, uint32_t index);
void zones_info(const struct zones *zones, uint32_t index, struct zone_info *info);

/* May [off, off + len), which lies in the disk, be read? @data: so many bytes of it from @off on are data, the rest are
 * zeroes; all of them where zones do not require sequential writes, as there zeroes are stored as such. */
int zones_read(const struct zones *zones, uint64_t off, uint64_t len, uint64_t *data);

/*
 * A write to [off, off + len), which lies in the disk and has a length, is to begin: zones are opened for it. If 0 is
 * returned, zones_end_write() follows. Each zone is written by one at a time: writes, and operations, are the caller's
 * to put in order. A conventional zone has no such rule.
 */
int zones_begin_write(struct zones *zones, uint64_t off, uint64_t len);
/* @good: the data is there. */
void zones_end_write(struct zones *zones, uint64_t off, uint64_t len, bool good);
/* The same as a write, but at the write pointer: @off is a zone's start, and then where to write. -EOPNOTSUPP: the disk
 * has no zone append. */
int zones_begin_append(struct zones *zones, uint64_t *off, uint64_t len);

enum zone_op { ZONE_OP_WRITE, ZONE_OP_OPEN, ZONE_OP_CLOSE, ZONE_OP_FINISH, ZONE_OP_RESET, ZONE_OPS };

/* Is the operation possible in that state, resources aside? */
bool zones_allow(enum zone_state state, enum zone_op op);
/* Open, close, finish or reset the zone that begins at @off. */
int zones_manage(struct zones *zones, enum zone_op op, uint64_t off);
/* Does a reset change the zone? It does where it is neither empty already nor forbidden; a reset of all takes these. */
bool zones_has_to_reset(const struct zones *zones, uint32_t index);

/* A state by force: READ_ONLY or OFFLINE, and NOT_WP: back to what it would be without. -EINVAL: none of these, or a
 * conventional zone, which has no such states here. */
int zones_force(struct zones *zones, uint32_t index, enum zone_state state);
/* As read from a file; @state as for zones_force(). -EINVAL: cannot be. */
int zones_restore(struct zones *zones, uint32_t index, uint64_t written, bool finished, enum zone_state state);

#endif
