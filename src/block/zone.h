/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Zoned disks: what a device needs to know of one, whatever it is kept in. A zoned disk is a struct block (block.h) whose
 * zones is not NULL; it takes the BLOCK_ZONE_* operations beside the others. Codes of types, states and models are those
 * of virtio-blk (virtio 1.3, 5.2.6.2), of NVMe ZNS and of the kernel's struct blk_zone alike.
 */
#ifndef CVMM_SRC_BLOCK_ZONE_H
#define CVMM_SRC_BLOCK_ZONE_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>

#include "src/base/error.h"

enum zone_model { ZONE_MODEL_NONE = 0, ZONE_MODEL_HOST_MANAGED = 1, ZONE_MODEL_HOST_AWARE = 2 };

enum zone_type { ZONE_CONVENTIONAL = 1, ZONE_WRITE_REQUIRED = 2, ZONE_WRITE_PREFERRED = 3 };

enum zone_state {
	ZONE_NOT_WP = 0,
	ZONE_EMPTY = 1,
	ZONE_IMPLICIT_OPEN = 2,
	ZONE_EXPLICIT_OPEN = 3,
	ZONE_CLOSED = 4,
	ZONE_READ_ONLY = 13,
	ZONE_FULL = 14,
	ZONE_OFFLINE = 15,
};

/*
 * How requests to zones fail, beside the ways in which all do. The resource errors are those that the kernel gives for
 * its own zoned devices; the others are errnos that no read or write of a file returns.
 */
enum {
	ZONE_INVALID = -EBADR,              /* the zone, or its state, does not allow that */
	ZONE_UNALIGNED = -ESPIPE,           /* a write that is not at the write pointer, or not of whole blocks */
	ZONE_OPEN_RESOURCE = -ETOOMANYREFS, /* would be one open zone too many */
	ZONE_ACTIVE_RESOURCE = -EOVERFLOW,  /* would be one active zone too many */
};

/* All in bytes, but for the counts of zones. What does not change while the disk lives. */
struct zone_geometry {
	enum zone_model model;
	uint64_t size;                 /* of the disk; the last zone may be smaller than the others */
	uint64_t zone_size;            /* a power of two */
	uint64_t zone_capacity;        /* what of a zone can be written: at most zone_size */
	uint32_t conventional;         /* so many zones at the start have no write pointer */
	uint32_t max_open, max_active; /* zones; 0: no limit */
	uint32_t max_append;           /* 0: no zone append */
	uint32_t block_size;           /* 512 or 4096: the logical block, and what writes to zones are made of */
};

/* One zone, as reported. */
struct zone_info {
	uint64_t start, len, capacity;
	uint64_t wp; /* start + len where there is none: NOT_WP, FULL, READ_ONLY, OFFLINE */
	enum zone_type type;
	enum zone_state state;
};

static inline uint64_t zone_count(const struct zone_geometry *geometry)
{
	return geometry->size / geometry->zone_size + (geometry->size % geometry->zone_size != 0);
}

/* "host-managed", "empty", ...; "?" for what has no name. */
const char *zone_model_name(enum zone_model model);
const char *zone_type_name(enum zone_type type);
const char *zone_state_name(enum zone_state state);

struct block;
struct block_file_options;

/*
 * A zoned disk in an ordinary file that cvmm_zone_format() made (docs/zoned-format.md). NULL with @err: not such a file,
 * damaged, in use, ...
 */
struct block *zoned_file_open(const struct block_file_options *options, struct cvmm_error *err);
/* A zoned disk in memory, all zones empty. */
struct block *zoned_memory_new(const struct zone_geometry *geometry, struct cvmm_error *err);
/* The host's zoned block device. */
struct block *zoned_host_open(const struct block_file_options *options, struct cvmm_error *err);

#endif
