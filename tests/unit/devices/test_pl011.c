// SPDX-License-Identifier: Apache-2.0
/* The register file corner by corner, and driven as Linux's amba-pl011 drives it. */
#include "tests/unit/devices/recorder.h"

#include "devices/serial.h"

enum {
	DR = 0x00,
	RSR = 0x04,
	FR = 0x18,
	ILPR = 0x20,
	IBRD = 0x24,
	FBRD = 0x28,
	LCR_H = 0x2c,
	CR = 0x30,
	IFLS = 0x34,
	IMSC = 0x38,
	RIS = 0x3c,
	MIS = 0x40,
	ICR = 0x44,
	DMACR = 0x48,
};
enum { FR_BUSY = 0x08, FR_RXFE = 0x10, FR_TXFF = 0x20, FR_RXFF = 0x40, FR_TXFE = 0x80, FR_IDLE = 0x97 };
enum { FEN = 0x10, LBE = 0x80, UARTEN = 0x001, TXE = 0x100, RXE = 0x200 };
enum { INT_RX = 0x10, INT_TX = 0x20, INT_RT = 0x40, INT_OE = 0x400 };
enum { DEPTH = 32 };

struct fixture {
	struct irq_recorder irq;
	struct chardev_recorder chr;
	struct device *dev;
};

static int setup(void **state)
{
	static struct fixture f;
	f = (struct fixture){ 0 };
	chardev_recorder_init(&f.chr);
	f.dev = pl011_new(irq_recorder_line(&f.irq), &f.chr.chr);
	*state = &f;
	return !f.dev;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	device_free(f->dev);
	return f->chr.chr.client.lock != NULL; /* unplugged */
}

/* Linux's driver makes accesses of two bytes. */
static uint16_t in(struct fixture *f, unsigned reg)
{
	return (uint16_t)dev_read(f->dev, reg, 2);
}

static void out(struct fixture *f, unsigned reg, uint16_t val)
{
	dev_write(f->dev, reg, 2, val);
}

/* ---- registers -------------------------------------------------------------------------------------------------- */

static void assert_power_on(struct fixture *f)
{
	for (unsigned reg = 0; reg < 0xfe0; reg += 4) {
		uint32_t val = (uint32_t)dev_read(f->dev, reg, 4);
		if (reg == FR)
			assert_int_equal(val, FR_IDLE);
		else if (reg == CR)
			assert_int_equal(val, 0x300);
		else if (reg == IFLS)
			assert_int_equal(val, 0x12);
		else if (reg == RIS)
			assert_int_equal(val, INT_TX);
		else
			assert_int_equal(val, 0);
	}
	assert_false(f->irq.high);
}

static void test_power_on(void **state)
{
	struct fixture *f = *state;
	assert_power_on(f);
	assert_int_equal(f->irq.calls, 0);
}

static void test_identification(void **state)
{
	struct fixture *f = *state;
	uint64_t id = 0;
	for (int i = 7; i >= 0; i--)
		id = id << 8 | dev_read(f->dev, 0xfe0 + 4 * (unsigned)i, 4);
	assert_int_equal(id & 0xfffff, 0x41011); /* what the driver binds to */
	assert_int_equal(id >> 20 & 0xf, 3);     /* r1p5: Linux takes the FIFOs to be 32 deep */
	assert_int_equal(id >> 32, 0xb105f00d);
	out(f, 0xfe0, 0xff);
	assert_int_equal(in(f, 0xfe0), 0x11);
	assert_int_equal(in(f, 0xfe2), 0);
}

static void test_storage_keeps_what_exists(void **state)
{
	struct fixture *f = *state;
	static const struct {
		unsigned reg;
		uint16_t kept;
	} regs[] = {
		{ ILPR, 0xff }, { IBRD, 0xffff }, { FBRD, 0x3f },  { LCR_H, 0xff },
		{ CR, 0xff87 }, { IFLS, 0x3f },   { IMSC, 0x7ff }, { DMACR, 0x7 },
	};
	for (size_t i = 0; i < ARRAY_SIZE(regs); i++) {
		out(f, regs[i].reg, 0xffff);
		assert_int_equal(in(f, regs[i].reg), regs[i].kept);
		out(f, regs[i].reg, 0);
		assert_int_equal(in(f, regs[i].reg), 0);
	}
	static const unsigned readonly[] = { FR, RIS, MIS, 0x50, 0x80, 0xfdc, 0xffc };
	for (size_t i = 0; i < ARRAY_SIZE(readonly); i++) {
		uint16_t before = in(f, readonly[i]);
		out(f, readonly[i], (uint16_t)~before);
		assert_int_equal(in(f, readonly[i]), before);
	}
}

static void test_odd_offsets_are_nothing(void **state)
{
	struct fixture *f = *state;
	dev_write(f->dev, DR + 1, 1, 'x');
	dev_write(f->dev, CR + 2, 2, 0xffff);
	assert_int_equal(f->chr.out_len, 0);
	assert_power_on(f);
	dev_write(f->dev, DR, 1, 'a');        /* the early console writes bytes, */
	dev_write(f->dev, DR, 4, 0xffffff62); /* or words */
	assert_memory_equal(f->chr.out, "ab", 2);
}

static void test_receive_levels(void **state)
{
	struct fixture *f = *state;
	static const unsigned levels[] = { 4, 8, 16, 24, 28, 28, 28, 28 };
	out(f, IMSC, INT_RX);
	for (unsigned sel = 0; sel < 8; sel++) {
		out(f, LCR_H, 0);
		out(f, LCR_H, FEN);
		out(f, IFLS, (uint16_t)(sel << 3 | 2));
		for (unsigned count = 1; count <= DEPTH; count++) {
			assert_int_equal(chardev_recorder_type(&f->chr, "x"), 1);
			assert_int_equal(f->irq.high, count >= levels[sel]);
			assert_true(in(f, RIS) & INT_RT); /* below the level, too: nothing ever waits unannounced */
		}
		assert_true(in(f, FR) & FR_RXFF);
		for (unsigned count = DEPTH; count--;) {
			assert_int_equal(in(f, DR), 'x');
			assert_int_equal(f->irq.high, count >= levels[sel]);
		}
		assert_int_equal(in(f, RIS), INT_TX);
		assert_true(in(f, FR) & FR_RXFE);
	}
}

static void test_clearing_rt_does_not_hide_data(void **state)
{
	struct fixture *f = *state;
	out(f, LCR_H, FEN);
	out(f, IMSC, INT_RT | INT_RX);
	chardev_recorder_type(&f->chr, "0123456789abcdefg");
	assert_int_equal(in(f, MIS), INT_RT | INT_RX);
	out(f, ICR, INT_RT | INT_RX);
	assert_int_equal(in(f, MIS), INT_RT);
	assert_true(f->irq.high);
	while (!(in(f, FR) & FR_RXFE))
		in(f, DR);
	assert_false(f->irq.high);
	assert_int_equal(in(f, DR), 0); /* empty */
}

static void test_a_level_moved_below_the_data(void **state)
{
	struct fixture *f = *state;
	out(f, LCR_H, FEN);
	chardev_recorder_type(&f->chr, "0123456789");
	assert_int_equal(in(f, RIS), INT_TX | INT_RT);
	out(f, IFLS, 0);
	assert_int_equal(in(f, RIS), INT_TX | INT_RT | INT_RX);
}

static void test_one_byte_without_fifos(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(chardev_recorder_type(&f->chr, "ab"), 1);
	assert_int_equal(in(f, FR), (FR_IDLE | FR_RXFF) & ~FR_RXFE);
	assert_true(in(f, RIS) & INT_RX);
	assert_int_equal(in(f, DR), 'a');
	assert_false(in(f, RIS) & INT_RX);
	assert_int_equal(f->chr.accepts, 1);
	f->chr.room = 0;
	out(f, DR, 'x');
	assert_int_equal(in(f, FR), (FR_IDLE | FR_TXFF | FR_BUSY) & ~FR_TXFE);
	assert_false(in(f, RIS) & INT_TX);
	out(f, LCR_H, FEN); /* enabling the FIFOs loses nothing */
	assert_int_equal(in(f, FR), (FR_IDLE | FR_BUSY) & ~FR_TXFE);
	chardev_recorder_drain(&f->chr, SIZE_MAX);
	assert_memory_equal(f->chr.out, "x", 1);
}

static void test_disabling_the_fifos_flushes_them(void **state)
{
	struct fixture *f = *state;
	out(f, LCR_H, FEN);
	chardev_recorder_type(&f->chr, "0123456789abcdefg");
	f->chr.room = 0;
	for (int i = 0; i < 20; i++)
		out(f, DR, 'x');
	assert_int_equal(in(f, RIS), INT_RX | INT_RT);
	out(f, LCR_H, 0);
	assert_int_equal(in(f, FR), FR_IDLE);
	assert_int_equal(in(f, RIS), INT_TX);
	chardev_recorder_drain(&f->chr, SIZE_MAX);
	assert_int_equal(f->chr.out_len, 0);
}

/* Linux sets the line up anew while bytes are under way: what has FEN before and after flushes nothing. */
static void test_line_settings_keep_the_fifos(void **state)
{
	struct fixture *f = *state;
	out(f, LCR_H, FEN);
	chardev_recorder_type(&f->chr, "in");
	f->chr.room = 0;
	out(f, DR, 'x');
	out(f, LCR_H, 0x70);
	assert_int_equal(in(f, DR), 'i');
	assert_int_equal(in(f, DR), 'n');
	chardev_recorder_drain(&f->chr, SIZE_MAX);
	assert_memory_equal(f->chr.out, "x", 1);
}

/* What latches an interrupt leaves the others as they are. */
static void test_interrupts_add_up(void **state)
{
	struct fixture *f = *state;
	out(f, ICR, 0x7ff);
	out(f, LCR_H, FEN);
	out(f, CR, LBE | 0x0c00); /* DCD falls, DSR and CTS stay */
	assert_int_equal(in(f, RIS), 0x4);
	out(f, CR, LBE | 0x0400); /* CTS falls */
	assert_int_equal(in(f, RIS), 0x6);
	out(f, CR, LBE); /* DSR falls */
	assert_int_equal(in(f, RIS), 0xe);
	out(f, CR, LBE | 0x2000); /* RI rises */
	assert_int_equal(in(f, RIS), 0xf);
	for (unsigned i = 0; i < DEPTH + 1; i++)
		out(f, DR, 'x');
	assert_int_equal(in(f, RIS), 0xf | INT_TX | INT_RX | INT_RT | INT_OE);
	out(f, CR, LBE | 0x2000); /* nothing changes */
	out(f, ICR, 0xf);
	out(f, CR, LBE | 0x2000);
	assert_int_equal(in(f, RIS), INT_TX | INT_RX | INT_RT | INT_OE);
	out(f, CR, 0x300);
	out(f, ICR, 0x7ff & ~INT_OE);
	f->chr.room = 0;
	for (unsigned i = 0; i < DEPTH; i++)
		out(f, DR, 'x');
	out(f, ICR, 0xf | INT_TX);
	assert_int_equal(in(f, RIS), INT_RT | INT_OE);
	chardev_recorder_drain(&f->chr, SIZE_MAX);
	assert_int_equal(in(f, RIS), INT_TX | INT_RT | INT_OE);
	f->chr.room = 0;
	out(f, DR, 'x');
	out(f, ICR, INT_TX);
	out(f, LCR_H, 0); /* a transmitter flushed is an empty one; and so is a receiver */
	assert_int_equal(in(f, RIS), INT_TX | INT_OE);
	out(f, ICR, INT_TX);
	out(f, LCR_H, FEN);
	out(f, LCR_H, 0); /* it was empty already */
	assert_int_equal(in(f, RIS), INT_OE);
}

static void test_loopback(void **state)
{
	struct fixture *f = *state;
	static const struct {
		uint16_t cr, fr;
	} lines[] = {
		{ 0x0000, 0x000 }, { 0x0400, 0x002 }, { 0x0800, 0x001 }, { 0x1000, 0x004 }, { 0x2000, 0x100 },
	};
	for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
		out(f, CR, LBE | lines[i].cr);
		assert_int_equal(in(f, FR) & 0x107, lines[i].fr);
	}
	assert_int_equal(in(f, RIS) & 0xf, 0xf); /* each line has changed */
	out(f, ICR, 0xf);
	assert_int_equal(in(f, RIS) & 0xf, 0);

	out(f, LCR_H, FEN);
	assert_int_equal(chardev_recorder_type(&f->chr, "host"), 0); /* the host's input waits */
	for (unsigned i = 0; i < DEPTH; i++)
		out(f, DR, (uint16_t)i);
	assert_int_equal(in(f, RIS), INT_TX | INT_RX | INT_RT);
	out(f, DR, 0xff);
	assert_true(in(f, RIS) & INT_OE);
	assert_int_equal(in(f, RSR), 8);
	out(f, RSR, 0);
	assert_int_equal(in(f, RSR), 0);
	for (unsigned i = 0; i < DEPTH; i++)
		assert_int_equal(in(f, DR), i);
	out(f, CR, 0x300);
	assert_int_equal(f->chr.out_len, 0);
	assert_int_equal(f->chr.accepts, 1);
	assert_int_equal(chardev_recorder_feed(&f->chr), 4);
}

/* ---- as Linux does ---------------------------------------------------------------------------------------------- */

/* pl011_startup(), after the set_termios() that the console made. */
static void linux_startup(struct fixture *f)
{
	out(f, IBRD, 13);
	out(f, FBRD, 1);
	out(f, LCR_H, 0x70);
	out(f, ICR, 0x7d0 & ~INT_TX);
	in(f, IMSC);
	out(f, IMSC, INT_RT | INT_RX);
	out(f, IMSC, 0);
	out(f, IFLS, 0x12);
	out(f, CR, (in(f, CR) & 0xc00) | UARTEN | RXE | TXE);
	in(f, FR);
	out(f, ICR, INT_RT | INT_RX);
	for (int i = 0; i < 2 * DEPTH && !(in(f, FR) & FR_RXFE); i++)
		in(f, DR);
	out(f, IMSC, INT_RT | INT_RX);
}

static void test_linux_startup_drains_what_was_typed(void **state)
{
	struct fixture *f = *state;
	chardev_recorder_type(&f->chr, "typed before anyone listened");
	linux_startup(f);
	assert_false(f->irq.high);
	chardev_recorder_feed(&f->chr);
	assert_true(f->irq.high);
}

/* pl011_console_write(): no interrupt, a poll of TXFF before each byte and of BUSY after the last. */
static void linux_console(struct fixture *f, const char *text)
{
	uint16_t cr = in(f, CR);
	out(f, CR, (cr & ~0x8000) | UARTEN | TXE);
	for (; *text; text++) {
		for (int tries = 0; in(f, FR) & FR_TXFF; tries++) {
			assert_true(tries < 10);
			chardev_recorder_drain(&f->chr, 3);
		}
		out(f, DR, (uint8_t)*text);
	}
	for (int tries = 0; in(f, FR) & FR_BUSY; tries++) {
		assert_true(tries < 100);
		chardev_recorder_drain(&f->chr, 3);
	}
	out(f, CR, cr);
}

static void test_linux_console(void **state)
{
	struct fixture *f = *state;
	static const char text[] = "[    0.000000] Booting Linux on physical CPU 0x0000000000 [0x414fd0c1]\r\n";
	size_t len = strlen(text);
	linux_console(f, text); /* before any set-up: FIFOs off */
	assert_int_equal(f->chr.writes, len);
	out(f, LCR_H, 0x70);
	linux_console(f, text);
	assert_int_equal(f->chr.writes, 2 * len); /* each byte went straight through */
	f->chr.room = 0;
	linux_console(f, text);
	assert_int_equal(f->chr.out_len, 3 * len);
	for (int i = 0; i < 3; i++)
		assert_memory_equal(f->chr.out + (size_t)i * len, text, len);
	assert_int_equal(in(f, CR), 0x300);
}

struct linux_port {
	uint16_t im;
	const uint8_t *tx;
	size_t tx_len;
	uint8_t *rx;
	size_t rx_len;
};

/* pl011_tx_chars(): from the interrupt it loads half a FIFO without looking. */
static void linux_tx_chars(struct fixture *f, struct linux_port *port, bool from_irq)
{
	int count = DEPTH / 2;
	while (port->tx_len) {
		if (from_irq && count-- == 0)
			break;
		if (!from_irq && (in(f, FR) & FR_TXFF))
			break;
		out(f, DR, *port->tx++);
		port->tx_len--;
	}
	port->im = (uint16_t)(port->tx_len ? port->im | INT_TX : port->im & ~INT_TX);
	out(f, IMSC, port->im);
}

static void linux_rx_chars(struct fixture *f, struct linux_port *port)
{
	for (int limit = 256; limit && !(in(f, FR) & FR_RXFE); limit--) {
		uint16_t byte = in(f, DR);
		assert_false(byte & 0xff00); /* no error bits */
		port->rx[port->rx_len++] = (uint8_t)byte;
	}
}

static void linux_interrupt(struct fixture *f, struct linux_port *port)
{
	uint16_t status = in(f, RIS) & port->im;
	assert_int_not_equal(status, 0); /* else "nobody cared" */
	for (int passes = 256; status && passes; passes--, status = in(f, RIS) & port->im) {
		out(f, ICR, status & ~(INT_TX | INT_RT | INT_RX));
		if (status & (INT_RT | INT_RX))
			linux_rx_chars(f, port);
		if (status & INT_TX)
			linux_tx_chars(f, port, true);
	}
}

static void test_linux_interrupt_driven_traffic(void **state)
{
	struct fixture *f = *state;
	enum { LEN = 1000 };
	uint8_t sent[LEN], typed[LEN], got[LEN];
	fill_pattern(sent, LEN);
	memset(typed, 0, LEN);
	fill_pattern(typed + 1, LEN - 1);
	linux_startup(f);

	struct linux_port port = { .im = INT_RT | INT_RX, .tx = sent, .tx_len = LEN, .rx = got };
	f->chr.in = typed;
	f->chr.in_len = LEN;
	f->chr.room = 0;
	linux_tx_chars(f, &port, false);
	assert_int_equal(LEN - port.tx_len, DEPTH);
	/* the other end takes 0 to 22 bytes at a time */
	for (unsigned turn = 0; port.tx_len || f->chr.in_len || f->chr.out_len < LEN || f->irq.high; turn++) {
		assert_true(turn < 1000);
		chardev_recorder_feed(&f->chr);
		chardev_recorder_drain(&f->chr, turn * 7 % 23);
		if (f->irq.high)
			linux_interrupt(f, &port);
	}
	assert_int_equal(port.rx_len, LEN);
	assert_memory_equal(got, typed, LEN);
	assert_int_equal(f->chr.out_len, LEN);
	assert_memory_equal(f->chr.out, sent, LEN);
}

static void test_transmit_interrupt_comes_back_after_shutdown(void **state)
{
	struct fixture *f = *state;
	linux_startup(f);
	out(f, IMSC, 0);
	out(f, ICR, 0xffff);
	out(f, LCR_H, 0x60);
	linux_startup(f);
	assert_false(in(f, RIS) & INT_TX);
	out(f, DR, 'x');
	out(f, IMSC, INT_TX);
	assert_true(f->irq.high);
}

/* ---- flow control ----------------------------------------------------------------------------------------------- */

static void test_transmit_levels(void **state)
{
	struct fixture *f = *state;
	static const unsigned levels[] = { 4, 8, 16, 24, 28, 28, 28, 28 };
	out(f, IMSC, INT_TX);
	for (unsigned sel = 0; sel < 8; sel++) {
		out(f, LCR_H, 0);
		out(f, LCR_H, FEN);
		out(f, IFLS, (uint16_t)sel);
		f->chr.room = 0;
		for (unsigned count = 1; count <= DEPTH; count++) {
			assert_false(in(f, FR) & FR_TXFF);
			out(f, DR, 'x');
			assert_int_equal(f->irq.high, count <= levels[sel]);
		}
		assert_true(in(f, FR) & FR_TXFF);
		out(f, DR, '!'); /* the guest was told */
		for (unsigned count = DEPTH; count--;) {
			chardev_recorder_drain(&f->chr, 1);
			assert_int_equal(f->irq.high, count <= levels[sel]);
		}
		assert_int_equal(f->chr.out[f->chr.out_len - 1], 'x');
		out(f, ICR, INT_TX);
		assert_false(f->irq.high);
		chardev_recorder_drain(&f->chr, 1); /* nothing to say */
		assert_false(f->irq.high);
	}
	assert_int_equal(f->chr.out_len, 8 * DEPTH);
}

static void test_input_is_asked_for_at_half_a_fifo(void **state)
{
	struct fixture *f = *state;
	static const char text[] = "0123456789abcdefghijklmnopqrstuvwxyz";
	out(f, LCR_H, FEN);
	assert_int_equal(chardev_recorder_type(&f->chr, "01234"), 5);
	assert_int_equal(f->chr.accepts, 0);
	assert_int_equal(chardev_recorder_type(&f->chr, text + 5), DEPTH - 5); /* what is left */
	for (int i = 0; i < DEPTH / 2 - 1; i++)
		assert_int_equal(in(f, DR), text[i]);
	assert_int_equal(f->chr.accepts, 0);
	in(f, DR);
	assert_int_equal(f->chr.accepts, 1);
	in(f, FR);
	assert_int_equal(f->chr.accepts, 1); /* asked once */
	assert_int_equal(chardev_recorder_feed(&f->chr), 4);
	for (const char *c = text + DEPTH / 2; *c; c++)
		assert_int_equal(in(f, DR), *c);
	assert_int_equal(f->chr.accepts, 1); /* it was not refused since */
}

static void test_line_changes_are_few(void **state)
{
	struct fixture *f = *state;
	linux_startup(f);
	f->irq = (struct irq_recorder){ 0 };
	chardev_recorder_type(&f->chr, "0123456789");
	assert_int_equal(f->irq.calls, 1);
	for (int i = 0; i < 10; i++) {
		in(f, FR);
		in(f, DR);
	}
	assert_int_equal(f->irq.calls, 2);
	for (int i = 0; i < 100; i++)
		out(f, DR, 'x');
	assert_int_equal(f->irq.calls, 2);
}

static void test_without_a_chardev(void **state)
{
	struct device *dev = pl011_new((struct irq_line){ 0 }, NULL);
	assert_non_null(dev);
	dev_write(dev, DR, 2, 'x');
	assert_int_equal(dev_read(dev, FR, 2), FR_IDLE);
	dev_reset(dev);
	device_free(dev);
}

/* ---- life ------------------------------------------------------------------------------------------------------- */

static void fill_with_traffic(struct fixture *f)
{
	linux_startup(f);
	chardev_recorder_type(&f->chr, "typed");
	in(f, DR); /* so that the queue does not start at 0 */
	f->chr.room = 0;
	for (int i = 0; i < 20; i++)
		out(f, DR, (uint16_t)('a' + i));
	out(f, IMSC, INT_TX | INT_RT | INT_RX);
}

static void test_reset(void **state)
{
	struct fixture *f = *state;
	fill_with_traffic(f);
	assert_true(f->irq.high);
	dev_reset(f->dev);
	assert_false(f->irq.high); /* at once, not with the next access */
	assert_power_on(f);
	chardev_recorder_drain(&f->chr, SIZE_MAX);
	assert_int_equal(f->chr.out_len, 0);
}

static void test_save_and_load_amid_traffic(void **state)
{
	struct fixture *f = *state;
	uint8_t saved[DEV_STATE_MAX];
	fill_with_traffic(f);
	assert_int_equal(in(f, MIS), INT_RT);
	dev_save(f->dev, saved);

	struct irq_recorder irq = { 0 };
	struct chardev_recorder chr;
	chardev_recorder_init(&chr);
	struct fixture copy = { .dev = pl011_new(irq_recorder_line(&irq), &chr.chr) };
	assert_int_equal(dev_load(copy.dev, saved), 0);
	assert_true(irq.high);
	assert_int_equal(chr.accepts, 1);
	assert_int_equal(chr.out_len, 20); /* the new chardev has room */
	assert_memory_equal(chr.out, "abcdefghijklmnopqrst", 20);
	assert_int_equal(in(&copy, MIS), INT_RT | INT_TX);
	for (const char *c = "yped"; *c; c++)
		assert_int_equal(in(&copy, DR), *c);
	assert_int_equal(in(&copy, MIS), INT_TX);
	assert_int_equal(in(&copy, IBRD), 13);
	device_free(copy.dev);
}

/* A load brings the line into agreement even where it is not what we remember, and clears no interrupt nor makes one. */
static void test_load_drives_the_line(void **state)
{
	struct fixture *f = *state;
	uint8_t busy[DEV_STATE_MAX], idle[DEV_STATE_MAX];
	out(f, IMSC, INT_RX);
	out(f, ICR, INT_TX);
	dev_save(f->dev, idle);
	fill_with_traffic(f);
	out(f, CR, LBE); /* modem interrupts */
	dev_save(f->dev, busy);
	assert_int_equal(in(f, RIS), INT_RT | 0xe);
	f->irq.high = false; /* another interrupt controller */
	f->chr.room = SIZE_MAX;
	assert_int_equal(dev_load(f->dev, busy), 0);
	assert_true(f->irq.high);
	assert_int_equal(in(f, RIS), INT_RT | INT_TX | 0xe); /* what was held is sent */
	assert_int_equal(dev_load(f->dev, idle), 0);
	assert_false(f->irq.high);
	f->irq.high = true;
	assert_int_equal(dev_load(f->dev, idle), 0);
	assert_false(f->irq.high);
	assert_int_equal(in(f, RIS), 0);
}

/* Loaded FIFOs hold no more than real ones, and come to an end. */
static void check_fifo_is_bounded(void *opaque)
{
	struct fixture *f = opaque;
	unsigned count = 0;
	for (; !(in(f, FR) & FR_RXFE); count++)
		in(f, DR);
	assert_true(count <= DEPTH);
	f->chr.out_len = 0;
	chardev_recorder_drain(&f->chr, SIZE_MAX);
	assert_true(f->chr.out_len <= DEPTH);
	f->chr.room = 0;
}

static void test_hostile_states(void **state)
{
	struct fixture *f = *state;
	fill_with_traffic(f);
	dev_check_load_is_safe(f->dev, check_fifo_is_bounded, f);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_power_on),
		TEST(test_identification),
		TEST(test_storage_keeps_what_exists),
		TEST(test_odd_offsets_are_nothing),
		TEST(test_receive_levels),
		TEST(test_clearing_rt_does_not_hide_data),
		TEST(test_a_level_moved_below_the_data),
		TEST(test_one_byte_without_fifos),
		TEST(test_disabling_the_fifos_flushes_them),
		TEST(test_line_settings_keep_the_fifos),
		TEST(test_interrupts_add_up),
		TEST(test_loopback),
		TEST(test_linux_startup_drains_what_was_typed),
		TEST(test_linux_console),
		TEST(test_linux_interrupt_driven_traffic),
		TEST(test_transmit_interrupt_comes_back_after_shutdown),
		TEST(test_transmit_levels),
		TEST(test_input_is_asked_for_at_half_a_fifo),
		TEST(test_line_changes_are_few),
		TEST(test_without_a_chardev),
		TEST(test_reset),
		TEST(test_save_and_load_amid_traffic),
		TEST(test_load_drives_the_line),
		TEST(test_hostile_states),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
