/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between the loop (timers, calls, ownership: loop.c) and what waits in the kernel for it: epoll with a pool of threads
 * (loop_epoll.c, io_pool.c), or io_uring (loop_uring.c). Only those files include this.
 */
#ifndef CVMM_BASE_LOOP_ENGINE_H
#define CVMM_BASE_LOOP_ENGINE_H

#include <stdatomic.h>

#include "src/base/loop.h"

enum loop_op { LOOP_READV, LOOP_WRITEV, LOOP_FDATASYNC, LOOP_FALLOCATE };

struct io_list { /* first in, first out */
	struct loop_io *head, **end;
};

struct loop_engine {
	const char *name;
	/* 0 or a negative errno; @source->events holds what is wanted */
	int (*add)(struct loop *loop, struct loop_fd *source);
	int (*change)(struct loop *loop, struct loop_fd *source);
	void (*remove)(struct loop *loop, struct loop_fd *source);
	/* Hand loop->begun to the kernel, wait (@timeout_ns < 0: for ever), serve what is ready. Returns how many callbacks
	 * ran. May be called by one of these callbacks. */
	int (*turn)(struct loop *loop, int64_t timeout_ns);
	void (*free)(struct loop *loop);
};

struct epoll_batch;
struct io_pool;
struct uring;

struct loop {
	const struct clock *clock; /* not owned */
	const struct loop_engine *engine;
	struct loop_options options;
	int epoll_fd, wake_fd; /* owned; the ring keeps epoll_fd, too, to say which files can be watched */
	struct loop_fd wake;   /* wakes, and has nothing to serve */
	struct loop_fd *sources;
	struct io_list begun; /* operations that have not been handed to the kernel */
	struct io_list ended; /* done by the pool, not yet told */
	unsigned io_pending;  /* begun and not told to be done */
	bool io_enabled;
	uint64_t enters;
	struct epoll_batch *batch; /* that is being served */
	struct io_pool *pool;      /* owned; NULL: none */
	struct uring *uring;       /* owned; NULL: none */

	pthread_mutex_t lock; /* timers, calls and who owns the loop */
	pthread_cond_t changed;
	atomic_uintptr_t owner;    /* the thread that is the loop's now; 0: none */
	bool changed_hands;        /* the owner has not turned the loop yet */
	struct loop_timer *timers; /* earliest first */
	struct loop_call *calls, **calls_end;
	unsigned calls_count;
	struct loop_call *deferred;  /* for the end of this turn; the loop\'s thread alone */
	struct loop_call *deferring; /* those of them that are being served */
	atomic_bool stopping;
};

static inline void io_list_init(struct io_list *list)
{
	list->head = NULL;
	list->end = &list->head;
}

static inline void io_list_push(struct io_list *list, struct loop_io *io)
{
	io->next = NULL;
	*list->end = io;
	list->end = &io->next;
}

static inline struct loop_io *io_list_pop(struct io_list *list)
{
	struct loop_io *io = list->head;
	if (io && !(list->head = io->next))
		list->end = &list->head;
	return io;
}

/* All of @from goes to the end of @list. */
static inline void io_list_take(struct io_list *list, struct io_list *from)
{
	if (!from->head)
		return;
	*list->end = from->head;
	list->end = from->end;
	io_list_init(from);
}

/* Any thread. */
void loop_wake(struct loop *loop);
/* How many callbacks ran: 1, or 0 for the loop's own source. */
int loop_fd_serve(struct loop *loop, struct loop_fd *source, uint32_t events);
/* Likewise; an operation that a signal has interrupted begins again. */
int loop_io_serve(struct loop *loop, struct loop_io *io, int result);

extern const struct loop_engine loop_epoll, loop_epoll_pool;
/* Open loop->epoll_fd. 0 or a negative errno. */
int loop_epoll_open(struct loop *loop);

/* Make the ring of the first rung that the host has, for all sources of the loop. 0 or a negative errno. */
int loop_uring_open(struct loop *loop);

/* NULL: out of memory. Threads start when there is work for them. */
struct io_pool *io_pool_new(struct loop *loop);
void io_pool_free(struct io_pool *pool); /* NULL is welcome; nothing is under way */
void io_pool_submit(struct io_pool *pool, struct io_list *list);
/* What is done, at the end of @list; the loop is woken when there is something. */
void io_pool_reap(struct io_pool *pool, struct io_list *list);

#endif
