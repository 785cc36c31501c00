// SPDX-License-Identifier: Apache-2.0
/*
 * What does not depend on how the kernel waits for us: timers, of which the earliest's deadline is the wait's timeout,
 * posted calls, whose thread the loop is, and which engine serves it. A loop starts with epoll, which costs least, and
 * gets its io_uring when the first device asks for operations on files.
 */
#include "src/base/loop.h"

#include <assert.h>
#include <errno.h>
#include <sys/eventfd.h>
#include <time.h>

#include "src/base/loop_engine.h"
#include "src/base/util.h"

enum { LOOP_TIMERS_PER_TURN = 64 }; /* a timer that sets itself to now must not starve the rest */

#define LOOP_WAIT_MAX_NS (3600 * NSEC_PER_SEC)

static uint64_t now_ns(clockid_t id)
{
	struct timespec now;
	clock_gettime(id, &now);
	return (uint64_t)now.tv_sec * NSEC_PER_SEC + (uint64_t)now.tv_nsec;
}

static uint64_t host_monotonic_ns(const struct clock *clock)
{
	return now_ns(CLOCK_MONOTONIC);
}

static uint64_t host_wall_ns(const struct clock *clock)
{
	return now_ns(CLOCK_REALTIME);
}

const struct clock clock_host = { .monotonic_ns = host_monotonic_ns, .wall_ns = host_wall_ns };

/* ---- making it --------------------------------------------------------------------------------------------------- */

static int loop_open(struct loop *loop)
{
	loop->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (loop->wake_fd < 0)
		return -errno;
	int ret = loop_epoll_open(loop);
	if (ret < 0)
		return ret;
	loop->wake.fd = loop->wake_fd;
	return loop_fd_add(loop, &loop->wake, LOOP_EVENTFD);
}

struct loop *loop_new_with(const struct clock *clock, const struct loop_options *options, struct cvmm_error *err)
{
	struct loop *loop = calloc(1, sizeof(*loop));
	if (!loop) {
		err_set(err, -ENOMEM, "I/O thread: out of memory");
		return NULL;
	}
	loop->clock = clock;
	loop->options = *options;
	loop->engine = &loop_epoll;
	loop->epoll_fd = loop->wake_fd = -1;
	loop->calls_end = &loop->calls;
	io_list_init(&loop->begun);
	io_list_init(&loop->ended);
	pthread_mutex_init(&loop->lock, NULL);
	pthread_cond_init(&loop->changed, NULL);
	int ret = loop_open(loop);
	if (ret < 0) {
		errno = -ret;
		err_set(err, ret, "I/O thread: epoll: %m");
		loop_free(loop);
		errno = -ret;
		return NULL;
	}
	return loop;
}

struct loop *loop_new(const struct clock *clock, struct cvmm_error *err)
{
	return loop_new_with(clock, &(struct loop_options){ .rung = LOOP_BEST }, err);
}

void loop_free(struct loop *loop)
{
	if (!loop)
		return;
	assert(!loop->io_pending);
	if (loop->engine->free)
		loop->engine->free(loop);
	if (loop->epoll_fd >= 0)
		close(loop->epoll_fd);
	if (loop->wake_fd >= 0)
		close(loop->wake_fd);
	pthread_cond_destroy(&loop->changed);
	pthread_mutex_destroy(&loop->lock);
	free(loop);
}

/* Any failure of io_uring leaves the threads, which need nothing but memory. */
int loop_enable_io(struct loop *loop)
{
	if (loop->io_enabled)
		return 0;
	int ret = loop->options.rung == LOOP_POOL ? -EOPNOTSUPP : loop_uring_open(loop);
	if (ret < 0) {
		if (loop->options.rung != LOOP_BEST && loop->options.rung != LOOP_POOL)
			return ret;
		loop->pool = io_pool_new(loop);
		if (!loop->pool)
			return -ENOMEM;
		loop->engine = &loop_epoll_pool;
	}
	loop->io_enabled = true;
	return 0;
}

const char *loop_engine_name(const struct loop *loop)
{
	return loop->engine->name;
}

uint64_t loop_enters(const struct loop *loop)
{
	return loop->enters;
}

/* ---- whose thread it is ------------------------------------------------------------------------------------------ */

void loop_wake(struct loop *loop)
{
	uint64_t one = 1;
	ssize_t written = write(loop->wake_fd, &one, sizeof(one)); /* a full counter wakes just as well */
	(void)written;
}

static bool loop_is_mine(struct loop *loop)
{
	return atomic_load(&loop->owner) == (uintptr_t)pthread_self();
}

/* loop->lock held; somebody else may own it */
static void loop_wait_and_own(struct loop *loop)
{
	while (atomic_load(&loop->owner))
		pthread_cond_wait(&loop->changed, &loop->lock);
	atomic_store(&loop->owner, (uintptr_t)pthread_self());
	loop->changed_hands = true;
}

/* Returns whether it was not ours yet, and is to be given back. */
static bool loop_take(struct loop *loop)
{
	if (loop_is_mine(loop))
		return false;
	pthread_mutex_lock(&loop->lock);
	loop_wait_and_own(loop);
	pthread_mutex_unlock(&loop->lock);
	return true;
}

static void loop_give_back(struct loop *loop)
{
	pthread_mutex_lock(&loop->lock);
	atomic_store(&loop->owner, 0);
	pthread_cond_broadcast(&loop->changed);
	pthread_mutex_unlock(&loop->lock);
}

/* ---- file descriptors ------------------------------------------------------------------------------------------- */

int loop_fd_add(struct loop *loop, struct loop_fd *source, uint32_t events)
{
	source->events = events;
	int ret = loop->engine->add(loop, source);
	if (ret < 0)
		return ret;
	source->loop = loop;
	source->link = &loop->sources;
	source->next = loop->sources;
	if (source->next)
		source->next->link = &source->next;
	loop->sources = source;
	return 0;
}

int loop_fd_change(struct loop_fd *source, uint32_t events)
{
	source->events = events;
	return source->loop->engine->change(source->loop, source);
}

void loop_fd_remove(struct loop_fd *source)
{
	struct loop *loop = source->loop;
	if (!loop)
		return;
	loop->engine->remove(loop, source);
	*source->link = source->next;
	if (source->next)
		source->next->link = source->link;
	source->loop = NULL;
}

int loop_fd_serve(struct loop *loop, struct loop_fd *source, uint32_t events)
{
	if (source == &loop->wake)
		return 0;
	pthread_mutex_t *lock = source->lock;
	if (lock)
		pthread_mutex_lock(lock);
	source->fn(source, events);
	if (lock)
		pthread_mutex_unlock(lock);
	return 1;
}

/* ---- operations on files ---------------------------------------------------------------------------------------- */

static void loop_io_begin(struct loop *loop, struct loop_io *io)
{
	loop->io_pending++;
	io_list_push(&loop->begun, io);
}

static void loop_io_tell(struct loop *loop, struct loop_io *io, int result)
{
	loop->io_pending--;
	io->fn(io, result);
}

int loop_io_serve(struct loop *loop, struct loop_io *io, int result)
{
	if (result == -EINTR) {
		io_list_push(&loop->begun, io);
		return 0;
	}
	loop_io_tell(loop, io, result);
	return 1;
}

void loop_readv(struct loop *loop, struct loop_io *io, int fd, const struct iovec *iov, unsigned iov_count,
                uint64_t off)
{
	io->op = LOOP_READV;
	io->fd = fd;
	io->flags = 0;
	io->iov = iov;
	io->iov_count = iov_count;
	io->off = off;
	loop_io_begin(loop, io);
}

void loop_writev(struct loop *loop, struct loop_io *io, int fd, const struct iovec *iov, unsigned iov_count,
                 uint64_t off, int flags)
{
	io->op = LOOP_WRITEV;
	io->fd = fd;
	io->flags = (uint32_t)flags;
	io->iov = iov;
	io->iov_count = iov_count;
	io->off = off;
	loop_io_begin(loop, io);
}

void loop_fdatasync(struct loop *loop, struct loop_io *io, int fd)
{
	io->op = LOOP_FDATASYNC;
	io->fd = fd;
	loop_io_begin(loop, io);
}

void loop_fallocate(struct loop *loop, struct loop_io *io, int fd, int mode, uint64_t off, uint64_t len)
{
	io->op = LOOP_FALLOCATE;
	io->fd = fd;
	io->flags = (uint32_t)mode;
	io->off = off;
	io->len = len;
	loop_io_begin(loop, io);
}

unsigned loop_io_pending(const struct loop *loop)
{
	return loop->io_pending;
}

/* ---- timers ----------------------------------------------------------------------------------------------------- */

void loop_timer_init(struct loop_timer *timer, struct loop *loop, pthread_mutex_t *lock,
                     void (*fn)(struct loop_timer *timer))
{
	*timer = (struct loop_timer){ .loop = loop, .lock = lock, .fn = fn };
}

/* loop->lock held */
static void timer_unlink(struct loop_timer *timer)
{
	if (!timer->armed)
		return;
	struct loop_timer **at = &timer->loop->timers;
	while (*at != timer)
		at = &(*at)->next;
	*at = timer->next;
	timer->armed = false;
}

void loop_timer_set(struct loop_timer *timer, uint64_t delay_ns)
{
	struct loop *loop = timer->loop;
	uint64_t deadline;
	if (__builtin_add_overflow(clock_monotonic_ns(loop->clock), delay_ns, &deadline))
		deadline = UINT64_MAX;
	pthread_mutex_lock(&loop->lock);
	timer_unlink(timer);
	timer->deadline_ns = deadline;
	struct loop_timer **at = &loop->timers;
	while (*at && (*at)->deadline_ns <= deadline)
		at = &(*at)->next;
	timer->next = *at;
	*at = timer;
	timer->armed = true;
	bool first = loop->timers == timer;
	pthread_mutex_unlock(&loop->lock);
	if (first && !loop_is_mine(loop))
		loop_wake(loop);
}

void loop_timer_cancel(struct loop_timer *timer)
{
	if (!timer->loop)
		return;
	pthread_mutex_lock(&timer->loop->lock);
	timer_unlink(timer);
	pthread_mutex_unlock(&timer->loop->lock);
}

/* Nanoseconds until the next deadline, at most @limit_ns (negative: no limit). */
static int64_t loop_timeout(struct loop *loop, int64_t limit_ns)
{
	pthread_mutex_lock(&loop->lock);
	const struct loop_timer *first = loop->timers;
	uint64_t deadline = first ? first->deadline_ns : 0;
	bool work = loop->calls;
	pthread_mutex_unlock(&loop->lock);
	if (work || loop->deferred)
		return 0;
	if (!first)
		return limit_ns;
	uint64_t now = clock_monotonic_ns(loop->clock);
	/* the kernel adds the time of day to what it is given, and does not always look whether that fits */
	int64_t wait_ns = deadline > now ? (int64_t)MIN(deadline - now, LOOP_WAIT_MAX_NS) : 0;
	return limit_ns < 0 ? wait_ns : MIN(wait_ns, limit_ns);
}

/* Take a due timer off the list and run it; its owner may move or cancel it until we hold its lock. */
static bool timers_serve_one(struct loop *loop, uint64_t now)
{
	pthread_mutex_lock(&loop->lock);
	struct loop_timer *timer = loop->timers;
	if (!timer || timer->deadline_ns > now) {
		pthread_mutex_unlock(&loop->lock);
		return false;
	}
	pthread_mutex_t *lock = timer->lock;
	if (lock) { /* the order of locks is the owner's first */
		pthread_mutex_unlock(&loop->lock);
		pthread_mutex_lock(lock);
		pthread_mutex_lock(&loop->lock);
	}
	/* while we waited its owner may have cancelled it or set it to later */
	bool due = timer->armed && timer->deadline_ns <= now;
	if (due)
		timer_unlink(timer);
	pthread_mutex_unlock(&loop->lock);
	if (due)
		timer->fn(timer);
	if (lock)
		pthread_mutex_unlock(lock);
	return true;
}

static int loop_serve_timers(struct loop *loop)
{
	uint64_t now = clock_monotonic_ns(loop->clock);
	int served = 0;
	while (served < LOOP_TIMERS_PER_TURN && timers_serve_one(loop, now))
		served++;
	return served;
}

/* ---- calls ------------------------------------------------------------------------------------------------------ */

/* loop->lock held; returns whether it was not queued yet */
static bool call_queue(struct loop *loop, struct loop_call *call)
{
	if (call->queued)
		return false;
	call->queued = true;
	call->next = NULL;
	*loop->calls_end = call;
	loop->calls_end = &call->next;
	loop->calls_count++;
	return true;
}

/* loop->lock held */
static void call_unqueue(struct loop *loop, struct loop_call *call)
{
	struct loop_call **at = &loop->calls;
	while (*at != call)
		at = &(*at)->next;
	*at = call->next;
	if (!*at)
		loop->calls_end = at;
	call->queued = false;
	loop->calls_count--;
}

void loop_post(struct loop *loop, struct loop_call *call)
{
	pthread_mutex_lock(&loop->lock);
	bool fresh = call_queue(loop, call);
	pthread_mutex_unlock(&loop->lock);
	if (fresh && !loop_is_mine(loop))
		loop_wake(loop);
}

/* As many as were queued when we began: a call that posts itself waits for the next turn. */
static int loop_serve_calls(struct loop *loop)
{
	int served = 0;
	pthread_mutex_lock(&loop->lock);
	for (unsigned left = loop->calls_count; left && loop->calls; left--) {
		struct loop_call *call = loop->calls;
		call_unqueue(loop, call);
		pthread_mutex_unlock(&loop->lock);
		call->fn(call);
		served++;
		pthread_mutex_lock(&loop->lock);
	}
	pthread_mutex_unlock(&loop->lock);
	return served;
}

/* ---- calls at the end of a turn ---------------------------------------------------------------------------------- */

void loop_defer(struct loop *loop, struct loop_call *call)
{
	if (call->queued)
		return;
	call->queued = true;
	call->next = loop->deferred;
	loop->deferred = call;
}

static void deferred_unlink(struct loop_call **at, const struct loop_call *call)
{
	while (*at && *at != call)
		at = &(*at)->next;
	if (*at)
		*at = call->next;
}

void loop_defer_cancel(struct loop *loop, struct loop_call *call)
{
	if (!call->queued)
		return;
	deferred_unlink(&loop->deferred, call);
	deferred_unlink(&loop->deferring, call);
	call->queued = false;
}

/* What these defer waits for the end of the next turn, which comes at once. */
static int loop_serve_deferred(struct loop *loop)
{
	int served = 0;
	loop->deferring = loop->deferred;
	loop->deferred = NULL;
	for (struct loop_call *call; (call = loop->deferring); served++) {
		loop->deferring = call->next;
		call->queued = false;
		call->fn(call);
	}
	return served;
}

/* ---- on the loop's thread, from another -------------------------------------------------------------------------- */

struct sync_call {
	struct loop_call call;
	struct loop *loop;
	void (*fn)(void *opaque);
	void *opaque;
	bool done;
};

static void sync_call_run(struct loop_call *call)
{
	struct sync_call *sync = container_of(call, struct sync_call, call);
	struct loop *loop = sync->loop;
	sync->fn(sync->opaque);
	pthread_mutex_lock(&loop->lock);
	sync->done = true; /* its thread may return from here on, and @sync is gone */
	pthread_cond_broadcast(&loop->changed);
	pthread_mutex_unlock(&loop->lock);
}

void loop_run_sync(struct loop *loop, void (*fn)(void *opaque), void *opaque)
{
	struct sync_call sync = { .call.fn = sync_call_run, .loop = loop, .fn = fn, .opaque = opaque };
	if (loop_is_mine(loop)) {
		fn(opaque);
		return;
	}
	pthread_mutex_lock(&loop->lock);
	if (atomic_load(&loop->owner)) {
		call_queue(loop, &sync.call);
		loop_wake(loop);
	}
	while (!sync.done && atomic_load(&loop->owner))
		pthread_cond_wait(&loop->changed, &loop->lock);
	if (sync.done) {
		pthread_mutex_unlock(&loop->lock);
		return;
	}
	/* nobody turns the loop, or not any more: we are its thread meanwhile */
	if (sync.call.queued)
		call_unqueue(loop, &sync.call);
	loop_wait_and_own(loop);
	pthread_mutex_unlock(&loop->lock);
	fn(opaque);
	loop_give_back(loop);
}

/* ---- turning ---------------------------------------------------------------------------------------------------- */

/* Such as could not be begun: told here, and never from within loop_readv(). */
static int loop_fail_begun(struct loop *loop, int result)
{
	struct io_list failed;
	io_list_init(&failed);
	io_list_take(&failed, &loop->begun);
	int served = 0;
	for (struct loop_io *io; (io = io_list_pop(&failed)); served++)
		loop_io_tell(loop, io, result);
	return served;
}

static int loop_turn_once(struct loop *loop, int64_t limit_ns)
{
	int served = 0;
	int ret = loop->begun.head ? loop_enable_io(loop) : 0;
	if (ret < 0)
		served += loop_fail_begun(loop, ret);
	served += loop->engine->turn(loop, loop_timeout(loop, served ? 0 : limit_ns));
	served += loop_serve_calls(loop);
	served += loop_serve_timers(loop);
	return served + loop_serve_deferred(loop);
}

int loop_turn(struct loop *loop, int timeout_ms)
{
	bool taken = loop_take(loop);
	int served = loop_turn_once(loop, timeout_ms < 0 ? -1 : timeout_ms * (int64_t)NSEC_PER_MSEC);
	if (taken)
		loop_give_back(loop);
	return served;
}

void loop_run(struct loop *loop)
{
	bool taken = loop_take(loop);
	while (!atomic_exchange(&loop->stopping, false))
		loop_turn_once(loop, -1);
	while (loop->io_pending)
		loop_turn_once(loop, -1);
	if (taken)
		loop_give_back(loop);
}

void loop_stop(struct loop *loop)
{
	atomic_store(&loop->stopping, true);
	loop_wake(loop);
}
