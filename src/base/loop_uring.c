// SPDX-License-Identifier: Apache-2.0
/*
 * One io_uring for all that a loop waits for: descriptors (POLL_ADD), operations on files, and the earliest timer as the
 * wait's timeout. What a turn begins is put into the submission queue when the next turn starts, and goes in with the
 * one system call that waits.
 *
 * POLL_ADD looks at the file when it is armed, so that arming a source that has fired anew in the next turn, at no system
 * call, is level triggered. Requests stay until they fire (multishot): Linux 6.18 loses one-shot polls of a terminal
 * whose mode changes. An eventfd whose count nobody wants (LOOP_EVENTFD) is polled
 * by one request that stays (multishot, Linux 5.13) and reports each signal; where there is none we read the eventfd.
 *
 * user_data: an operation's address; or 1, a poll's slot and its generation, so that completions of a source that has
 * been removed or changed meet nobody; or IGNORED.
 */
#include <assert.h>
#include <errno.h>
#include <liburing.h>
#include <sys/epoll.h>

#include "src/base/loop_engine.h"
#include "src/base/util.h"

enum {
	URING_ENTRIES = 256,
	CQ_PER_SQ = 4, /* of the completion queue operations get at most three quarters, the rest is for polls */
	POLLS_MAX = 1 << 20,
	NO_SLOT = -1,
	USER_POLL = 1, /* in bit 0, which is clear in an address; slot from bit 3 on, generation from bit 32 */
	USER_SLOT_SHIFT = 3,
	USER_GENERATION_SHIFT = 32,
	USER_IGNORED = 2,
};

struct uring_poll {
	struct loop_fd *source; /* NULL: removed, or a free slot */
	int fd;
	uint32_t wanted, armed; /* events; 0: none */
	uint32_t generation;
	bool multishot, dirty, stale; /* stale: has fired, to be armed anew */
	int next;                     /* dirty: of those, else of the free ones */
};

struct uring {
	struct io_uring ring;
	const struct uring_rung *rung;
	unsigned sq_tail;         /* ours; the kernel sees it when we enter */
	unsigned io_max, io_busy; /* operations that the kernel has */
	bool disabled, multishot, ext_arg;
	pid_t thread; /* whose the ring is, once a deferred ring is enabled */
	int enter_fd;
	unsigned enter_flags;
	struct uring_poll *polls; /* owned */
	int polls_count, free, dirty;
	struct __kernel_timespec timeout; /* of Linux 5.10's wait; the kernel has read it when the wait returns */
};

struct uring_rung {
	enum loop_rung rung;
	unsigned flags;
	bool only_asked;
	struct loop_engine engine;
};

/* ---- the submission queue --------------------------------------------------------------------------------------- */

static unsigned uring_unsubmitted(const struct uring *uring)
{
	return uring->sq_tail - io_uring_smp_load_acquire(uring->ring.sq.khead);
}

static int uring_enter(struct loop *loop, unsigned wait, unsigned flags, struct io_uring_getevents_arg *arg)
{
	struct uring *uring = loop->uring;
	io_uring_smp_store_release(uring->ring.sq.ktail, uring->sq_tail);
	loop->enters++;
	int ret = io_uring_enter2((unsigned)uring->enter_fd, uring_unsubmitted(uring), wait, flags | uring->enter_flags,
	                          (sigset_t *)arg, arg ? sizeof(*arg) : 0);
	assert(ret != -EEXIST && ret != -EBADF &&
	       ret != -EBADFD); /* another thread turns this loop, or closed its ring */
	return ret;
}

/* NULL: full, and the kernel takes nothing in at the moment. */
static struct io_uring_sqe *uring_sqe(struct loop *loop)
{
	struct uring *uring = loop->uring;
	const struct io_uring_sq *sq = &uring->ring.sq;
	if (uring_unsubmitted(uring) == sq->ring_entries)
		uring_enter(loop, 0, 0, NULL);
	if (uring_unsubmitted(uring) == sq->ring_entries)
		return NULL;
	return &sq->sqes[uring->sq_tail++ & sq->ring_mask];
}

/* ---- polls ------------------------------------------------------------------------------------------------------ */

static uint64_t poll_user_data(const struct uring *uring, const struct uring_poll *poll)
{
	return (uint64_t)poll->generation << USER_GENERATION_SHIFT |
	       (uint64_t)(poll - uring->polls) << USER_SLOT_SHIFT | USER_POLL;
}

static void poll_set_dirty(struct uring *uring, struct uring_poll *poll)
{
	if (poll->dirty)
		return;
	poll->dirty = true;
	poll->next = uring->dirty;
	uring->dirty = (int)(poll - uring->polls);
}

static int polls_grow(struct uring *uring)
{
	int count = uring->polls_count ? 2 * uring->polls_count : 16;
	if (count > POLLS_MAX)
		return -ENOSPC;
	struct uring_poll *polls = reallocarray(uring->polls, (size_t)count, sizeof(*polls));
	if (!polls)
		return -ENOMEM;
	for (int i = uring->polls_count; i < count; i++)
		polls[i] = (struct uring_poll){ .next = i + 1 < count ? i + 1 : NO_SLOT };
	uring->free = uring->polls_count;
	uring->polls = polls;
	uring->polls_count = count;
	return 0;
}

/* The new interest is armed with the next turn's system call. */
static int uring_watch(struct uring *uring, struct loop_fd *source)
{
	int ret = uring->free == NO_SLOT ? polls_grow(uring) : 0;
	if (ret < 0)
		return ret;
	struct uring_poll *poll = &uring->polls[uring->free];
	source->slot = (unsigned)uring->free;
	uring->free = poll->next;
	poll->source = source;
	poll->fd = source->fd;
	poll->wanted = source->events;
	poll_set_dirty(uring, poll);
	return 0;
}

/* epoll says which files can be watched, so that both engines have the same answer. */
static int uring_add(struct loop *loop, struct loop_fd *source)
{
	struct epoll_event event = { 0 };
	if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, source->fd, &event) < 0)
		return -errno;
	epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, source->fd, NULL);
	return uring_watch(loop->uring, source);
}

static int uring_change(struct loop *loop, struct loop_fd *source)
{
	struct uring_poll *poll = &loop->uring->polls[source->slot];
	poll->wanted = source->events;
	poll_set_dirty(loop->uring, poll);
	return 0;
}

static void uring_remove(struct loop *loop, struct loop_fd *source)
{
	struct uring_poll *poll = &loop->uring->polls[source->slot];
	poll->source = NULL;
	poll->wanted = 0;
	poll_set_dirty(loop->uring, poll);
}

static bool poll_disarm(struct loop *loop, struct uring_poll *poll)
{
	struct io_uring_sqe *sqe = uring_sqe(loop);
	if (!sqe)
		return false;
	io_uring_prep_poll_remove(sqe, poll_user_data(loop->uring, poll));
	sqe->user_data = USER_IGNORED;
	poll->generation++;
	poll->armed = 0;
	return true;
}

static bool poll_arm(struct loop *loop, struct uring_poll *poll)
{
	struct io_uring_sqe *sqe = uring_sqe(loop);
	if (!sqe)
		return false;
	io_uring_prep_poll_add(sqe, poll->fd, poll->wanted & ~(uint32_t)EPOLLET);
	poll->multishot = loop->uring->multishot;
	poll->stale = false;
	if (poll->multishot)
		sqe->len = IORING_POLL_ADD_MULTI;
	sqe->user_data = poll_user_data(loop->uring, poll);
	poll->armed = poll->wanted;
	return true;
}

/* Make what the kernel watches what is wanted. */
static bool poll_update(struct loop *loop, struct uring_poll *poll)
{
	if (poll->armed == poll->wanted && !poll->stale)
		return true;
	if (poll->armed && !poll_disarm(loop, poll))
		return false;
	return !poll->wanted || poll_arm(loop, poll);
}

/* Those for which there is no room stay dirty. */
static bool uring_update_polls(struct loop *loop)
{
	struct uring *uring = loop->uring;
	while (uring->dirty != NO_SLOT) {
		struct uring_poll *poll = &uring->polls[uring->dirty];
		if (!poll_update(loop, poll))
			return false;
		int at = uring->dirty;
		uring->dirty = poll->next;
		poll->dirty = false;
		if (!poll->source) {
			poll->generation++;
			poll->next = uring->free;
			uring->free = at;
		}
	}
	return true;
}

/* The kernel has ended this poll; unless it broke down it is armed again. */
static void poll_ended(struct uring *uring, struct uring_poll *poll, int result)
{
	poll->armed = 0;
	if (result == -EINVAL && poll->multishot)
		uring->multishot = false;            /* before Linux 5.13 */
	else if (result < 0 && result != -ECANCELED) /* that happens when the thread which armed it has ended */
		poll->wanted = 0;                    /* closed without being removed: epoll says nothing either */
	poll_set_dirty(uring, poll);
}

/* Level triggered: what is armed anew looks at the file again. */
static void poll_set_stale(struct uring *uring, struct uring_poll *poll)
{
	poll->stale = true;
	poll_set_dirty(uring, poll);
}

/* No multishot poll would have left the count of an eventfd alone. */
static void poll_read_eventfd(const struct uring_poll *poll)
{
	uint64_t count;
	ssize_t got = read(poll->fd, &count, sizeof(count));
	(void)got;
}

static int uring_serve_poll(struct loop *loop, const struct io_uring_cqe *cqe)
{
	struct uring *uring = loop->uring;
	struct uring_poll *poll = &uring->polls[(uint32_t)cqe->user_data >> USER_SLOT_SHIFT];
	if (poll->generation != cqe->user_data >> USER_GENERATION_SHIFT)
		return 0;
	bool multishot = poll->multishot, heard = poll->stale;
	if (!(cqe->flags & IORING_CQE_F_MORE))
		poll_ended(uring, poll, cqe->res);
	else if (!(poll->wanted & EPOLLET))
		poll_set_stale(uring, poll);
	uint32_t events = cqe->res < 0 ? 0 : (uint32_t)cqe->res & (poll->wanted | EPOLLERR | EPOLLHUP);
	if (!poll->source || !poll->wanted || !events || heard) /* heard: it is looked at again when armed anew */
		return 0;
	if ((poll->wanted & EPOLLET) && !multishot)
		poll_read_eventfd(poll);
	return loop_fd_serve(loop, poll->source, events);
}

/* ---- operations ------------------------------------------------------------------------------------------------- */

static void io_prepare(struct io_uring_sqe *sqe, const struct loop_io *io)
{
	bool single = io->iov_count == 1 && io->iov->iov_len <= INT32_MAX; /* spares the kernel copying the vector */
	switch ((enum loop_op)io->op) {
	case LOOP_READV:
		if (single)
			io_uring_prep_read(sqe, io->fd, io->iov->iov_base, (unsigned)io->iov->iov_len, io->off);
		else
			io_uring_prep_readv(sqe, io->fd, io->iov, io->iov_count, io->off);
		sqe->rw_flags = (__kernel_rwf_t)io->flags;
		break;
	case LOOP_WRITEV:
		if (single)
			io_uring_prep_write(sqe, io->fd, io->iov->iov_base, (unsigned)io->iov->iov_len, io->off);
		else
			io_uring_prep_writev(sqe, io->fd, io->iov, io->iov_count, io->off);
		sqe->rw_flags = (__kernel_rwf_t)io->flags;
		break;
	case LOOP_FDATASYNC:
		io_uring_prep_fsync(sqe, io->fd, IORING_FSYNC_DATASYNC);
		break;
	case LOOP_FALLOCATE:
		io_uring_prep_fallocate(sqe, io->fd, (int)io->flags, (off_t)io->off, (off_t)io->len);
		break;
	}
	sqe->user_data = (uintptr_t)io;
}

/* As many as the completion queue has room for; the others follow when some of these are done. */
static bool uring_begin_io(struct loop *loop)
{
	struct uring *uring = loop->uring;
	while (loop->begun.head && uring->io_busy < uring->io_max) {
		struct io_uring_sqe *sqe = uring_sqe(loop);
		if (!sqe)
			return false;
		io_prepare(sqe, io_list_pop(&loop->begun));
		uring->io_busy++;
	}
	return true;
}

/* ---- turning ---------------------------------------------------------------------------------------------------- */

static int uring_serve_one(struct loop *loop, const struct io_uring_cqe *cqe)
{
	if (cqe->user_data == USER_IGNORED)
		return 0;
	if (cqe->user_data & USER_POLL)
		return uring_serve_poll(loop, cqe);
	loop->uring->io_busy--;
	return loop_io_serve(loop, (struct loop_io *)(uintptr_t)cqe->user_data, cqe->res);
}

/* What was there when we began, unless a callback that turned the loop has served it. */
static int uring_serve(struct loop *loop)
{
	const struct io_uring_cq *cq = &loop->uring->ring.cq;
	unsigned tail = io_uring_smp_load_acquire(cq->ktail);
	int served = 0;
	for (unsigned head; (head = *cq->khead, (int)(tail - head) > 0);) {
		struct io_uring_cqe cqe = { .user_data = cq->cqes[head & cq->ring_mask].user_data,
			                    .res = cq->cqes[head & cq->ring_mask].res,
			                    .flags = cq->cqes[head & cq->ring_mask].flags };
		io_uring_smp_store_release(cq->khead, head + 1);
		served += uring_serve_one(loop, &cqe);
	}
	return served;
}

/* Before Linux 5.11 a wait's timeout is a request of its own, which also ends with the first completion. */
static bool uring_begin_timeout(struct loop *loop, struct __kernel_timespec timeout)
{
	struct io_uring_sqe *sqe = uring_sqe(loop);
	if (!sqe)
		return false;
	loop->uring->timeout = timeout;
	io_uring_prep_timeout(sqe, &loop->uring->timeout, 1, 0);
	sqe->user_data = USER_IGNORED;
	return true;
}

/* An error, such as a signal or want of memory, is no event: the next turn tries again. */
static void uring_wait(struct loop *loop, int64_t timeout_ns)
{
	struct uring *uring = loop->uring;
	if (timeout_ns <= 0) {
		uring_enter(loop, timeout_ns < 0, IORING_ENTER_GETEVENTS, NULL);
		return;
	}
	struct __kernel_timespec timeout = { .tv_sec = timeout_ns / (int64_t)NSEC_PER_SEC,
		                             .tv_nsec = timeout_ns % (int64_t)NSEC_PER_SEC };
	struct io_uring_getevents_arg arg = { .sigmask_sz = _NSIG / 8, .ts = (uintptr_t)&timeout };
	if (uring->ext_arg)
		uring_enter(loop, 1, IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG, &arg);
	else
		uring_enter(loop, uring_begin_timeout(loop, timeout), IORING_ENTER_GETEVENTS, NULL);
}

/* A deferred ring belongs to the thread that enables it. To that its descriptor is known by a short name, if it has one. */
static void uring_enable(struct uring *uring)
{
	int ret = io_uring_enable_rings(&uring->ring);
	assert(ret == 0);
	uring->disabled = false;
	uring->thread = gettid();
	/* by hand: liburing would take the name back on the thread that frees the loop */
	struct io_uring_rsrc_update name = { .offset = -1U, .data = (unsigned)uring->ring.ring_fd };
	ret = io_uring_register((unsigned)uring->ring.ring_fd, IORING_REGISTER_RING_FDS, &name, 1);
	if (ret != 1)
		return;
	uring->enter_fd = (int)name.offset;
	uring->enter_flags = IORING_ENTER_REGISTERED_RING;
}

/* ---- making it -------------------------------------------------------------------------------------------------- */

/* Are the operations that we use known to this kernel, and allowed? */
static int uring_probe(struct io_uring *ring)
{
	static const uint8_t needed[] = { IORING_OP_POLL_ADD, IORING_OP_POLL_REMOVE, IORING_OP_READV,
		                          IORING_OP_WRITEV,   IORING_OP_READ,        IORING_OP_WRITE,
		                          IORING_OP_FSYNC,    IORING_OP_FALLOCATE,   IORING_OP_TIMEOUT };
	struct io_uring_probe *probe = io_uring_get_probe_ring(ring);
	if (!probe)
		return -EOPNOTSUPP;
	int ret = ring->features & IORING_FEAT_NODROP ? 0 : -EOPNOTSUPP;
	for (unsigned i = 0; i < ARRAY_SIZE(needed); i++)
		if (!io_uring_opcode_supported(probe, needed[i]))
			ret = -EOPNOTSUPP;
	io_uring_free_probe(probe);
	return ret;
}

static int uring_set_up(struct uring *uring, const struct uring_rung *rung, unsigned entries)
{
	struct io_uring_params params = { .flags = rung->flags | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP,
		                          .cq_entries = CQ_PER_SQ * entries };
	int ret = io_uring_queue_init_params(entries, &uring->ring, &params);
	if (ret < 0)
		return ret;
	ret = uring_probe(&uring->ring);
	if (ret < 0) {
		io_uring_queue_exit(&uring->ring);
		return ret;
	}
	for (unsigned i = 0; i < uring->ring.sq.ring_entries; i++)
		uring->ring.sq.array[i] = i;
	bool young = rung->rung != LOOP_URING_5_10;
	uring->rung = rung;
	uring->io_max = MAX(uring->ring.cq.ring_entries * 3 / 4, 1);
	uring->disabled = rung->flags & IORING_SETUP_R_DISABLED;
	uring->multishot = young;
	uring->ext_arg = young && uring->ring.features & IORING_FEAT_EXT_ARG;
	uring->enter_fd = uring->ring.ring_fd;
	uring->enter_flags = 0;
	uring->sq_tail = 0;
	return 0;
}

/* The loop's thread has ended, and who frees its devices turns the loop by hand: a deferred ring is made anew for that
 * thread. All operations are done by then (loop_run()), and what was polled has been let go with its thread. */
static void uring_adopt(struct uring *uring)
{
	unsigned entries = uring->ring.sq.ring_entries;
	assert(!uring->io_busy);
	io_uring_queue_exit(&uring->ring);
	int ret = uring_set_up(uring, uring->rung, entries);
	assert(ret == 0);
	for (int i = 0; i < uring->polls_count; i++) {
		uring->polls[i].armed = 0;
		uring->polls[i].generation++;
		if (uring->polls[i].wanted)
			poll_set_dirty(uring, &uring->polls[i]);
	}
}

/* The loop has been given to a thread, perhaps another one. */
static void uring_own(struct loop *loop)
{
	struct uring *uring = loop->uring;
	bool bound = uring->rung->flags & IORING_SETUP_SINGLE_ISSUER;
	if (bound && !uring->disabled && uring->thread != gettid())
		uring_adopt(uring);
	if (uring->disabled)
		uring_enable(uring);
	loop->changed_hands = false;
}

static int uring_turn(struct loop *loop, int64_t timeout_ns)
{
	if (loop->changed_hands || loop->uring->disabled)
		uring_own(loop);
	bool all = uring_update_polls(loop) && uring_begin_io(loop);
	/* what the kernel does not take in now is tried again, also when nothing happens */
	if (!all && (timeout_ns < 0 || timeout_ns > (int64_t)NSEC_PER_MSEC))
		timeout_ns = (int64_t)NSEC_PER_MSEC;
	uring_wait(loop, timeout_ns);
	return uring_serve(loop);
}

static void uring_free(struct loop *loop)
{
	struct uring *uring = loop->uring;
	if (!uring)
		return;
	io_uring_queue_exit(&uring->ring);
	free(uring->polls);
	free(uring);
	loop->uring = NULL;
}

#define URING_ENGINE(text)                                                                                             \
	{                                                                                                              \
		.name = "io_uring (" text ")", .add = uring_add, .change = uring_change, .remove = uring_remove,       \
		.turn = uring_turn, .free = uring_free                                                                 \
	}

/* Best first. SUBMIT_ALL: a request that fails at once does not hold up those behind it. */
static const struct uring_rung uring_rungs[] = {
	{ .rung = LOOP_URING_DEFER,
	  .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SUBMIT_ALL |
	           IORING_SETUP_R_DISABLED,
	  .engine = URING_ENGINE("deferred") },
	{ .rung = LOOP_URING_COOP,
	  .flags = IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SUBMIT_ALL,
	  .engine = URING_ENGINE("cooperative") },
	{ .rung = LOOP_URING_PLAIN, .engine = URING_ENGINE("plain") },
	{ .rung = LOOP_URING_5_10, .only_asked = true, .engine = URING_ENGINE("as in Linux 5.10") },
};

static bool rung_admitted(const struct uring_rung *rung, enum loop_rung wanted)
{
	return wanted == LOOP_BEST ? !rung->only_asked : rung->rung == wanted;
}

/* Any error is one step down: EINVAL an older kernel, ENOMEM a small RLIMIT_MEMLOCK, ENOSYS or EPERM not allowed. */
static int uring_climb(struct uring *uring, const struct loop_options *options)
{
	int ret = -EOPNOTSUPP;
	for (unsigned i = 0; i < ARRAY_SIZE(uring_rungs); i++) {
		if (!rung_admitted(&uring_rungs[i], options->rung))
			continue;
		ret = uring_set_up(uring, &uring_rungs[i], options->entries ? options->entries : URING_ENTRIES);
		if (ret == 0)
			return 0;
	}
	return ret;
}

static int uring_watch_all(struct loop *loop)
{
	for (struct loop_fd *source = loop->sources; source; source = source->next) {
		int ret = uring_watch(loop->uring, source);
		if (ret < 0)
			return ret;
	}
	for (struct loop_fd *source = loop->sources; source; source = source->next)
		loop->engine->remove(loop, source);
	return 0;
}

int loop_uring_open(struct loop *loop)
{
	struct uring *uring = calloc(1, sizeof(*uring));
	if (!uring)
		return -ENOMEM;
	uring->free = uring->dirty = NO_SLOT;
	int ret = uring_climb(uring, &loop->options);
	if (ret < 0) {
		free(uring);
		return ret;
	}
	loop->uring = uring;
	ret = uring_watch_all(loop);
	if (ret < 0)
		uring_free(loop);
	else
		loop->engine = &uring->rung->engine;
	return ret;
}
