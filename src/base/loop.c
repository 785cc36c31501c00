// SPDX-License-Identifier: Apache-2.0
/*
 * epoll with one eventfd to wake it; the earliest timer's deadline is the timeout. epoll is on every kernel and in every
 * sandbox; an io_uring engine can take its place behind this interface.
 */
#include "src/base/loop.h"

#include <errno.h>
#include <limits.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>

#include "src/base/util.h"

enum {
	LOOP_EVENTS_MAX = 16,
	LOOP_TIMERS_PER_TURN = 64, /* a timer that sets itself to now must not starve the rest */
};

struct loop {
	const struct clock *clock; /* not owned */
	int epoll_fd, wake_fd;     /* owned */
	pthread_mutex_t lock;      /* timers and calls */
	struct loop_timer *timers; /* earliest first */
	struct loop_call *calls, **calls_end;
	struct loop_call *deferred;  /* for the end of this turn; its own thread's alone */
	struct loop_call *deferring; /* those of them that are being served */
	atomic_bool stopping;
	atomic_bool turning; /* a thread is in loop_run() */
	struct epoll_event events[LOOP_EVENTS_MAX]; /* the batch being served */
	int events_at, events_count;
};

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

static void loop_wake(struct loop *loop)
{
	uint64_t one = 1;
	ssize_t written = write(loop->wake_fd, &one, sizeof(one)); /* a full counter wakes just as well */
	(void)written;
}

struct loop *loop_new(const struct clock *clock, struct cvmm_error *err)
{
	struct loop *loop = calloc(1, sizeof(*loop));
	if (!loop) {
		err_set(err, -ENOMEM, "I/O thread: out of memory");
		return NULL;
	}
	loop->clock = clock;
	loop->calls_end = &loop->calls;
	pthread_mutex_init(&loop->lock, NULL);
	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	loop->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = NULL };
	if (loop->epoll_fd < 0 || loop->wake_fd < 0 ||
	    epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, loop->wake_fd, &event) < 0) {
		int code = errno;
		err_set(err, -code, "I/O thread: epoll: %m");
		loop_free(loop);
		errno = code;
		return NULL;
	}
	return loop;
}

void loop_free(struct loop *loop)
{
	if (!loop)
		return;
	if (loop->epoll_fd >= 0)
		close(loop->epoll_fd);
	if (loop->wake_fd >= 0)
		close(loop->wake_fd);
	pthread_mutex_destroy(&loop->lock);
	free(loop);
}

/* ---- file descriptors ------------------------------------------------------------------------------------------- */

int loop_fd_add(struct loop *loop, struct loop_fd *source, uint32_t events)
{
	struct epoll_event event = { .events = events, .data.ptr = source };
	if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, source->fd, &event) < 0)
		return -errno;
	source->loop = loop;
	return 0;
}

int loop_fd_change(struct loop_fd *source, uint32_t events)
{
	struct epoll_event event = { .events = events, .data.ptr = source };
	return epoll_ctl(source->loop->epoll_fd, EPOLL_CTL_MOD, source->fd, &event) < 0 ? -errno : 0;
}

void loop_fd_remove(struct loop_fd *source)
{
	struct loop *loop = source->loop;
	if (!loop)
		return;
	epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, source->fd, NULL);
	/* the batch that is being served may name it still */
	for (int i = loop->events_at; i < loop->events_count; i++)
		if (loop->events[i].data.ptr == source)
			loop->events[i].events = 0;
	source->loop = NULL;
}

static int loop_serve_fds(struct loop *loop)
{
	int served = 0;
	for (loop->events_at = 0; loop->events_at < loop->events_count; loop->events_at++) {
		struct epoll_event *event = &loop->events[loop->events_at];
		struct loop_fd *source = event->data.ptr;
		if (!source) {
			uint64_t count;
			ssize_t got = read(loop->wake_fd, &count, sizeof(count));
			(void)got;
			continue;
		}
		if (!event->events)
			continue;
		pthread_mutex_t *lock = source->lock;
		if (lock)
			pthread_mutex_lock(lock);
		source->fn(source, event->events);
		if (lock)
			pthread_mutex_unlock(lock);
		served++;
	}
	loop->events_at = loop->events_count = 0;
	return served;
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
	if (first)
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

/* Milliseconds until the next deadline, rounded up, at most @limit_ms (negative: no limit). */
static int timers_timeout(struct loop *loop, int limit_ms)
{
	pthread_mutex_lock(&loop->lock);
	const struct loop_timer *first = loop->timers;
	uint64_t deadline = first ? first->deadline_ns : 0;
	bool work = loop->calls;
	pthread_mutex_unlock(&loop->lock);
	if (work)
		return 0;
	if (!first)
		return limit_ms;
	uint64_t now = clock_monotonic_ns(loop->clock);
	uint64_t wait_ms = deadline > now ? (deadline - now - 1) / NSEC_PER_MSEC + 1 : 0;
	if (limit_ms >= 0 && wait_ms > (uint64_t)limit_ms)
		return limit_ms;
	return wait_ms > INT_MAX ? INT_MAX : (int)wait_ms;
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

void loop_post(struct loop *loop, struct loop_call *call)
{
	pthread_mutex_lock(&loop->lock);
	bool fresh = !call->queued;
	if (fresh) {
		call->queued = true;
		call->next = NULL;
		*loop->calls_end = call;
		loop->calls_end = &call->next;
	}
	pthread_mutex_unlock(&loop->lock);
	if (fresh)
		loop_wake(loop);
}

/* As many as were queued when we began: a call that posts itself waits for the next turn. */
static int loop_serve_calls(struct loop *loop)
{
	pthread_mutex_lock(&loop->lock);
	struct loop_call *call = loop->calls;
	loop->calls = NULL;
	loop->calls_end = &loop->calls;
	pthread_mutex_unlock(&loop->lock);
	int served = 0;
	while (call) {
		struct loop_call *next = call->next;
		pthread_mutex_lock(&loop->lock);
		call->queued = false;
		pthread_mutex_unlock(&loop->lock);
		call->fn(call);
		call = next;
		served++;
	}
	return served;
}

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

/* ---- turning ---------------------------------------------------------------------------------------------------- */

int loop_turn(struct loop *loop, int timeout_ms)
{
	int wait_ms = loop->deferred ? 0 : timers_timeout(loop, timeout_ms);
	int got = epoll_wait(loop->epoll_fd, loop->events, LOOP_EVENTS_MAX, wait_ms);
	loop->events_count = got > 0 ? got : 0;
	int served = loop_serve_fds(loop);
	served += loop_serve_calls(loop);
	served += loop_serve_timers(loop);
	return served + loop_serve_deferred(loop);
}

void loop_run(struct loop *loop)
{
	atomic_store(&loop->turning, true);
	while (!atomic_exchange(&loop->stopping, false))
		loop_turn(loop, -1);
	atomic_store(&loop->turning, false);
}

void loop_stop(struct loop *loop)
{
	atomic_store(&loop->stopping, true);
	loop_wake(loop);
}

struct sync_call {
	struct loop_call call;
	void (*fn)(void *opaque);
	void *opaque;
	sem_t done;
};

static void sync_call_run(struct loop_call *call)
{
	struct sync_call *sync = (struct sync_call *)call;
	sync->fn(sync->opaque);
	sem_post(&sync->done);
}

void loop_run_sync(struct loop *loop, void (*fn)(void *opaque), void *opaque)
{
	struct sync_call sync = { .call.fn = sync_call_run, .fn = fn, .opaque = opaque };
	if (!atomic_load(&loop->turning)) {
		fn(opaque);
		return;
	}
	sem_init(&sync.done, 0, 0);
	loop_post(loop, &sync.call);
	while (sem_wait(&sync.done))
		continue; /* a signal */
	sem_destroy(&sync.done);
}
