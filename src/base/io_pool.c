// SPDX-License-Identifier: Apache-2.0
/*
 * A few threads that do operations on files by blocking in them, for hosts where io_uring is not allowed. Batches go in
 * under one lock; the first completion of a batch wakes the loop.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include "src/base/loop_engine.h"
#include "src/base/util.h"

enum { POOL_THREADS = 4 };

struct io_pool {
	struct loop *loop; /* not owned */
	pthread_mutex_t lock;
	pthread_cond_t work;
	struct io_list todo, done;
	pthread_t threads[POOL_THREADS];
	unsigned threads_count, idle;
	bool leaving;
};

static int io_do(const struct loop_io *io)
{
	ssize_t ret = 0;
	switch ((enum loop_op)io->op) {
	case LOOP_READV:
		ret = preadv2(io->fd, io->iov, (int)io->iov_count, (off_t)io->off, (int)io->flags);
		break;
	case LOOP_WRITEV:
		ret = pwritev2(io->fd, io->iov, (int)io->iov_count, (off_t)io->off, (int)io->flags);
		break;
	case LOOP_FDATASYNC:
		ret = fdatasync(io->fd);
		break;
	case LOOP_FALLOCATE:
		ret = fallocate(io->fd, (int)io->flags, (off_t)io->off, (off_t)io->len);
		break;
	}
	return ret < 0 ? -errno : (int)ret;
}

/* pool->lock held on entry and return; there is something to do */
static void pool_do_one(struct io_pool *pool)
{
	struct loop_io *io = io_list_pop(&pool->todo);
	pthread_mutex_unlock(&pool->lock);
	io->result = io_do(io);
	pthread_mutex_lock(&pool->lock);
	bool first = !pool->done.head;
	io_list_push(&pool->done, io);
	if (first)
		loop_wake(pool->loop);
}

static void *pool_main(void *opaque)
{
	struct io_pool *pool = opaque;
	pthread_mutex_lock(&pool->lock);
	while (!pool->leaving) {
		if (pool->todo.head) {
			pool_do_one(pool);
			continue;
		}
		pool->idle++;
		pthread_cond_wait(&pool->work, &pool->lock);
		pool->idle--;
	}
	pthread_mutex_unlock(&pool->lock);
	return NULL;
}

struct io_pool *io_pool_new(struct loop *loop)
{
	struct io_pool *pool = calloc(1, sizeof(*pool));
	if (!pool)
		return NULL;
	pool->loop = loop;
	pthread_mutex_init(&pool->lock, NULL);
	pthread_cond_init(&pool->work, NULL);
	io_list_init(&pool->todo);
	io_list_init(&pool->done);
	return pool;
}

void io_pool_free(struct io_pool *pool)
{
	if (!pool)
		return;
	pthread_mutex_lock(&pool->lock);
	pool->leaving = true;
	pthread_cond_broadcast(&pool->work);
	pthread_mutex_unlock(&pool->lock);
	for (unsigned i = 0; i < pool->threads_count; i++)
		pthread_join(pool->threads[i], NULL);
	pthread_cond_destroy(&pool->work);
	pthread_mutex_destroy(&pool->lock);
	free(pool);
}

/* pool->lock held. They inherit the signals that the loop's thread blocks. */
static void pool_add_threads(struct io_pool *pool, unsigned wanted)
{
	for (wanted = MIN(wanted, POOL_THREADS); pool->threads_count < wanted; pool->threads_count++) {
		pthread_t *thread = &pool->threads[pool->threads_count];
		if (pthread_create(thread, NULL, pool_main, pool) != 0)
			return;
		pthread_setname_np(*thread, "cvmm-pool");
	}
}

void io_pool_submit(struct io_pool *pool, struct io_list *list)
{
	if (!list->head)
		return;
	unsigned count = 0;
	for (const struct loop_io *io = list->head; io; io = io->next)
		count++;
	pthread_mutex_lock(&pool->lock);
	io_list_take(&pool->todo, list);
	if (count > pool->idle)
		pool_add_threads(pool, pool->threads_count + count - pool->idle);
	for (unsigned i = MIN(count, pool->idle); i; i--)
		pthread_cond_signal(&pool->work);
	while (!pool->threads_count && pool->todo.head) /* the host gives us no thread: then here */
		pool_do_one(pool);
	pthread_mutex_unlock(&pool->lock);
}

void io_pool_reap(struct io_pool *pool, struct io_list *list)
{
	pthread_mutex_lock(&pool->lock);
	io_list_take(list, &pool->done);
	pthread_mutex_unlock(&pool->lock);
}
