/* SPDX-License-Identifier: Apache-2.0 */
/* The host's zoned devices, apart from their ioctls, so that a test can be the host. */
#ifndef CVMM_SRC_BLOCK_ZONED_HOST_H
#define CVMM_SRC_BLOCK_ZONED_HOST_H

#include "src/block/block.h"
#include "src/block/zones.h"

enum { ZONED_HOST_REPORT_MAX = 64 };

/* What is asked of the device, by a thread that may block. Each returns 0 or a negative errno. */
struct zoned_host_calls {
	/* Zones from byte @off on, at most *count, ZONED_HOST_REPORT_MAX; *count: how many there were. */
	int (*report)(int fd, uint64_t off, struct zone_info *infos, unsigned *count);
	int (*manage)(int fd, enum zone_op op, uint64_t off, uint64_t len);
};

/* Over @lower, the same device for reads and writes, and @fd for the rest; takes both over, also on failure. */
struct block *zoned_host_new(struct block *lower, int fd, const struct zoned_host_calls *calls,
                             const struct zone_geometry *geometry, struct cvmm_error *err);

#endif
