// SPDX-License-Identifier: Apache-2.0
/* Sleep, reset and event registers as ACPICA and the DSDT's GED method use them; and the bare reset port. */
#include "tests/unit/devices/recorder.h"

#include "devices/platform.h"

enum { SLP_EN = 0x20, WAK_STS = 0x80 };

struct fixture {
	struct irq_recorder irq;
	struct machine_recorder machine;
	struct device *dev;
};

static int setup(void **state)
{
	static struct fixture f;
	f = (struct fixture){ 0 };
	f.dev = acpi_regs_new(irq_recorder_line(&f.irq), machine_recorder_line(&f.machine));
	*state = &f;
	return !f.dev;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	device_free(f->dev);
	return 0;
}

static uint8_t in(struct fixture *f, unsigned reg)
{
	return (uint8_t)dev_read(f->dev, reg, 1);
}

static void out(struct fixture *f, unsigned reg, uint8_t val)
{
	dev_write(f->dev, reg, 1, val);
}

static void test_acpica_powers_off(void **state)
{
	struct fixture *f = *state;
	out(f, ACPI_REGS_SLEEP_STATUS, WAK_STS);
	out(f, ACPI_REGS_SLEEP_CONTROL, 0x34);
	assert_int_equal(f->machine.power_offs, 1);
	assert_int_equal(in(f, ACPI_REGS_SLEEP_STATUS), 0);     /* it does not come back */
	assert_int_equal(in(f, ACPI_REGS_SLEEP_CONTROL), 0x14); /* SLP_EN reads 0 */
}

static void test_only_s5_with_slp_en_powers_off(void **state)
{
	struct fixture *f = *state;
	for (unsigned val = 0; val < 256; val++)
		if ((val & 0x3c) != 0x34)
			out(f, ACPI_REGS_SLEEP_CONTROL, (uint8_t)val);
	assert_int_equal(f->machine.power_offs, 0);
	assert_int_equal(f->machine.resets, 0);
}

static void test_other_sleeps_wake_at_once(void **state)
{
	struct fixture *f = *state;
	out(f, ACPI_REGS_SLEEP_CONTROL, 3 << 2);
	assert_int_equal(in(f, ACPI_REGS_SLEEP_STATUS), 0);
	out(f, ACPI_REGS_SLEEP_CONTROL, 3 << 2 | SLP_EN);
	assert_int_equal(in(f, ACPI_REGS_SLEEP_STATUS), WAK_STS);
	out(f, ACPI_REGS_SLEEP_STATUS, 0x7f); /* write one to clear, that one */
	assert_int_equal(in(f, ACPI_REGS_SLEEP_STATUS), WAK_STS);
	out(f, ACPI_REGS_SLEEP_STATUS, 0xff);
	assert_int_equal(in(f, ACPI_REGS_SLEEP_STATUS), 0);
}

static void test_reset_register(void **state)
{
	struct fixture *f = *state;
	for (unsigned val = 0; val < 256; val++)
		out(f, ACPI_REGS_RESET, (uint8_t)val);
	assert_int_equal(f->machine.resets, 1);
	out(f, ACPI_REGS_RESET, ACPI_RESET_VALUE);
	assert_int_equal(f->machine.resets, 2);
	assert_int_equal(in(f, ACPI_REGS_RESET), 0);
}

static void test_power_button(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(in(f, ACPI_REGS_EVENT), 0);
	acpi_regs_press_power_button(f->dev);
	assert_int_equal(f->irq.rises, 1);
	assert_false(f->irq.high);     /* an edge */
	out(f, ACPI_REGS_EVENT, 0xff); /* read-only */
	assert_int_equal(in(f, ACPI_REGS_EVENT), ACPI_EVENT_POWER_BUTTON);
	assert_int_equal(in(f, ACPI_REGS_EVENT), 0);
	acpi_regs_press_power_button(f->dev);
	acpi_regs_press_power_button(f->dev); /* an impatient user: the guest is told again */
	assert_int_equal(f->irq.rises, 3);
	assert_int_equal(in(f, ACPI_REGS_EVENT), ACPI_EVENT_POWER_BUTTON);
}

static void test_reset_save_and_load(void **state)
{
	struct fixture *f = *state;
	uint8_t saved[DEV_STATE_MAX];
	acpi_regs_press_power_button(f->dev);
	out(f, ACPI_REGS_SLEEP_CONTROL, 3 << 2 | SLP_EN);
	dev_save(f->dev, saved);
	dev_reset(f->dev);
	for (unsigned reg = 0; reg < ACPI_REGS_WINDOW; reg++)
		assert_int_equal(in(f, reg), 0);
	f->irq = (struct irq_recorder){ 0 };
	assert_int_equal(dev_load(f->dev, saved), 0);
	assert_int_equal(f->irq.rises, 1); /* the edge may not have got there */
	assert_int_equal(in(f, ACPI_REGS_SLEEP_STATUS), WAK_STS);
	assert_int_equal(in(f, ACPI_REGS_SLEEP_CONTROL), 3 << 2);
	assert_int_equal(in(f, ACPI_REGS_EVENT), ACPI_EVENT_POWER_BUTTON);
	assert_int_equal(f->machine.power_offs + f->machine.resets, 0); /* loading repeats no request */
	dev_save(f->dev, saved);
	assert_int_equal(dev_load(f->dev, saved), 0);
	assert_int_equal(f->irq.rises, 1); /* no event, no edge */
}

/* Presses come from the host, while a vCPU may be at the registers. */
static void test_press_takes_the_lock_and_gives_it_back(void **state)
{
	struct fixture *f = *state;
	acpi_regs_press_power_button(f->dev);
	assert_int_equal(pthread_mutex_trylock(&f->dev->lock), 0);
	pthread_mutex_unlock(&f->dev->lock);
}

/* Whatever was loaded, the guest sees only bits that there are. */
static void check_bits(void *opaque)
{
	struct fixture *f = opaque;
	assert_int_equal(in(f, ACPI_REGS_SLEEP_CONTROL) & ~0x1c, 0);
	assert_int_equal(in(f, ACPI_REGS_SLEEP_STATUS) & ~WAK_STS, 0);
	assert_int_equal(in(f, ACPI_REGS_EVENT) & ~ACPI_EVENT_POWER_BUTTON, 0);
}

static void test_hostile_states(void **state)
{
	struct fixture *f = *state;
	acpi_regs_press_power_button(f->dev);
	dev_check_load_is_safe(f->dev, check_bits, f);
}

static void test_reset_port(void **state)
{
	struct machine_recorder machine = { 0 };
	struct device *dev = reset_port_new(machine_recorder_line(&machine));
	assert_non_null(dev);
	for (unsigned val = 0; val < 256; val++) {
		dev_write(dev, 0, 1, val);
		assert_int_equal(machine.resets, val >= 0xfe);
	}
	assert_int_equal(dev_read(dev, 0, 1), 0); /* never busy */
	uint8_t saved[DEV_STATE_MAX];
	dev_save(dev, saved);
	dev_reset(dev);
	assert_int_equal(dev_load(dev, saved), 0);
	assert_int_equal(machine.resets, 1);
	assert_int_equal(machine.power_offs, 0);
	device_free(dev);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_acpica_powers_off),
		TEST(test_only_s5_with_slp_en_powers_off),
		TEST(test_other_sleeps_wake_at_once),
		TEST(test_reset_register),
		TEST(test_power_button),
		TEST(test_reset_save_and_load),
		TEST(test_press_takes_the_lock_and_gives_it_back),
		TEST(test_hostile_states),
		TEST(test_reset_port),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
