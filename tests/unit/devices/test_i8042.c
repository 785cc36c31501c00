// SPDX-License-Identifier: Apache-2.0
/* The keyboard controller as Linux's i8042, libps2 and atkbd drive it. */
#include "tests/unit/devices/recorder.h"

#include "devices/platform.h"

enum { DATA = 0, STATUS = 4, COMMAND = 4 };
enum { OBF = 0x01, IBF = 0x02, KEYLOCK = 0x10, AUXDATA = 0x20 };
enum { KBDINT = 0x01, KBDDIS = 0x10, AUXDIS = 0x20, XLATE = 0x40 };

struct fixture {
	struct irq_recorder irq;
	struct machine_recorder machine;
	struct device *dev;
};

static int setup(void **state)
{
	static struct fixture f;
	f = (struct fixture){ 0 };
	f.dev = i8042_new(irq_recorder_line(&f.irq), machine_recorder_line(&f.machine));
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

/* i8042_flush(): how many bytes were waiting */
static int linux_flush(struct fixture *f)
{
	int count = 0;
	for (; in(f, STATUS) & OBF; count++) {
		assert_true(count < 64);
		in(f, DATA);
	}
	return count;
}

/* i8042_command() with one byte to be answered; the wait for it never takes more than one look. */
static uint8_t ask(struct fixture *f, uint8_t command)
{
	assert_false(in(f, STATUS) & IBF);
	out(f, COMMAND, command);
	assert_true(in(f, STATUS) & OBF);
	return in(f, DATA);
}

static void tell(struct fixture *f, uint8_t command, uint8_t val)
{
	out(f, COMMAND, command);
	assert_false(in(f, STATUS) & IBF);
	out(f, DATA, val);
}

/* Write to the keyboard and compare all that it answers. */
static void assert_says(struct fixture *f, uint8_t command, const char *answer, size_t len)
{
	out(f, DATA, command);
	for (size_t i = 0; i < len; i++) {
		assert_int_equal(in(f, STATUS) & (OBF | AUXDATA), OBF);
		assert_int_equal(in(f, DATA), (uint8_t)answer[i]);
	}
	assert_false(in(f, STATUS) & OBF);
}
#define SAYS(f, command, answer) assert_says(f, command, answer, sizeof(answer) - 1)

/* i8042_controller_init() and i8042_enable_kbd_port(), after which atkbd speaks */
static void linux_controller_init(struct fixture *f)
{
	assert_int_equal(linux_flush(f), 0);
	assert_int_equal(ask(f, 0xaa), 0x55);
	uint8_t ctr = ask(f, 0x20);
	assert_int_equal(ask(f, 0x20), ctr);
	assert_true(in(f, STATUS) & KEYLOCK); /* else it warns */
	assert_true(ctr & XLATE);
	ctr = (ctr | KBDDIS) & ~KBDINT;
	tell(f, 0x60, ctr);
	assert_int_equal(linux_flush(f), 0);
	ctr = (ctr & ~KBDDIS) | KBDINT;
	tell(f, 0x60, ctr);
	assert_int_equal(ask(f, 0x20), ctr);
}

static void test_linux_finds_no_auxiliary_port(void **state)
{
	struct fixture *f = *state;
	out(f, COMMAND, 0xd3);
	out(f, DATA, 0x5a);
	assert_int_equal(in(f, STATUS) & (OBF | AUXDATA), OBF | AUXDATA);
	assert_false(f->irq.high); /* not the keyboard's */
	assert_int_equal(in(f, DATA), 0x5a);
	out(f, COMMAND, 0xa7);
	assert_true(ask(f, 0x20) & AUXDIS); /* so far as expected, no warning */
	out(f, COMMAND, 0xa8);
	assert_true(ask(f, 0x20) & AUXDIS); /* it cannot be enabled: it is not there */
	tell(f, 0x60, XLATE);
	assert_int_equal(ask(f, 0x20), XLATE | AUXDIS);
	uint8_t test = ask(f, 0xa9);
	assert_true(test && test != 0xfa && test != 0xff);
	tell(f, 0xd4, 0xf2); /* nobody answers */
	assert_false(in(f, STATUS) & OBF);
}

static void test_linux_finds_the_keyboard(void **state)
{
	struct fixture *f = *state;
	linux_controller_init(f);
	assert_int_equal(ask(f, 0xab), 0);
	SAYS(f, 0xf2, "\xfa\xab\x41"); /* AB 83, translated */
	SAYS(f, 0xf5, "\xfa");
	SAYS(f, 0xed, "\xfa");
	SAYS(f, 0x00, "\xfa");
	SAYS(f, 0xf3, "\xfa");
	SAYS(f, 0x00, "\xfa");
	SAYS(f, 0xf4, "\xfa");
	SAYS(f, 0xff, "\xfa\xaa");
}

static void test_linux_finds_the_keyboard_untranslated(void **state)
{
	struct fixture *f = *state;
	tell(f, 0x60, KBDINT);
	SAYS(f, 0xf2, "\xfa\xab\x83");
	SAYS(f, 0xf0, "\xfa");
	SAYS(f, 0x00, "\xfa\x02");
	SAYS(f, 0xf0, "\xfa");
	SAYS(f, 0x03, "\xfa");
	SAYS(f, 0xf0, "\xfa");
	SAYS(f, 0x00, "\xfa\x03");
	SAYS(f, 0xf0, "\xfa");
	SAYS(f, 0x04, "\xfe");
	SAYS(f, 0xf6, "\xfa");
	SAYS(f, 0xf0, "\xfa");
	SAYS(f, 0x00, "\xfa\x02");
}

static void test_keyboard_commands(void **state)
{
	struct fixture *f = *state;
	SAYS(f, 0xee, "\xee");
	for (unsigned command = 0xf7; command <= 0xfa; command++)
		SAYS(f, (uint8_t)command, "\xfa");
	SAYS(f, 0xfb, "\xfa");
	SAYS(f, 0x1c, "\xfa");
	SAYS(f, 0xf1, "\xfe");
	SAYS(f, 0x00, "\xfe");
	SAYS(f, 0xf2, "\xfa\xab\x41");
	SAYS(f, 0xfe, "\x41"); /* the last byte again */
	SAYS(f, 0xed, "\xfa");
	SAYS(f, 0xf2, "\xfa\xab\x41"); /* a command where an argument was due */
	SAYS(f, 0x02, "\xfe");
	SAYS(f, 0xed, "\xfa");
	SAYS(f, 0xed, "\xfa"); /* likewise: the argument is due still */
	SAYS(f, 0x02, "\xfa");
	SAYS(f, 0x02, "\xfe");
}

/* Reset and defaults bring set 2 back; of the two only reset makes a keyboard speak that was told not to. */
static void test_keyboard_defaults(void **state)
{
	struct fixture *f = *state;
	tell(f, 0x60, KBDINT);
	for (unsigned set = 1; set <= 3; set += 2) {
		SAYS(f, 0xf0, "\xfa");
		SAYS(f, (uint8_t)set, "\xfa");
		assert_false(i8042_ctrl_alt_del(f->dev)); /* it would type another set's codes */
		SAYS(f, 0xf6, "\xfa");
		assert_true(i8042_ctrl_alt_del(f->dev));
		assert_int_equal(linux_flush(f), 11);
	}
	SAYS(f, 0xf0, "\xfa");
	SAYS(f, 0x01, "\xfa");
	SAYS(f, 0xf5, "\xfa");
	SAYS(f, 0xf6, "\xfa");
	assert_false(i8042_ctrl_alt_del(f->dev));
	SAYS(f, 0xff, "\xfa\xaa");
	assert_true(i8042_ctrl_alt_del(f->dev));
	assert_int_equal(linux_flush(f), 11);
}

/* A byte for the keyboard ends what it was saying, even half a key release: here a break prefix that was sent again. */
static void test_commands_interrupt_a_release(void **state)
{
	struct fixture *f = *state;
	tell(f, 0x60, KBDINT);
	assert_true(i8042_ctrl_alt_del(f->dev));
	for (unsigned i = 0; i < 5; i++)
		in(f, DATA);
	tell(f, 0x60, KBDINT | XLATE);
	out(f, DATA, 0xfe);
	assert_int_equal(in(f, DATA), 0xf0);
	assert_false(in(f, STATUS) & OBF); /* translation waits for the key */
	SAYS(f, 0xf2, "\xfa\xab\x41");
}

static void test_status_tells_what_was_written(void **state)
{
	struct fixture *f = *state;
	enum { SYS = 0x04, CMD = 0x08 };
	assert_int_equal(in(f, STATUS), KEYLOCK | SYS);
	out(f, COMMAND, 0x60);
	assert_int_equal(in(f, STATUS), KEYLOCK | SYS | CMD);
	out(f, DATA, KBDINT); /* SYS off */
	assert_int_equal(in(f, STATUS), KEYLOCK);
	assert_int_equal(ask(f, 0xaa), 0x55); /* a self-test that passes sets it */
	assert_int_equal(in(f, STATUS), KEYLOCK | SYS | CMD);
	assert_int_equal(ask(f, 0x20), KBDINT | 0x04 | AUXDIS);
	out(f, DATA, 0xee);
	assert_int_equal(in(f, STATUS), KEYLOCK | SYS | OBF);
	assert_true(ask(f, 0xd0) == 0xee); /* the echo, first in line */
	out(f, DATA, 0xee);
	out(f, COMMAND, 0xd0);
	in(f, DATA);
	assert_int_equal(in(f, DATA), 0x13); /* when asked, the buffer was full */
}

/* A command that comes where another one's data byte was due takes its place. */
static void test_command_instead_of_its_data(void **state)
{
	struct fixture *f = *state;
	uint8_t ctr = ask(f, 0x20);
	out(f, COMMAND, 0x60);
	out(f, COMMAND, 0xae);
	SAYS(f, 0xee, "\xee"); /* for the keyboard */
	assert_int_equal(ask(f, 0x20), ctr);
}

static void test_one_edge_for_each_byte(void **state)
{
	struct fixture *f = *state;
	out(f, DATA, 0xf2);
	for (unsigned i = 1; i <= 3; i++) {
		assert_true(f->irq.high);
		assert_int_equal(f->irq.rises, i);
		in(f, STATUS);
		in(f, DATA);
	}
	assert_false(f->irq.high);
	tell(f, 0x60, XLATE); /* no interrupts */
	out(f, DATA, 0xf2);
	assert_int_equal(in(f, STATUS) & OBF, OBF);
	assert_false(f->irq.high);
	tell(f, 0x60, XLATE | KBDINT);
	assert_true(f->irq.high);
}

static void test_held_clock_keeps_the_keyboard_quiet(void **state)
{
	struct fixture *f = *state;
	out(f, COMMAND, 0xad);
	assert_true(i8042_ctrl_alt_del(f->dev));
	assert_false(in(f, STATUS) & OBF);
	assert_true(ask(f, 0x20) & KBDDIS);
	out(f, COMMAND, 0xae);
	assert_int_equal(in(f, DATA), 0x1d);
	out(f, COMMAND, 0xad);
	in(f, DATA); /* what was in the buffer already */
	assert_false(in(f, STATUS) & OBF);
	SAYS(f, 0xf4, "\xfa"); /* talking to it lets it answer, and drops the rest */
}

static void test_controller_answers_go_first(void **state)
{
	struct fixture *f = *state;
	out(f, DATA, 0xf2);
	out(f, COMMAND, 0xaa);
	out(f, COMMAND, 0xc0); /* replaces the answer nobody fetched */
	assert_int_equal(in(f, DATA), 0xfa);
	assert_int_equal(in(f, DATA), 0x80);
	assert_int_equal(in(f, DATA), 0xab);
	assert_int_equal(in(f, DATA), 0x41);
	assert_false(in(f, STATUS) & OBF);
}

static void test_output_port(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(ask(f, 0xd0), 0x03);
	tell(f, 0xd1, 0xdd); /* A20 off */
	assert_int_equal(ask(f, 0xd0), 0x01);
	tell(f, 0xd1, 0xdf);
	assert_int_equal(ask(f, 0xd0), 0x03);
	assert_int_equal(f->machine.resets, 0);
	tell(f, 0xd1, 0xde);
	assert_int_equal(f->machine.resets, 1);
	tell(f, 0xd2, 0x1c); /* as if typed */
	assert_int_equal(in(f, STATUS) & (OBF | AUXDATA), OBF);
	assert_int_equal(in(f, DATA), 0x1c);
}

static void test_reset_command(void **state)
{
	struct fixture *f = *state;
	out(f, COMMAND, 0xff); /* pulses nothing */
	assert_int_equal(f->machine.resets, 0);
	out(f, COMMAND, 0xfe);
	assert_int_equal(f->machine.resets, 1);
	out(f, DATA, 0xfe); /* on the other port it is for the keyboard */
	assert_int_equal(f->machine.resets, 1);
}

static void assert_types(struct fixture *f, const char *codes, size_t len)
{
	assert_true(i8042_ctrl_alt_del(f->dev));
	for (size_t i = 0; i < len; i++)
		assert_int_equal(in(f, DATA), (uint8_t)codes[i]);
	assert_false(in(f, STATUS) & OBF);
}

static void test_ctrl_alt_del(void **state)
{
	struct fixture *f = *state;
	static const char set1[] = "\x1d\x38\xe0\x53\xe0\xd3\xb8\x9d";
	static const char set2[] = "\x14\x11\xe0\x71\xe0\xf0\x71\xf0\x11\xf0\x14";
	assert_types(f, set1, sizeof(set1) - 1);
	tell(f, 0x60, KBDINT);
	assert_types(f, set2, sizeof(set2) - 1);
	SAYS(f, 0xf5, "\xfa");
	assert_false(i8042_ctrl_alt_del(f->dev)); /* the guest said that it does not listen */
	assert_false(in(f, STATUS) & OBF);
	SAYS(f, 0xf4, "\xfa");
	assert_true(i8042_ctrl_alt_del(f->dev));
	assert_true(i8042_ctrl_alt_del(f->dev));
	assert_true(i8042_ctrl_alt_del(f->dev));  /* one byte of the first is out already */
	assert_false(i8042_ctrl_alt_del(f->dev)); /* bounded, and whole or not at all */
	assert_int_equal(linux_flush(f), 33);
}

static void test_ports_between(void **state)
{
	struct fixture *f = *state;
	for (unsigned reg = 1; reg < 4; reg++) {
		out(f, reg, 0xfe);
		assert_int_equal(in(f, reg), 0);
	}
	assert_int_equal(f->machine.resets, 0);
	assert_false(in(f, STATUS) & OBF);
	out(f, DATA, 0xee);
	for (unsigned reg = 1; reg < 4; reg++)
		assert_int_equal(in(f, reg), 0);
	assert_true(in(f, STATUS) & OBF); /* nor do they take what is for port 0x60 */
	assert_int_equal(in(f, DATA), 0xee);
}

static void test_reset_save_and_load(void **state)
{
	struct fixture *f = *state;
	uint8_t saved[DEV_STATE_MAX];
	out(f, DATA, 0xf2);
	in(f, DATA);
	out(f, COMMAND, 0xaa);
	out(f, COMMAND, 0x60); /* its data byte is still to come */
	dev_save(f->dev, saved);

	assert_true(f->irq.high);
	dev_reset(f->dev);
	assert_false(f->irq.high);
	assert_int_equal(in(f, STATUS), 0x14);
	assert_int_equal(ask(f, 0x20), 0x65);

	f->irq = (struct irq_recorder){ 0 };
	assert_int_equal(dev_load(f->dev, saved), 0);
	assert_int_equal(f->irq.rises, 1);
	assert_true(f->irq.high);
	assert_int_equal(dev_load(f->dev, saved), 0);
	assert_int_equal(f->irq.rises, 2); /* an edge each time, also where the line was high */
	out(f, DATA, XLATE | KBDINT);
	assert_int_equal(in(f, DATA), 0xab);
	assert_int_equal(in(f, DATA), 0x55);
	assert_int_equal(in(f, DATA), 0x41);
	assert_int_equal(ask(f, 0x20), XLATE | KBDINT | AUXDIS);
}

/* A loaded queue comes to an end; an auxiliary port did not appear. */
static void check_fifo_is_bounded(void *opaque)
{
	out(opaque, COMMAND, 0xae);
	assert_true(linux_flush(opaque) <= 34); /* the queue, the output buffer, an answer */
	assert_true(ask(opaque, 0x20) & AUXDIS);
}

static void test_states_of_every_scan_set(void **state)
{
	struct fixture *f = *state;
	uint8_t saved[DEV_STATE_MAX];
	tell(f, 0x60, KBDINT);
	for (unsigned set = 1; set <= 3; set++) {
		SAYS(f, 0xf0, "\xfa");
		SAYS(f, (uint8_t)set, "\xfa");
		dev_save(f->dev, saved);
		dev_reset(f->dev);
		assert_int_equal(dev_load(f->dev, saved), 0);
		SAYS(f, 0xf0, "\xfa");
		out(f, DATA, 0x00);
		assert_int_equal(in(f, DATA), 0xfa);
		assert_int_equal(in(f, DATA), set);
	}
	SAYS(f, 0xff, "\xfa\xaa");
	tell(f, 0x60, KBDINT | XLATE);
	assert_true(i8042_ctrl_alt_del(f->dev));
	for (unsigned i = 0; i < 5; i++)
		in(f, DATA);
	dev_save(f->dev, saved); /* amid a release */
	assert_int_equal(dev_load(f->dev, saved), 0);
	assert_int_equal(in(f, DATA), 0xd3);
	assert_int_equal(in(f, DATA), 0xb8);
}

static void test_hostile_states(void **state)
{
	struct fixture *f = *state;
	assert_true(i8042_ctrl_alt_del(f->dev));
	in(f, DATA);
	out(f, COMMAND, 0xaa);
	dev_check_load_is_safe(f->dev, check_fifo_is_bounded, f);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_linux_finds_no_auxiliary_port),
		TEST(test_linux_finds_the_keyboard),
		TEST(test_linux_finds_the_keyboard_untranslated),
		TEST(test_keyboard_commands),
		TEST(test_keyboard_defaults),
		TEST(test_commands_interrupt_a_release),
		TEST(test_status_tells_what_was_written),
		TEST(test_command_instead_of_its_data),
		TEST(test_one_edge_for_each_byte),
		TEST(test_held_clock_keeps_the_keyboard_quiet),
		TEST(test_controller_answers_go_first),
		TEST(test_output_port),
		TEST(test_reset_command),
		TEST(test_ctrl_alt_del),
		TEST(test_ports_between),
		TEST(test_reset_save_and_load),
		TEST(test_states_of_every_scan_set),
		TEST(test_hostile_states),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
