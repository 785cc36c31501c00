/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What zoned back ends have in common: requests that go on to another back end and come back, and a queue at each zone.
 *
 * Whoever changes a zone has it to himself: requests queue up. Those that span several zones take them in ascending
 * order, so that none waits for one that waits for it.
 */
#ifndef CVMM_SRC_BLOCK_ZONE_REQUEST_H
#define CVMM_SRC_BLOCK_ZONE_REQUEST_H

#include <pthread.h>

#include "src/block/block.h"

/* Keep what the device asked for, before anything else is done with it. */
void zone_request_take(struct block *block, struct block_request *request);
/* The device's request again; off is where an append went. */
void zone_request_done(struct block_request *request, int result);
/* Do a part of the request at @lower, @shift further on, then go on with @then. */
void zone_request_lower(struct block_request *request, struct block *lower, uint64_t shift, enum block_op op,
                        unsigned flags, uint64_t off, uint64_t len,
                        void (*then)(struct block_request *request, int result));
/* request->zone.then(), with @result, on the request's own loop: never from within this call. */
void zone_request_post(struct block_request *request, int result);

struct zone_queue {
	struct block_request *owner, *waiting, *last;
};

struct zone_queues {
	struct zone_queue *queue;                   /* owned, one a zone */
	void (*run)(struct block_request *request); /* has all zones that it entered */
	pthread_mutex_t lock;
};

int zone_queues_init(struct zone_queues *queues, uint32_t count, void (*run)(struct block_request *request));
void zone_queues_fini(struct zone_queues *queues);
/* Wait for zones @first to @last, then run(): perhaps before this returns. */
void zone_queues_enter(struct zone_queues *queues, struct block_request *request, uint32_t first, uint32_t last);
void zone_queues_leave(struct zone_queues *queues, const struct block_request *request);

#endif
