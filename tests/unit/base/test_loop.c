// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/unit.h"

#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "src/base/loop.h"
#include "src/base/util.h"

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
	*state = loop_new(&fake_clock, NULL);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_timers, loop_setup, loop_teardown),
		cmocka_unit_test_setup_teardown(test_a_timer_that_sets_itself_cannot_starve, loop_setup, loop_teardown),
		cmocka_unit_test_setup_teardown(test_a_removed_source_is_not_called, loop_setup, loop_teardown),
		cmocka_unit_test_setup_teardown(test_calls_wake_the_loop, loop_setup, loop_teardown),
		cmocka_unit_test_setup_teardown(test_deferred_calls_come_last_and_once, loop_setup, loop_teardown),
		cmocka_unit_test_setup_teardown(test_the_owners_lock_is_held, loop_setup, loop_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
