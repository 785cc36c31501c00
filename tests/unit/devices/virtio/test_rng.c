// SPDX-License-Identifier: Apache-2.0
/* virtio-rng: bytes, rate, and buffers of any size, on a loop turned by hand with a clock set by hand. */
#include "tests/unit/devices/virtio/driver.h"

enum { QUEUE_SIZE = 16, DATA_GPA = 0x40000, BUFFER = 256 };

static struct driver drv;
static struct loop *loop;
static uint64_t now_ns;

static uint64_t test_now(const struct clock *clock)
{
	return now_ns;
}

static const struct clock test_clock = { .monotonic_ns = test_now, .wall_ns = test_now };

static void plug(uint64_t rate)
{
	const struct virtio_wiring wiring = driver_wiring(&drv, VIRTIO_RINGS_ALL);
	driver_init(&drv);
	now_ns = 1;
	loop = loop_new(&test_clock, NULL);
	assert_non_null(loop);
	driver_plug(&drv, virtio_rng_new(&wiring, &drv.mem, loop, rate));
}

static int teardown(void **state)
{
	driver_fini(&drv);
	loop_free(loop);
	return 0;
}

static void go_live(void)
{
	assert_true(driver_negotiate(&drv, F_VERSION_1));
	assert_true(driver_setup_queue(&drv, 0, QUEUE_SIZE, false));
	driver_add_status(&drv, S_DRIVER_OK);
}

static void offer(uint64_t gpa, uint32_t len, uint16_t flags)
{
	struct ring *ring = &drv.queues[0];
	uint16_t head = ring->idx % ring->size;
	desc_set(&ring->desc[head], gpa, len, flags, 0);
	ring_offer(ring, head);
}

static void turn(void)
{
	for (unsigned i = 0; i < 4; i++)
		loop_turn(loop, 0);
}

static void kick(void)
{
	reg_write(&drv, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
	turn();
}

static unsigned take_bytes(void)
{
	unsigned bytes = 0;
	for (uint32_t id, len; ring_take(&drv.queues[0], &id, &len);)
		bytes += len;
	return bytes;
}

static void test_identity(void **state)
{
	plug(0);
	assert_int_equal(reg_read(&drv, VIRTIO_MMIO_DEVICE_ID), 4);
	assert_int_equal(driver_offered(&drv), F_VERSION_1 | VIRTIO_RINGS_ALL);
	assert_int_equal(driver_read(&drv, VIRTIO_MMIO_CONFIG, 4), 0); /* 5.4.4: none */
	reg_write(&drv, VIRTIO_MMIO_QUEUE_SEL, 1);
	assert_int_equal(reg_read(&drv, VIRTIO_MMIO_QUEUE_NUM_MAX), 0);
}

/* All of a buffer is written, nothing beside it, and never the same twice. */
static void test_buffers_are_filled(void **state)
{
	uint8_t before[BUFFER] = { 0 };
	plug(0);
	go_live();
	for (unsigned round = 0; round < 20; round++) {
		uint8_t *data = guest_at(&drv.mem, DATA_GPA - 16, BUFFER + 32);
		memset(data, 0, BUFFER + 32);
		offer(DATA_GPA, BUFFER, VRING_DESC_F_WRITE);
		kick();
		assert_true(drv.irq);
		assert_int_equal(driver_ack(&drv), VIRTIO_MMIO_INT_VRING);
		assert_int_equal(take_bytes(), BUFFER);
		unsigned zeros = 0;
		for (unsigned i = 0; i < BUFFER + 32; i++) {
			zeros += !data[i];
			assert_true(!data[i] || (i >= 16 && i < BUFFER + 16));
		}
		assert_true(zeros < 32 + 40);
		assert_memory_not_equal(before, data + 16, BUFFER);
		memcpy(before, data + 16, BUFFER);
	}
}

static void test_odd_buffers(void **state)
{
	plug(0);
	go_live();
	offer(DATA_GPA, 1, VRING_DESC_F_WRITE);
	kick();
	assert_int_equal(take_bytes(), 1);
	memset(guest_at(&drv.mem, DATA_GPA, 64), 0, 64);
	offer(DATA_GPA, 64, 0); /* to be read: there is nothing to do with it */
	kick();
	assert_int_equal(take_bytes(), 0);
	assert_int_equal(drv.queues[0].last_used, 2);
	for (unsigned i = 0; i < 64; i++)
		assert_int_equal(*(uint8_t *)guest_at(&drv.mem, DATA_GPA + i, 1), 0);
	assert_int_equal(driver_status(&drv), S_LIVE);
}

/* Gigabytes at once: some bytes each, and others have their turn in between. */
static void test_huge_buffers_do_not_keep_the_loop(void **state)
{
	plug(0);
	go_live();
	loop_turn(loop, 0);
	for (unsigned i = 0; i < QUEUE_SIZE; i++)
		offer(4 * GIB, 0x7fffffff, VRING_DESC_F_WRITE);
	reg_write(&drv, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
	loop_turn(loop, 0);
	unsigned first = take_bytes();
	assert_in_range(first, 1, 64 * KIB);
	assert_true(drv.queues[0].last_used < QUEUE_SIZE);
	for (unsigned i = 0; i < QUEUE_SIZE; i++)
		turn();
	assert_true(take_bytes() > 0);
	assert_int_equal(drv.queues[0].last_used, QUEUE_SIZE); /* all came back without another kick */
}

static void step(uint64_t ns)
{
	now_ns += ns;
	turn();
}

static void test_rate_is_kept(void **state)
{
	static const uint64_t rates[] = { 1, 3, 9, 10, 1000, 12345 };
	for (size_t i = 0; i < ARRAY_SIZE(rates); i++) {
		plug(rates[i]);
		go_live();
		uint64_t bytes = 0;
		unsigned offered = 0;
		for (unsigned tick = 0; tick < 1000; tick++) { /* ten seconds, always thirsty */
			for (; (uint16_t)(offered - drv.queues[0].last_used) < QUEUE_SIZE; offered++)
				offer(DATA_GPA, BUFFER, VRING_DESC_F_WRITE);
			kick();
			step(10 * NSEC_PER_MSEC);
			bytes += take_bytes();
		}
		assert_in_range(bytes, rates[i] * 9 - rates[i] / 2, rates[i] * 10 + rates[i] / 10 + 1);
		if (i + 1 < ARRAY_SIZE(rates))
			teardown(state);
	}
}

/* Whoever finds the bucket empty need not kick again; and a reset does not fill it. */
static void test_empty_bucket_fills_by_itself(void **state)
{
	plug(100); /* 10 bytes each 100 ms */
	go_live();
	offer(DATA_GPA, BUFFER, VRING_DESC_F_WRITE);
	offer(DATA_GPA, BUFFER, VRING_DESC_F_WRITE);
	kick();
	assert_int_equal(take_bytes(), 10);
	step(99 * NSEC_PER_MSEC);
	assert_int_equal(take_bytes(), 0);
	step(2 * NSEC_PER_MSEC);
	assert_int_equal(take_bytes(), 10);
	for (unsigned i = 0; i < 10; i++) {
		go_live();
		offer(DATA_GPA, BUFFER, VRING_DESC_F_WRITE);
		kick();
		assert_int_equal(take_bytes(), 0);
	}
	reg_write(&drv, VIRTIO_MMIO_STATUS, 0);
	step(NSEC_PER_SEC); /* the timer rings while nobody is there */
	assert_int_equal(driver_status(&drv), 0);
	go_live();
	offer(DATA_GPA, 4, VRING_DESC_F_WRITE);
	kick();
	assert_int_equal(take_bytes(), 4);
}

static void test_freed_while_its_bucket_fills(void **state)
{
	plug(1);
	go_live();
	offer(DATA_GPA, BUFFER, VRING_DESC_F_WRITE);
	kick();
	assert_int_equal(take_bytes(), 1);
	device_free(drv.dev);
	drv.dev = NULL;
	step(10 * NSEC_PER_SEC); /* nothing rings any more */
}

#define TEST(name) cmocka_unit_test_teardown(name, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_identity),
		TEST(test_buffers_are_filled),
		TEST(test_odd_buffers),
		TEST(test_huge_buffers_do_not_keep_the_loop),
		TEST(test_rate_is_kept),
		TEST(test_empty_bucket_fills_by_itself),
		TEST(test_freed_while_its_bucket_fills),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
