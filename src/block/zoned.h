/* SPDX-License-Identifier: Apache-2.0 */
/* A disk whose zones we keep ourselves, over another back end: zoned.c its requests, zone_commit.c its table. */
#ifndef CVMM_SRC_BLOCK_ZONED_H
#define CVMM_SRC_BLOCK_ZONED_H

#include <pthread.h>

#include "src/block/zone_image.h"
#include "src/block/zone_request.h"

struct zone_commit {
	struct block_request request; /* to the file; its loop is that of who began */
	struct iovec iov;
	uint8_t *page;                        /* owned: ZONE_PAGE_SIZE */
	struct zone_record *records;          /* owned: of each zone, as they were when it began */
	struct block_request *waiting, *last; /* for the next one */
	struct block_request *joined;         /* for this one */
	uint32_t at;                          /* the page under way */
	bool running, wrote;
};

struct zoned {
	struct block block;
	struct block *lower; /* owned */
	uint64_t data_off;   /* there, of the disk's first byte */
	struct zones zones;
	struct zone_table table; /* no pages: in memory, nothing is kept */
	struct zone_queues queues;
	bool *clear; /* owned, one a zone: its owner resets it */
	struct zone_commit commit;
	/* Of zones, pages' flags and the commit's lists; never held while a callback runs or I/O is begun. */
	pthread_mutex_t lock;
};

/* Takes over what @image holds, also on failure. */
struct block *zoned_new(struct zone_image *image, struct cvmm_error *err);

int zoned_commit_init(struct zoned *zoned);
void zoned_commit_fini(struct zoned *zoned);
/* Make everything stable that was done before, data and table; then @then is called on the request's loop. */
void zoned_commit(struct zoned *zoned, struct block_request *request,
                  void (*then)(struct block_request *request, int result));

#endif
