// SPDX-License-Identifier: Apache-2.0
/*
 * epoll, which every kernel and every sandbox has: the engine of loops without operations on files, and, with a pool of
 * threads for these, of hosts where io_uring is not allowed.
 */
#include <errno.h>
#include <limits.h>
#include <sys/epoll.h>

#include "src/base/loop_engine.h"
#include "src/base/util.h"

enum { BATCH_EVENTS = 16 };

struct epoll_batch {
	struct epoll_event events[BATCH_EVENTS];
	int at, count;
	struct epoll_batch *outer; /* whose callback turns the loop */
};

int loop_epoll_open(struct loop *loop)
{
	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	return loop->epoll_fd < 0 ? -errno : 0;
}

static int epoll_set(struct loop *loop, int op, struct loop_fd *source)
{
	struct epoll_event event = { .events = source->events, .data.ptr = source };
	return epoll_ctl(loop->epoll_fd, op, source->fd, &event) < 0 ? -errno : 0;
}

static int epoll_add(struct loop *loop, struct loop_fd *source)
{
	return epoll_set(loop, EPOLL_CTL_ADD, source);
}

static int epoll_change(struct loop *loop, struct loop_fd *source)
{
	return epoll_set(loop, EPOLL_CTL_MOD, source);
}

static void epoll_remove(struct loop *loop, struct loop_fd *source)
{
	epoll_set(loop, EPOLL_CTL_DEL, source);
	/* the batches that are being served may name it still */
	for (struct epoll_batch *batch = loop->batch; batch; batch = batch->outer)
		for (int i = batch->at; i < batch->count; i++)
			if (batch->events[i].data.ptr == source)
				batch->events[i].events = 0;
}

static int epoll_serve(struct loop *loop, struct epoll_batch *batch)
{
	int served = 0;
	batch->outer = loop->batch;
	loop->batch = batch;
	for (; batch->at < batch->count; batch->at++) {
		const struct epoll_event *event = &batch->events[batch->at];
		if (event->events)
			served += loop_fd_serve(loop, event->data.ptr, event->events);
	}
	loop->batch = batch->outer;
	return served;
}

/* Milliseconds, rounded up. */
static int epoll_timeout(int64_t timeout_ns)
{
	if (timeout_ns <= 0)
		return timeout_ns < 0 ? -1 : 0;
	return (int)MIN((timeout_ns - 1) / (int64_t)NSEC_PER_MSEC + 1, INT_MAX);
}

static int epoll_turn(struct loop *loop, int64_t timeout_ns)
{
	struct epoll_batch batch;
	loop->enters++;
	int got = epoll_wait(loop->epoll_fd, batch.events, BATCH_EVENTS, epoll_timeout(timeout_ns));
	batch.at = 0;
	batch.count = MAX(got, 0);
	return epoll_serve(loop, &batch);
}

const struct loop_engine loop_epoll = {
	.name = "epoll",
	.add = epoll_add,
	.change = epoll_change,
	.remove = epoll_remove,
	.turn = epoll_turn,
};

static int epoll_pool_turn(struct loop *loop, int64_t timeout_ns)
{
	io_pool_submit(loop->pool, &loop->begun);
	int served = epoll_turn(loop, loop->ended.head ? 0 : timeout_ns);
	io_pool_reap(loop->pool, &loop->ended);
	for (struct loop_io *io; (io = io_list_pop(&loop->ended));)
		served += loop_io_serve(loop, io, io->result);
	return served;
}

static void epoll_pool_free(struct loop *loop)
{
	io_pool_free(loop->pool);
}

const struct loop_engine loop_epoll_pool = {
	.name = "epoll and threads",
	.add = epoll_add,
	.change = epoll_change,
	.remove = epoll_remove,
	.turn = epoll_pool_turn,
	.free = epoll_pool_free,
};
