// SPDX-License-Identifier: Apache-2.0
/*
 * Queues that are served on a loop, with a model that holds its chains until a timer completes them, newest first. Most
 * tests turn the loop by hand; the last ones have a thread for it, and vCPUs that race with it.
 */
#include "tests/unit/devices/virtio/driver.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>

enum { QUEUE_SIZE = 8, DATA_GPA = 0x40000 };

struct worker {
	struct virtio_device vdev;
	struct loop_timer timer;
	struct held {
		struct desc_chain chain;
		struct iovec iov[QUEUE_SIZE];
	} held[DRIVER_QUEUES][QUEUE_SIZE];
	unsigned count[DRIVER_QUEUES]; /* held; the loop's */
	bool quiescing[DRIVER_QUEUES];
	atomic_uint quiesced, resets, popped, answered;
	uint64_t delay_ns;
};

struct watch {
	int fd; /* -1: not watched */
	int ret;
	unsigned count;
};

static struct driver drv;
static struct worker *worker;
static struct loop *loop;
static struct watch watches[DRIVER_QUEUES];

static void worker_complete(struct worker *w, unsigned queue)
{
	while (w->count[queue]) {
		struct held *held = &w->held[queue][--w->count[queue]];
		uint32_t len = (uint32_t)desc_chain_write(&held->chain, "done", 4);
		w->answered++;
		virtqueue_push(&w->vdev.queues[queue], &held->chain, len);
	}
	virtio_flush(&w->vdev, &w->vdev.queues[queue]);
	if (!w->quiescing[queue])
		return;
	w->quiescing[queue] = false;
	virtio_quiesced(&w->vdev, queue);
}

static void worker_tick(struct loop_timer *timer)
{
	struct worker *w = container_of(timer, struct worker, timer);
	for (unsigned i = 0; i < DRIVER_QUEUES; i++)
		if (w->count[i])
			worker_complete(w, i);
}

static void worker_notify(struct virtio_device *vdev, unsigned queue)
{
	struct worker *w = container_of(vdev, struct worker, vdev);
	assert_false(w->quiescing[queue]);
	while (w->count[queue] < QUEUE_SIZE) {
		struct held *held = &w->held[queue][w->count[queue]];
		held->chain = (struct desc_chain){ .iov = held->iov, .iov_max = QUEUE_SIZE };
		if (!virtqueue_pop(&vdev->queues[queue], &held->chain))
			break;
		w->count[queue]++;
		w->popped++;
	}
	if (w->count[queue])
		loop_timer_set(&w->timer, w->delay_ns);
}

static void worker_quiesce(struct virtio_device *vdev, unsigned queue)
{
	struct worker *w = container_of(vdev, struct worker, vdev);
	w->quiesced++;
	if (w->count[queue])
		w->quiescing[queue] = true;
	else
		virtio_quiesced(vdev, queue);
}

static void worker_reset(struct virtio_device *vdev, bool machine)
{
	worker->resets++;
	for (unsigned i = 0; i < DRIVER_QUEUES; i++)
		assert_int_equal(worker->count[i], 0); /* nothing is held any more */
}

static void worker_free(struct virtio_device *vdev)
{
	virtio_fini(vdev);
	free(container_of(vdev, struct worker, vdev));
}

static const struct virtio_ops worker_ops = {
	.name = "worker",
	.id = 0x3e,
	.notify = worker_notify,
	.quiesce = worker_quiesce,
	.reset = worker_reset,
	.free = worker_free,
};

static int watch(void *opaque, uint64_t where, unsigned queue, int fd, bool on)
{
	assert_ptr_equal(opaque, &drv);
	assert_int_equal(where, 77);
	assert_true(fd >= 0 && queue < DRIVER_QUEUES);
	if (watches[queue].ret)
		return watches[queue].ret;
	assert_int_equal(watches[queue].fd, on ? -1 : fd);
	watches[queue].fd = on ? fd : -1;
	watches[queue].count++;
	return 0;
}

static void make_worker(bool watched)
{
	struct virtio_wiring wiring = driver_wiring(&drv, VIRTIO_RINGS_ALL);
	if (watched)
		wiring.kicks = (struct kick_line){ .watch = watch, .opaque = &drv, .where = 77 };
	worker = calloc(1, sizeof(*worker));
	assert_non_null(worker);
	assert_int_equal(virtio_mmio_init(&worker->vdev, &worker_ops, DRIVER_QUEUES, QUEUE_SIZE, &wiring, &drv.mem), 0);
	for (unsigned i = 0; i < DRIVER_QUEUES; i++) {
		assert_int_equal(virtio_set_loop(&worker->vdev, i, loop), 0);
		watches[i] = (struct watch){ .fd = -1 };
	}
	loop_timer_init(&worker->timer, loop, NULL, worker_tick);
}

static int setup(void **state)
{
	driver_init(&drv);
	loop = loop_new(&clock_host, NULL);
	assert_non_null(loop);
	make_worker(false);
	driver_plug(&drv, &worker->vdev.dev);
	return 0;
}

static int setup_watched(void **state)
{
	setup(state);
	device_free(drv.dev);
	drv.bus.count = 0;
	make_worker(true);
	driver_plug(&drv, &worker->vdev.dev);
	return 0;
}

static int teardown(void **state)
{
	driver_fini(&drv);
	loop_free(loop);
	return 0;
}

static void go_live(uint64_t features)
{
	assert_true(driver_negotiate(&drv, F_VERSION_1 | features));
	for (unsigned i = 0; i < DRIVER_QUEUES; i++)
		assert_true(driver_setup_queue(&drv, i, QUEUE_SIZE, features & F_EVENT_IDX));
	driver_add_status(&drv, S_DRIVER_OK);
	assert_int_equal(driver_status(&drv), S_LIVE);
}

/* Offer one writable buffer. */
static void offer(unsigned queue)
{
	struct ring *ring = &drv.queues[queue];
	uint16_t head = ring->idx % ring->size;
	desc_set(&ring->desc[head], DATA_GPA + 16u * head + 0x1000 * queue, 16, VRING_DESC_F_WRITE, 0);
	ring_offer(ring, head);
}

static void offer_and_kick(unsigned queue)
{
	offer(queue);
	reg_write(&drv, VIRTIO_MMIO_QUEUE_NOTIFY, queue);
}

static unsigned take_all(unsigned queue)
{
	unsigned count = 0;
	for (uint32_t id, len; ring_take(&drv.queues[queue], &id, &len); count++)
		assert_int_equal(len, 4);
	return count;
}

static void turn(unsigned times)
{
	while (times--)
		loop_turn(loop, 0);
}

static void test_kicks_are_served_on_the_loop(void **state)
{
	go_live(0);
	turn(2);
	offer_and_kick(0);
	assert_int_equal(worker->count[0], 0);
	turn(1);
	assert_true(worker->answered || worker->count[0] == 1);
	turn(2);
	assert_true(drv.irq);
	assert_int_equal(driver_ack(&drv), VIRTIO_MMIO_INT_VRING);
	assert_int_equal(take_all(0), 1);
}

static void test_early_kick_is_made_good(void **state)
{
	assert_true(driver_negotiate(&drv, F_VERSION_1));
	assert_true(driver_setup_queue(&drv, 0, QUEUE_SIZE, false));
	offer_and_kick(0);
	turn(3);
	assert_int_equal(worker->answered, 0);
	driver_add_status(&drv, S_DRIVER_OK);
	turn(3);
	assert_int_equal(take_all(0), 1);
}

static void test_kicks_are_watched_while_live(void **state)
{
	go_live(0);
	assert_true(watches[0].fd >= 0 && watches[1].fd >= 0 && watches[0].fd != watches[1].fd);
	turn(2);
	offer(1);
	uint64_t one = 1;
	assert_int_equal(write(watches[1].fd, &one, 8), 8); /* as KVM does */
	turn(3);
	assert_int_equal(take_all(1), 1);
	reg_write(&drv, VIRTIO_MMIO_QUEUE_SEL, 1);
	reg_write(&drv, VIRTIO_MMIO_QUEUE_READY, 0);
	assert_int_equal(watches[1].fd, -1);
	assert_true(watches[0].fd >= 0);
	reg_write(&drv, VIRTIO_MMIO_STATUS, 0);
	assert_int_equal(watches[0].fd, -1);
	assert_int_equal(watches[0].count + watches[1].count, 4);

	watches[0].ret = -ENOSPC; /* no more room in KVM: the register does it */
	go_live(0);
	assert_int_equal(watches[0].fd, -1);
	offer_and_kick(0);
	turn(3);
	assert_int_equal(take_all(0), 1);
}

static void test_notification_data(void **state)
{
	go_live(VIRTIO_RINGS_NOTIFICATION_DATA);
	assert_int_equal(watches[0].fd, -1); /* its values are ever other ones */
	turn(2);
	offer(1);
	reg_write(&drv, VIRTIO_MMIO_QUEUE_NOTIFY, 1 | 0x7abc << 16); /* whatever the upper half claims */
	turn(3);
	assert_int_equal(take_all(1), 1);
	reg_write(&drv, VIRTIO_MMIO_QUEUE_NOTIFY, 2 | 1 << 16);
	reg_write(&drv, VIRTIO_MMIO_QUEUE_NOTIFY, UINT32_MAX);
	turn(3);
	assert_int_equal(driver_status(&drv), S_LIVE);
}

static void test_reset_waits_for_what_is_held(void **state)
{
	for (unsigned machine = 0; machine < 2; machine++) {
		worker->delay_ns = NSEC_PER_MSEC;
		worker->answered = worker->quiesced = 0;
		go_live(0);
		for (unsigned i = 0; i < 3; i++)
			offer_and_kick(0);
		turn(1);
		assert_int_equal(worker->count[0], 3);
		offer_and_kick(0); /* is not taken any more */
		unsigned resets = worker->resets;
		if (machine)
			drv.dev->ops->reset(drv.dev);
		else
			reg_write(&drv, VIRTIO_MMIO_STATUS, 0);
		assert_int_equal(worker->resets, resets + 1);
		assert_int_equal(worker->quiesced, 2);
		assert_int_equal(worker->answered, 3);
		assert_int_equal(driver_status(&drv), 0);
		assert_int_equal(reg_read(&drv, VIRTIO_MMIO_INTERRUPT_STATUS), 0);
		turn(3);
		assert_int_equal(worker->answered, 3);
		reg_write(&drv, VIRTIO_MMIO_STATUS, 0); /* and nothing to wait for now */
		assert_int_equal(worker->quiesced, 2);
	}
}

static void test_queue_not_ready_waits_as_well(void **state)
{
	worker->delay_ns = NSEC_PER_MSEC;
	go_live(0);
	offer_and_kick(0);
	offer_and_kick(1);
	turn(1);
	reg_write(&drv, VIRTIO_MMIO_QUEUE_SEL, 0);
	reg_write(&drv, VIRTIO_MMIO_QUEUE_READY, 0);
	assert_int_equal(reg_read(&drv, VIRTIO_MMIO_QUEUE_READY), 0);
	assert_int_equal(worker->count[0], 0);
	assert_int_equal(take_all(0), 1);
	reg_write(&drv, VIRTIO_MMIO_QUEUE_READY, 1); /* not without RING_RESET */
	assert_int_equal(reg_read(&drv, VIRTIO_MMIO_QUEUE_READY), 0);
	offer_and_kick(0);
	offer_and_kick(1);
	while (worker->answered < 3)
		loop_turn(loop, 10);
	assert_int_equal(take_all(0), 0);
	assert_int_equal(take_all(1), 2);
}

static void test_queue_reset(void **state)
{
	enum { QUEUE_RESET = 0x0c0 };
	go_live(0);
	reg_write(&drv, VIRTIO_MMIO_QUEUE_SEL, 0);
	reg_write(&drv, QUEUE_RESET, 1); /* not negotiated */
	assert_int_equal(reg_read(&drv, VIRTIO_MMIO_QUEUE_READY), 1);

	static const uint64_t layouts[] = { 0, F_IN_ORDER };
	for (size_t i = 0; i < ARRAY_SIZE(layouts); i++) {
		go_live(VIRTIO_RINGS_RESET | layouts[i]);
		worker->delay_ns = NSEC_PER_MSEC;
		worker->answered = 0;
		for (unsigned j = 0; j < 5; j++)
			offer_and_kick(0);
		offer_and_kick(1);
		turn(1);
		reg_write(&drv, VIRTIO_MMIO_QUEUE_SEL, 0);
		reg_write(&drv, QUEUE_RESET, 2); /* neither yes nor no */
		assert_int_equal(reg_read(&drv, VIRTIO_MMIO_QUEUE_READY), 1);
		reg_write(&drv, QUEUE_RESET, 1);
		assert_int_equal(reg_read(&drv, QUEUE_RESET), 0);
		assert_int_equal(reg_read(&drv, VIRTIO_MMIO_QUEUE_READY), 0);
		assert_int_equal(worker->count[0], 0);
		assert_int_equal(take_all(0), 5);
		const struct virtqueue_state zero = { 0 };
		assert_memory_equal(&worker->vdev.queues[0].s, &zero, sizeof(zero));

		assert_true(driver_setup_queue(&drv, 0, 4, false)); /* another size, live at once */
		assert_int_equal(reg_read(&drv, QUEUE_RESET), 0);
		offer_and_kick(0);
		while (worker->answered < 7)
			loop_turn(loop, 10);
		assert_int_equal(take_all(0), 1); /* indices start again at 0 */
		assert_int_equal(take_all(1), 1); /* the other one never noticed */
		reg_write(&drv, VIRTIO_MMIO_QUEUE_SEL, 7);
		reg_write(&drv, QUEUE_RESET, 1);
		assert_int_equal(driver_status(&drv), S_LIVE);
	}
}

static void test_broken_queue_stops_the_others(void **state)
{
	go_live(0);
	turn(2);
	desc_set(&drv.queues[0].desc[0], UINT64_MAX, 16, 0, 0);
	ring_offer(&drv.queues[0], 0);
	reg_write(&drv, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
	turn(1);
	assert_int_equal(driver_status(&drv), S_LIVE | S_NEEDS_RESET);
	assert_int_equal(driver_ack(&drv), VIRTIO_MMIO_INT_CONFIG);
	offer_and_kick(1);
	turn(3);
	assert_int_equal(take_all(1), 0);
	assert_false(drv.irq);
	go_live(0);
	offer_and_kick(1);
	turn(3);
	assert_int_equal(take_all(1), 1);
}

static void test_failed_driver_is_waited_for(void **state)
{
	worker->delay_ns = NSEC_PER_MSEC;
	go_live(0);
	offer_and_kick(1);
	turn(1);
	driver_add_status(&drv, S_FAILED);
	assert_int_equal(worker->count[1], 0);
	offer_and_kick(0);
	turn(3);
	assert_int_equal(take_all(0), 0);
}

/* What is held is handed back first; then either device goes on. */
static void test_save_and_load(void **state)
{
	static const uint64_t layouts[] = { 0, F_EVENT_IDX, F_IN_ORDER };
	for (size_t i = 0; i < ARRAY_SIZE(layouts); i++) {
		worker->delay_ns = NSEC_PER_MSEC;
		worker->answered = 0;
		go_live(layouts[i]);
		for (unsigned j = 0; j < 3; j++)
			offer_and_kick(0);
		turn(1);
		size_t size = drv.dev->ops->state_size;
		CLEANUP_FREE uint8_t *saved = malloc(size), *again = malloc(size);
		drv.dev->ops->save(drv.dev, saved);
		assert_int_equal(worker->answered, 3);
		offer_and_kick(0); /* it runs on */
		while (worker->answered < 4)
			loop_turn(loop, 10);
		assert_int_equal(take_all(0), 4);
		drv.dev->ops->save(drv.dev, saved);

		struct worker *old = worker;
		make_worker(false);
		drv.bus.count = 0;
		driver_plug(&drv, &worker->vdev.dev);
		drv.irq = false;
		assert_int_equal(drv.dev->ops->load(drv.dev, saved), 0);
		device_free(&old->vdev.dev);
		assert_int_equal(drv.irq, reg_read(&drv, VIRTIO_MMIO_INTERRUPT_STATUS) != 0);
		drv.dev->ops->save(drv.dev, again);
		assert_memory_equal(saved, again, size);
		offer_and_kick(0);
		while (worker->answered < 1)
			loop_turn(loop, 10);
		assert_int_equal(take_all(0), 1);
	}
}

/* Before its loop's thread ends; what comes after that is not served. */
static void test_finished_while_chains_are_held(void **state)
{
	worker->delay_ns = NSEC_PER_MSEC;
	go_live(0);
	offer_and_kick(0);
	turn(1);
	drv.dev->ops->finish(drv.dev);
	assert_int_equal(worker->count[0], 0);
	assert_int_equal(take_all(0), 1);
	offer_and_kick(0);
	turn(3);
	assert_int_equal(take_all(0), 0);
	drv.dev->ops->finish(drv.dev);
}

static void test_freed_while_chains_are_held(void **state)
{
	worker->delay_ns = NSEC_PER_MSEC;
	go_live(0);
	offer_and_kick(0);
	turn(1);
	assert_int_equal(worker->count[0], 1);
	device_free(drv.dev);
	assert_int_equal(take_all(0), 1);
	drv.bus.count = 0;
	make_worker(false);
	driver_plug(&drv, &worker->vdev.dev);
}

/* --- with threads --- */

static void *run_loop(void *arg)
{
	loop_run(loop);
	return NULL;
}

static pthread_t start_loop(void)
{
	pthread_t thread;
	assert_int_equal(pthread_create(&thread, NULL, run_loop, NULL), 0);
	return thread;
}

static void stop_loop(pthread_t thread)
{
	loop_stop(loop);
	pthread_join(thread, NULL);
}

static atomic_bool pestering;

/* Another vCPU: kicks, acknowledges and looks around, whatever the driver is doing. */
static void *pester(void *arg)
{
	static const uint64_t regs[] = { VIRTIO_MMIO_STATUS, VIRTIO_MMIO_INTERRUPT_STATUS,
		                         VIRTIO_MMIO_CONFIG_GENERATION, VIRTIO_MMIO_QUEUE_READY };
	for (unsigned i = 0; pestering; i++) {
		reg_write(&drv, VIRTIO_MMIO_QUEUE_NOTIFY, i % 3);
		reg_read(&drv, regs[i % ARRAY_SIZE(regs)]);
		if (i % 16 == 0)
			reg_write(&drv, VIRTIO_MMIO_INTERRUPT_ACK, VIRTIO_MMIO_INT_CONFIG);
		sched_yield();
	}
	return NULL;
}

/* After a reset the driver's memory is the driver's: what lies in the buffers now must lie there later. */
static void poison(void)
{
	memset(guest_at(&drv.mem, DATA_GPA, 0x2000), 0xaa, 0x2000);
}

static void check_poison(void)
{
	const uint8_t *data = guest_at(&drv.mem, DATA_GPA, 0x2000);
	for (unsigned i = 0; i < 0x2000; i++)
		assert_int_equal(data[i], 0xaa);
}

static void race_split(unsigned round)
{
	go_live(round & 1 ? F_IN_ORDER | VIRTIO_RINGS_RESET : VIRTIO_RINGS_RESET);
	unsigned taken[DRIVER_QUEUES] = { 0 }, offered[DRIVER_QUEUES] = { 0 };
	for (unsigned i = 0; i < 30 + round % 7; i++) {
		unsigned queue = i % DRIVER_QUEUES;
		if (offered[queue] - taken[queue] < QUEUE_SIZE) {
			offer(queue);
			offered[queue]++;
			driver_kick(&drv, queue);
		} else {
			sched_yield();
		}
		taken[queue] += take_all(queue);
	}
	if (round % 3 == 0) /* patient ones lose nothing */
		for (unsigned queue = 0; queue < DRIVER_QUEUES; queue++)
			while (taken[queue] < offered[queue]) {
				taken[queue] += take_all(queue);
				sched_yield();
			}
	if (round % 3 == 1) { /* one queue first */
		reg_write(&drv, VIRTIO_MMIO_QUEUE_SEL, 0);
		reg_write(&drv, 0x0c0, 1);
		assert_int_equal(reg_read(&drv, VIRTIO_MMIO_QUEUE_READY), 0);
		taken[0] += take_all(0);
		assert_true(driver_setup_queue(&drv, 0, QUEUE_SIZE, false));
		offer_and_kick(0);
	}
}

static void race_packed(unsigned round)
{
	struct packed ring;
	assert_true(driver_negotiate(&drv, F_VERSION_1 | F_PACKED | (round & 1 ? F_IN_ORDER : 0)));
	packed_init(&ring, &drv.mem, 0x8000, QUEUE_SIZE - 1, false);
	const struct ring regs = {
		.size = ring.size,
		.desc_gpa = ring.desc_gpa,
		.avail_gpa = ring.driver_gpa,
		.used_gpa = ring.device_gpa,
	};
	driver_write_ring(&drv, 1, &regs);
	reg_write(&drv, VIRTIO_MMIO_QUEUE_READY, 1);
	assert_int_equal(reg_read(&drv, VIRTIO_MMIO_QUEUE_READY), 1);
	driver_add_status(&drv, S_DRIVER_OK);
	unsigned offered = 0, taken = 0;
	while (offered < 30 || taken < offered) {
		if (offered < 30 && offered - taken < ring.size) {
			struct vring_packed_desc desc;
			unsigned at = offered % ring.size;
			packed_set(&desc, DATA_GPA + 16u * at, 4, (uint16_t)at, VRING_DESC_F_WRITE);
			packed_offer(&ring, &desc, 1);
			offered++;
			if (packed_kick_due(&ring))
				reg_write(&drv, VIRTIO_MMIO_QUEUE_NOTIFY, 1);
		} else {
			sched_yield();
		}
		const struct vring_packed_desc *used = packed_used(&ring);
		if (!used)
			continue;
		unsigned count = 1;
		if (round & 1) /* up to the one that is named */
			while ((taken + count - 1) % ring.size != le16toh(used->id))
				count++;
		taken += count;
		while (count--)
			ring.used = packed_next(&ring, ring.used);
		if (round % 3 && offered > 20)
			break; /* impatient */
	}
}

static void race(void (*run)(unsigned round), unsigned rounds)
{
	worker->delay_ns = 20000;
	pthread_t thread = start_loop(), other;
	pestering = true;
	assert_int_equal(pthread_create(&other, NULL, pester, NULL), 0);
	for (unsigned i = 0; i < rounds; i++) {
		run(i);
		reg_write(&drv, VIRTIO_MMIO_STATUS, 0);
		poison();
		for (unsigned j = 0; j < 5; j++)
			sched_yield();
		check_poison();
	}
	assert_int_equal(worker->resets, 2 * rounds); /* negotiation begins with one */
	pestering = false;
	pthread_join(other, NULL);
	stop_loop(thread);
}

static void test_race_of_kicks_and_resets_split(void **state)
{
	race(race_split, 150);
}

static void test_race_of_kicks_and_resets_packed(void **state)
{
	race(race_packed, 150);
}

static atomic_bool freed;

static void free_device(struct loop_call *call)
{
	device_free(TAKE_PTR(drv.dev));
	freed = true;
}

/* As when a machine is made anew by the thread that serves it: who waits for the queue must turn its loop himself. */
static void test_freed_on_its_own_loop(void **state)
{
	for (unsigned delay = 0; delay < 2; delay++) {
		worker->delay_ns = delay * 20 * NSEC_PER_MSEC;
		pthread_t thread = start_loop();
		struct loop_call call = { .fn = free_device };
		go_live(0);
		offer_and_kick(0);
		offer_and_kick(1);
		freed = false;
		while (worker->popped < 2)
			sched_yield();
		loop_post(loop, &call);
		while (!freed)
			sched_yield();
		stop_loop(thread);
		assert_int_equal(take_all(0) + take_all(1), 2);
		drv.bus.count = 0;
		make_worker(false);
		driver_plug(&drv, &worker->vdev.dev);
	}
}

/* A driver that breaks its ring while the other queue is busy, and another that saves. */
static void test_race_of_broken_queues_and_saves(void **state)
{
	worker->delay_ns = 20000;
	pthread_t thread = start_loop();
	CLEANUP_FREE uint8_t *saved = malloc(drv.dev->ops->state_size);
	for (unsigned round = 0; round < 100; round++) {
		go_live(0);
		for (unsigned i = 0; i < 6; i++)
			offer_and_kick(1);
		pthread_mutex_lock(&drv.dev->lock);
		drv.dev->ops->save(drv.dev, saved);
		pthread_mutex_unlock(&drv.dev->lock);
		if (round % 2) {
			desc_set(&drv.queues[0].desc[0], UINT64_MAX, 16, 0, 0);
			ring_offer(&drv.queues[0], 0);
			reg_write(&drv, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
			while (!(driver_status(&drv) & S_NEEDS_RESET))
				sched_yield();
		} else {
			for (unsigned taken = 0; taken < 6; sched_yield())
				taken += take_all(1);
		}
	}
	stop_loop(thread);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_kicks_are_served_on_the_loop),
		TEST(test_early_kick_is_made_good),
		cmocka_unit_test_setup_teardown(test_kicks_are_watched_while_live, setup_watched, teardown),
		cmocka_unit_test_setup_teardown(test_notification_data, setup_watched, teardown),
		TEST(test_reset_waits_for_what_is_held),
		TEST(test_queue_not_ready_waits_as_well),
		TEST(test_queue_reset),
		TEST(test_broken_queue_stops_the_others),
		TEST(test_failed_driver_is_waited_for),
		TEST(test_save_and_load),
		TEST(test_finished_while_chains_are_held),
		TEST(test_freed_while_chains_are_held),
		TEST(test_race_of_kicks_and_resets_split),
		TEST(test_race_of_kicks_and_resets_packed),
		TEST(test_race_of_broken_queues_and_saves),
		TEST(test_freed_on_its_own_loop),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
