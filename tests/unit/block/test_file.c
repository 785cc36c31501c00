// SPDX-License-Identifier: Apache-2.0
/*
 * Disks in files. The loop is one made here: operations wait in a list until the test takes them up, are done by the
 * system calls that they stand for, and fail, are interrupted or come back short where the test wants that.
 */
#include "tests/unit/block/shadow.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <linux/falloc.h>

/* --- the loop --- */

enum io_op { IO_READ, IO_WRITE, IO_SYNC, IO_ALLOCATE, IO_OPS };

static struct {
	struct loop_io *first, **last;
	unsigned counts[IO_OPS]; /* operations begun */
	uint32_t flags;          /* of the last one */
	int fail[IO_OPS];        /* a negative errno: for each of the kind */
	int fail_once[IO_OPS];
	uint64_t rough; /* not 0: a seed for short, interrupted, delayed operations */
	size_t short_by;
} fake;

static void fake_begin(struct loop_io *io, enum io_op op, int fd, uint64_t off, uint32_t flags)
{
	io->op = (uint8_t)op;
	io->fd = fd;
	io->off = off;
	io->flags = fake.flags = flags;
	io->next = NULL;
	if (!fake.first)
		fake.last = &fake.first;
	*fake.last = io;
	fake.last = &io->next;
	fake.counts[op]++;
}

void loop_readv(struct loop *loop, struct loop_io *io, int fd, const struct iovec *iov, unsigned iov_count,
                uint64_t off)
{
	io->iov = iov;
	io->iov_count = iov_count;
	fake_begin(io, IO_READ, fd, off, 0);
}

void loop_writev(struct loop *loop, struct loop_io *io, int fd, const struct iovec *iov, unsigned iov_count,
                 uint64_t off, int flags)
{
	io->iov = iov;
	io->iov_count = iov_count;
	fake_begin(io, IO_WRITE, fd, off, (uint32_t)flags);
}

void loop_fdatasync(struct loop *loop, struct loop_io *io, int fd)
{
	fake_begin(io, IO_SYNC, fd, 0, 0);
}

void loop_fallocate(struct loop *loop, struct loop_io *io, int fd, int mode, uint64_t off, uint64_t len)
{
	io->len = len;
	fake_begin(io, IO_ALLOCATE, fd, off, (uint32_t)mode);
}

static uint64_t fake_random(uint64_t below)
{
	fake.rough ^= fake.rough << 13;
	fake.rough ^= fake.rough >> 7;
	fake.rough ^= fake.rough << 17;
	return fake.rough % below;
}

/* Only so many bytes of the segments; O_DIRECT is never short by a part of a block. */
static ssize_t fake_transfer(const struct loop_io *io)
{
	struct iovec iov[64];
	unsigned count = 0;
	size_t total = 0, limit = SIZE_MAX;
	if (fake.short_by)
		limit = fake.short_by;
	else if (fake.rough && fake_random(2))
		limit = 512 * (1 + fake_random(64)) - (fcntl(io->fd, F_GETFL) & O_DIRECT ? 0 : fake_random(500));
	for (; count < io->iov_count && count < ARRAY_SIZE(iov) && total < limit; count++) {
		iov[count] = io->iov[count];
		iov[count].iov_len = MIN(iov[count].iov_len, limit - total);
		total += iov[count].iov_len;
	}
	ssize_t got = io->op == IO_READ ? preadv2(io->fd, iov, (int)count, (off_t)io->off, 0)
	                                : pwritev2(io->fd, iov, (int)count, (off_t)io->off, (int)io->flags);
	return got < 0 ? -errno : got;
}

static int fake_do(const struct loop_io *io)
{
	int fail = fake.fail_once[io->op] ? fake.fail_once[io->op] : fake.fail[io->op];
	fake.fail_once[io->op] = 0;
	if (fail)
		return fail;
	if (fake.rough && !fake_random(8))
		return fake_random(2) ? -EINTR : -EAGAIN;
	switch (io->op) {
	case IO_SYNC:
		return fdatasync(io->fd) < 0 ? -errno : 0;
	case IO_ALLOCATE:
		return fallocate(io->fd, (int)io->flags, (off_t)io->off, (off_t)io->len) < 0 ? -errno : 0;
	}
	return (int)fake_transfer(io);
}

static void fake_turn(void)
{
	struct loop_io *io = fake.first;
	assert_non_null(io);
	fake.first = io->next;
	io->fn(io, fake_do(io));
}

/* --- the disk --- */

static char dir[64], path[96];
static uint8_t bytes[256 * 1024] __attribute__((aligned(4096)));

static int setup(void **state)
{
	memset(&fake, 0, sizeof(fake));
	snprintf(dir, sizeof(dir), "test-block-XXXXXX");
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/disk", dir);
	return 0;
}

static int teardown(void **state)
{
	assert_null(fake.first);
	unlink(path);
	return rmdir(dir);
}

static void make_file(off_t size)
{
	CLEANUP_CLOSE int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, size), 0);
}

static struct block *try_open(struct block_file_options options, struct cvmm_error *err)
{
	if (!options.path)
		options.path = path;
	return block_file_open(&options, err);
}

static struct block *open_disk(struct block_file_options options)
{
	struct cvmm_error err = { 0 };
	struct block *block = try_open(options, &err);
	if (!block)
		fail_msg("%s", err.msg);
	return block;
}

static void refuse(struct block_file_options options, int code, const char *why)
{
	struct cvmm_error err = { 0 };
	assert_null(try_open(options, &err));
	assert_int_equal(err.code, code);
	assert_non_null(strstr(err.msg, options.path ? options.path : path));
	if (!strstr(err.msg, why))
		fail_msg("\"%s\" does not say \"%s\"", err.msg, why);
}

static void begin(struct block *block, struct shadow_request *request)
{
	request->io.done = shadow_done;
	request->done = false;
	block_submit(block, &request->io);
}

static int run(struct block *block, enum block_op op, unsigned flags, uint64_t off, uint64_t len)
{
	struct iovec iov = { bytes, len };
	struct shadow_request request = {
		.io = { .op = op, .flags = flags, .off = off, .len = len, .iov = &iov, .iov_count = 1 },
	};
	begin(block, &request);
	while (!request.done)
		fake_turn();
	return request.result;
}

static uint64_t stored(void)
{
	struct stat st;
	assert_int_equal(stat(path, &st), 0);
	return (uint64_t)st.st_blocks * 512;
}

/* --- opening --- */

static void test_what_is_no_disk(void **state)
{
	refuse((struct block_file_options){ 0 }, -ENOENT, "No such file");
	refuse((struct block_file_options){ .path = dir }, -EINVAL, "neither a file nor a block device");
	refuse((struct block_file_options){ .path = "/dev/full" }, -EINVAL, "neither a file nor a block device");
	assert_int_equal(mkfifo(path, 0600), 0);
	refuse((struct block_file_options){ .read_only = true }, -EINVAL, "neither a file nor a block device");
	unlink(path);
	make_file(0);
	refuse((struct block_file_options){ 0 }, -EINVAL, "is empty");
	make_file(1000);
	refuse((struct block_file_options){ 0 }, -EINVAL, "1000 bytes are no whole number of blocks of 512");
	make_file(4096 + 512);
	refuse((struct block_file_options){ .logical_block = 4096 }, -EINVAL, "no whole number of blocks of 4096");
	refuse((struct block_file_options){ .logical_block = 1024 }, -EINVAL, "512 and 4096");
	block_free(open_disk((struct block_file_options){ 0 }));
}

static void test_what_a_disk_says(void **state)
{
	make_file(MIB);
	struct block *block = open_disk((struct block_file_options){ 0 });
	assert_int_equal(block_size(block), MIB);
	assert_int_equal(block->logical_block, 512);
	assert_int_equal(block->physical_block, 4096);
	assert_true(block->writeback && !block->read_only);
	assert_string_equal(block->name, path);
	block_free(block);
	block = open_disk((struct block_file_options){ .read_only = true, .logical_block = 4096 });
	assert_int_equal(block->logical_block, 4096);
	assert_true(block->read_only);
	assert_int_equal(block->discard_granularity, 0);
	assert_int_equal(run(block, BLOCK_WRITE, 0, 0, 4096), -EROFS);
	assert_int_equal(run(block, BLOCK_FLUSH, 0, 0, 0), 0);
	assert_int_equal(fake.counts[IO_SYNC], 0);
	block_free(block);
}

static void test_locks(void **state)
{
	make_file(MIB);
	const struct block_file_options rw = { 0 }, ro = { .read_only = true }, share = { .share = true };
	struct block *writer = open_disk(rw);
	refuse(rw, -EWOULDBLOCK, "is in use by another process");
	refuse(ro, -EWOULDBLOCK, "is in use by another process");
	block_free(open_disk(share));
	refuse(rw, -EWOULDBLOCK, "is in use"); /* closing another descriptor drops no lock */
	block_free(writer);
	struct block *reader = open_disk(ro);
	refuse(rw, -EWOULDBLOCK, "is in use by another process");
	block_free(open_disk(ro));
	block_free(reader);
	block_free(open_disk(rw));
}

static void test_a_descriptor(void **state)
{
	make_file(MIB);
	struct cvmm_error err = { 0 };
	int fd = open(path, O_RDONLY);
	struct block_file_options options = { .fd = fd };
	assert_null(block_file_open(&options, &err));
	assert_int_equal(err.code, -EBADF);
	options.read_only = true;
	struct block *block = block_file_open(&options, &err);
	assert_non_null(block);
	close(fd); /* it has its own */
	assert_int_equal(run(block, BLOCK_READ, 0, 0, 4096), 0);
	block_free(block);
	options.fd = 999;
	assert_null(block_file_open(&options, &err));
	assert_string_equal(err.msg, "disk fd 999: Bad file descriptor");
}

/* --- reading and writing --- */

static struct block_file_options variant(unsigned i)
{
	static const struct block_file_options variants[] = {
		{ .cache = BLOCK_CACHE_WRITEBACK },
		{ .cache = BLOCK_CACHE_UNSAFE, .logical_block = 4096 },
		{ .cache = BLOCK_CACHE_NONE },
		{ .direct = true, .logical_block = 4096 },
	};
	return variants[i % ARRAY_SIZE(variants)];
}

static void test_random_requests(void **state)
{
	for (unsigned seed = 1; seed <= 24; seed++) {
		make_file(seed % 2 ? 4096 * 61 : 4096 * 300);
		struct shadow shadow;
		struct block *block = try_open(variant(seed), NULL);
		if (!block)
			continue; /* no O_DIRECT on this file system */
		shadow_init(&shadow, block, seed, fake_turn);
		fake.rough = seed % 3 ? seed : 0;
		if (seed % 5 ==
		    0) /* as if neither holes nor zeroed ranges could be had; no guest is offered discards then */
			fake.fail[IO_ALLOCATE] = -EOPNOTSUPP;
		for (unsigned i = 0; i < 200; i++) {
			if (seed % 5)
				shadow_step(&shadow);
			else
				shadow_step_of(&shadow, ~(1u << BLOCK_DISCARD));
		}
		shadow_check(&shadow);
		shadow_fini(&shadow);
		block_free(block);
		memset(&fake, 0, sizeof(fake));
	}
}

static void test_short_transfers_are_gone_on_with(void **state)
{
	make_file(MIB);
	struct block *block = open_disk((struct block_file_options){ 0 });
	fake.short_by = 1;
	memset(bytes, 7, 512);
	assert_int_equal(run(block, BLOCK_WRITE, 0, 512, 512), 0);
	assert_int_equal(fake.counts[IO_WRITE], 512);
	memset(bytes, 0, 512);
	assert_int_equal(run(block, BLOCK_READ, 0, 512, 512), 0);
	assert_int_equal(fake.counts[IO_READ], 512);
	for (unsigned i = 0; i < 512; i++)
		assert_int_equal(bytes[i], 7);
	fake.fail_once[IO_READ] = -EINTR;
	assert_int_equal(run(block, BLOCK_READ, 0, 0, 512), 0);
	block_free(block);
}

/* The host's errors are those of the request, and the next one is a new one. */
static void test_errors_of_the_host(void **state)
{
	static const int errors[] = { -EIO, -ENOSPC, -EDQUOT, -EFBIG, -ENOMEM };
	make_file(MIB);
	struct block *block = open_disk((struct block_file_options){ 0 });
	for (unsigned i = 0; i < ARRAY_SIZE(errors); i++) {
		for (enum block_op op = BLOCK_READ; op <= BLOCK_WRITE_ZEROES; op++) {
			if (op == BLOCK_FLUSH)
				continue;
			fake.fail_once[op == BLOCK_READ ? IO_READ : IO_WRITE] = errors[i];
			fake.fail_once[IO_ALLOCATE] = errors[i];
			assert_int_equal(run(block, op, 0, 0, 4096), errors[i]);
			memset(fake.fail_once, 0, sizeof(fake.fail_once));
			assert_int_equal(run(block, op, 0, 0, 4096), 0);
		}
	}
	block_free(block);
}

static void test_a_file_that_may_not_grow(void **state)
{
	make_file(MIB);
	struct rlimit before, limit;
	struct block *block = open_disk((struct block_file_options){ 0 });
	assert_int_equal(truncate(path, 4096), 0); /* somebody cut it off */
	assert_int_equal(run(block, BLOCK_READ, 0, 0, 8192), -EIO);
	assert_int_equal(run(block, BLOCK_READ, 0, 8192, 512), -EIO);
	assert_int_equal(run(block, BLOCK_READ, 0, 0, 4096), 0);
	getrlimit(RLIMIT_FSIZE, &before);
	limit = (struct rlimit){ 8192, before.rlim_max };
	void (*was)(int) = signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	int beyond = run(block, BLOCK_WRITE, 0, 4096, 8192), inside = run(block, BLOCK_WRITE, 0, 0, 4096);
	setrlimit(RLIMIT_FSIZE, &before);
	signal(SIGXFSZ, was);
	assert_int_equal(beyond, -EFBIG);
	assert_int_equal(inside, 0);
	assert_int_equal(run(block, BLOCK_WRITE, 0, 4096, 8192), 0);
	block_free(block);
}

/* --- stable storage --- */

static void test_flush_and_fua(void **state)
{
	make_file(MIB);
	struct block *block = open_disk((struct block_file_options){ 0 });
	assert_int_equal(run(block, BLOCK_WRITE, 0, 0, 4096), 0);
	assert_int_equal(fake.flags, 0);
	assert_int_equal(run(block, BLOCK_WRITE, BLOCK_FUA, 0, 4096), 0);
	assert_int_equal(fake.flags, RWF_DSYNC);
	assert_int_equal(fake.counts[IO_SYNC], 0);
	assert_int_equal(run(block, BLOCK_FLUSH, 0, 0, 0), 0);
	assert_int_equal(fake.counts[IO_SYNC], 1);
	assert_int_equal(run(block, BLOCK_WRITE_ZEROES, BLOCK_FUA, 0, 4096), 0);
	assert_int_equal(run(block, BLOCK_DISCARD, BLOCK_FUA, 0, 4096), 0);
	assert_int_equal(fake.counts[IO_SYNC], 3);
	fake.fail[IO_ALLOCATE] = -EOPNOTSUPP;
	assert_int_equal(run(block, BLOCK_WRITE_ZEROES, BLOCK_FUA, 0, 4096), 0);
	assert_int_equal(fake.flags, RWF_DSYNC);
	block_free(block);
}

static void test_unsafe(void **state)
{
	make_file(MIB);
	struct block *block = open_disk((struct block_file_options){ .cache = BLOCK_CACHE_UNSAFE });
	assert_int_equal(run(block, BLOCK_WRITE, BLOCK_FUA, 0, 4096), 0);
	assert_int_equal(fake.flags, 0);
	assert_int_equal(run(block, BLOCK_WRITE_ZEROES, BLOCK_FUA, 0, 4096), 0);
	assert_int_equal(run(block, BLOCK_FLUSH, 0, 0, 0), 0);
	assert_int_equal(fake.counts[IO_SYNC], 0);
	block_free(block);
}

/* What a failed flush has lost no later one brings back. */
static void test_a_failed_flush_stays_failed(void **state)
{
	make_file(MIB);
	struct block *block = open_disk((struct block_file_options){ 0 });
	fake.fail_once[IO_SYNC] = -EINTR;
	assert_int_equal(run(block, BLOCK_FLUSH, 0, 0, 0), 0);
	fake.fail_once[IO_SYNC] = -EIO;
	assert_int_equal(run(block, BLOCK_FLUSH, 0, 0, 0), -EIO);
	assert_int_equal(run(block, BLOCK_FLUSH, 0, 0, 0), -EIO);
	assert_int_equal(run(block, BLOCK_WRITE_ZEROES, BLOCK_FUA, 0, 4096), -EIO);
	assert_int_equal(run(block, BLOCK_READ, 0, 0, 4096), 0);
	block_free(block);
	block = open_disk((struct block_file_options){ 0 });
	fake.fail_once[IO_WRITE] = -EIO; /* a write that was to be stable tells of lost pages as a flush does */
	assert_int_equal(run(block, BLOCK_WRITE, BLOCK_FUA, 0, 4096), -EIO);
	assert_int_equal(run(block, BLOCK_FLUSH, 0, 0, 0), -EIO);
	block_free(block);
}

/* --- holes --- */

static void test_discard_shrinks_the_file(void **state)
{
	make_file(sizeof(bytes));
	struct block *block = open_disk((struct block_file_options){ 0 });
	if (!block->discard_granularity) {
		block_free(block);
		skip();
	}
	memset(bytes, 0xff, sizeof(bytes));
	assert_int_equal(run(block, BLOCK_WRITE, 0, 0, sizeof(bytes)), 0);
	assert_int_equal(run(block, BLOCK_FLUSH, 0, 0, 0), 0);
	uint64_t full = stored();
	assert_int_equal(run(block, BLOCK_DISCARD, 0, 0, sizeof(bytes) / 2), 0);
	assert_int_equal(stored(), full - sizeof(bytes) / 2);
	assert_int_equal(run(block, BLOCK_WRITE_ZEROES, BLOCK_MAY_UNMAP, 0, sizeof(bytes)), 0);
	assert_int_equal(stored(), full - sizeof(bytes));
	assert_int_equal(run(block, BLOCK_READ, 0, 0, sizeof(bytes)), 0);
	for (size_t i = 0; i < sizeof(bytes); i++)
		assert_int_equal(bytes[i], 0);
	struct stat st;
	stat(path, &st);
	assert_int_equal(st.st_size, sizeof(bytes));
	block_free(block);
}

/* Without unmap the space stays. What the file system cannot do is asked of it once. */
static void test_write_zeroes(void **state)
{
	make_file(4 * MIB);
	struct block *block = open_disk((struct block_file_options){ 0 });
	assert_int_equal(run(block, BLOCK_WRITE, 0, 0, 4096), 0);
	assert_int_equal(run(block, BLOCK_WRITE_ZEROES, 0, 0, 65536), 0);
	assert_true(stored() >= 65536);
	fake.fail[IO_ALLOCATE] = -EOPNOTSUPP;
	memset(&fake.counts, 0, sizeof(fake.counts));
	assert_int_equal(run(block, BLOCK_WRITE_ZEROES, BLOCK_MAY_UNMAP, 512, 3 * MIB), 0);
	assert_int_equal(fake.counts[IO_ALLOCATE], 2);
	assert_int_equal(fake.counts[IO_WRITE], 3);
	assert_true(stored() >= 3 * MIB);
	assert_int_equal(run(block, BLOCK_WRITE_ZEROES, BLOCK_MAY_UNMAP, 0, MIB), 0);
	assert_int_equal(run(block, BLOCK_WRITE_ZEROES, 0, 0, MIB), 0);
	assert_int_equal(run(block, BLOCK_DISCARD, 0, 0, MIB), -EOPNOTSUPP);
	assert_int_equal(fake.counts[IO_ALLOCATE], 2);
	block_free(block);
}

/* --- O_DIRECT --- */

static struct block *open_direct(void)
{
	make_file(MIB);
	struct block *block = try_open((struct block_file_options){ .cache = BLOCK_CACHE_NONE }, NULL);
	if (!block)
		skip();
	return block;
}

/* One goes through the buffer, piece by piece, while the others wait; those that suit pass by. */
static void test_bounced_requests_take_turns(void **state)
{
	struct block *block = open_direct();
	struct block_bounce bounce;
	uint8_t *odd = malloc(2 * BLOCK_BOUNCE_SIZE + 1);
	struct iovec iov[3] = { { odd + 1, 2 * BLOCK_BOUNCE_SIZE }, { odd + 1, 4096 }, { bytes, 4096 } };
	struct shadow_request requests[3] = { 0 };
	assert_int_equal(block_bounce_init(&bounce, block), 0);
	memset(odd, 3, 2 * BLOCK_BOUNCE_SIZE + 1);
	for (unsigned i = 0; i < 3; i++) {
		requests[i].io = (struct block_request){
			.op = BLOCK_WRITE,
			.len = iov[i].iov_len,
			.iov = &iov[i],
			.iov_count = 1,
			.bounce = &bounce,
		};
		begin(block, &requests[i]);
	}
	assert_int_equal(fake.counts[IO_WRITE], 2); /* the first and the last */
	fake_turn();
	fake_turn();
	assert_true(requests[2].done && !requests[0].done && !requests[1].done);
	fake_turn();
	assert_true(requests[0].done && !requests[1].done);
	fake_turn();
	assert_true(requests[1].done);
	assert_int_equal(requests[0].result | requests[1].result | requests[2].result, 0);
	assert_null(fake.first);
	fake.fail_once[IO_READ] = -EIO; /* whose turn fails lets the next one go on */
	iov[0] = (struct iovec){ odd + 1, 4096 };
	iov[1] = (struct iovec){ odd + 1, 4096 };
	memset(odd, 9, 4097);
	for (unsigned i = 0; i < 2; i++) {
		requests[i].io.op = BLOCK_READ;
		requests[i].io.len = 4096;
		requests[i].io.iov = &iov[i];
		requests[i].io.iov_count = 1;
		begin(block, &requests[i]);
	}
	fake_turn();
	fake_turn();
	assert_int_equal(requests[0].result, -EIO);
	assert_int_equal(requests[1].result, 0);
	for (unsigned i = 1; i < 4097; i++)
		assert_int_equal(odd[i], 3);
	assert_int_equal(odd[0], 9);
	iov[0] = (struct iovec){ odd + 1, 4096 };
	requests[0].io.iov = &iov[0];
	requests[0].io.iov_count = 1;
	requests[0].io.bounce = NULL;
	begin(block, &requests[0]);
	assert_int_equal(requests[0].result, -EINVAL);
	block_bounce_fini(&bounce);
	block_free(block);
	free(odd);
}

static void test_no_blocks_smaller_than_direct_access(void **state)
{
	struct block *block = open_direct();
	assert_true(block->memory_align >= 1);
	assert_true(block->logical_block == 512 || block->logical_block == 4096);
	bool large = block->logical_block == 4096;
	block_free(block);
	if (large)
		refuse((struct block_file_options){ .direct = true, .logical_block = 512 }, -EINVAL, "direct access");
}

/* --- size --- */

static void test_resize(void **state)
{
	make_file(MIB);
	struct cvmm_error err = { 0 };
	struct block *block = open_disk((struct block_file_options){ 0 });
	assert_int_equal(block_resize(block, 2 * MIB, &err), 0);
	assert_int_equal(block_size(block), 2 * MIB);
	assert_int_equal(run(block, BLOCK_WRITE, 0, 2 * MIB - 512, 512), 0);
	assert_int_equal(block_resize(block, MIB, &err), 0);
	assert_int_equal(run(block, BLOCK_READ, 0, MIB, 512), -EINVAL);
	assert_int_equal(block_resize(block, MIB + 1, &err), -EINVAL);
	assert_int_equal(block_resize(block, UINT64_MAX & ~511ull, &err), -EINVAL);
	assert_int_equal(block_resize(block, 1ull << 62, &err), -EFBIG);
	assert_non_null(strstr(err.msg, path));
	assert_int_equal(block_size(block), MIB);
	assert_int_equal(truncate(path, 4 * MIB), 0);
	assert_int_equal(block_resize(block, 0, &err), 0);
	assert_int_equal(block_size(block), 4 * MIB);
	assert_int_equal(truncate(path, 4 * MIB + 1), 0);
	assert_int_equal(block_resize(block, 0, &err), -EINVAL);
	assert_int_equal(block_size(block), 4 * MIB);
	block_free(block);
	assert_int_equal(truncate(path, MIB), 0);
	block = open_disk((struct block_file_options){ .read_only = true });
	assert_int_equal(block_resize(block, 2 * MIB, &err), -EROFS);
	assert_int_equal(block_resize(block, 0, &err), 0);
	block_free(block);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	if (under_emulation()) {
		printf("the emulator's system calls are not the kernel's\n");
		return 77;
	}
	const struct CMUnitTest tests[] = {
		TEST(test_what_is_no_disk),
		TEST(test_what_a_disk_says),
		TEST(test_locks),
		TEST(test_a_descriptor),
		TEST(test_random_requests),
		TEST(test_short_transfers_are_gone_on_with),
		TEST(test_errors_of_the_host),
		TEST(test_a_file_that_may_not_grow),
		TEST(test_flush_and_fua),
		TEST(test_unsafe),
		TEST(test_a_failed_flush_stays_failed),
		TEST(test_discard_shrinks_the_file),
		TEST(test_write_zeroes),
		TEST(test_bounced_requests_take_turns),
		TEST(test_no_blocks_smaller_than_direct_access),
		TEST(test_resize),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
