// SPDX-License-Identifier: Apache-2.0
/* Configuration mechanism #1 as Linux probes it (arch/x86/pci/direct.c), and as nobody should use it. */
#include "tests/unit/devices/recorder.h"

#include "devices/platform.h"

enum { ADDRESS = 0, DATA = 4 };
enum { CLASS = 0x0a, BRIDGE_HOST = 0x0600 };

static int setup(void **state)
{
	*state = pci_conf1_new();
	return !*state;
}

static int teardown(void **state)
{
	device_free(*state);
	return 0;
}

static uint64_t conf_read(struct device *dev, uint32_t bus, uint32_t devfn, uint32_t reg, unsigned size)
{
	dev_write(dev, ADDRESS, 4, 0x80000000 | bus << 16 | devfn << 8 | (reg & 0xfc));
	return dev_read(dev, DATA + (reg & 3), size);
}

/* pci_check_type1(), then pci_sanity_check() */
static void test_linux_finds_it(void **state)
{
	struct device *dev = *state;
	dev_write(dev, 3, 1, 1);
	uint32_t before = (uint32_t)dev_read(dev, ADDRESS, 4);
	dev_write(dev, ADDRESS, 4, 0x80000000);
	assert_int_equal(dev_read(dev, ADDRESS, 4), 0x80000000);
	assert_int_equal(conf_read(dev, 0, 0, CLASS, 2), BRIDGE_HOST);
	dev_write(dev, ADDRESS, 4, before);
	assert_int_equal(dev_read(dev, ADDRESS, 4), 0);
}

static void test_the_bridge_is_alone(void **state)
{
	struct device *dev = *state;
	assert_int_equal(conf_read(dev, 0, 0, 0, 4), 0x00081b36);
	assert_int_equal(conf_read(dev, 0, 0, 0, 2), 0x1b36);
	assert_int_equal(conf_read(dev, 0, 0, 3, 1), 0x00);
	assert_int_equal(conf_read(dev, 0, 0, 0x0b, 1), 0x06);
	for (uint32_t devfn = 1; devfn < 256; devfn++)
		assert_int_equal(conf_read(dev, 0, devfn, 0, 4), UINT32_MAX);
	for (uint32_t bus = 1; bus < 256; bus++)
		assert_int_equal(conf_read(dev, bus, 0, 0, 4), UINT32_MAX);
}

static void test_nothing_without_enable(void **state)
{
	struct device *dev = *state;
	dev_write(dev, ADDRESS, 4, 0);
	assert_int_equal(dev_read(dev, DATA, 4), UINT32_MAX);
}

static void test_reserved_bits_do_not_stick(void **state)
{
	struct device *dev = *state;
	dev_write(dev, ADDRESS, 4, UINT32_MAX);
	assert_int_equal(dev_read(dev, ADDRESS, 4), 0x80fffffc);
}

static void test_other_widths_miss_the_address(void **state)
{
	struct device *dev = *state;
	dev_write(dev, ADDRESS, 4, 0x80000000);
	for (uint64_t off = 0; off < 4; off++) {
		dev_write(dev, off, 1, 0x7f);
		assert_int_equal(dev_read(dev, off, 1), 0xff);
	}
	dev_write(dev, 1, 2, 0x1234);
	dev_write(dev, 2, 4, 0x12345678); /* straddles both registers */
	assert_int_equal(dev_read(dev, 2, 4), UINT32_MAX);
	assert_int_equal(dev_read(dev, ADDRESS, 4), 0x80000000);
}

static void test_data_is_read_only(void **state)
{
	struct device *dev = *state;
	conf_read(dev, 0, 0, 0, 4);
	dev_write(dev, DATA, 4, 0);
	assert_int_equal(dev_read(dev, DATA, 4), 0x00081b36);
}

static void test_save_load_reset(void **state)
{
	struct device *dev = *state;
	uint8_t saved[DEV_STATE_MAX], bad[DEV_STATE_MAX] = { 1 }; /* a reserved bit */
	dev_write(dev, ADDRESS, 4, 0x80000008);
	dev_save(dev, saved);
	dev_reset(dev);
	assert_int_equal(dev_read(dev, ADDRESS, 4), 0);
	assert_int_equal(dev_load(dev, bad), -EINVAL);
	assert_int_equal(dev_read(dev, ADDRESS, 4), 0);
	assert_int_equal(dev_load(dev, saved), 0);
	assert_int_equal(dev_read(dev, ADDRESS, 4), 0x80000008);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_linux_finds_it),
		TEST(test_the_bridge_is_alone),
		TEST(test_nothing_without_enable),
		TEST(test_reserved_bits_do_not_stick),
		TEST(test_other_widths_miss_the_address),
		TEST(test_data_is_read_only),
		TEST(test_save_load_reset),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
