/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The I/O thread's event loop: file descriptors, timers and calls posted from other threads. Everything runs on the one
 * thread that turns the loop. Timers may be set, and calls posted, from any thread; the rest belongs to the loop's
 * thread, or to the thread that sets the VM up before that one runs.
 *
 * A source may name a lock (a device's): the loop takes it around the callback, so that device code never has to.
 * Lock order: a source's lock, then the loop's own.
 *
 * A callback may turn the loop (loop_turn()), to wait for what it has begun.
 */
#ifndef CVMM_BASE_LOOP_H
#define CVMM_BASE_LOOP_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/uio.h>

#include "src/base/error.h"

/* Time, so that tests can replace it by a number. */
struct clock {
	uint64_t (*monotonic_ns)(const struct clock *clock);
	uint64_t (*wall_ns)(const struct clock *clock); /* since 1970 UTC */
};

extern const struct clock clock_host;

static inline uint64_t clock_monotonic_ns(const struct clock *clock)
{
	return clock->monotonic_ns(clock);
}

static inline uint64_t clock_wall_seconds(const struct clock *clock)
{
	return clock->wall_ns(clock) / 1000000000u;
}

struct loop;

/* How operations on files are done. The loop finds the best one that the host admits; tests ask for each. */
enum loop_rung {
	LOOP_BEST,
	LOOP_URING_DEFER, /* io_uring, completions when we ask: Linux 6.1 */
	LOOP_URING_COOP,  /* io_uring, completions without interrupting us: 5.19 */
	LOOP_URING_PLAIN, /* io_uring */
	LOOP_URING_5_10,  /* io_uring without anything younger than Linux 5.10; only when asked for */
	LOOP_POOL,        /* threads that block, where io_uring is not allowed */
};

struct loop_options {
	enum loop_rung rung;
	unsigned entries; /* of the submission queue; 0: enough */
};

struct loop_fd {
	int fd;                                              /* not owned */
	void (*fn)(struct loop_fd *source, uint32_t events); /* EPOLLIN | EPOLLOUT | EPOLLHUP | EPOLLERR */
	pthread_mutex_t *lock;                               /* not owned; NULL: none */
	struct loop *loop;                                   /* set while added */
	/* the loop's */
	uint32_t events;
	unsigned slot;
	struct loop_fd *next, **link;
};

struct loop_timer {
	struct loop *loop; /* not owned */
	void (*fn)(struct loop_timer *timer);
	pthread_mutex_t *lock;   /* not owned; NULL: none */
	struct loop_timer *next; /* the loop's, by deadline */
	uint64_t deadline_ns;
	bool armed;
};

/*
 * One asynchronous file operation: begun on the loop's thread, done there, too. Operations begun in one turn reach the
 * kernel together, in the system call that also waits. The caller owns the struct, which must stay until fn() was
 * called; starting one allocates nothing and never fails: what goes wrong is the result.
 */
struct loop_io {
	void (*fn)(struct loop_io *io, int result); /* bytes, or 0, or a negative errno; may begin the next one */
	struct loop_io *next;                       /* the loop's */
	/* what to do; filled in by the functions below */
	uint8_t op;
	int fd;
	uint32_t flags;
	const struct iovec *iov; /* not owned; stays until fn() */
	unsigned iov_count;
	uint64_t off, len;
	int result;
};

struct loop_call { /* one posted call; may be posted again once it has run */
	void (*fn)(struct loop_call *call);
	struct loop_call *next;
	bool queued;
};

/* @clock: not owned. NULL on failure, with @err and errno. */
struct loop *loop_new(const struct clock *clock, struct cvmm_error *err);
struct loop *loop_new_with(const struct clock *clock, const struct loop_options *options, struct cvmm_error *err);
void loop_free(struct loop *loop);

/* Turn until loop_stop(), then until no operation is under way. */
void loop_run(struct loop *loop);
/* Any thread: make loop_run() return once what is ready has been served. */
void loop_stop(struct loop *loop);
/* One turn by hand: serve what is ready, waiting at most @timeout_ms for it. Returns how many callbacks ran. */
int loop_turn(struct loop *loop, int timeout_ms);

/* An eventfd whose count nobody wants, as a kick: fn runs after each signal, or once for several, perhaps once too often,
 * and has nothing to read. That saves a system call a kick. The eventfd is the loop's alone to read. */
#define LOOP_EVENTFD ((uint32_t)EPOLLIN | (uint32_t)EPOLLET)

/* Watch @source->fd; @events as in epoll, level triggered, or LOOP_EVENTFD; 0 parks it. 0 or a negative errno. */
int loop_fd_add(struct loop *loop, struct loop_fd *source, uint32_t events);
int loop_fd_change(struct loop_fd *source, uint32_t events);
/* Not added: nothing happens. Remove before closing; the kernel may hold the file until the loop's next turn. */
void loop_fd_remove(struct loop_fd *source);

void loop_timer_init(struct loop_timer *timer, struct loop *loop, pthread_mutex_t *lock,
                     void (*fn)(struct loop_timer *timer));
/* Ring once after @delay_ns; setting it again moves it. A timer with a lock is set and cancelled holding that lock;
 * then the callback surely does not run after a cancel. */
void loop_timer_set(struct loop_timer *timer, uint64_t delay_ns);
void loop_timer_cancel(struct loop_timer *timer);

/* Make ready for operations, which costs a loop without them nothing: the ring, or else the pool of threads. Before the
 * loop's thread runs, or on it; the first operation does it otherwise. From then on the loop goes to another thread only
 * when no operation is under way, as after loop_run(). 0, also when it was done before; -EOPNOTSUPP: the host does not have the rung that was asked for; -ENOMEM. */
int loop_enable_io(struct loop *loop);
/* For logs and `doctor`: "epoll", "epoll and threads", "io_uring (deferred)", ... */
const char *loop_engine_name(const struct loop *loop);
/* How often the kernel was asked to wait for events or to take operations in. The loop's thread. */
uint64_t loop_enters(const struct loop *loop);

/* The loop's thread; files and block devices only, where an operation ends by itself. @flags: RWF_DSYNC and the like, or 0. Short transfers are the caller's to go on with. */
void loop_readv(struct loop *loop, struct loop_io *io, int fd, const struct iovec *iov, unsigned iov_count,
                uint64_t off);
void loop_writev(struct loop *loop, struct loop_io *io, int fd, const struct iovec *iov, unsigned iov_count,
                 uint64_t off, int flags);
void loop_fdatasync(struct loop *loop, struct loop_io *io, int fd);
/* @mode: FALLOC_FL_PUNCH_HOLE and the like. */
void loop_fallocate(struct loop *loop, struct loop_io *io, int fd, int mode, uint64_t off, uint64_t len);
/* Operations begun and not done; a loop is freed only when there is none. */
unsigned loop_io_pending(const struct loop *loop);

/* Any other thread than the loop's: run @fn there and wait for its return. At once on this thread where no thread turns
 * the loop. The caller holds no lock that a callback of the loop takes. */
void loop_run_sync(struct loop *loop, void (*fn)(void *opaque), void *opaque);

/* Any thread: run @call->fn on the loop's thread; posting what is queued already does nothing more. */
void loop_post(struct loop *loop, struct loop_call *call);

/* The loop's thread: run @call->fn once at the end of this turn, when all that was ready has been served, before what was
 * begun goes to the kernel and the loop sleeps; outside of a turn: at the end of the next one, which then does not sleep.
 * What came in one by one is so told others as one. No lock. Deferring what is deferred already does nothing more. */
void loop_defer(struct loop *loop, struct loop_call *call);
/* The loop's thread: it surely does not run any more. */
void loop_defer_cancel(struct loop *loop, struct loop_call *call);

#endif
