// SPDX-License-Identifier: Apache-2.0
/*
 * PC keyboard controller (Intel 8042; IBM PS/2 Technical Reference, "Keyboard and Auxiliary Device Controller") with a
 * keyboard at its first port: enough that a guest finds both, and can be told Ctrl-Alt-Del. The auxiliary port is
 * disabled for good. Both answer at once, so the input buffer is never full.
 */
#include "devices/platform.h"

#include <errno.h>

#include "devices/fifo.h"
#include "src/base/log.h"
#include "src/base/util.h"

enum { PORT_DATA = 0, PORT_COMMAND = 4 }; /* read: status */
enum {
	STR_OBF = 1 << 0,
	STR_SYS = 1 << 2,
	STR_CMD = 1 << 3,
	STR_KEYLOCK = 1 << 4, /* high: not locked */
	STR_AUXDATA = 1 << 5,
};
enum {
	CTR_KBDINT = 1 << 0,
	CTR_SYS = 1 << 2,
	CTR_KBDDIS = 1 << 4,
	CTR_AUXDIS = 1 << 5,
	CTR_XLATE = 1 << 6,
	CTR_MASK = 0x7f,
	CTR_POWER_ON = CTR_KBDINT | CTR_SYS | CTR_AUXDIS | CTR_XLATE, /* as a BIOS leaves it */
};
enum { P2_RESET_HIGH = 1 << 0, P2_A20 = 1 << 1, P2_KBD_OBF = 1 << 4 };
enum {
	CTL_READ_CTR = 0x20,
	CTL_WRITE_CTR = 0x60,
	CTL_AUX_DISABLE = 0xa7,
	CTL_AUX_ENABLE = 0xa8,
	CTL_AUX_TEST = 0xa9,
	CTL_SELF_TEST = 0xaa,
	CTL_KBD_TEST = 0xab,
	CTL_KBD_DISABLE = 0xad,
	CTL_KBD_ENABLE = 0xae,
	CTL_READ_P1 = 0xc0,
	CTL_READ_P2 = 0xd0,
	CTL_WRITE_P2 = 0xd1,
	CTL_KBD_LOOP = 0xd2,
	CTL_AUX_LOOP = 0xd3,
	CTL_AUX_SEND = 0xd4,
	CTL_PULSE = 0xf0, /* low nibble: the lines of P2 that are not pulsed */
};
enum { SELF_TEST_PASSED = 0x55, KBD_TEST_PASSED = 0x00, AUX_CLOCK_STUCK = 0x01, P1_NOT_LOCKED = 0x80 };
enum {
	KBD_SET_LEDS = 0xed,
	KBD_ECHO = 0xee,
	KBD_SCAN_SET = 0xf0,
	KBD_GET_ID = 0xf2,
	KBD_SET_RATE = 0xf3,
	KBD_ENABLE = 0xf4,
	KBD_DISABLE = 0xf5,
	KBD_DEFAULTS = 0xf6,
	KBD_ALL_TYPEMATIC = 0xf7, /* to 0xfa: set 3 only, accepted */
	KBD_ALL_BOTH = 0xfa,
	KBD_KEY_TYPEMATIC = 0xfb, /* to 0xfd: likewise, with a key that follows */
	KBD_KEY_MAKE = 0xfd,
	KBD_RESEND = 0xfe,
	KBD_RESET = 0xff,
	KBD_COMMANDS = 0xed, /* below: an argument */
};
enum { KBD_ACK = 0xfa, KBD_NAK = 0xfe, KBD_TEST_PASSED_BAT = 0xaa, KBD_BREAK = 0xf0, KBD_DEFAULT_SET = 2 };

struct i8042_state {
	uint8_t ctr, a20;
	uint8_t command;             /* waits for its data byte; 0: data goes to the keyboard */
	uint8_t was_command;         /* STR_CMD: the last byte written was one */
	uint8_t out, out_status;     /* the output buffer; STR_OBF, perhaps with STR_AUXDATA, or 0 */
	uint8_t reply, reply_status; /* the controller's own answer, next for the output buffer */
	uint8_t releasing;           /* translation swallowed a break prefix */
	uint8_t kbd_command;         /* waits for its argument; 0: none */
	uint8_t kbd_set, kbd_scanning;
	uint8_t kbd_last; /* what KBD_RESEND repeats */
	struct fifo kbd;  /* from the keyboard, untranslated */
};

struct i8042 {
	struct device dev;
	struct irq_level irq;
	struct machine_line machine;
	struct i8042_state state;
};

static const struct i8042_state i8042_power_on = {
	.ctr = CTR_POWER_ON,
	.a20 = P2_A20,
	.kbd_set = KBD_DEFAULT_SET,
	.kbd_scanning = true,
};

/* ---- from the keyboard to the output buffer --------------------------------------------------------------------- */

/* Set 2 to set 1, for those bytes that our keyboard has; the others pass unchanged. */
static uint8_t i8042_translate(uint8_t byte)
{
	static const struct {
		uint8_t set2, set1;
	} codes[] = {
		{ 0x14, 0x1d }, { 0x11, 0x38 }, { 0x71, 0x53 },                 /* Ctrl, Alt, Del after an E0 */
		{ 0x83, 0x41 }, { 0x01, 0x43 }, { 0x02, 0x41 }, { 0x03, 0x3f }, /* in answers */
	};
	for (size_t i = 0; i < ARRAY_SIZE(codes); i++)
		if (codes[i].set2 == byte)
			return codes[i].set1;
	return byte;
}

/* The keyboard's next byte as the guest is to see it. False: there is none (yet). */
static bool i8042_next_from_keyboard(struct i8042_state *s, uint8_t *byte)
{
	while (s->kbd.count) {
		uint8_t raw = s->kbd_last = fifo_pop(&s->kbd);
		if (!(s->ctr & CTR_XLATE)) {
			*byte = raw;
			return true;
		}
		if (raw == KBD_BREAK) {
			s->releasing = true;
			continue;
		}
		*byte = i8042_translate(raw) | (s->releasing ? 0x80 : 0);
		s->releasing = false;
		return true;
	}
	return false;
}

/* The controller's own answer goes first; the keyboard speaks while its clock is not held. */
static void i8042_fill(struct i8042_state *s)
{
	if (s->out_status)
		return;
	if (s->reply_status) {
		s->out = s->reply;
		s->out_status = s->reply_status;
		s->reply_status = 0;
	} else if (!(s->ctr & CTR_KBDDIS) && i8042_next_from_keyboard(s, &s->out)) {
		s->out_status = STR_OBF;
	}
}

static bool i8042_interrupts(const struct i8042_state *s)
{
	return s->out_status == STR_OBF && (s->ctr & CTR_KBDINT);
}

static void i8042_settle(struct i8042 *kbc)
{
	i8042_fill(&kbc->state);
	irq_level_set(&kbc->irq, i8042_interrupts(&kbc->state));
}

/* ---- the keyboard ----------------------------------------------------------------------------------------------- */

static void i8042_kbd_say(struct i8042_state *s, uint8_t byte)
{
	if (!fifo_push(&s->kbd, FIFO_SIZE, byte))
		log_guest("i8042: the keyboard's queue is full");
}

static void i8042_kbd_argument(struct i8042_state *s, uint8_t val)
{
	bool scan_set = s->kbd_command == KBD_SCAN_SET;
	s->kbd_command = 0;
	if (scan_set && val > 3) {
		i8042_kbd_say(s, KBD_NAK);
		return;
	}
	i8042_kbd_say(s, KBD_ACK);
	if (scan_set && val == 0)
		i8042_kbd_say(s, s->kbd_set);
	else if (scan_set)
		s->kbd_set = val;
}

static void i8042_kbd_defaults(struct i8042_state *s, bool scanning)
{
	s->kbd_set = KBD_DEFAULT_SET;
	s->kbd_scanning = scanning;
}

static void i8042_kbd_command(struct i8042_state *s, uint8_t val)
{
	s->kbd_command = 0;
	switch (val) {
	case KBD_ECHO:
		i8042_kbd_say(s, KBD_ECHO);
		return;
	case KBD_RESEND:
		i8042_kbd_say(s, s->kbd_last);
		return;
	case KBD_SET_LEDS:
	case KBD_SET_RATE:
	case KBD_SCAN_SET:
	case KBD_KEY_TYPEMATIC ... KBD_KEY_MAKE:
		s->kbd_command = val;
		break;
	case KBD_ENABLE:
		s->kbd_scanning = true;
		break;
	case KBD_DISABLE:
		i8042_kbd_defaults(s, false);
		break;
	case KBD_DEFAULTS:
		i8042_kbd_defaults(s, s->kbd_scanning);
		break;
	case KBD_RESET:
		i8042_kbd_defaults(s, true);
		break;
	case KBD_GET_ID:
	case KBD_ALL_TYPEMATIC ... KBD_ALL_BOTH:
		break;
	default:
		i8042_kbd_say(s, KBD_NAK);
		return;
	}
	i8042_kbd_say(s, KBD_ACK);
	if (val == KBD_RESET)
		i8042_kbd_say(s, KBD_TEST_PASSED_BAT);
	if (val == KBD_GET_ID) {
		i8042_kbd_say(s, 0xab);
		i8042_kbd_say(s, 0x83);
	}
}

/* A byte to the keyboard starts its clock, and drops what it was about to say. */
static void i8042_kbd_write(struct i8042_state *s, uint8_t val)
{
	s->ctr &= ~CTR_KBDDIS;
	s->releasing = false;
	fifo_clear(&s->kbd);
	if (s->kbd_command && val < KBD_COMMANDS)
		i8042_kbd_argument(s, val);
	else
		i8042_kbd_command(s, val);
}

/* ---- the controller --------------------------------------------------------------------------------------------- */

static void i8042_reply(struct i8042_state *s, uint8_t val, uint8_t status)
{
	s->reply = val; /* one that nobody fetched is replaced */
	s->reply_status = status;
}

static uint8_t i8042_p2(const struct i8042_state *s)
{
	return P2_RESET_HIGH | s->a20 | (s->out_status == STR_OBF ? P2_KBD_OBF : 0);
}

/* The commands that only ask something. */
static bool i8042_answer(const struct i8042_state *s, uint8_t command, uint8_t *answer)
{
	switch (command) {
	case CTL_READ_CTR:
		*answer = s->ctr;
		return true;
	case CTL_AUX_TEST:
		*answer = AUX_CLOCK_STUCK;
		return true;
	case CTL_SELF_TEST:
		*answer = SELF_TEST_PASSED;
		return true;
	case CTL_KBD_TEST:
		*answer = KBD_TEST_PASSED;
		return true;
	case CTL_READ_P1:
		*answer = P1_NOT_LOCKED;
		return true;
	case CTL_READ_P2:
		*answer = i8042_p2(s);
		return true;
	}
	return false;
}

static void i8042_do_command(struct i8042 *kbc, uint8_t val)
{
	struct i8042_state *s = &kbc->state;
	switch (val) {
	case CTL_WRITE_CTR:
	case CTL_WRITE_P2:
	case CTL_KBD_LOOP:
	case CTL_AUX_LOOP:
	case CTL_AUX_SEND:
		s->command = val;
		break;
	case CTL_KBD_DISABLE:
		s->ctr |= CTR_KBDDIS;
		break;
	case CTL_KBD_ENABLE:
		s->ctr &= ~CTR_KBDDIS;
		break;
	case CTL_PULSE ... 0xff:
		if (!(val & P2_RESET_HIGH))
			machine_ask(&kbc->machine, MACHINE_RESET);
		break;
	case CTL_AUX_DISABLE: /* it is */
	case CTL_AUX_ENABLE:  /* it cannot: a guest that looks finds CTR_AUXDIS still set */
		break;
	default:
		log_guest("i8042: unknown command 0x%02x", val);
	}
}

static void i8042_write_command(struct i8042 *kbc, uint8_t val)
{
	struct i8042_state *s = &kbc->state;
	uint8_t answer;
	s->command = 0;
	s->was_command = true;
	if (val == CTL_SELF_TEST)
		s->ctr |= CTR_SYS;
	if (i8042_answer(s, val, &answer))
		i8042_reply(s, answer, STR_OBF);
	else
		i8042_do_command(kbc, val);
}

static void i8042_write_data(struct i8042 *kbc, uint8_t val)
{
	struct i8042_state *s = &kbc->state;
	uint8_t command = s->command;
	s->command = 0;
	s->was_command = false;
	switch (command) {
	case 0:
		i8042_kbd_write(s, val);
		break;
	case CTL_WRITE_CTR:
		s->ctr = (val & CTR_MASK) | CTR_AUXDIS;
		break;
	case CTL_WRITE_P2:
		s->a20 = val & P2_A20; /* told back; memory does not wrap here */
		if (!(val & P2_RESET_HIGH))
			machine_ask(&kbc->machine, MACHINE_RESET);
		break;
	case CTL_KBD_LOOP:
		i8042_reply(s, val, STR_OBF);
		break;
	case CTL_AUX_LOOP:
		i8042_reply(s, val, STR_OBF | STR_AUXDATA);
		break;
	} /* CTL_AUX_SEND: nobody hears it */
}

static uint8_t i8042_read_status(const struct i8042_state *s)
{
	return s->out_status | STR_KEYLOCK | (s->ctr & CTR_SYS ? STR_SYS : 0) | (s->was_command ? STR_CMD : 0);
}

static uint64_t i8042_read(struct device *dev, uint64_t off, unsigned size)
{
	struct i8042 *kbc = container_of(dev, struct i8042, dev);
	if (off == PORT_COMMAND)
		return i8042_read_status(&kbc->state);
	if (off != PORT_DATA)
		return 0;
	uint8_t val = kbc->state.out;
	kbc->state.out_status = 0;
	irq_level_set(&kbc->irq, false); /* falls before it rises for the next byte: the guest's pin wants an edge */
	i8042_settle(kbc);
	return val;
}

static void i8042_write(struct device *dev, uint64_t off, unsigned size, uint64_t val)
{
	struct i8042 *kbc = container_of(dev, struct i8042, dev);
	if (off == PORT_COMMAND)
		i8042_write_command(kbc, (uint8_t)val);
	else if (off == PORT_DATA)
		i8042_write_data(kbc, (uint8_t)val);
	i8042_settle(kbc);
}

bool i8042_ctrl_alt_del(struct device *dev)
{
	static const uint8_t keys[] = {
		0x14, 0x11, 0xe0, 0x71, 0xe0, KBD_BREAK, 0x71, KBD_BREAK, 0x11, KBD_BREAK, 0x14
	};
	struct i8042 *kbc = container_of(dev, struct i8042, dev);
	struct i8042_state *s = &kbc->state;
	pthread_mutex_lock(&dev->lock);
	bool typed = s->kbd_scanning && s->kbd_set == KBD_DEFAULT_SET && s->kbd.count + sizeof(keys) <= FIFO_SIZE;
	for (size_t i = 0; typed && i < sizeof(keys); i++)
		i8042_kbd_say(s, keys[i]);
	i8042_settle(kbc);
	pthread_mutex_unlock(&dev->lock);
	return typed;
}

/* ---- life ------------------------------------------------------------------------------------------------------- */

static void i8042_reset(struct device *dev)
{
	struct i8042 *kbc = container_of(dev, struct i8042, dev);
	kbc->state = i8042_power_on;
	i8042_settle(kbc);
}

static void i8042_save(const struct device *dev, void *state)
{
	const struct i8042 *kbc = container_of(dev, struct i8042, dev);
	memcpy(state, &kbc->state, sizeof(kbc->state));
}

static bool i8042_is_one_of(uint8_t val, const uint8_t *set, size_t count)
{
	return memchr(set, val, count);
}

static bool i8042_valid(const struct i8042_state *s)
{
	static const uint8_t commands[] = { 0, CTL_WRITE_CTR, CTL_WRITE_P2, CTL_KBD_LOOP, CTL_AUX_LOOP, CTL_AUX_SEND };
	static const uint8_t kbd_commands[] = {
		0, KBD_SET_LEDS, KBD_SET_RATE, KBD_SCAN_SET, KBD_KEY_TYPEMATIC, KBD_KEY_TYPEMATIC + 1, KBD_KEY_MAKE
	};
	static const uint8_t statuses[] = { 0, STR_OBF, STR_OBF | STR_AUXDATA };
	return (s->ctr & ~CTR_MASK) == 0 && (s->ctr & CTR_AUXDIS) && !(s->a20 & ~P2_A20) && s->was_command <= 1 &&
	       s->releasing <= 1 && s->kbd_scanning <= 1 && s->kbd_set >= 1 && s->kbd_set <= 3 &&
	       i8042_is_one_of(s->command, commands, sizeof(commands)) &&
	       i8042_is_one_of(s->kbd_command, kbd_commands, sizeof(kbd_commands)) &&
	       i8042_is_one_of(s->out_status, statuses, sizeof(statuses)) &&
	       i8042_is_one_of(s->reply_status, statuses, sizeof(statuses)) && fifo_valid(&s->kbd, FIFO_SIZE);
}

static int i8042_load(struct device *dev, const void *state)
{
	struct i8042 *kbc = container_of(dev, struct i8042, dev);
	struct i8042_state loaded;
	memcpy(&loaded, state, sizeof(loaded));
	if (!i8042_valid(&loaded))
		return -EINVAL;
	kbc->state = loaded;
	irq_level_sync(&kbc->irq, false); /* an edge that was on its way may be lost: make a new one */
	i8042_settle(kbc);
	return 0;
}

static void i8042_free(struct device *dev)
{
	device_fini(dev);
	free(container_of(dev, struct i8042, dev));
}

static const struct device_ops i8042_ops = {
	.name = "i8042",
	.widths = 1,
	.read = i8042_read,
	.write = i8042_write,
	.reset = i8042_reset,
	.free = i8042_free,
	.state_size = sizeof(struct i8042_state),
	.save = i8042_save,
	.load = i8042_load,
};

struct device *i8042_new(struct irq_line irq, struct machine_line machine)
{
	struct i8042 *kbc = calloc(1, sizeof(*kbc));
	if (!kbc)
		return NULL;
	device_init(&kbc->dev, &i8042_ops);
	kbc->irq.line = irq;
	kbc->machine = machine;
	kbc->state = i8042_power_on;
	return &kbc->dev;
}
