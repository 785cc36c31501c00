// SPDX-License-Identifier: Apache-2.0
/*
 * block-path [--direct] FILE - what the way from a virtio ring through virtio-blk to a disk costs, without KVM. A driver
 * in this process, on this thread, reads 4 KiB at random places of FILE at depths of 1 to 128; beside it a bare io_uring
 * loop does the same on the same file, in turn, and a disk in memory shows what is ours alone.
 *
 * Prints one line of JSON a depth: nanoseconds a request (the median of the rounds); and system calls, heap allocations
 * and locks taken a request, counted in all of our code by the linker's --wrap.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <liburing.h>
#include <stdio.h>

#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>

#include "devices/bus.h"
#include "devices/virtio/virtio.h"
#include "src/base/util.h"
#include "src/block/block.h"

enum { BASE = 0x10000000, ENTRIES = 512, DEPTH_MAX = 128, LEN = 4096, ROUNDS = 9, REQUESTS = 20000, MEMORY = 16 << 20 };
enum { RING = 0, AVAIL = 0x4000, USED = 0x6000, HEADERS = 0x10000, STATUS = 0x18000, DATA = 0x20000, RAM = 0x100000 };

/* --- what is counted --- */

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *at, size_t size);
int __real_pthread_mutex_lock(pthread_mutex_t *lock);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *at, size_t size);
int __wrap_pthread_mutex_lock(pthread_mutex_t *lock);

static uint64_t allocations, locks;

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

void *__wrap_realloc(void *at, size_t size)
{
	allocations++;
	return __real_realloc(at, size);
}

int __wrap_pthread_mutex_lock(pthread_mutex_t *lock)
{
	locks++;
	return __real_pthread_mutex_lock(lock);
}

static uint64_t seed = 88172645463325252u;

static void __attribute__((noreturn)) fail(const char *what, int code)
{
	fprintf(stderr, "block-path: %s: %s\n", what, strerror(-code));
	exit(1);
}

/* Where to read, in a disk of @blocks of LEN. */
static uint64_t random_place(uint64_t blocks)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed % blocks * LEN;
}

static uint64_t now_ns(void)
{
	return clock_monotonic_ns(&clock_host);
}

/* --- the bare loop --- */

struct bare {
	struct io_uring ring;
	int fd;
	uint64_t blocks, enters;
	uint8_t *data;
};

/* The same set-up that the loop of the I/O threads asks for, as far as the kernel has it. */
static void bare_init(struct bare *bare, int fd, uint64_t blocks)
{
	static const unsigned ladder[] = {
		IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
		IORING_SETUP_COOP_TASKRUN,
		0,
	};
	int ret = -EINVAL;
	for (unsigned i = 0; ret == -EINVAL && i < ARRAY_SIZE(ladder); i++)
		ret = io_uring_queue_init(DEPTH_MAX, &bare->ring, ladder[i]);
	if (ret < 0)
		fail("io_uring", ret);
	bare->fd = fd;
	bare->blocks = blocks;
	bare->data = aligned_alloc(LEN, DEPTH_MAX * LEN);
	if (!bare->data)
		fail("buffers", -ENOMEM);
}

static void bare_fini(struct bare *bare)
{
	io_uring_queue_exit(&bare->ring);
	close(bare->fd);
	free(bare->data);
}

static void bare_begin(struct bare *bare, unsigned slot)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&bare->ring);
	io_uring_prep_read(sqe, bare->fd, bare->data + slot * LEN, LEN, random_place(bare->blocks));
	io_uring_sqe_set_data64(sqe, slot);
}

static void bare_run(struct bare *bare, unsigned depth)
{
	unsigned begun = 0, done = 0;
	for (; begun < depth; begun++)
		bare_begin(bare, begun);
	while (done < REQUESTS) {
		struct io_uring_cqe *cqe;
		unsigned head, count = 0;
		int ret = io_uring_submit_and_wait(&bare->ring, 1);
		bare->enters++;
		if (ret < 0 && ret != -EINTR)
			fail("io_uring", ret);
		io_uring_for_each_cqe(&bare->ring, head, cqe)
		{
			if (cqe->res != LEN)
				fail("read", cqe->res < 0 ? cqe->res : -EIO);
			if (begun < REQUESTS) {
				bare_begin(bare, (unsigned)cqe->user_data);
				begun++;
			}
			count++;
		}
		io_uring_cq_advance(&bare->ring, count);
		done += count;
	}
}

/* --- the device, and its driver: request @slot has three descriptors of its own --- */

struct driven {
	struct guest_memory mem;
	uint64_t blocks;
	struct loop *loop;
	struct device *dev;
	struct virtio_device *vdev;
	struct bus bus;
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	uint16_t avail_idx, used_idx;
};

static void driven_write(struct driven *driven, uint64_t off, uint32_t val)
{
	bus_write(&driven->bus, BASE + off, &val, sizeof(val));
}

static void driven_go_live(struct driven *driven)
{
	static const struct {
		uint32_t off, val;
	} steps[] = {
		{ VIRTIO_MMIO_STATUS, 0 },
		{ VIRTIO_MMIO_STATUS, 3 },
		{ VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1 },
		{ VIRTIO_MMIO_DRIVER_FEATURES, 1 },
		{ VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0 },
		{ VIRTIO_MMIO_DRIVER_FEATURES, 1 << VIRTIO_BLK_F_FLUSH },
		{ VIRTIO_MMIO_STATUS, 11 },
		{ VIRTIO_MMIO_QUEUE_NUM, ENTRIES },
		{ VIRTIO_MMIO_QUEUE_DESC_LOW, RING },
		{ VIRTIO_MMIO_QUEUE_AVAIL_LOW, AVAIL },
		{ VIRTIO_MMIO_QUEUE_USED_LOW, USED },
		{ VIRTIO_MMIO_QUEUE_READY, 1 },
		{ VIRTIO_MMIO_STATUS, 15 },
	};
	for (unsigned i = 0; i < ARRAY_SIZE(steps); i++)
		driven_write(driven, steps[i].off, steps[i].val);
}

static void driven_init(struct driven *driven, struct block *block)
{
	struct cvmm_error err;
	*driven = (struct driven){ .loop = loop_new(&clock_host, &err), .blocks = block_size(block) / LEN };
	if (!driven->loop || guest_memory_add(&driven->mem, 0, RAM, &err) < 0)
		fail(err.msg, err.code);
	driven->bus.name = "mmio";
	driven->desc = guest_at(&driven->mem, RING, 16 * ENTRIES);
	driven->avail = guest_at(&driven->mem, AVAIL, 6 + 2 * ENTRIES);
	driven->used = guest_at(&driven->mem, USED, 6 + 8 * ENTRIES);
	const struct virtio_wiring wiring = { .rings = VIRTIO_RINGS_DEFAULT, .queue_size = ENTRIES };
	const struct virtio_blk_options options = { .loops = &driven->loop, .loop_count = 1 };
	driven->dev = virtio_blk_new(&wiring, &driven->mem, block, &options);
	if (!driven->dev || bus_add(&driven->bus, BASE, VIRTIO_MMIO_WINDOW, driven->dev, NULL) < 0)
		fail("virtio-blk", -ENOMEM);
	driven->vdev = container_of(driven->dev, struct virtio_device, dev);
	driven_go_live(driven);
}

static void driven_fini(struct driven *driven)
{
	device_free(driven->dev);
	loop_free(driven->loop);
	guest_memory_fini(&driven->mem);
}

static void driven_set(struct driven *driven, unsigned i, uint64_t gpa, uint32_t len, unsigned flags)
{
	driven->desc[i] = (struct vring_desc){ gpa, len, (uint16_t)flags, (uint16_t)(i + 1) };
}

static void driven_begin(struct driven *driven, unsigned slot)
{
	uint64_t header = HEADERS + slot * sizeof(struct virtio_blk_outhdr);
	struct virtio_blk_outhdr *at = guest_at(&driven->mem, header, sizeof(*at));
	*at = (struct virtio_blk_outhdr){ .type = VIRTIO_BLK_T_IN, .sector = random_place(driven->blocks) / 512 };
	driven_set(driven, 3 * slot, header, sizeof(*at), VRING_DESC_F_NEXT);
	driven_set(driven, 3 * slot + 1, DATA + slot * (uint64_t)LEN, LEN, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE);
	driven_set(driven, 3 * slot + 2, STATUS + slot, 1, VRING_DESC_F_WRITE);
	driven->avail->ring[driven->avail_idx++ % ENTRIES] = (uint16_t)(3 * slot);
}

/* A kick is a call: what ioeventfd would do is the kernel's. */
static void driven_kick(struct driven *driven)
{
	__atomic_store_n(&driven->avail->idx, driven->avail_idx, __ATOMIC_RELEASE);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!(driven->used->flags & VRING_USED_F_NO_NOTIFY))
		virtio_look(driven->vdev, 0);
}

static void driven_run(struct driven *driven, unsigned depth)
{
	unsigned begun = 0, done = 0;
	for (; begun < depth; begun++)
		driven_begin(driven, begun);
	driven_kick(driven);
	while (done < REQUESTS) {
		unsigned fresh = 0;
		if (loop_io_pending(driven->loop))
			loop_turn(driven->loop, -1);
		uint16_t used_idx = __atomic_load_n(&driven->used->idx, __ATOMIC_ACQUIRE);
		for (; driven->used_idx != used_idx; done++) {
			unsigned slot = driven->used->ring[driven->used_idx++ % ENTRIES].id / 3;
			if (*(uint8_t *)guest_at(&driven->mem, STATUS + slot, 1))
				fail("a request", -EIO);
			if (begun < REQUESTS) {
				driven_begin(driven, slot);
				begun++;
				fresh++;
			}
		}
		if (fresh)
			driven_kick(driven);
	}
}

/* --- results --- */

static int by_size(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return (x > y) - (x < y);
}

static double median(uint64_t *times)
{
	qsort(times, ROUNDS, sizeof(*times), by_size);
	uint64_t middle = times[ROUNDS / 2];
	return (double)middle / REQUESTS;
}

static void compare(struct bare *bare, struct driven *file, struct driven *memory, unsigned depth)
{
	uint64_t times[3][ROUNDS], bare_enters = bare->enters, enters = loop_enters(file->loop);
	allocations = locks = 0;
	for (unsigned i = 0; i < ROUNDS; i++) {
		uint64_t start = now_ns();
		bare_run(bare, depth);
		uint64_t bare_end = now_ns();
		driven_run(file, depth);
		uint64_t file_end = now_ns();
		driven_run(memory, depth);
		times[0][i] = bare_end - start;
		times[1][i] = file_end - bare_end;
		times[2][i] = now_ns() - file_end;
	}
	double bare_ns = median(times[0]), file_ns = median(times[1]);
	const double requests = (double)ROUNDS * REQUESTS;
	printf("{\"depth\": %u, \"bare_ns\": %.0f, \"virtio_blk_ns\": %.0f, \"ratio\": %.3f, \"memory_ns\": %.0f, "
	       "\"bare_enters\": %.3f, \"enters\": %.3f, \"locks\": %.3f, \"allocations\": %.3f}\n",
	       depth, bare_ns, file_ns, bare_ns / file_ns, median(times[2]),
	       (double)(bare->enters - bare_enters) / requests, (double)(loop_enters(file->loop) - enters) / requests,
	       (double)locks / requests, (double)allocations / requests);
}

int main(int argc, char **argv)
{
	static const unsigned depths[] = { 1, 4, 32, 128 };
	bool direct = argc == 3 && !strcmp(argv[1], "--direct");
	struct cvmm_error err;
	struct bare bare = { 0 };
	struct driven file, memory;
	if (argc != 2 + direct) {
		fputs("usage: block-path [--direct] FILE\n", stderr);
		return 2;
	}
	struct block_file_options options = {
		.path = argv[argc - 1], .read_only = true, .direct = direct, .share = true
	};
	struct block *block = block_file_open(&options, &err), *in_memory = block_memory_new(MEMORY, 512, &err);
	if (!block || !in_memory)
		fail(err.msg, err.code);
	int fd = open(options.path, O_RDONLY | O_CLOEXEC | (direct ? O_DIRECT : 0));
	if (fd < 0 || block_size(block) < LEN)
		fail(options.path, fd < 0 ? -errno : -EINVAL);
	bare_init(&bare, fd, block_size(block) / LEN);
	driven_init(&file, block);
	driven_init(&memory, in_memory);
	for (unsigned i = 0; i < ARRAY_SIZE(depths); i++)
		compare(&bare, &file, &memory, depths[i]);
	driven_fini(&memory);
	driven_fini(&file);
	bare_fini(&bare);
	return 0;
}
