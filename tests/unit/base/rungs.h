/* SPDX-License-Identifier: Apache-2.0 */
/* The same tests on each way in which a loop can wait: one cmocka group a rung. */
#ifndef CVMM_TESTS_RUNGS_H
#define CVMM_TESTS_RUNGS_H

#include "tests/unit/unit.h"

#include "src/base/loop.h"
#include "src/base/util.h"

struct rung {
	const char *name;
	struct loop_options options;
	bool enable; /* else epoll, as long as nothing asks for operations */
};

static const struct rung rungs[] = {
	{ "epoll", { .rung = LOOP_BEST } },
	{ "best", { .rung = LOOP_BEST }, true },
	{ "deferred", { .rung = LOOP_URING_DEFER }, true },
	{ "cooperative", { .rung = LOOP_URING_COOP }, true },
	{ "plain", { .rung = LOOP_URING_PLAIN }, true },
	{ "5.10", { .rung = LOOP_URING_5_10 }, true },
	{ "deferred, small queues", { .rung = LOOP_URING_DEFER, .entries = 4 }, true },
	{ "plain, small queues", { .rung = LOOP_URING_PLAIN, .entries = 4 }, true },
	{ "5.10, small queues", { .rung = LOOP_URING_5_10, .entries = 2 }, true },
	{ "threads", { .rung = LOOP_POOL }, true },
};

static const struct rung *rung_now;

static inline struct loop *rung_loop(const struct clock *clock)
{
	struct loop *loop = loop_new_with(clock, &rung_now->options, NULL);
	if (!loop || !rung_now->enable || loop_enable_io(loop) == 0)
		return loop;
	loop_free(loop);
	return NULL;
}

static inline bool rung_is_uring(void)
{
	return rung_now->options.rung != LOOP_BEST && rung_now->options.rung != LOOP_POOL;
}

/* A rung that this host does not have is passed over; best and threads are everywhere. */
#define RUN_ON_EACH_RUNG(tests)                                                                                        \
	({                                                                                                             \
		int failed_ = 0;                                                                                       \
		for (unsigned i_ = 0; i_ < ARRAY_SIZE(rungs); i_++) {                                                  \
			rung_now = &rungs[i_];                                                                         \
			if (rung_now->enable && under_valgrind())                                                      \
				continue;                                                                              \
			struct loop *probe_ = rung_loop(&clock_host);                                                  \
			loop_free(probe_);                                                                             \
			if (!probe_ && rung_is_uring())                                                                \
				print_message("%s: not on this host\n", rung_now->name);                               \
			else                                                                                           \
				failed_ += cmocka_run_group_tests_name(rung_now->name, tests, NULL, NULL);             \
		}                                                                                                      \
		failed_;                                                                                               \
	})

#endif
