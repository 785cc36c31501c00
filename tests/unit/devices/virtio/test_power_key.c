// SPDX-License-Identifier: Apache-2.0
/* The power key, driven as Linux's virtio_mmio and virtio_input drive it. */
#include "tests/unit/devices/virtio/driver.h"

#include <errno.h>

#include <linux/input-event-codes.h>
#include <linux/virtio_input.h>

enum { EVENTQ, STATUSQ };
enum { EVENTS_GPA = 0x20000, STATUS_GPA = 0x30000, BUFFERS = 64 };
enum { CFG = VIRTIO_MMIO_CONFIG };

static struct driver drv;

static int setup(void **state)
{
	driver_init(&drv);
	driver_plug(&drv, virtio_power_key_new(driver_irq(&drv), &drv.mem));
	return 0;
}

static int teardown(void **state)
{
	driver_fini(&drv);
	return 0;
}

static uint8_t select_config(unsigned select, unsigned subsel)
{
	driver_write(&drv, CFG + offsetof(struct virtio_input_config, select), 1, select);
	driver_write(&drv, CFG + offsetof(struct virtio_input_config, subsel), 1, subsel);
	return (uint8_t)driver_read(&drv, CFG + offsetof(struct virtio_input_config, size), 1);
}

/* Byte by byte, between two reads of the generation, as Linux reads strings and bitmaps. */
static void read_config(char *to, size_t size)
{
	uint32_t generation = reg_read(&drv, VIRTIO_MMIO_CONFIG_GENERATION);
	for (size_t i = 0; i < size; i++)
		to[i] = (char)driver_read(&drv, CFG + offsetof(struct virtio_input_config, u) + i, 1);
	to[size] = 0;
	assert_int_equal(reg_read(&drv, VIRTIO_MMIO_CONFIG_GENERATION), generation);
}

static void offer_event_buffer(uint16_t i)
{
	desc_set(&drv.queues[EVENTQ].desc[i], EVENTS_GPA + 8u * i, 8, VRING_DESC_F_WRITE, 0);
	ring_offer(&drv.queues[EVENTQ], i);
}

static void negotiate(uint64_t features)
{
	assert_int_equal(reg_read(&drv, VIRTIO_MMIO_DEVICE_ID), 18);
	assert_true(driver_negotiate(&drv, driver_offered(&drv) & (F_VERSION_1 | features)));
	assert_true(driver_setup_queue(&drv, EVENTQ, BUFFERS, features & F_EVENT_IDX));
	assert_true(driver_setup_queue(&drv, STATUSQ, BUFFERS, features & F_EVENT_IDX));
}

/* Linux says DRIVER_OK first, then offers @buffers and kicks once. */
static void go_live(uint64_t features, uint16_t buffers)
{
	negotiate(features);
	driver_add_status(&drv, S_DRIVER_OK);
	for (uint16_t i = 0; i < buffers; i++)
		offer_event_buffer(i);
	driver_kick(&drv, EVENTQ);
	assert_int_equal(driver_status(&drv), S_LIVE);
}

/* The interrupt handler: take the next event, its buffer is offered again. */
static bool next_event(struct virtio_input_event *event)
{
	uint32_t id, len;
	if (!ring_take(&drv.queues[EVENTQ], &id, &len))
		return false;
	assert_int_equal(len, 8);
	assert_int_equal(guest_read(&drv.mem, EVENTS_GPA + 8 * id, event, 8), 0);
	*ring_used_event(&drv.queues[EVENTQ]) = htole16(drv.queues[EVENTQ].last_used);
	offer_event_buffer((uint16_t)id);
	return true;
}

static const struct virtio_input_event press[] = {
	{ EV_KEY, KEY_POWER, 1 },
	{ EV_SYN, SYN_REPORT, 0 },
	{ EV_KEY, KEY_POWER, 0 },
	{ EV_SYN, SYN_REPORT, 0 },
};

static void assert_events(unsigned from, unsigned count)
{
	struct virtio_input_event event = { 0 };
	for (unsigned i = from; i < from + count; i++) {
		assert_true(next_event(&event));
		assert_int_equal(le16toh(event.type), press[i % 4].type);
		assert_int_equal(le16toh(event.code), press[i % 4].code);
		assert_int_equal(le32toh(event.value), press[i % 4].value);
	}
	assert_false(next_event(&event));
}

static void test_probe(void **state)
{
	char got[256];
	assert_int_equal(driver_offered(&drv), F_VERSION_1 | F_INDIRECT | F_EVENT_IDX);
	negotiate(F_INDIRECT | F_EVENT_IDX);
	read_config(got, select_config(VIRTIO_INPUT_CFG_ID_NAME, 0));
	assert_string_equal(got, "cvmm power button");
	read_config(got, select_config(VIRTIO_INPUT_CFG_ID_SERIAL, 0));
	assert_string_equal(got, "power");
	assert_int_equal(select_config(VIRTIO_INPUT_CFG_ID_DEVIDS, 0), sizeof(struct virtio_input_devids));
	assert_int_equal(driver_read(&drv, CFG + offsetof(struct virtio_input_config, u.ids.bustype), 2), 6);
	assert_int_equal(driver_read(&drv, CFG + offsetof(struct virtio_input_config, u.ids.product), 2), 1);

	/* KEY_POWER, and nothing else of any kind: no repeat, no lights */
	for (unsigned select = 0; select < 256; select++) {
		for (unsigned subsel = 0; subsel < 256; subsel++) {
			bool known =
				(select == VIRTIO_INPUT_CFG_EV_BITS && subsel == EV_KEY) ||
				(select >= VIRTIO_INPUT_CFG_ID_NAME && select <= VIRTIO_INPUT_CFG_ID_DEVIDS && !subsel);
			uint8_t size = select_config(select, subsel);
			assert_int_equal(size > 0, known);
			assert_true(size <= sizeof(((struct virtio_input_config *)0)->u));
		}
	}
	uint8_t size = select_config(VIRTIO_INPUT_CFG_EV_BITS, EV_KEY);
	read_config(got, size);
	for (unsigned bit = 0; bit < size * 8u; bit++)
		assert_int_equal(got[bit / 8] >> bit % 8 & 1, bit == KEY_POWER);
}

static void test_configuration_is_otherwise_read_only(void **state)
{
	uint8_t size = select_config(VIRTIO_INPUT_CFG_ID_NAME, 0);
	for (uint64_t off = 2; off < 0x100; off++)
		driver_write(&drv, CFG + off, 1, 0xff);
	char got[256];
	assert_int_equal(driver_read(&drv, CFG + offsetof(struct virtio_input_config, size), 1), size);
	read_config(got, size);
	assert_string_equal(got, "cvmm power button");
	driver_write(&drv, CFG, 2, VIRTIO_INPUT_CFG_EV_BITS | EV_KEY << 8); /* both selectors at once */
	assert_int_equal(driver_read(&drv, CFG, 4), VIRTIO_INPUT_CFG_EV_BITS | EV_KEY << 8 | 15 << 16);
}

static const uint64_t feature_sets[] = { 0, F_EVENT_IDX, F_INDIRECT | F_EVENT_IDX };

static void test_press(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(feature_sets); i++) {
		go_live(feature_sets[i], BUFFERS);
		assert_false(drv.irq);
		for (unsigned turn = 0; turn < 100; turn++) { /* the ring goes round */
			virtio_power_key_press(drv.dev);
			assert_int_equal(driver_ack(&drv), VIRTIO_MMIO_INT_VRING);
			assert_events(0, 4);
			driver_kick(&drv, EVENTQ);
		}
	}
}

static void test_press_before_the_driver_comes(void **state)
{
	virtio_power_key_press(drv.dev);
	assert_false(drv.irq);
	negotiate(0);
	virtio_power_key_press(drv.dev); /* set up, but not live: buffers are not touched */
	offer_event_buffer(0);
	assert_int_equal(drv.queues[EVENTQ].used->idx, 0);
	go_live(F_EVENT_IDX, BUFFERS);
	assert_true(drv.irq);
	assert_events(0, 8);
}

static void test_events_wait_for_buffers(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(feature_sets); i++) {
		drv.dev->ops->reset(drv.dev);
		go_live(feature_sets[i], 3);
		virtio_power_key_press(drv.dev);
		virtio_power_key_press(drv.dev);
		for (unsigned taken = 0; taken < 8; taken += 3) {
			assert_int_equal(driver_ack(&drv), VIRTIO_MMIO_INT_VRING);
			assert_events(taken, MIN(3, 8 - taken));
			driver_kick(&drv, EVENTQ); /* and the next three come */
		}
		assert_false(drv.irq);
	}
}

static void test_presses_that_wait_are_bounded_and_whole(void **state)
{
	for (unsigned i = 0; i < 1000; i++)
		virtio_power_key_press(drv.dev);
	go_live(0, BUFFERS);
	assert_events(0, 64);
	driver_kick(&drv, EVENTQ);
	assert_events(0, 0);
	/* with half a press on its way, as many whole ones as there is room for */
	go_live(0, 2);
	for (unsigned i = 0; i < 1000; i++)
		virtio_power_key_press(drv.dev);
	unsigned taken = 0;
	struct virtio_input_event event;
	for (; next_event(&event); taken++) {
		assert_int_equal(le16toh(event.type), press[taken % 4].type);
		assert_int_equal(le32toh(event.value), press[taken % 4].value);
		driver_kick(&drv, EVENTQ);
	}
	assert_int_equal(taken % 4, 0);
	assert_in_range(taken, 60, 68);
}

static void test_resets(void **state)
{
	go_live(0, 1);
	virtio_power_key_press(drv.dev);
	virtio_power_key_press(drv.dev); /* one event is out */
	go_live(0, BUFFERS);             /* the driver's reset: the press begun is over, the other waits */
	assert_events(0, 4);
	reg_write(&drv, VIRTIO_MMIO_STATUS, 0);
	virtio_power_key_press(drv.dev);
	select_config(VIRTIO_INPUT_CFG_ID_NAME, 0);
	drv.dev->ops->reset(drv.dev); /* the machine's: nobody pressed anything */
	assert_int_equal(driver_read(&drv, CFG, 4), 0);
	go_live(0, BUFFERS);
	assert_events(0, 0);
	assert_false(drv.irq);
}

static void test_status_buffers_come_back(void **state)
{
	uint32_t id, len;
	for (size_t i = 0; i < ARRAY_SIZE(feature_sets); i++) {
		go_live(feature_sets[i], BUFFERS);
		struct ring *statusq = &drv.queues[STATUSQ];
		for (unsigned turn = 0; turn < 100; turn++) {
			*ring_used_event(statusq) = htole16(statusq->last_used);
			uint16_t head = turn % BUFFERS;
			desc_set(&statusq->desc[head], STATUS_GPA, 8, 0, 0);
			ring_offer(statusq, head);
			driver_kick(&drv, STATUSQ);
			assert_int_equal(driver_ack(&drv), VIRTIO_MMIO_INT_VRING);
			assert_true(ring_take(statusq, &id, &len));
			assert_int_equal(id, head);
			assert_int_equal(len, 0);
		}
	}
}

/* A buffer with no room for an event goes back empty, and the event goes into the next one. */
static void test_event_buffers_that_are_too_small(void **state)
{
	go_live(0, 0);
	struct ring *eventq = &drv.queues[EVENTQ];
	desc_set(&eventq->desc[60], EVENTS_GPA, 7, VRING_DESC_F_WRITE, 0);
	desc_set(&eventq->desc[61], EVENTS_GPA, 8, 0, 0);
	ring_offer(eventq, 60);
	ring_offer(eventq, 61);
	virtio_power_key_press(drv.dev);
	for (uint32_t id, len, i = 60; i < 62; i++) {
		assert_true(ring_take(eventq, &id, &len));
		assert_int_equal(id, i);
		assert_int_equal(len, 0);
	}
	for (uint16_t i = 0; i < 4; i++)
		offer_event_buffer(i);
	driver_kick(&drv, EVENTQ);
	assert_events(0, 4);
}

static void test_events_in_pieces_and_tables(void **state)
{
	go_live(F_INDIRECT, 0);
	struct ring *eventq = &drv.queues[EVENTQ];
	struct vring_desc *table = guest_at(&drv.mem, 0x50000, 48);
	for (uint16_t i = 0; i < 3; i++) /* 8 bytes in 3, 3 and 2 */
		desc_set(&table[i], EVENTS_GPA + 3 * i, i < 2 ? 3 : 2,
		         VRING_DESC_F_WRITE | (i < 2 ? VRING_DESC_F_NEXT : 0), i + 1);
	desc_set(&eventq->desc[0], 0x50000, 48, VRING_DESC_F_INDIRECT, 0);
	ring_offer(eventq, 0);
	virtio_power_key_press(drv.dev);
	struct virtio_input_event event;
	assert_true(next_event(&event));
	assert_memory_equal(&event, &press[0], 8);
}

static void test_a_broken_eventq_stops_the_device(void **state)
{
	go_live(0, 2);
	drv.queues[EVENTQ].avail->idx = htole16(300);
	virtio_power_key_press(drv.dev);
	virtio_power_key_press(drv.dev);
	assert_int_equal(driver_status(&drv), S_LIVE | S_NEEDS_RESET);
	assert_int_equal(driver_ack(&drv), VIRTIO_MMIO_INT_CONFIG);
	virtio_power_key_press(drv.dev);
	assert_false(drv.irq);
	go_live(0, BUFFERS);
	assert_events(0, 12); /* and a reset mends it */
}

static void test_save_and_load_in_a_press(void **state)
{
	go_live(F_EVENT_IDX, 3);
	virtio_power_key_press(drv.dev);
	select_config(VIRTIO_INPUT_CFG_EV_BITS, EV_KEY);
	size_t size = drv.dev->ops->state_size;
	CLEANUP_FREE uint8_t *saved = malloc(size);
	drv.dev->ops->save(drv.dev, saved);

	device_free(drv.dev);
	drv.bus.count = 0;
	drv.irq = false;
	driver_plug(&drv, virtio_power_key_new(driver_irq(&drv), &drv.mem));
	assert_int_equal(drv.dev->ops->state_size, size);
	assert_int_equal(drv.dev->ops->load(drv.dev, saved), 0);
	assert_true(drv.irq);
	assert_int_equal(driver_read(&drv, CFG, 4), VIRTIO_INPUT_CFG_EV_BITS | EV_KEY << 8 | 15 << 16);
	driver_ack(&drv);
	assert_events(0, 3);
	driver_kick(&drv, EVENTQ);
	assert_int_equal(driver_ack(&drv), VIRTIO_MMIO_INT_VRING);
	assert_events(3, 1);

	store_le16(saved + size - 2, 64); /* as many as can be waiting */
	assert_int_equal(drv.dev->ops->load(drv.dev, saved), 0);
	store_le16(saved + size - 2, 65); /* and one more */
	assert_int_equal(drv.dev->ops->load(drv.dev, saved), -EINVAL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_probe),
		TEST(test_configuration_is_otherwise_read_only),
		TEST(test_press),
		TEST(test_press_before_the_driver_comes),
		TEST(test_events_wait_for_buffers),
		TEST(test_presses_that_wait_are_bounded_and_whole),
		TEST(test_resets),
		TEST(test_status_buffers_come_back),
		TEST(test_event_buffers_that_are_too_small),
		TEST(test_events_in_pieces_and_tables),
		TEST(test_a_broken_eventq_stops_the_device),
		TEST(test_save_and_load_in_a_press),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
