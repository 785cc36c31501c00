// SPDX-License-Identifier: Apache-2.0
/* The PL031 as Linux's rtc-pl031 drives it, and its arithmetic at the edges. Time is a number, the loop is turned by
 * hand. */
#include "tests/unit/devices/recorder.h"

#include "devices/rtc.h"

enum { DR = 0x00, MR = 0x04, LR = 0x08, CR = 0x0c, IMSC = 0x10, RIS = 0x14, MIS = 0x18, ICR = 0x1c };
enum { START = 1700000000 }; /* host seconds, at which each test begins half a second in */

struct fixture {
	struct irq_recorder irq;
	struct fake_clock clock;
	struct loop *loop;
	struct device *dev;
};

static int setup(void **state)
{
	static struct fixture f;
	f = (struct fixture){ 0 };
	fake_clock_init(&f.clock, START * NSEC_PER_SEC + NSEC_PER_SEC / 2);
	f.loop = loop_new(&f.clock.clock, NULL);
	f.dev = f.loop ? pl031_new(irq_recorder_line(&f.irq), &f.clock.clock, f.loop) : NULL;
	*state = &f;
	return !f.dev;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	device_free(f->dev);
	loop_free(f->loop);
	return 0;
}

static uint32_t in(struct fixture *f, unsigned reg)
{
	return (uint32_t)dev_read(f->dev, reg, 4);
}

static void out(struct fixture *f, unsigned reg, uint32_t val)
{
	dev_write(f->dev, reg, 4, val);
}

static void pass(struct fixture *f, uint64_t ns)
{
	fake_clock_pass(&f->clock, ns);
	loop_turn(f->loop, 0);
}

/* pl031_set_alarm() */
static void linux_set_alarm(struct fixture *f, uint32_t at)
{
	out(f, MR, at);
	out(f, ICR, 1);
	out(f, IMSC, in(f, IMSC) | 1);
}

/* pl031_interrupt(); false: not ours */
static bool linux_interrupt(struct fixture *f)
{
	if (!(in(f, MIS) & 1))
		return false;
	out(f, ICR, 1);
	return true;
}

static void test_power_on(void **state)
{
	struct fixture *f = *state;
	static const uint8_t ids[] = { 0x31, 0x10, 0x04, 0x00, 0x0d, 0xf0, 0x05, 0xb1 };
	assert_int_equal(in(f, DR), START);
	for (unsigned reg = MR; reg < 0xfe0; reg += 4)
		assert_int_equal(in(f, reg), 0);
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(in(f, 0xfe0 + 4 * i), ids[i]);
	out(f, 0xfe0, 0);
	out(f, DR, 5);
	out(f, RIS, 1);
	out(f, MIS, 1);
	out(f, 0x20, ~0u);
	assert_int_equal(in(f, 0xfe0), 0x31);
	assert_int_equal(in(f, DR), START);
	assert_int_equal(in(f, RIS), 0);
	assert_int_equal(f->irq.calls, 0);
}

static void test_control_stays_set(void **state)
{
	struct fixture *f = *state;
	out(f, CR, 0xfffffffe);
	assert_int_equal(in(f, CR), 0);
	out(f, CR, 1);
	out(f, CR, 0);
	assert_int_equal(in(f, CR), 1);
	dev_reset(f->dev);
	assert_int_equal(in(f, CR), 0);
}

static void test_setting_the_time(void **state)
{
	struct fixture *f = *state;
	out(f, LR, 1000);
	assert_int_equal(in(f, LR), 1000);
	assert_int_equal(in(f, DR), 1000);
	pass(f, 10 * NSEC_PER_SEC);
	assert_int_equal(in(f, DR), 1010);
	assert_int_equal(in(f, LR), 1000);
	out(f, LR, UINT32_MAX);
	pass(f, 2 * NSEC_PER_SEC);
	assert_int_equal(in(f, DR), 1); /* 2106 came and went */
}

static void test_linux_alarm(void **state)
{
	struct fixture *f = *state;
	linux_set_alarm(f, START + 10);
	assert_int_equal(in(f, MR), START + 10);
	pass(f, 9 * NSEC_PER_SEC + NSEC_PER_SEC / 2 - 1); /* the last nanosecond before it */
	assert_false(f->irq.high);
	pass(f, 1);
	assert_true(f->irq.high);
	assert_int_equal(in(f, DR), START + 10);
	assert_int_equal(in(f, RIS), 1);
	assert_true(linux_interrupt(f));
	assert_false(f->irq.high);
	assert_false(linux_interrupt(f));
	pass(f, 100 * NSEC_PER_SEC); /* once */
	assert_int_equal(f->irq.rises, 1);
}

static void test_alarm_for_this_very_second(void **state)
{
	struct fixture *f = *state;
	linux_set_alarm(f, START);
	loop_turn(f->loop, 0);
	assert_true(f->irq.high);
}

static void test_masking(void **state)
{
	struct fixture *f = *state;
	out(f, MR, START + 1);
	pass(f, NSEC_PER_SEC);
	assert_int_equal(in(f, RIS), 1);
	assert_int_equal(in(f, MIS), 0);
	assert_false(f->irq.high);
	out(f, IMSC, 0xfffffffe);
	assert_false(f->irq.high);
	out(f, IMSC, 1);
	assert_int_equal(in(f, MIS), 1);
	assert_int_equal(in(f, IMSC), 1);
	assert_true(f->irq.high);
	out(f, ICR, 0xfffffffe); /* not our bit */
	assert_true(f->irq.high);
	out(f, IMSC, 0);
	assert_false(f->irq.high);
	assert_int_equal(in(f, RIS), 1);
	assert_int_equal(f->irq.calls, 2);
}

static void test_alarm_is_moved(void **state)
{
	struct fixture *f = *state;
	linux_set_alarm(f, START + 5);
	linux_set_alarm(f, START + 20);
	pass(f, 10 * NSEC_PER_SEC);
	assert_false(f->irq.high);
	out(f, LR, START + 18); /* setting the time brings the alarm nearer */
	pass(f, NSEC_PER_SEC);
	assert_false(f->irq.high);
	pass(f, NSEC_PER_SEC);
	assert_true(f->irq.high);
	assert_int_equal(in(f, DR), START + 20);
}

static void test_alarm_in_the_past_waits_for_the_wrap(void **state)
{
	struct fixture *f = *state;
	linux_set_alarm(f, START - 1);
	pass(f, ((uint64_t)UINT32_MAX - 1) * NSEC_PER_SEC);
	assert_false(f->irq.high);
	pass(f, NSEC_PER_SEC);
	assert_true(f->irq.high);
	out(f, ICR, 1);
	out(f, LR, UINT32_MAX - 4);
	linux_set_alarm(f, 3);
	pass(f, 7 * NSEC_PER_SEC);
	assert_false(f->irq.high);
	pass(f, NSEC_PER_SEC);
	assert_true(f->irq.high);
}

static void test_host_clock_is_set_back(void **state)
{
	struct fixture *f = *state;
	linux_set_alarm(f, START + 10);
	f->clock.wall_ns -= 5 * NSEC_PER_SEC;
	pass(f, 10 * NSEC_PER_SEC);
	assert_false(f->irq.high); /* the guest sees START + 5 */
	pass(f, 5 * NSEC_PER_SEC);
	assert_true(f->irq.high);
	assert_int_equal(in(f, DR), START + 10);
}

static void test_host_clock_jumps_over_the_alarm(void **state)
{
	struct fixture *f = *state;
	linux_set_alarm(f, START + 10);
	f->clock.wall_ns += 3600 * NSEC_PER_SEC;
	pass(f, 10 * NSEC_PER_SEC);
	assert_true(f->irq.high);
}

static void test_reset(void **state)
{
	struct fixture *f = *state;
	out(f, LR, 5);
	linux_set_alarm(f, 5);
	loop_turn(f->loop, 0);
	assert_true(f->irq.high);
	out(f, MR, 10);
	dev_reset(f->dev);
	assert_false(f->irq.high); /* at once, not with the next access */
	assert_int_equal(in(f, DR), START);
	assert_int_equal(in(f, RIS), 0);
	out(f, IMSC, 1);
	pass(f, 100 * NSEC_PER_SEC);
	assert_false(f->irq.high); /* the timer stopped */
	for (unsigned reg = MR; reg < IMSC; reg += 4)
		assert_int_equal(in(f, reg), 0);
}

static struct device *loaded_copy(struct fixture *f, struct irq_recorder *irq, const uint8_t *saved)
{
	struct device *dev = pl031_new(irq_recorder_line(irq), &f->clock.clock, f->loop);
	assert_non_null(dev);
	assert_int_equal(dev_load(dev, saved), 0);
	return dev;
}

static void test_save_and_load_with_an_alarm_set(void **state)
{
	struct fixture *f = *state;
	uint8_t saved[DEV_STATE_MAX];
	out(f, CR, 1);
	out(f, LR, 500);
	linux_set_alarm(f, 510);
	dev_save(f->dev, saved);
	dev_reset(f->dev);

	pass(f, 4 * NSEC_PER_SEC);
	struct irq_recorder irq = { 0 };
	struct device *copy = loaded_copy(f, &irq, saved);
	assert_int_equal(dev_read(copy, DR, 4), 504);
	assert_int_equal(dev_read(copy, CR, 4), 1);
	pass(f, 5 * NSEC_PER_SEC);
	assert_false(irq.high);
	pass(f, 1 * NSEC_PER_SEC);
	assert_true(irq.high);
	device_free(copy);

	irq = (struct irq_recorder){ 0 }; /* and once more, long after the alarm was due */
	copy = loaded_copy(f, &irq, saved);
	loop_turn(f->loop, 0);
	assert_true(irq.high);
	dev_save(copy, saved);
	device_free(copy);

	irq = (struct irq_recorder){ 0 }; /* with the interrupt pending: the line is brought into agreement */
	copy = loaded_copy(f, &irq, saved);
	assert_true(irq.high);
	dev_write(copy, ICR, 4, 1);
	dev_save(copy, saved);
	device_free(copy);

	irq = (struct irq_recorder){ 0 }; /* what rang once does not ring again */
	copy = loaded_copy(f, &irq, saved);
	loop_turn(f->loop, 0);
	assert_int_equal(dev_read(copy, RIS, 4), 0);
	assert_int_equal(irq.rises, 0);
	device_free(copy);
}

/* The timer of what was there before a load is forgotten, and its line too. */
static void test_load_over_an_alarm(void **state)
{
	struct fixture *f = *state;
	uint8_t idle[DEV_STATE_MAX];
	out(f, IMSC, 1);
	dev_save(f->dev, idle);
	linux_set_alarm(f, START + 10);
	assert_int_equal(dev_load(f->dev, idle), 0);
	pass(f, 20 * NSEC_PER_SEC);
	assert_int_equal(in(f, RIS), 0);
	assert_int_equal(f->irq.rises, 0);
	f->irq.high = true; /* another interrupt controller */
	assert_int_equal(dev_load(f->dev, idle), 0);
	assert_false(f->irq.high);
}

static void check_bits(void *opaque)
{
	struct fixture *f = opaque;
	for (unsigned reg = CR; reg <= MIS; reg += 4)
		assert_true(in(f, reg) <= 1);
}

static void test_hostile_states(void **state)
{
	struct fixture *f = *state;
	linux_set_alarm(f, START + 10);
	dev_check_load_is_safe(f->dev, check_bits, f);
	uint8_t far[DEV_STATE_MAX];
	dev_save(f->dev, far);
	memset(far, 0xff, 8); /* seconds that no clock of nanoseconds holds */
	assert_int_equal(dev_load(f->dev, far), 0);
	pass(f, 1000 * NSEC_PER_SEC);
	assert_false(f->irq.high);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_power_on),
		TEST(test_control_stays_set),
		TEST(test_setting_the_time),
		TEST(test_linux_alarm),
		TEST(test_alarm_for_this_very_second),
		TEST(test_masking),
		TEST(test_alarm_is_moved),
		TEST(test_alarm_in_the_past_waits_for_the_wrap),
		TEST(test_host_clock_is_set_back),
		TEST(test_host_clock_jumps_over_the_alarm),
		TEST(test_reset),
		TEST(test_save_and_load_with_an_alarm_set),
		TEST(test_load_over_an_alarm),
		TEST(test_hostile_states),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
