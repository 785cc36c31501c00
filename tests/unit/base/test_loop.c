// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/base/rungs.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <termios.h>
#include <unistd.h>

static uint64_t fake_now;

static uint64_t fake_monotonic_ns(const struct clock *clock)
{
	return fake_now;
}

static const struct clock fake_clock = { .monotonic_ns = fake_monotonic_ns, .wall_ns = fake_monotonic_ns };
static int rung[4];

static void ring(struct loop_timer *timer)
{
	rung[0]++;
}

static void ring_again(struct loop_timer *timer)
{
	rung[1]++;
	loop_timer_set(timer, 0);
}

static int loop_setup(void **state)
{
	fake_now = 1000;
	memset(rung, 0, sizeof(rung));
	*state = rung_loop(&fake_clock);
	return !*state;
}

static int loop_teardown(void **state)
{
	loop_free(*state);
	return 0;
}

static void test_timers(void **state)
{
	struct loop *loop = *state;
	struct loop_timer a, b;
	loop_timer_init(&a, loop, NULL, ring);
	loop_timer_init(&b, loop, NULL, ring);
	loop_timer_set(&a, 100);
	loop_timer_set(&b, 50);
	loop_turn(loop, 0);
	assert_int_equal(rung[0], 0);
	fake_now = 1050;
	loop_turn(loop, 0);
	assert_int_equal(rung[0], 1);
	loop_timer_set(&a, 10); /* moved to 1060 */
	fake_now = 1060;
	loop_turn(loop, 0);
	assert_int_equal(rung[0], 2);
	loop_timer_set(&a, 10);
	loop_timer_cancel(&a);
	loop_timer_cancel(&a);
	loop_timer_set(&b, UINT64_MAX); /* never */
	fake_now = 1ull << 62;
	loop_turn(loop, 0);
	assert_int_equal(rung[0], 2);
}

static void test_a_timer_that_sets_itself_cannot_starve(void **state)
{
	struct loop_timer a;
	loop_timer_init(&a, *state, NULL, ring_again);
	loop_timer_set(&a, 0);
	loop_turn(*state, 0);
	assert_in_range(rung[1], 1, 1000);
}

struct pipe_source {
	struct loop_fd source, *other;
	int got;
};

static void pipe_readable(struct loop_fd *source, uint32_t events)
{
	struct pipe_source *pipe = container_of(source, struct pipe_source, source);
	char byte;
	pipe->got += (int)read(source->fd, &byte, 1);
	if (pipe->other)
		loop_fd_remove(pipe->other); /* in the same batch, perhaps */
}

static void test_a_removed_source_is_not_called(void **state)
{
	int ends[2][2];
	struct pipe_source a = { 0 }, b = { 0 };
	assert_int_equal(pipe(ends[0]), 0);
	assert_int_equal(pipe(ends[1]), 0);
	a = (struct pipe_source){ .source = { .fd = ends[0][0], .fn = pipe_readable }, .other = &b.source };
	b = (struct pipe_source){ .source = { .fd = ends[1][0], .fn = pipe_readable }, .other = &a.source };
	assert_int_equal(loop_fd_add(*state, &a.source, EPOLLIN), 0);
	assert_int_equal(loop_fd_add(*state, &b.source, EPOLLIN), 0);
	assert_int_equal(write(ends[0][1], "x", 1), 1);
	assert_int_equal(write(ends[1][1], "x", 1), 1);
	loop_turn(*state, 1000);
	loop_turn(*state, 0);
	assert_int_equal(a.got + b.got, 1);
	loop_fd_remove(&a.source);
	loop_fd_remove(&b.source);
	for (int i = 0; i < 4; i++)
		close(ends[i / 2][i % 2]);
}

static void count_call(struct loop_call *call)
{
	rung[2]++;
}

static void *poster(void *opaque)
{
	static struct loop_call call = { .fn = count_call };
	loop_post(opaque, &call);
	loop_post(opaque, &call); /* queued already, unless the loop was quick */
	loop_stop(opaque);
	return NULL;
}

static void test_calls_wake_the_loop(void **state)
{
	pthread_t thread;
	assert_int_equal(pthread_create(&thread, NULL, poster, *state), 0);
	loop_run(*state);
	pthread_join(thread, NULL);
	loop_turn(*state, 0);
	assert_in_range(rung[2], 1, 2);
}

static struct loop *deferring;
static int posts_before;

static void defer_again(struct loop_call *call)
{
	rung[3]++;
	posts_before = rung[2];
	if (rung[3] < 3)
		loop_defer(deferring, call);
}

static void test_deferred_calls_come_last_and_once(void **state)
{
	struct loop_call posted = { .fn = count_call }, deferred = { .fn = defer_again };
	deferring = *state;
	loop_defer(*state, &deferred);
	loop_defer(*state, &deferred);
	loop_post(*state, &posted);
	loop_turn(*state, -1); /* does not sleep */
	assert_int_equal(rung[3], 1);
	assert_int_equal(posts_before, 1);
	loop_turn(*state, -1); /* nor here: it deferred itself */
	assert_int_equal(rung[3], 2);
	loop_turn(*state, -1);
	assert_int_equal(rung[3], 3);
	assert_int_equal(loop_turn(*state, 0), 0);
	loop_defer(*state, &posted);
	loop_defer(*state, &deferred);
	loop_defer_cancel(*state, &posted);
	loop_defer_cancel(*state, &posted);
	assert_int_equal(loop_turn(*state, 0), 1);
	assert_int_equal(rung[3], 4);
}

static pthread_mutex_t owner_lock = PTHREAD_MUTEX_INITIALIZER;

static void ring_locked(struct loop_timer *timer)
{
	rung[3]++;
	assert_int_equal(pthread_mutex_trylock(&owner_lock), EBUSY);
}

static void test_the_owners_lock_is_held(void **state)
{
	struct loop_timer a;
	loop_timer_init(&a, *state, &owner_lock, ring_locked);
	loop_timer_set(&a, 5);
	fake_now += 5;
	loop_turn(*state, 0);
	assert_int_equal(rung[3], 1);
	assert_int_equal(pthread_mutex_trylock(&owner_lock), 0);
	pthread_mutex_unlock(&owner_lock);
}

static void test_the_kernels_wait_ends_with_a_timer(void **state)
{
	struct loop *loop = rung_loop(&clock_host);
	struct loop_timer a, b;
	loop_timer_init(&a, loop, NULL, ring);
	loop_timer_init(&b, loop, NULL, ring);
	uint64_t start = clock_monotonic_ns(&clock_host);
	loop_timer_set(&b, 1u << 30);
	loop_timer_set(&a, 2 * NSEC_PER_MSEC);
	while (!rung[0])
		loop_turn(loop, -1);
	uint64_t passed = clock_monotonic_ns(&clock_host) - start;
	assert_true(passed >= 2 * NSEC_PER_MSEC && passed < 1u << 30);
	loop_timer_set(&b, UINT64_MAX); /* more than the kernel's own clock can add */
	start = clock_monotonic_ns(&clock_host);
	for (int turns = 0; clock_monotonic_ns(&clock_host) - start < 3 * NSEC_PER_MSEC; turns++) {
		loop_turn(loop, 3);
		assert_in_range(turns, 0, 100); /* it waits, though rings that were freed before may interrupt it */
	}
	assert_int_equal(rung[0], 1);
	loop_free(loop);
}

/* ---- descriptors ------------------------------------------------------------------------------------------------ */

struct watched {
	struct loop_fd source;
	int ends[2];
	int calls;
	uint32_t events;
};

static void watched_event(struct loop_fd *source, uint32_t events)
{
	struct watched *watched = container_of(source, struct watched, source);
	watched->calls++;
	watched->events |= events;
}

static void watched_reads_a_byte(struct loop_fd *source, uint32_t events)
{
	char byte;
	watched_event(source, events);
	assert_int_equal(read(source->fd, &byte, 1), 1);
}

static void watched_open(struct watched *watched, void (*fn)(struct loop_fd *source, uint32_t events))
{
	*watched = (struct watched){ .source.fn = fn };
	assert_int_equal(pipe2(watched->ends, O_NONBLOCK | O_CLOEXEC), 0);
	watched->source.fd = watched->ends[0];
}

static void watched_close(struct watched *watched)
{
	loop_fd_remove(&watched->source);
	close(watched->ends[0]);
	close(watched->ends[1]);
}

/* Enough turns for what is ready to be served, and for what should stay quiet to show that it does not. */
static void turn_some(struct loop *loop)
{
	for (int i = 0; i < 4; i++)
		loop_turn(loop, 0);
}

static void test_sources_are_level_triggered(void **state)
{
	struct watched a;
	watched_open(&a, watched_reads_a_byte);
	assert_int_equal(loop_fd_add(*state, &a.source, EPOLLIN), 0);
	turn_some(*state);
	assert_int_equal(a.calls, 0);
	assert_int_equal(write(a.ends[1], "abc", 3), 3);
	for (int i = 1; i <= 3; i++) { /* a byte is left each time: it is told again, at once */
		assert_int_equal(loop_turn(*state, 1000), 1);
		assert_int_equal(a.calls, i);
	}
	turn_some(*state);
	assert_int_equal(a.calls, 3);
	assert_int_equal(a.events, EPOLLIN);
	watched_close(&a);
}

static void test_a_source_is_changed_and_parked(void **state)
{
	struct watched a;
	watched_open(&a, watched_event);
	assert_int_equal(loop_fd_add(*state, &a.source, EPOLLIN), 0);
	assert_int_equal(write(a.ends[1], "abc", 3), 3);
	loop_turn(*state, 1000);
	assert_int_equal(a.calls, 1);
	assert_int_equal(loop_fd_change(&a.source, 0), 0);
	turn_some(*state);
	assert_int_equal(a.calls, 1);
	assert_int_equal(loop_fd_change(&a.source, EPOLLIN), 0);
	assert_int_equal(loop_fd_change(&a.source, 0), 0);
	assert_int_equal(loop_fd_change(&a.source, EPOLLIN), 0);
	loop_turn(*state, 1000);
	assert_int_equal(a.calls, 2);
	loop_fd_remove(&a.source);
	loop_fd_remove(&a.source);
	turn_some(*state);
	assert_int_equal(a.calls, 2);
	assert_int_equal(loop_fd_add(*state, &a.source, EPOLLIN), 0);
	loop_turn(*state, 1000);
	assert_int_equal(a.calls, 3);
	watched_close(&a);
}

static void test_the_interest_changes_from_writing_to_reading(void **state)
{
	struct watched a;
	int ends[2];
	watched_open(&a, watched_event);
	assert_int_equal(pipe(ends), 0);
	a.source.fd = a.ends[1];
	assert_int_equal(loop_fd_add(*state, &a.source, EPOLLIN), 0); /* never, at this end */
	turn_some(*state);
	assert_int_equal(a.calls, 0);
	assert_int_equal(loop_fd_change(&a.source, EPOLLOUT), 0);
	assert_int_equal(loop_turn(*state, 1000), 1);
	assert_int_equal(a.events, EPOLLOUT);
	close(a.ends[0]);
	a.events = 0;
	assert_int_equal(loop_fd_change(&a.source, EPOLLIN), 0);
	assert_int_equal(loop_turn(*state, 1000), 1);
	assert_int_equal(a.events, EPOLLERR); /* not asked for, and told */
	loop_fd_remove(&a.source);
	close(a.ends[1]);
	/* the number means another file now */
	a.calls = 0;
	assert_int_equal(dup2(ends[0], a.source.fd), a.source.fd);
	assert_int_equal(loop_fd_add(*state, &a.source, EPOLLIN), 0);
	turn_some(*state);
	assert_int_equal(a.calls, 0);
	assert_int_equal(write(ends[1], "x", 1), 1);
	loop_turn(*state, 1000);
	assert_int_equal(a.calls, 1);
	loop_fd_remove(&a.source);
	close(a.source.fd);
	close(ends[0]);
	close(ends[1]);
}

static void test_what_cannot_be_watched_is_refused(void **state)
{
	struct loop_fd source = { .fd = -1, .fn = watched_event };
	assert_int_equal(loop_fd_add(*state, &source, EPOLLIN), -EBADF);
	assert_null(source.loop);
	loop_fd_remove(&source);
	source.fd = memfd_create("file", MFD_CLOEXEC);
	assert_int_equal(loop_fd_add(*state, &source, EPOLLIN), -EPERM);
	close(source.fd);
}

static void test_many_sources_are_ready_at_once(void **state)
{
	enum { COUNT = 50 };
	static struct watched many[COUNT];
	for (int i = 0; i < COUNT; i++) {
		watched_open(&many[i], watched_reads_a_byte);
		assert_int_equal(loop_fd_add(*state, &many[i].source, EPOLLIN), 0);
	}
	for (int round = 1; round <= 3; round++) {
		for (int i = 0; i < COUNT; i++)
			assert_int_equal(write(many[i].ends[1], "x", 1), 1);
		for (int served = 0, turns = 0; served < COUNT; turns++) {
			served += loop_turn(*state, 1000);
			assert_in_range(turns, 0, COUNT);
		}
		for (int i = 0; i < COUNT; i++)
			assert_int_equal(many[i].calls, round);
		for (int i = 0; i < COUNT; i += 7) { /* slots are used again */
			loop_fd_remove(&many[i].source);
			assert_int_equal(loop_fd_add(*state, &many[i].source, EPOLLIN), 0);
		}
	}
	for (int i = 0; i < COUNT; i++)
		watched_close(&many[i]);
}

/* A change of mode wakes who polls a terminal, and finds nothing to read. */
static void test_a_terminal_changes_its_mode(void **state)
{
	struct termios raw, cooked;
	struct watched a = { .source.fn = watched_reads_a_byte };
	if (rung_now->options.rung == LOOP_URING_5_10)
		return; /* one-shot polls, which younger kernels lose here */
	int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	assert_true(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0);
	a.source.fd = open(ptsname(master), O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	assert_int_equal(tcgetattr(a.source.fd, &cooked), 0);
	raw = cooked;
	cfmakeraw(&raw);
	assert_int_equal(tcsetattr(a.source.fd, TCSANOW, &raw), 0);
	assert_int_equal(loop_fd_add(*state, &a.source, EPOLLIN), 0);
	turn_some(*state);
	for (int i = 1; i <= 3; i++) {
		assert_int_equal(tcsetattr(a.source.fd, TCSANOW, &cooked), 0);
		turn_some(*state);
		assert_int_equal(tcsetattr(a.source.fd, TCSANOW, &raw), 0);
		turn_some(*state);
		assert_int_equal(a.calls, i - 1);
		assert_int_equal(write(master, "x", 1), 1);
		loop_turn(*state, 1000);
		turn_some(*state);
		assert_int_equal(a.calls, i);
	}
	loop_fd_remove(&a.source);
	close(a.source.fd);
	close(master);
}

static void signal_eventfd(int fd)
{
	uint64_t one = 1;
	assert_int_equal(write(fd, &one, sizeof(one)), sizeof(one));
}

static void test_an_eventfd_is_heard_without_being_read(void **state)
{
	struct watched a = { .source = { .fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), .fn = watched_event } };
	assert_int_equal(loop_fd_add(*state, &a.source, LOOP_EVENTFD), 0);
	turn_some(*state);
	assert_int_equal(a.calls, 0);
	for (int i = 1; i <= 20; i++) {
		signal_eventfd(a.source.fd);
		signal_eventfd(a.source.fd);
		int before = a.calls;
		loop_turn(*state, 1000);
		turn_some(*state);
		assert_in_range(a.calls - before, 1, 2);
	}
	int before = a.calls;
	turn_some(*state); /* counts are left, and nothing is told */
	assert_int_equal(a.calls, before);
	loop_fd_remove(&a.source);
	signal_eventfd(a.source.fd);
	turn_some(*state);
	assert_int_equal(a.calls, before);
	assert_int_equal(loop_fd_add(*state, &a.source, LOOP_EVENTFD), 0);
	signal_eventfd(a.source.fd);
	loop_turn(*state, 1000);
	assert_true(a.calls > before);
	loop_fd_remove(&a.source);
	close(a.source.fd);
}

static struct watched inner;

static void turn_inside(struct loop_fd *source, uint32_t events)
{
	watched_reads_a_byte(source, events);
	for (int turns = 0; !inner.calls && turns < 1000; turns++)
		loop_turn(source->loop, 1);
}

static void test_a_callback_turns_the_loop(void **state)
{
	struct watched a;
	watched_open(&a, turn_inside);
	inner = (struct watched){ .source = { .fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), .fn = watched_event } };
	assert_int_equal(loop_fd_add(*state, &a.source, EPOLLIN), 0);
	assert_int_equal(loop_fd_add(*state, &inner.source, LOOP_EVENTFD), 0);
	signal_eventfd(inner.source.fd); /* in the batch of the outer turn, which the inner one must not lose */
	assert_int_equal(write(a.ends[1], "x", 1), 1);
	for (int turns = 0; (!a.calls || !inner.calls) && turns < 10; turns++)
		loop_turn(*state, 1000);
	assert_int_equal(a.calls, 1);
	assert_in_range(inner.calls, 1, 2);
	watched_close(&a);
	loop_fd_remove(&inner.source);
	close(inner.source.fd);
}

/* ---- other threads ---------------------------------------------------------------------------------------------- */

enum { SYNC_THREADS = 4, SYNC_CALLS = 200 };

struct sync {
	struct loop *loop;
	unsigned counted; /* without a lock: only ever touched on the loop's thread */
	pthread_t runner; /* where it must run, once that is known */
	bool on_runner;
};

static void sync_count(void *opaque)
{
	struct sync *sync = opaque;
	if (sync->on_runner)
		assert_true(pthread_equal(pthread_self(), sync->runner));
	sync->counted++;
}

static void sync_count_inside(void *opaque)
{
	struct sync *sync = opaque;
	loop_run_sync(sync->loop, sync_count, sync); /* on the loop's thread: at once */
}

static void *sync_caller(void *opaque)
{
	struct sync *sync = opaque;
	for (int i = 0; i < SYNC_CALLS; i++)
		loop_run_sync(sync->loop, i % 2 ? sync_count_inside : sync_count, sync);
	return NULL;
}

static void *runner(void *opaque)
{
	loop_run(opaque);
	return NULL;
}

static void sync_from_many_threads(struct sync *sync)
{
	pthread_t threads[SYNC_THREADS];
	for (int i = 0; i < SYNC_THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, sync_caller, sync), 0);
	for (int i = 0; i < SYNC_THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(sync->counted, SYNC_THREADS * SYNC_CALLS);
}

struct started {
	struct loop_call call;
	pthread_barrier_t barrier;
};

static void started_call(struct loop_call *call)
{
	pthread_barrier_wait(&container_of(call, struct started, call)->barrier);
}

static void test_run_sync_runs_on_the_loops_thread(void **state)
{
	struct sync sync = { .loop = *state, .on_runner = true };
	struct started started = { .call.fn = started_call };
	pthread_barrier_init(&started.barrier, NULL, 2);
	loop_post(*state, &started.call);
	assert_int_equal(pthread_create(&sync.runner, NULL, runner, *state), 0);
	pthread_barrier_wait(&started.barrier);
	sync_from_many_threads(&sync);
	loop_stop(*state);
	pthread_join(sync.runner, NULL);
	pthread_barrier_destroy(&started.barrier);
}

static void test_run_sync_without_a_thread(void **state)
{
	struct sync sync = { .loop = *state };
	sync_from_many_threads(&sync);
}

/* The loop stops while others call: nobody waits for ever. */
static void test_run_sync_while_the_loop_stops(void **state)
{
	for (int round = 0; round < 20; round++) {
		struct loop *loop = rung_loop(&fake_clock); /* a ring belongs to one thread */
		struct sync sync = { .loop = loop };
		pthread_t callers[2], thread;
		assert_int_equal(pthread_create(&thread, NULL, runner, loop), 0);
		for (int i = 0; i < 2; i++)
			assert_int_equal(pthread_create(&callers[i], NULL, sync_caller, &sync), 0);
		loop_stop(loop);
		pthread_join(thread, NULL);
		for (int i = 0; i < 2; i++)
			pthread_join(callers[i], NULL);
		assert_int_equal(sync.counted, 2 * SYNC_CALLS);
		loop_free(loop);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, loop_setup, loop_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_timers),
		TEST(test_a_timer_that_sets_itself_cannot_starve),
		TEST(test_the_kernels_wait_ends_with_a_timer),
		TEST(test_a_removed_source_is_not_called),
		TEST(test_sources_are_level_triggered),
		TEST(test_a_source_is_changed_and_parked),
		TEST(test_the_interest_changes_from_writing_to_reading),
		TEST(test_what_cannot_be_watched_is_refused),
		TEST(test_many_sources_are_ready_at_once),
		TEST(test_a_terminal_changes_its_mode),
		TEST(test_an_eventfd_is_heard_without_being_read),
		TEST(test_a_callback_turns_the_loop),
		TEST(test_calls_wake_the_loop),
		TEST(test_deferred_calls_come_last_and_once),
		TEST(test_the_owners_lock_is_held),
		TEST(test_run_sync_runs_on_the_loops_thread),
		TEST(test_run_sync_without_a_thread),
		TEST(test_run_sync_while_the_loop_stops),
	};
	return RUN_ON_EACH_RUNG(tests);
}
