// SPDX-License-Identifier: Apache-2.0
/* Operations on files, on each rung: what they do, what they answer, what they cost. */
#include "tests/unit/base/rungs.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BLOCK = 4096 };

/* The linker sends src/base's calls of the allocator here. */
static unsigned allocations;
void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_reallocarray(void *at, size_t count, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_reallocarray(void *at, size_t count, size_t size);

void *__wrap_malloc(size_t size)
{
	allocations++;
	return __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
	allocations++;
	return __real_calloc(count, size);
}

void *__wrap_reallocarray(void *at, size_t count, size_t size)
{
	allocations++;
	return __real_reallocarray(at, count, size);
}

struct file {
	struct loop *loop;
	int fd;
};

static int file_setup(void **state)
{
	static struct file file;
	file.loop = rung_loop(&clock_host);
	file.fd = open(P_tmpdir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (file.fd < 0)
		file.fd = memfd_create("disk", MFD_CLOEXEC);
	*state = &file;
	return !file.loop || file.fd < 0;
}

static int file_teardown(void **state)
{
	struct file *file = *state;
	loop_free(file->loop);
	close(file->fd);
	return 0;
}

struct answer {
	struct loop_io io;
	int result;
	unsigned told;
};

static void answer_told(struct loop_io *io, int result)
{
	struct answer *answer = container_of(io, struct answer, io);
	answer->result = result;
	answer->told++;
}

static const struct answer no_answer = { .io.fn = answer_told };

static void turn_until_done(struct loop *loop)
{
	while (loop_io_pending(loop))
		loop_turn(loop, -1);
}

static int wait_for(struct loop *loop, struct answer *answer)
{
	assert_int_equal(loop_io_pending(loop), 1);
	turn_until_done(loop);
	assert_int_equal(answer->told, 1);
	return answer->result;
}

static int read_at(struct file *file, int fd, void *buf, size_t len, uint64_t off)
{
	struct answer answer = no_answer;
	struct iovec iov = { buf, len };
	loop_readv(file->loop, &answer.io, fd, &iov, 1, off);
	assert_int_equal(answer.told, 0); /* never from within */
	return wait_for(file->loop, &answer);
}

static int write_at(struct file *file, int fd, const void *buf, size_t len, uint64_t off, int flags)
{
	struct answer answer = no_answer;
	struct iovec iov = { (void *)(uintptr_t)buf, len };
	loop_writev(file->loop, &answer.io, fd, &iov, 1, off, flags);
	return wait_for(file->loop, &answer);
}

static int fallocate_at(struct file *file, int fd, int mode, uint64_t off, uint64_t len)
{
	struct answer answer = no_answer;
	loop_fallocate(file->loop, &answer.io, fd, mode, off, len);
	return wait_for(file->loop, &answer);
}

static int fdatasync_of(struct file *file, int fd)
{
	struct answer answer = no_answer;
	loop_fdatasync(file->loop, &answer.io, fd);
	return wait_for(file->loop, &answer);
}

static void test_each_operation(void **state)
{
	struct file *file = *state;
	static uint8_t in[2 * BLOCK], out[2 * BLOCK];
	memset(out, 0xa5, sizeof(out));
	assert_int_equal(write_at(file, file->fd, out, sizeof(out), BLOCK, 0), sizeof(out));
	assert_int_equal(write_at(file, file->fd, out, 1, 0, RWF_DSYNC), 1);
	assert_int_equal(fdatasync_of(file, file->fd), 0);
	assert_int_equal(read_at(file, file->fd, in, sizeof(in), BLOCK), sizeof(in));
	assert_memory_equal(in, out, sizeof(in));
	int punch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
	assert_int_equal(fallocate_at(file, file->fd, punch, BLOCK, BLOCK), 0);
	assert_int_equal(read_at(file, file->fd, in, sizeof(in), BLOCK), sizeof(in));
	memset(out, 0, BLOCK);
	assert_memory_equal(in, out, sizeof(in));
	assert_int_equal(fallocate_at(file, file->fd, 0, 0, 10 * BLOCK), 0);
	assert_int_equal(lseek(file->fd, 0, SEEK_END), 10 * BLOCK);
}

static void test_reads_at_the_end_are_short(void **state)
{
	struct file *file = *state;
	uint8_t in[BLOCK] = { 0 };
	assert_int_equal(ftruncate(file->fd, BLOCK + 100), 0);
	assert_int_equal(read_at(file, file->fd, in, sizeof(in), BLOCK), 100);
	assert_int_equal(read_at(file, file->fd, in, sizeof(in), BLOCK + 100), 0);
	assert_int_equal(read_at(file, file->fd, in, sizeof(in), 1ull << 40), 0);
}

static void test_errors_are_results(void **state)
{
	struct file *file = *state;
	uint8_t in[BLOCK] = { 0 };
	int full = open("/dev/full", O_RDWR | O_CLOEXEC), directory = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int ends[2];
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	assert_int_equal(read_at(file, -1, in, sizeof(in), 0), -EBADF);
	assert_int_equal(write_at(file, 999999, in, sizeof(in), 0, 0), -EBADF);
	assert_int_equal(fdatasync_of(file, -1), -EBADF);
	assert_int_equal(fallocate_at(file, -1, 0, 0, BLOCK), -EBADF);
	assert_int_equal(write_at(file, full, in, sizeof(in), 0, 0), -ENOSPC);
	assert_int_equal(read_at(file, directory, in, sizeof(in), 0), -EISDIR);
	assert_int_equal(write_at(file, directory, in, sizeof(in), 0, 0), -EBADF); /* not open for that */
	assert_int_equal(fdatasync_of(file, ends[0]), -EINVAL);
	assert_int_equal(fallocate_at(file, file->fd, 0, 0, 0), -EINVAL);
	assert_int_equal(fallocate_at(file, file->fd, 0x4000, 0, BLOCK), -EOPNOTSUPP);
	assert_int_equal(read_at(file, file->fd, (void *)(uintptr_t)8, BLOCK, 0), 0); /* an empty file */
	assert_int_equal(write_at(file, file->fd, (void *)(uintptr_t)8, BLOCK, 0, 0), -EFAULT);
	assert_int_equal(write_at(file, file->fd, in, BLOCK, 0, 0x40000000), -EOPNOTSUPP);
	close(full);
	close(directory);
	close(ends[0]);
	close(ends[1]);
}

struct kick {
	struct loop_fd source;
	unsigned heard;
};

static void kick_heard(struct loop_fd *source, uint32_t events)
{
	container_of(source, struct kick, source)->heard++;
}

/* ---- many at once ------------------------------------------------------------------------------------------------ */

enum { BLOCKS = 128, JOBS = 64, OPERATIONS = 1000, PIECES = 3 };

/* Random reads and writes of whole blocks, JOBS at a time, against a shadow of the file. */
struct storm {
	struct loop *loop;
	int fd;
	uint32_t seed;
	unsigned begun, done;
	bool busy[BLOCKS];
	uint8_t shadow[BLOCKS][BLOCK];
	struct storm_job {
		struct loop_io io;
		struct storm *storm;
		struct iovec iov[PIECES];
		uint8_t buf[BLOCK];
		unsigned block;
		bool write;
	} jobs[JOBS];
};

static uint32_t storm_random(struct storm *storm)
{
	storm->seed = storm->seed * 1664525 + 1013904223;
	return storm->seed >> 8;
}

static unsigned storm_cut(struct storm *storm, struct storm_job *job)
{
	unsigned cuts = 1 + storm_random(storm) % PIECES;
	size_t at = 0;
	for (unsigned i = 0; i < cuts; i++) {
		size_t len = i + 1 < cuts ? storm_random(storm) % (BLOCK - at) : BLOCK - at;
		job->iov[i] = (struct iovec){ job->buf + at, len };
		at += len;
	}
	return cuts;
}

static void storm_begin(struct storm_job *job)
{
	struct storm *storm = job->storm;
	if (storm->begun == OPERATIONS)
		return;
	storm->begun++;
	do {
		job->block = storm_random(storm) % BLOCKS;
	} while (storm->busy[job->block]);
	storm->busy[job->block] = true;
	job->write = storm_random(storm) & 1;
	unsigned count = storm_cut(storm, job);
	uint64_t off = (uint64_t)job->block * BLOCK;
	if (job->write) {
		for (unsigned i = 0; i < BLOCK; i++)
			job->buf[i] = (uint8_t)(storm->seed + i * 7);
		memcpy(storm->shadow[job->block], job->buf, BLOCK);
		loop_writev(storm->loop, &job->io, storm->fd, job->iov, count, off, 0);
	} else {
		memset(job->buf, 0xee, BLOCK);
		loop_readv(storm->loop, &job->io, storm->fd, job->iov, count, off);
	}
}

static void storm_done(struct loop_io *io, int result)
{
	struct storm_job *job = container_of(io, struct storm_job, io);
	struct storm *storm = job->storm;
	assert_int_equal(result, BLOCK);
	assert_memory_equal(job->buf, storm->shadow[job->block], BLOCK);
	storm->busy[job->block] = false;
	storm->done++;
	storm_begin(job);
}

static struct storm storm;

static void storm_start(struct file *file)
{
	memset(&storm, 0, sizeof(storm));
	storm.loop = file->loop;
	storm.fd = file->fd;
	storm.seed = 4711;
	assert_int_equal(ftruncate(file->fd, 0), 0);
	assert_int_equal(ftruncate(file->fd, (off_t)BLOCKS * BLOCK), 0);
	for (unsigned i = 0; i < JOBS; i++) {
		storm.jobs[i].storm = &storm;
		storm.jobs[i].io.fn = storm_done;
		storm_begin(&storm.jobs[i]);
	}
	assert_int_equal(loop_io_pending(file->loop), JOBS);
}

static void storm_check(void)
{
	static uint8_t block[BLOCK];
	assert_int_equal(storm.done, OPERATIONS);
	for (unsigned i = 0; i < BLOCKS; i++) {
		assert_int_equal(pread(storm.fd, block, BLOCK, (off_t)i * BLOCK), BLOCK);
		assert_memory_equal(block, storm.shadow[i], BLOCK);
	}
}

static void test_a_storm_against_a_shadow(void **state)
{
	struct file *file = *state;
	storm_start(file);
	turn_until_done(file->loop);
	storm_check();
}

/* The same with the loop's own thread; it drains before it ends, though it was stopped at once. */
static void *storm_thread(void *opaque)
{
	loop_run(opaque);
	return NULL;
}

static void test_a_stopped_loop_drains(void **state)
{
	struct file *file = *state;
	pthread_t thread;
	storm_start(file);
	loop_stop(file->loop);
	assert_int_equal(pthread_create(&thread, NULL, storm_thread, file->loop), 0);
	pthread_join(thread, NULL);
	assert_int_equal(loop_io_pending(file->loop), 0);
	storm_check();
}

/* Who frees the devices when the loop's thread has ended turns the loop by hand. */
static void test_the_loop_goes_to_another_thread(void **state)
{
	struct file *file = *state;
	uint64_t one = 1;
	pthread_t thread;
	struct kick kick = { .source = { .fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), .fn = kick_heard } };
	assert_int_equal(loop_fd_add(file->loop, &kick.source, LOOP_EVENTFD), 0);
	for (int round = 0; round < 3; round++) {
		storm_start(file);
		loop_stop(file->loop);
		assert_int_equal(pthread_create(&thread, NULL, storm_thread, file->loop), 0);
		pthread_join(thread, NULL);
		storm_check();
		storm_start(file);
		turn_until_done(file->loop);
		storm_check();
		kick.heard = 0;
		assert_int_equal(write(kick.source.fd, &one, sizeof(one)), sizeof(one));
		for (int turns = 0; !kick.heard && turns < 100; turns++)
			loop_turn(file->loop, 10);
		assert_true(kick.heard);
	}
	loop_fd_remove(&kick.source);
	close(kick.source.fd);
}

static void test_a_burst_beyond_the_queues(void **state)
{
	enum { BURST = 2000 };
	struct file *file = *state;
	static struct answer answers[BURST];
	static uint32_t values[BURST];
	static struct iovec iov[BURST];
	for (uint32_t i = 0; i < BURST; i++) {
		answers[i] = no_answer;
		values[i] = i * 2654435761u;
		iov[i] = (struct iovec){ &values[i], sizeof(values[i]) };
		loop_writev(file->loop, &answers[i].io, file->fd, &iov[i], 1, i * sizeof(values[i]), 0);
	}
	turn_until_done(file->loop);
	for (uint32_t i = 0; i < BURST; i++) {
		uint32_t value = 0;
		assert_int_equal(answers[i].told, 1);
		assert_int_equal(answers[i].result, sizeof(value));
		assert_int_equal(pread(file->fd, &value, sizeof(value), (off_t)(i * sizeof(value))), sizeof(value));
		assert_int_equal(value, values[i]);
	}
}

/* Bad requests in a batch do not hold up or spoil the good ones. */
static void test_a_batch_of_good_and_bad(void **state)
{
	enum { BATCH = 48 };
	struct file *file = *state;
	static struct answer answers[BATCH];
	static uint8_t byte;
	static struct iovec iov = { &byte, 1 };
	for (unsigned i = 0; i < BATCH; i++) {
		answers[i] = no_answer;
		loop_writev(file->loop, &answers[i].io, i % 3 ? file->fd : -1, &iov, i % 5 ? 1 : 5000, i, 0);
	}
	turn_until_done(file->loop);
	for (unsigned i = 0; i < BATCH; i++) {
		assert_int_equal(answers[i].told, 1);
		if (i % 3 && i % 5)
			assert_int_equal(answers[i].result, 1);
		else /* one of these faults, or both */
			assert_true(answers[i].result == (i % 3 ? -EINVAL : -EBADF) ||
			            (i % 15 == 0 && answers[i].result == -EINVAL));
	}
}

/* ---- together with the rest of the loop -------------------------------------------------------------------------- */

static void test_sources_are_served_among_operations(void **state)
{
	struct file *file = *state;
	uint64_t one = 1;
	struct kick kick = { .source = { .fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), .fn = kick_heard } };
	assert_int_equal(loop_fd_add(file->loop, &kick.source, LOOP_EVENTFD), 0);
	storm_start(file);
	unsigned kicks = 0;
	while (loop_io_pending(file->loop)) {
		assert_int_equal(write(kick.source.fd, &one, sizeof(one)), sizeof(one));
		kicks++;
		loop_turn(file->loop, -1);
	}
	loop_turn(file->loop, 0);
	storm_check();
	assert_in_range(kick.heard, 1, kicks + 1);
	loop_fd_remove(&kick.source);
	close(kick.source.fd);
}

struct chain {
	struct answer first, second;
	struct file *file;
	struct iovec iov;
	uint8_t byte;
};

static void chain_first_done(struct loop_io *io, int result)
{
	struct chain *chain = container_of(io, struct chain, first.io);
	answer_told(io, result);
	loop_readv(chain->file->loop, &chain->second.io, chain->file->fd, &chain->iov, 1, 0);
	while (!chain->second.told) /* a callback may wait for what it has begun */
		loop_turn(chain->file->loop, -1);
}

static void test_a_callback_waits_for_an_operation(void **state)
{
	struct file *file = *state;
	static struct chain chains[8];
	assert_int_equal(pwrite(file->fd, "x", 1, 0), 1);
	for (unsigned i = 0; i < ARRAY_SIZE(chains); i++) {
		struct chain *chain = &chains[i];
		*chain = (struct chain){ .first = no_answer, .second = no_answer, .file = file };
		chain->iov = (struct iovec){ &chain->byte, 1 };
		chain->first.io.fn = chain_first_done;
		loop_fdatasync(file->loop, &chain->first.io, file->fd);
	}
	turn_until_done(file->loop);
	for (unsigned i = 0; i < ARRAY_SIZE(chains); i++) {
		assert_int_equal(chains[i].first.told, 1);
		assert_int_equal(chains[i].second.told, 1);
		assert_int_equal(chains[i].byte, 'x');
	}
}

static void test_the_first_operation_makes_the_engine(void **state)
{
	struct file *file = *state;
	struct loop *loop = loop_new_with(&clock_host, &rung_now->options, NULL);
	struct kick kick = { .source = { .fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK), .fn = kick_heard } };
	assert_string_equal(loop_engine_name(loop), "epoll");
	assert_int_equal(loop_fd_add(loop, &kick.source, EPOLLIN), 0);
	loop_turn(loop, 0);
	assert_int_equal(kick.heard, 1);
	struct answer answer = no_answer;
	loop_fdatasync(loop, &answer.io, file->fd);
	assert_int_equal(wait_for(loop, &answer), 0);
	assert_string_not_equal(loop_engine_name(loop), "epoll");
	assert_int_equal(loop_enable_io(loop), 0);
	kick.heard = 0;
	for (int turns = 0; !kick.heard && turns < 10; turns++) /* the sources have moved with it */
		loop_turn(loop, 1000);
	assert_int_equal(kick.heard, 1);
	loop_fd_remove(&kick.source);
	close(kick.source.fd);
	loop_free(loop);
}

/* ---- what it costs ----------------------------------------------------------------------------------------------- */

static void test_nothing_is_allocated_for_operations(void **state)
{
	struct file *file = *state;
	uint8_t byte;
	read_at(file, file->fd, &byte, 1, 0); /* the engine is there */
	allocations = 0;
	storm_start(file);
	turn_until_done(file->loop);
	assert_int_equal(storm.done, OPERATIONS);
	assert_int_equal(allocations, 0);
}

/* A turn goes into the kernel once: that submits the batch and waits. */
static void test_one_system_call_a_turn(void **state)
{
	struct file *file = *state;
	if (rung_now->options.entries)
		return; /* queues smaller than the batch */
	storm_start(file);
	uint64_t before = loop_enters(file->loop), turns = 0;
	while (loop_io_pending(file->loop)) {
		loop_turn(file->loop, -1);
		turns++;
	}
	assert_int_equal(loop_enters(file->loop) - before, turns);
	if (rung_is_uring())
		assert_in_range(turns, OPERATIONS / JOBS, OPERATIONS / 4); /* batches, indeed */
}

/* ---- hosts that do not allow it ----------------------------------------------------------------------------------- */

static void refuse_io_uring(int code)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_io_uring_setup, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)code),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { .len = ARRAY_SIZE(filter), .filter = filter };
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
		_exit(77);
}

static bool works_without_io_uring(void)
{
	struct loop *loop = loop_new(&clock_host, NULL);
	int fd = memfd_create("disk", MFD_CLOEXEC);
	struct answer answer = no_answer;
	static char text[] = "text";
	static struct iovec iov = { text, 4 };
	if (!loop || loop_enable_io(loop) < 0 || strcmp(loop_engine_name(loop), "epoll and threads") != 0)
		return false;
	loop_writev(loop, &answer.io, fd, &iov, 1, 0, 0);
	turn_until_done(loop);
	loop_free(loop);
	close(fd);
	struct loop *forced = loop_new_with(&clock_host, &(struct loop_options){ .rung = LOOP_URING_PLAIN }, NULL);
	loop_fdatasync(forced, &answer.io, fd); /* what was asked for is not there: the operation says so */
	turn_until_done(forced);
	loop_free(forced);
	return answer.told == 2 && answer.result < 0;
}

static void test_hosts_without_io_uring(void **state)
{
	static const int codes[] = { ENOSYS, EPERM, ENOMEM, EINVAL };
	for (unsigned i = 0; i < ARRAY_SIZE(codes); i++) {
		pid_t child = fork();
		if (child == 0) {
			refuse_io_uring(codes[i]);
			_exit(works_without_io_uring() ? 0 : 1);
		}
		int status = -1;
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_true(WIFEXITED(status));
		if (WEXITSTATUS(status) == 77)
			skip();
		assert_int_equal(WEXITSTATUS(status), 0);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, file_setup, file_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_each_operation),
		TEST(test_reads_at_the_end_are_short),
		TEST(test_errors_are_results),
		TEST(test_a_storm_against_a_shadow),
		TEST(test_a_stopped_loop_drains),
		TEST(test_the_loop_goes_to_another_thread),
		TEST(test_a_burst_beyond_the_queues),
		TEST(test_a_batch_of_good_and_bad),
		TEST(test_sources_are_served_among_operations),
		TEST(test_a_callback_waits_for_an_operation),
		TEST(test_the_first_operation_makes_the_engine),
		TEST(test_nothing_is_allocated_for_operations),
		TEST(test_one_system_call_a_turn),
	};
	const struct CMUnitTest refusals[] = { cmocka_unit_test(test_hosts_without_io_uring) };
	if (under_valgrind()) {
		printf("valgrind does not follow what io_uring reads and writes\n");
		return 77;
	}
	if (under_emulation()) {
		printf("the emulator's system calls are not the kernel's\n");
		return 77;
	}
	int failed = RUN_ON_EACH_RUNG(tests);
	return failed + cmocka_run_group_tests_name("io_uring refused", refusals, NULL, NULL);
}
