// SPDX-License-Identifier: Apache-2.0
/* Requests between a zoned disk and what is below it, and queues at its zones. */
#include "src/block/zone_request.h"

#include <errno.h>
#include <stdlib.h>

#include "src/base/util.h"

/* ---- a request --------------------------------------------------------------------------------------------------- */

void zone_request_take(struct block *block, struct block_request *request)
{
	struct block_zone_request *own = &request->zone;
	own->done = request->done;
	own->block = block;
	own->op = request->op;
	own->flags = request->flags;
	own->off = request->off;
	own->len = request->len;
	own->retried = false;
}

void zone_request_done(struct block_request *request, int result)
{
	struct block_zone_request *own = &request->zone;
	request->done = own->done;
	request->block = own->block;
	request->op = own->op;
	request->flags = own->flags;
	request->off = own->off;
	request->len = own->len;
	request->done(request, result);
}

static void lower_done(struct block_request *request, int result)
{
	request->zone.then(request, result);
}

void zone_request_lower(struct block_request *request, struct block *lower, uint64_t shift, enum block_op op,
                        unsigned flags, uint64_t off, uint64_t len,
                        void (*then)(struct block_request *request, int result))
{
	request->zone.then = then;
	request->done = lower_done;
	request->op = op;
	request->flags = flags;
	request->off = shift + off;
	request->len = len;
	block_submit(lower, request);
}

static void posted(struct loop_call *call)
{
	struct block_request *request = container_of(call, struct block_request, zone.call);
	request->zone.then(request, request->zone.result);
}

void zone_request_post(struct block_request *request, int result)
{
	request->zone.result = result;
	request->zone.call = (struct loop_call){ .fn = posted };
	loop_post(request->loop, &request->zone.call);
}

/* ---- a zone to oneself ------------------------------------------------------------------------------------------- */

int zone_queues_init(struct zone_queues *queues, uint32_t count, void (*run)(struct block_request *request))
{
	queues->queue = calloc(count, sizeof(*queues->queue));
	queues->run = run;
	pthread_mutex_init(&queues->lock, NULL);
	return queues->queue ? 0 : -ENOMEM;
}

void zone_queues_fini(struct zone_queues *queues)
{
	free(queues->queue);
	pthread_mutex_destroy(&queues->lock);
}

static void append(struct zone_queue *queue, struct block_request *request)
{
	request->zone.next = NULL;
	if (queue->waiting)
		queue->last->zone.next = request;
	else
		queue->waiting = request;
	queue->last = request;
}

/* Take what is left of the request's zones; false: not all can be had, granted() goes on. */
static bool acquire(struct zone_queues *queues, struct block_request *request)
{
	struct block_zone_request *own = &request->zone;
	pthread_mutex_lock(&queues->lock);
	for (; own->zone <= own->last; own->zone++) {
		struct zone_queue *queue = &queues->queue[own->zone];
		if (!queue->owner)
			queue->owner = request;
		if (queue->owner != request) {
			append(queue, request);
			break;
		}
	}
	bool all = own->zone > own->last;
	pthread_mutex_unlock(&queues->lock);
	return all;
}

static void granted(struct loop_call *call)
{
	struct block_request *request = container_of(call, struct block_request, zone.call);
	if (acquire(request->zone.queues, request))
		request->zone.queues->run(request);
}

void zone_queues_enter(struct zone_queues *queues, struct block_request *request, uint32_t first, uint32_t last)
{
	struct block_zone_request *own = &request->zone;
	own->queues = queues;
	own->first = own->zone = first;
	own->last = last;
	own->call = (struct loop_call){ .fn = granted };
	if (acquire(queues, request))
		queues->run(request);
}

/* Whoever waits is told on his own loop, even if it is this one: not from within another request. */
void zone_queues_leave(struct zone_queues *queues, const struct block_request *request)
{
	pthread_mutex_lock(&queues->lock);
	for (uint32_t i = request->zone.first; i <= request->zone.last; i++) {
		struct zone_queue *queue = &queues->queue[i];
		queue->owner = queue->waiting;
		if (!queue->owner)
			continue;
		queue->waiting = queue->owner->zone.next;
		loop_post(queue->owner->loop, &queue->owner->zone.call);
	}
	pthread_mutex_unlock(&queues->lock);
}
