// SPDX-License-Identifier: Apache-2.0
/* The core and the MMIO transport, with a model that answers every chain with one word. */
#include "tests/unit/devices/virtio/driver.h"

#include <errno.h>

enum { ECHO_ID = 0x3f, ECHO_QUEUE_SIZE = 16, F_ECHO = 1 << 5, DATA_GPA = 0x40000 };

struct echo {
	struct virtio_device vdev;
	uint8_t config[12]; /* the first 4 bytes may be written */
	uint64_t answered;  /* the state to be saved; above 1000 is nonsense */
	unsigned notified, resets, machine_resets;
	bool hold; /* leave chains where they are */
};

static struct driver drv;
static struct echo *echo;

static void echo_config_read(struct virtio_device *vdev, size_t off, void *buf, size_t len)
{
	assert_true(len && off + len <= sizeof(echo->config));
	memcpy(buf, echo->config + off, len);
}

static void echo_config_write(struct virtio_device *vdev, size_t off, const void *buf, size_t len)
{
	assert_true(len && off + len <= sizeof(echo->config));
	for (size_t i = 0; i < len && off + i < 4; i++)
		echo->config[off + i] = ((const uint8_t *)buf)[i];
}

static void echo_notify(struct virtio_device *vdev, unsigned queue)
{
	struct iovec iov[ECHO_QUEUE_SIZE];
	struct desc_chain chain = { .iov = iov, .iov_max = ECHO_QUEUE_SIZE };
	echo->notified++;
	while (!echo->hold && virtqueue_pop(&vdev->queues[queue], &chain)) {
		virtqueue_push(&vdev->queues[queue], &chain, (uint32_t)desc_chain_write(&chain, "echo", 4));
		echo->answered++;
	}
}

static void echo_reset(struct virtio_device *vdev, bool machine)
{
	for (unsigned i = 0; i < vdev->queue_count; i++)
		assert_false(vdev->queues[i].running);
	echo->resets++;
	echo->machine_resets += machine;
	echo->answered = 0;
}

static void echo_save(const struct virtio_device *vdev, void *state)
{
	memcpy(state, &echo->answered, 8);
}

static int echo_load(struct virtio_device *vdev, const void *state)
{
	uint64_t answered;
	memcpy(&answered, state, 8);
	if (answered > 1000)
		return -EINVAL;
	echo->answered = answered;
	return 0;
}

static void echo_free(struct virtio_device *vdev)
{
	virtio_fini(vdev);
	free(container_of(vdev, struct echo, vdev));
}

static const struct virtio_ops echo_ops = {
	.name = "echo",
	.id = ECHO_ID,
	.features = F_ECHO,
	.config_size = sizeof(echo->config),
	.config_read = echo_config_read,
	.config_write = echo_config_write,
	.notify = echo_notify,
	.reset = echo_reset,
	.free = echo_free,
	.state_size = 8,
	.save = echo_save,
	.load = echo_load,
};

static void make_echo(void)
{
	const struct virtio_wiring wiring = driver_wiring(&drv, VIRTIO_RINGS_DEFAULT);
	echo = calloc(1, sizeof(*echo));
	assert_int_equal(virtio_mmio_init(&echo->vdev, &echo_ops, DRIVER_QUEUES, ECHO_QUEUE_SIZE, &wiring, &drv.mem),
	                 0);
}

static int setup(void **state)
{
	driver_init(&drv);
	make_echo();
	driver_plug(&drv, &echo->vdev.dev);
	for (size_t i = 0; i < sizeof(echo->config); i++)
		echo->config[i] = (uint8_t)(0x10 + i);
	return 0;
}

static int teardown(void **state)
{
	driver_fini(&drv);
	return 0;
}

static void go_live(uint64_t features)
{
	assert_true(driver_negotiate(&drv, F_VERSION_1 | features));
	for (unsigned i = 0; i < DRIVER_QUEUES; i++)
		assert_true(driver_setup_queue(&drv, i, 8, features & F_EVENT_IDX));
	driver_add_status(&drv, S_DRIVER_OK);
	assert_int_equal(driver_status(&drv), S_LIVE);
}

/* Offer one writable buffer. */
static void offer(unsigned queue)
{
	desc_set(&drv.queues[queue].desc[0], DATA_GPA, 16, VRING_DESC_F_WRITE, 0);
	ring_offer(&drv.queues[queue], 0);
}

static void assert_answered(unsigned queue)
{
	uint32_t id, len;
	char got[5] = "";
	assert_true(ring_take(&drv.queues[queue], &id, &len));
	assert_int_equal(id, 0);
	assert_int_equal(len, 4);
	assert_int_equal(guest_read(&drv.mem, DATA_GPA, got, 4), 0);
	assert_string_equal(got, "echo");
}

static void test_identity(void **state)
{
	assert_int_equal(reg_read(&drv, VIRTIO_MMIO_MAGIC_VALUE), 0x74726976);
	assert_int_equal(reg_read(&drv, VIRTIO_MMIO_VERSION), 2);
	assert_int_equal(reg_read(&drv, VIRTIO_MMIO_DEVICE_ID), ECHO_ID);
	assert_int_equal(driver_offered(&drv), F_VERSION_1 | F_INDIRECT | F_EVENT_IDX | F_ECHO);
	static const uint32_t absent[] = { 2, 3, 31, UINT32_MAX };
	for (size_t i = 0; i < ARRAY_SIZE(absent); i++) {
		reg_write(&drv, VIRTIO_MMIO_DEVICE_FEATURES_SEL, absent[i]);
		assert_int_equal(reg_read(&drv, VIRTIO_MMIO_DEVICE_FEATURES), 0);
		reg_write(&drv, VIRTIO_MMIO_QUEUE_SEL, absent[i]);
		assert_int_equal(reg_read(&drv, VIRTIO_MMIO_QUEUE_NUM_MAX), 0);
		reg_write(&drv, VIRTIO_MMIO_SHM_SEL, absent[i]);
		for (uint64_t off = VIRTIO_MMIO_SHM_LEN_LOW; off <= VIRTIO_MMIO_SHM_BASE_HIGH; off += 4)
			assert_int_equal(reg_read(&drv, off), UINT32_MAX);
	}
	reg_write(&drv, VIRTIO_MMIO_QUEUE_SEL, 1);
	assert_int_equal(reg_read(&drv, VIRTIO_MMIO_QUEUE_NUM_MAX), ECHO_QUEUE_SIZE);
}

static void test_status_goes_in_order(void **state)
{
	static const struct {
		uint32_t from[4], write, then;
	} cases[] = {
		{ { 0 }, S_ACK, S_ACK },
		{ { 0 }, S_ACK | S_DRIVER, S_ACK | S_DRIVER },
		{ { 0 }, S_DRIVER, 0 },
		{ { 0 }, S_DRIVER_OK, 0 },
		{ { 0 }, S_FEATURES_OK, 0 },
		{ { 0 }, S_FAILED, S_FAILED },
		{ { 0 }, S_NEEDS_RESET, 0 }, /* the device's to say */
		{ { 0 }, 0x130, 0 },
		{ { S_ACK }, S_DRIVER, S_ACK }, /* takes a bit back */
		{ { S_ACK, 3 }, 3 | S_DRIVER_OK, 3 },
		{ { S_ACK, 3 }, S_ACK, 3 },
		{ { S_ACK, 3 }, 3 | S_FEATURES_OK, 3 | S_FEATURES_OK },
		{ { S_ACK, 3 }, S_LIVE, S_LIVE },
		{ { S_ACK, 3, 11 }, 11 | S_FAILED, 11 | S_FAILED },
		{ { S_ACK, 3, 11 }, S_LIVE | S_NEEDS_RESET, S_LIVE },
		{ { S_ACK, 3, 11, 15 }, 3, S_LIVE },
		{ { S_ACK, 3, 11, 15 }, 0, 0 },
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		reg_write(&drv, VIRTIO_MMIO_STATUS, 0);
		driver_accept(&drv, F_VERSION_1);
		for (unsigned j = 0; j < 4 && cases[i].from[j]; j++)
			reg_write(&drv, VIRTIO_MMIO_STATUS, cases[i].from[j]);
		reg_write(&drv, VIRTIO_MMIO_STATUS, cases[i].write);
		assert_int_equal(driver_status(&drv), cases[i].then);
	}
}

static void test_features_are_negotiated(void **state)
{
	static const struct {
		uint64_t features;
		bool accepted;
	} cases[] = {
		{ F_VERSION_1, true },
		{ F_VERSION_1 | F_ECHO | F_EVENT_IDX | F_INDIRECT, true },
		{ 0, false }, /* 6.1: VERSION_1 is required */
		{ F_ECHO | F_EVENT_IDX, false },
		{ F_VERSION_1 | 1, false }, /* not offered */
		{ F_VERSION_1 | 1ull << VIRTIO_F_RING_PACKED, false },
		{ UINT64_MAX, false },
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(driver_negotiate(&drv, cases[i].features), cases[i].accepted);
		driver_add_status(&drv, S_DRIVER_OK); /* no way in without */
		assert_int_equal(driver_status(&drv), cases[i].accepted ? S_LIVE : S_ACK | S_DRIVER);
	}
	/* a refused driver may think again, an accepted one may not */
	assert_false(driver_negotiate(&drv, 0));
	reg_write(&drv, VIRTIO_MMIO_STATUS, S_LIVE); /* both steps at once: both refused */
	assert_int_equal(driver_status(&drv), S_ACK | S_DRIVER);
	driver_accept(&drv, F_VERSION_1);
	static const uint32_t beyond[] = { 2, 3, 32, UINT32_MAX };
	for (size_t i = 0; i < ARRAY_SIZE(beyond); i++) {
		reg_write(&drv, VIRTIO_MMIO_DRIVER_FEATURES_SEL, beyond[i]);
		reg_write(&drv, VIRTIO_MMIO_DRIVER_FEATURES, UINT32_MAX);
		assert_int_equal(echo->vdev.s.driver_features, F_VERSION_1);
	}
	driver_add_status(&drv, S_FEATURES_OK);
	assert_int_equal(driver_status(&drv), S_ACK | S_DRIVER | S_FEATURES_OK);
	driver_accept(&drv, F_VERSION_1 | F_EVENT_IDX);
	assert_int_equal(echo->vdev.s.driver_features, F_VERSION_1);
}

static void test_queues_are_set_up_in_their_time(void **state)
{
	struct ring ring;
	ring_init(&ring, &drv.mem, 0x8000, 8, false);
	reg_write(&drv, VIRTIO_MMIO_STATUS, S_ACK);
	reg_write(&drv, VIRTIO_MMIO_STATUS, S_ACK | S_DRIVER);
	driver_write_ring(&drv, 0, &ring);
	reg_write(&drv, VIRTIO_MMIO_QUEUE_READY, 1);
	assert_int_equal(reg_read(&drv, VIRTIO_MMIO_QUEUE_READY), 0); /* before FEATURES_OK */

	assert_true(driver_negotiate(&drv, F_VERSION_1));
	assert_true(driver_setup_queue(&drv, 0, 8, false));
	const struct virtqueue_state before = echo->vdev.queues[0].s;
	driver_write_ring(&drv, 0, &ring); /* while it is in use */
	reg_write(&drv, VIRTIO_MMIO_QUEUE_READY, 1);
	assert_memory_equal(&before, &echo->vdev.queues[0].s, sizeof(before));
	reg_write(&drv, VIRTIO_MMIO_QUEUE_READY, 2); /* neither yes nor no */
	assert_int_equal(reg_read(&drv, VIRTIO_MMIO_QUEUE_READY), 1);
	reg_write(&drv, VIRTIO_MMIO_QUEUE_READY, 0);
	assert_int_equal(reg_read(&drv, VIRTIO_MMIO_QUEUE_READY), 0);
	driver_write_ring(&drv, 0, &ring);
	reg_write(&drv, VIRTIO_MMIO_QUEUE_READY, 1);
	assert_int_equal(reg_read(&drv, VIRTIO_MMIO_QUEUE_READY), 1);
	assert_int_equal(echo->vdev.queues[0].s.desc, 0x8000);

	driver_write_ring(&drv, 2, &ring); /* no such queue */
	reg_write(&drv, VIRTIO_MMIO_QUEUE_READY, 1);
	assert_int_equal(reg_read(&drv, VIRTIO_MMIO_QUEUE_READY), 0);
	driver_add_status(&drv, S_DRIVER_OK);
	assert_false(driver_setup_queue(&drv, 1, 8, false)); /* too late */
	reg_write(&drv, VIRTIO_MMIO_QUEUE_NOTIFY, 1);
	reg_write(&drv, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
	assert_int_equal(echo->notified, 2); /* queue 0: once when live, once for the kick */
}

static void test_queue_that_cannot_be(void **state)
{
	static const struct {
		uint64_t reg;
		uint32_t val;
	} cases[] = {
		{ VIRTIO_MMIO_QUEUE_NUM, 0 },
		{ VIRTIO_MMIO_QUEUE_NUM, 7 },
		{ VIRTIO_MMIO_QUEUE_NUM, 32 },
		{ VIRTIO_MMIO_QUEUE_NUM, 0x10008 },
		{ VIRTIO_MMIO_QUEUE_NUM, UINT32_MAX },
		{ VIRTIO_MMIO_QUEUE_DESC_LOW, 0x1004 },
		{ VIRTIO_MMIO_QUEUE_DESC_HIGH, 3 },
		{ VIRTIO_MMIO_QUEUE_AVAIL_LOW, 0x1001 },
		{ VIRTIO_MMIO_QUEUE_AVAIL_HIGH, UINT32_MAX },
		{ VIRTIO_MMIO_QUEUE_USED_LOW, MIB },
		{ VIRTIO_MMIO_QUEUE_USED_HIGH, 1 << 20 },
	};
	struct ring ring;
	ring_init(&ring, &drv.mem, 0x8000, 8, false);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_true(driver_negotiate(&drv, F_VERSION_1));
		driver_write_ring(&drv, 0, &ring);
		reg_write(&drv, cases[i].reg, cases[i].val);
		reg_write(&drv, VIRTIO_MMIO_QUEUE_READY, 1);
		assert_int_equal(reg_read(&drv, VIRTIO_MMIO_QUEUE_READY), 0);
		driver_write_ring(&drv, 0, &ring); /* it may try again */
		reg_write(&drv, VIRTIO_MMIO_QUEUE_READY, 1);
		assert_int_equal(reg_read(&drv, VIRTIO_MMIO_QUEUE_READY), 1);
	}
}

static void test_access_widths(void **state)
{
	static const struct {
		uint64_t off;
		unsigned size;
	} bad[] = {
		{ 0, 1 },    { 0, 2 },     { 0, 8 },     { VIRTIO_MMIO_STATUS, 1 },
		{ 0x72, 2 }, { 0x6e, 4 },  { 0x71, 4 },  { 0xf8, 8 },
		{ 0xfe, 4 }, { 0x101, 2 }, { 0x102, 4 }, { 0x104, 8 },
	};
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		uint64_t ones = bad[i].size == 8 ? UINT64_MAX : (1ull << 8 * bad[i].size) - 1;
		assert_int_equal(driver_read(&drv, bad[i].off, bad[i].size), ones);
		driver_write(&drv, bad[i].off, bad[i].size, 1);
	}
	assert_int_equal(driver_status(&drv), 0);
	assert_int_equal(driver_read(&drv, 0x100, 1), 0x10);
	assert_int_equal(driver_read(&drv, 0x102, 2), 0x1312);
	assert_int_equal(driver_read(&drv, 0x104, 4), 0x17161514);
	assert_int_equal(driver_read(&drv, 0x100, 8), 0x1716151413121110);
	assert_int_equal(driver_read(&drv, 0x108, 8), 0x1b1a1918); /* the second half is not there */
	assert_int_equal(driver_read(&drv, 0x10c, 4), 0);
	assert_int_equal(driver_read(&drv, 0x1f8, 8), 0);
}

static void test_no_other_register_can_be_written(void **state)
{
	go_live(0);
	static const uint64_t written[] = {
		VIRTIO_MMIO_DEVICE_FEATURES_SEL,
		VIRTIO_MMIO_DRIVER_FEATURES_SEL,
		VIRTIO_MMIO_QUEUE_SEL,
		VIRTIO_MMIO_QUEUE_READY,
		VIRTIO_MMIO_STATUS,
	};
	reg_write(&drv, VIRTIO_MMIO_QUEUE_SEL, 0);
	size_t size = drv.dev->ops->state_size;
	CLEANUP_FREE uint8_t *before = malloc(size), *after = malloc(size);
	drv.dev->ops->save(drv.dev, before);
	for (uint64_t off = 0; off < VIRTIO_MMIO_CONFIG; off += 4) {
		bool skip = false;
		for (size_t i = 0; i < ARRAY_SIZE(written); i++)
			skip |= off == written[i];
		if (!skip)
			reg_write(&drv, off, 0xa5a5a5a5);
	}
	drv.dev->ops->save(drv.dev, after);
	assert_memory_equal(before, after, size);
}

static void test_configuration_and_its_generation(void **state)
{
	uint32_t generation = reg_read(&drv, VIRTIO_MMIO_CONFIG_GENERATION);
	driver_write(&drv, 0x102, 4, 0); /* misaligned: not taken */
	assert_int_equal(reg_read(&drv, VIRTIO_MMIO_CONFIG_GENERATION), generation);
	driver_write(&drv, 0x100, 8, 0x8877665544332211);
	assert_int_equal(driver_read(&drv, 0x100, 8), 0x1716151444332211); /* the model takes its first four bytes */
	assert_int_not_equal(reg_read(&drv, VIRTIO_MMIO_CONFIG_GENERATION), generation);
	driver_write(&drv, 0x101, 1, 0xaa);
	assert_int_equal(driver_read(&drv, 0x100, 4), 0x4433aa11);
	generation = reg_read(&drv, VIRTIO_MMIO_CONFIG_GENERATION);
	driver_write(&drv, 0x10c, 4, 1); /* beyond */
	assert_int_equal(reg_read(&drv, VIRTIO_MMIO_CONFIG_GENERATION), generation);

	virtio_config_changed(&echo->vdev);
	assert_false(drv.irq); /* nobody is there to be told */
	go_live(0);
	virtio_config_changed(&echo->vdev);
	assert_true(drv.irq);
	assert_int_equal(driver_ack(&drv), VIRTIO_MMIO_INT_CONFIG);
	generation = reg_read(&drv, VIRTIO_MMIO_CONFIG_GENERATION);
	reg_write(&drv, VIRTIO_MMIO_STATUS, 0);
	assert_int_equal(reg_read(&drv, VIRTIO_MMIO_CONFIG_GENERATION), generation); /* never goes back */
}

static void test_buffers_and_interrupts(void **state)
{
	static const uint64_t features[] = { 0, F_EVENT_IDX, F_INDIRECT | F_EVENT_IDX };
	for (size_t i = 0; i < ARRAY_SIZE(features); i++) {
		go_live(features[i]);
		for (unsigned turn = 0; turn < 40; turn++) {
			unsigned queue = turn % 2;
			*ring_used_event(&drv.queues[queue]) = htole16(drv.queues[queue].last_used);
			offer(queue);
			driver_kick(&drv, queue);
			assert_true(drv.irq);
			assert_answered(queue);
			assert_int_equal(driver_ack(&drv), VIRTIO_MMIO_INT_VRING);
		}
		/* the driver polls: no interrupt */
		*ring_used_event(&drv.queues[0]) = htole16(drv.queues[0].last_used + 10);
		drv.queues[0].avail->flags = htole16(VRING_AVAIL_F_NO_INTERRUPT);
		offer(0);
		driver_kick(&drv, 0);
		assert_answered(0);
		assert_false(drv.irq);
	}
}

static void test_acknowledging_clears_what_is_named(void **state)
{
	go_live(0);
	offer(0);
	driver_kick(&drv, 0);
	virtio_config_changed(&echo->vdev);
	assert_int_equal(reg_read(&drv, VIRTIO_MMIO_INTERRUPT_STATUS), 3);
	reg_write(&drv, VIRTIO_MMIO_INTERRUPT_ACK, VIRTIO_MMIO_INT_VRING | 0xfffffff0);
	assert_int_equal(driver_ack(&drv), VIRTIO_MMIO_INT_CONFIG);
}

static void test_nothing_is_touched_before_driver_ok(void **state)
{
	assert_true(driver_negotiate(&drv, F_VERSION_1));
	assert_true(driver_setup_queue(&drv, 0, 8, false));
	offer(0);
	reg_write(&drv, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
	assert_int_equal(echo->notified, 0);
	assert_int_equal(drv.queues[0].used->idx, 0);
	assert_true(driver_setup_queue(&drv, 1, 8, false));
	offer(1);
	driver_add_status(&drv, S_DRIVER_OK); /* the early kick is made good */
	assert_answered(0);
	assert_answered(1); /* for each queue */
	assert_true(drv.irq);
}

static void test_spurious_kicks(void **state)
{
	go_live(0);
	static const uint32_t queues[] = { 0, 1, 2, 0x10000, 0x80000001, UINT32_MAX };
	for (size_t i = 0; i < ARRAY_SIZE(queues); i++)
		reg_write(&drv, VIRTIO_MMIO_QUEUE_NOTIFY, queues[i]);
	assert_false(drv.irq);
	assert_int_equal(driver_status(&drv), S_LIVE);
	reg_write(&drv, VIRTIO_MMIO_QUEUE_SEL, 0);
	reg_write(&drv, VIRTIO_MMIO_QUEUE_READY, 0);
	offer(0);
	unsigned notified = echo->notified;
	reg_write(&drv, VIRTIO_MMIO_QUEUE_NOTIFY, 0); /* to a queue that was taken down */
	assert_int_equal(echo->notified, notified);
	assert_int_equal(drv.queues[0].used->idx, 0);
}

static void break_queue(unsigned queue)
{
	desc_set(&drv.queues[queue].desc[0], UINT64_MAX, 16, 0, 0);
	ring_offer(&drv.queues[queue], 0);
	driver_kick(&drv, queue);
}

static void test_broken_ring_needs_reset(void **state)
{
	go_live(0);
	break_queue(0);
	assert_int_equal(driver_status(&drv), S_LIVE | S_NEEDS_RESET);
	assert_int_equal(driver_ack(&drv), VIRTIO_MMIO_INT_CONFIG);
	unsigned rises = drv.irq_rises;
	unsigned notified = echo->notified;
	for (unsigned queue = 0; queue < 2; queue++) { /* the other one stops as well */
		offer(queue);
		reg_write(&drv, VIRTIO_MMIO_QUEUE_NOTIFY, queue);
		virtio_flush(&echo->vdev, &echo->vdev.queues[queue]);
		assert_int_equal(drv.queues[queue].used->idx, 0);
	}
	assert_int_equal(echo->notified, notified);
	assert_int_equal(drv.irq_rises, rises); /* told once */
	driver_add_status(&drv, 0);
	driver_add_status(&drv, S_FAILED); /* what Linux says then */
	assert_int_equal(driver_status(&drv), S_LIVE | S_NEEDS_RESET | S_FAILED);
	go_live(0);
	offer(0);
	driver_kick(&drv, 0);
	assert_answered(0);
}

static void test_failed_driver_is_left_alone(void **state)
{
	go_live(0);
	driver_add_status(&drv, S_FAILED);
	offer(0);
	driver_kick(&drv, 0);
	assert_int_equal(drv.queues[0].used->idx, 0);
}

static void test_resets(void **state)
{
	for (unsigned turn = 0; turn < 2; turn++) {
		go_live(F_EVENT_IDX);
		offer(1);
		driver_kick(&drv, 1);
		assert_true(drv.irq);
		unsigned resets = echo->resets;
		if (turn == 0)
			reg_write(&drv, VIRTIO_MMIO_STATUS, 0);
		else
			drv.dev->ops->reset(drv.dev);
		assert_int_equal(echo->resets, resets + 1);
		assert_int_equal(echo->machine_resets, turn);
		assert_int_equal(driver_status(&drv), 0);
		assert_int_equal(reg_read(&drv, VIRTIO_MMIO_INTERRUPT_STATUS), 0);
		for (unsigned queue = 0; queue < 2; queue++) {
			reg_write(&drv, VIRTIO_MMIO_QUEUE_SEL, queue);
			assert_int_equal(reg_read(&drv, VIRTIO_MMIO_QUEUE_READY), 0);
			const struct virtqueue_state zero = { 0 };
			assert_memory_equal(&echo->vdev.queues[queue].s, &zero, sizeof(zero));
		}
		assert_int_equal(echo->vdev.s.driver_features, 0);
		uint16_t used = drv.queues[1].used->idx;
		offer(1);
		reg_write(&drv, VIRTIO_MMIO_QUEUE_NOTIFY, 1);
		assert_int_equal(drv.queues[1].used->idx, used);
	}
}

static void test_save_and_load_in_the_middle(void **state)
{
	go_live(F_EVENT_IDX);
	for (unsigned i = 0; i < 3; i++) {
		offer(0);
		driver_kick(&drv, 0);
	}
	echo->hold = true;
	offer(1);
	driver_kick(&drv, 1);
	size_t size = drv.dev->ops->state_size;
	CLEANUP_FREE uint8_t *saved = malloc(size), *again = malloc(size);
	drv.dev->ops->save(drv.dev, saved);

	/* to another device that is in another state */
	struct echo *old = echo;
	drv.irq = false;
	make_echo();
	drv.bus.count = 0;
	driver_plug(&drv, &echo->vdev.dev);
	reg_write(&drv, VIRTIO_MMIO_STATUS, S_ACK);
	assert_int_equal(drv.dev->ops->load(drv.dev, saved), 0);
	device_free(&old->vdev.dev);
	drv.dev->ops->save(drv.dev, again);
	assert_memory_equal(saved, again, size);

	assert_int_equal(driver_status(&drv), S_LIVE);
	assert_int_equal(echo->answered, 3);
	assert_true(drv.irq); /* was not acknowledged yet */
	driver_ack(&drv);
	for (unsigned i = 0; i < 3; i++)
		assert_answered(0);
	*ring_used_event(&drv.queues[0]) = htole16(drv.queues[0].last_used);
	offer(0);
	driver_kick(&drv, 0);
	assert_answered(0);
	assert_true(drv.irq);
	reg_write(&drv, VIRTIO_MMIO_QUEUE_NOTIFY, 1); /* what was held is still there */
	assert_answered(1);
}

/* A device may be saved at any stage, also before there is anything to say. */
static void test_save_and_load_on_the_way(void **state)
{
	static const uint32_t stages[] = { 0, S_ACK, S_ACK | S_DRIVER, S_ACK | S_DRIVER | S_FEATURES_OK, S_FAILED };
	static const uint32_t bits[] = { S_ACK, S_DRIVER, S_FEATURES_OK, S_FAILED };
	size_t size = drv.dev->ops->state_size;
	CLEANUP_FREE uint8_t *saved = malloc(size), *again = malloc(size);
	for (size_t i = 0; i < ARRAY_SIZE(stages); i++) {
		reg_write(&drv, VIRTIO_MMIO_STATUS, 0);
		driver_accept(&drv, stages[i] & S_FEATURES_OK ? F_VERSION_1 : F_ECHO); /* or not for good yet */
		for (size_t b = 0; b < ARRAY_SIZE(bits); b++)
			if (stages[i] & bits[b])
				driver_add_status(&drv, bits[b]);
		reg_write(&drv, VIRTIO_MMIO_QUEUE_SEL, 1);
		reg_write(&drv, VIRTIO_MMIO_QUEUE_NUM, 0xffff); /* as long as it is not to be ready */
		assert_int_equal(driver_status(&drv), stages[i]);
		drv.dev->ops->save(drv.dev, saved);
		drv.dev->ops->reset(drv.dev);
		assert_int_equal(drv.dev->ops->load(drv.dev, saved), 0);
		drv.dev->ops->save(drv.dev, again);
		assert_memory_equal(saved, again, size);
		assert_int_equal(driver_status(&drv), stages[i]);
	}
}

static void test_nonsense_is_not_loaded(void **state)
{
	go_live(0);
	offer(0);
	driver_kick(&drv, 0);
	struct {
		struct virtio_state core;
		struct virtqueue_state queues[2];
		uint64_t answered;
	} good, bad, now;
	assert_int_equal(drv.dev->ops->state_size, sizeof(good));
	drv.dev->ops->save(drv.dev, &good);
#define REFUSED(change)                                                                                                \
	bad = good, change;                                                                                            \
	assert_int_equal(drv.dev->ops->load(drv.dev, &bad), -EINVAL);                                                  \
	drv.dev->ops->save(drv.dev, &now);                                                                             \
	assert_memory_equal(&now, &good, sizeof(good))
	REFUSED(bad.core.status = S_DRIVER_OK);
	REFUSED(bad.core.status |= 0x20);
	REFUSED(bad.core.status |= 0x100);
	REFUSED(bad.core.driver_features = 0);
	REFUSED(bad.core.driver_features |= 1);
	REFUSED(bad.core.interrupt_status = 4);
	REFUSED(bad.core.status = S_ACK | S_DRIVER); /* with queues that are ready */
	REFUSED(bad.queues[1].size = 9);
	REFUSED(bad.queues[1].size = 2 * ECHO_QUEUE_SIZE);
	REFUSED(bad.queues[0].device = 1ull << 63);
	REFUSED(bad.queues[1].ready = 7);
	REFUSED(bad.queues[1].last_avail = 9);
	REFUSED(bad.answered = 1001);
	drv.irq = false; /* another interrupt controller: a load brings it into agreement */
	assert_int_equal(drv.dev->ops->load(drv.dev, &good), 0);
	assert_true(drv.irq);
	assert_answered(0);
	offer(0);
	driver_kick(&drv, 0);
	assert_answered(0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_identity),
		TEST(test_status_goes_in_order),
		TEST(test_features_are_negotiated),
		TEST(test_queues_are_set_up_in_their_time),
		TEST(test_queue_that_cannot_be),
		TEST(test_access_widths),
		TEST(test_no_other_register_can_be_written),
		TEST(test_configuration_and_its_generation),
		TEST(test_buffers_and_interrupts),
		TEST(test_acknowledging_clears_what_is_named),
		TEST(test_nothing_is_touched_before_driver_ok),
		TEST(test_spurious_kicks),
		TEST(test_broken_ring_needs_reset),
		TEST(test_failed_driver_is_left_alone),
		TEST(test_resets),
		TEST(test_save_and_load_in_the_middle),
		TEST(test_save_and_load_on_the_way),
		TEST(test_nonsense_is_not_loaded),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
