// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/unit.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

#include "devices/bus.h"

struct probe {
	struct device dev;
	uint64_t off, val;
	unsigned size, calls;
};

static uint64_t probe_read(struct device *dev, uint64_t off, unsigned size)
{
	struct probe *probe = (struct probe *)dev;
	probe->off = off;
	probe->size = size;
	probe->calls++;
	assert_int_not_equal(pthread_mutex_trylock(&dev->lock), 0); /* the bus holds it */
	return 0x1122334455667788;
}

static void probe_write(struct device *dev, uint64_t off, unsigned size, uint64_t val)
{
	probe_read(dev, off, size);
	((struct probe *)dev)->val = val;
}

static const struct device_ops narrow_ops = {
	.name = "narrow", .widths = 1 | 4, .read = probe_read, .write = probe_write
};

static void test_dispatch(void **state)
{
	struct bus bus = { .name = "mmio" };
	struct probe a = { 0 }, b = { 0 };
	device_init(&a.dev, &narrow_ops);
	device_init(&b.dev, &narrow_ops);
	assert_int_equal(bus_add(&bus, 0x2000, 0x10, &b.dev, NULL), 0);
	assert_int_equal(bus_add(&bus, 0x1000, 0x1000, &a.dev, NULL), 0);
	assert_int_equal(bus_add_window(&bus, 0x5000, 8, &b.dev, 0x100, NULL), 0);

	uint32_t got = 0;
	assert_true(bus_read(&bus, 0x1ffc, &got, 4));
	assert_int_equal(got, 0x55667788);
	assert_int_equal(a.off, 0xffc);
	uint8_t byte = 0xa5;
	assert_true(bus_write(&bus, 0x2001, &byte, 1));
	assert_int_equal(b.val, 0xa5);
	assert_int_equal(b.off, 1);
	assert_true(bus_read(&bus, 0x5004, &got, 4));
	assert_int_equal(b.off, 0x104);
	device_fini(&a.dev);
	device_fini(&b.dev);
}

/* Each address of windows that touch each other goes to its own device, again and again. */
static void test_every_address_of_adjacent_windows(void **state)
{
	static const struct device_ops wide_ops = {
		.name = "wide", .widths = 1 | 8, .read = probe_read, .write = probe_write
	};
	enum { PROBES = 5, SIZE = 8 };
	struct bus bus = { .name = "pio" };
	struct probe probes[PROBES] = { 0 };
	for (unsigned i = 0; i < PROBES; i++) {
		device_init(&probes[i].dev, &wide_ops);
		assert_int_equal(bus_add_window(&bus, 0x100 + i * SIZE, SIZE, &probes[i].dev, i * 0x10, NULL), 0);
	}
	for (unsigned at = 0; at < PROBES * SIZE; at++) {
		struct probe *probe = &probes[at / SIZE];
		uint8_t byte = (uint8_t)at;
		unsigned calls = probe->calls;
		assert_true(bus_write(&bus, 0x100 + at, &byte, 1));
		assert_int_equal(probe->val, at);
		assert_int_equal(probe->off, at / SIZE * 0x10 + at % SIZE);
		assert_true(bus_read(&bus, 0x100 + at, &byte, 1));
		assert_int_equal(byte, 0x88);
		assert_int_equal(probe->calls, calls + 2);
	}
	uint64_t word = htole64(0x123456789abcdef0);
	for (unsigned i = 0; i < PROBES; i++) {
		assert_true(bus_write(&bus, 0x100 + i * SIZE, &word, 8));
		assert_int_equal(probes[i].val, 0x123456789abcdef0);
		assert_false(bus_write(&bus, 0x101 + i * SIZE, &word, 8)); /* runs into the next */
		device_fini(&probes[i].dev);
	}
}

static void test_refused_accesses_float(void **state)
{
	struct bus bus = { .name = "mmio" };
	struct probe a = { 0 };
	device_init(&a.dev, &narrow_ops);
	assert_int_equal(bus_add(&bus, 0x1000, 6, &a.dev, NULL), 0);
	static const struct {
		uint64_t addr;
		unsigned size;
	} bad[] = {
		{ 0xfff, 1 },      { 0x1006, 1 },         { 0x1004, 4 }, /* leaves the window */
		{ 0x1000, 2 },     { 0x1000, 8 },         { 0x1000, 3 }, /* not admitted */
		{ UINT64_MAX, 1 }, { UINT64_MAX - 1, 8 },
	};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		uint64_t got = 0;
		assert_false(bus_read(&bus, bad[i].addr, &got, bad[i].size));
		assert_int_equal(got, bad[i].size == 8 ? UINT64_MAX : (1ull << (8 * bad[i].size)) - 1);
		assert_false(bus_write(&bus, bad[i].addr, &got, bad[i].size));
	}
	assert_int_equal(a.calls, 0);
	device_fini(&a.dev);
}

static void test_overlaps_are_refused(void **state)
{
	struct bus bus = { .name = "pio" };
	struct probe a = { 0 };
	struct cvmm_error err = { 0 };
	device_init(&a.dev, &narrow_ops);
	assert_int_equal(bus_add(&bus, 0x100, 8, &a.dev, NULL), 0);
	assert_int_equal(bus_add(&bus, 0x107, 1, &a.dev, &err), -EINVAL);
	assert_true(strstr(err.msg, "0x107 is taken on the pio bus"));
	assert_int_equal(bus_add(&bus, 0xf9, 8, &a.dev, NULL), -EINVAL);
	assert_int_equal(bus_add(&bus, 0x80, 0x200, &a.dev, NULL), -EINVAL);
	assert_int_equal(bus_add(&bus, 0x200, 0, &a.dev, NULL), -EINVAL);
	assert_int_equal(bus_add(&bus, UINT64_MAX, 2, &a.dev, NULL), -EINVAL);
	assert_int_equal(bus_add(&bus, 0xf8, 8, &a.dev, NULL), 0);
	assert_int_equal(bus_add(&bus, 0x108, 8, &a.dev, NULL), 0);
	while (bus.count < BUS_RANGES_MAX)
		assert_int_equal(bus_add(&bus, 0x1000 + bus.count, 1, &a.dev, NULL), 0);
	assert_int_equal(bus_add(&bus, 0x10, 1, &a.dev, NULL), -ENOSPC);
	device_fini(&a.dev);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_dispatch),
		cmocka_unit_test(test_every_address_of_adjacent_windows),
		cmocka_unit_test(test_refused_accesses_float),
		cmocka_unit_test(test_overlaps_are_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
