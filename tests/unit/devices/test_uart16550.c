// SPDX-License-Identifier: Apache-2.0
/* The register file corner by corner, and driven as Linux's 8250 driver drives it. */
#include "tests/unit/devices/recorder.h"

#include "devices/serial.h"

enum { RX = 0, TX = 0, IER = 1, IIR = 2, FCR = 2, LCR = 3, MCR = 4, LSR = 5, MSR = 6, SCR = 7 };
enum { IER_RDI = 1, IER_THRI = 2, IER_RLSI = 4, IER_MSI = 8 };
enum { LSR_DR = 0x01, LSR_OE = 0x02, LSR_THRE = 0x20, LSR_TEMT = 0x40, LSR_IDLE = 0x60 };

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
	f.dev = uart16550_new(irq_recorder_line(&f.irq), &f.chr.chr);
	*state = &f;
	return !f.dev;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	device_free(f->dev);
	return f->chr.chr.client.lock != NULL; /* unplugged */
}

static uint8_t in(struct fixture *f, unsigned reg)
{
	return (uint8_t)dev_read(f->dev, reg, 1);
}

static void out(struct fixture *f, unsigned reg, uint8_t val)
{
	dev_write(f->dev, reg, 1, val);
}

/* ---- registers -------------------------------------------------------------------------------------------------- */

static void assert_power_on(struct fixture *f)
{
	static const uint8_t regs[8] = { [IIR] = 0x01, [LSR] = LSR_IDLE, [MSR] = 0xb0 };
	for (unsigned reg = 0; reg < 8; reg++)
		assert_int_equal(in(f, reg), regs[reg]);
	assert_false(f->irq.high);
}

static void test_power_on(void **state)
{
	assert_power_on(*state);
	struct fixture *f = *state;
	assert_int_equal(f->irq.calls, 0);
	out(f, LCR, 0x80);
	assert_int_equal(in(f, 0) | in(f, 1) << 8, 1); /* a divisor that may be divided by */
}

static void test_plain_storage(void **state)
{
	struct fixture *f = *state;
	for (unsigned val = 0; val < 256; val++) {
		out(f, SCR, (uint8_t)val);
		out(f, LCR, (uint8_t)val & 0x7f);
		out(f, MCR, (uint8_t)val);
		out(f, IER, (uint8_t)val);
		assert_int_equal(in(f, SCR), val);
		assert_int_equal(in(f, LCR), val & 0x7f);
		assert_int_equal(in(f, MCR), val & 0x1f);
		assert_int_equal(in(f, IER), val & 0x0f);
	}
	out(f, LSR, 0xff); /* read-only */
	out(f, MSR, 0xff);
	out(f, MCR, 0);
	in(f, MSR);
	assert_int_equal(in(f, LSR), LSR_IDLE);
	assert_int_equal(in(f, MSR), 0xb0);
}

static void test_dlab_hides_data_and_ier(void **state)
{
	struct fixture *f = *state;
	out(f, IER, 0);
	out(f, LCR, 0x83);
	out(f, 0, 0x0c);
	out(f, 1, 0x5a);
	assert_int_equal(in(f, 0), 0x0c);
	assert_int_equal(in(f, 1), 0x5a);
	assert_int_equal(f->chr.writes, 0);
	out(f, LCR, 0x03);
	assert_int_equal(in(f, IER), 0);
	out(f, TX, 'x');
	assert_int_equal(f->chr.out_len, 1);
}

static void test_fcr_counts_only_with_its_enable_bit(void **state)
{
	struct fixture *f = *state;
	out(f, FCR, 0xc1);
	assert_int_equal(in(f, IIR), 0xc1);
	assert_int_equal(chardev_recorder_type(&f->chr, "0123456789abcdefgh"), 16);
	out(f, FCR, 0x03); /* clear receive */
	assert_int_equal(in(f, LSR), LSR_IDLE);
	chardev_recorder_feed(&f->chr);
	assert_int_equal(in(f, LSR), LSR_IDLE | LSR_DR);
	out(f, FCR, 0xc6); /* off: clears, forgets the trigger */
	assert_int_equal(in(f, IIR), 0x01);
	assert_int_equal(in(f, LSR), LSR_IDLE);
	assert_int_equal(chardev_recorder_type(&f->chr, "xy"), 1);
	out(f, IER, IER_RDI);
	assert_int_equal(in(f, IIR), 0x04); /* no time-outs in 16450 mode */
	assert_int_equal(in(f, RX), 'x');
}

/* Rewritten with the same enable bit and no clear bit, FCR touches neither FIFO and raises nothing; written without the
 * enable bit while that is off, likewise. */
static void test_fcr_keeps_the_fifos(void **state)
{
	struct fixture *f = *state;
	out(f, FCR, 0x01);
	out(f, IER, IER_THRI);
	in(f, IIR);
	assert_int_equal(chardev_recorder_type(&f->chr, "in"), 2);
	f->chr.room = 0;
	out(f, TX, 'x');
	out(f, FCR, 0xc9);
	assert_int_equal(in(f, IIR), 0xc1);
	assert_int_equal(in(f, LSR), LSR_DR);
	chardev_recorder_drain(&f->chr, SIZE_MAX);
	assert_memory_equal(f->chr.out, "x", 1);
	assert_int_equal(in(f, IIR), 0xc2);
	out(f, FCR, 0x81);
	out(f, FCR, 0x85); /* nothing to clear: no THRE anew */
	assert_int_equal(in(f, IIR), 0xc1);
	assert_int_equal(in(f, RX), 'i');

	out(f, FCR, 0x00);
	assert_int_equal(chardev_recorder_type(&f->chr, "y"), 1);
	f->chr.room = 0;
	out(f, TX, 'z');
	out(f, FCR, 0xc6);
	assert_int_equal(in(f, LSR), LSR_DR);
	chardev_recorder_drain(&f->chr, SIZE_MAX);
	assert_memory_equal(f->chr.out, "xz", 2);
}

static void test_trigger_levels(void **state)
{
	struct fixture *f = *state;
	static const unsigned levels[] = { 1, 4, 8, 14 };
	for (unsigned sel = 0; sel < 4; sel++) {
		out(f, FCR, (uint8_t)(sel << 6 | 0x07));
		out(f, IER, IER_RDI);
		for (unsigned count = 1; count <= 16; count++) {
			assert_int_equal(chardev_recorder_type(&f->chr, "x"), 1);
			assert_true(f->irq.high); /* below the level, too: nothing ever waits unannounced */
			assert_int_equal(in(f, IIR), 0xc0 | (count >= levels[sel] ? 0x04 : 0x0c));
		}
		out(f, FCR, 0x03);
		assert_false(f->irq.high);
	}
}

static void test_loopback(void **state)
{
	struct fixture *f = *state;
	static const struct {
		uint8_t mcr, msr;
	} lines[] = {
		{ 0x00, 0x00 }, { 0x01, 0x20 }, { 0x02, 0x10 }, { 0x04, 0x40 }, { 0x08, 0x80 }, { 0x0f, 0xf0 },
	};
	for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
		out(f, MCR, 0x10 | lines[i].mcr);
		assert_int_equal(in(f, MSR) & 0xf0, lines[i].msr);
	}
	out(f, FCR, 0x01);
	assert_int_equal(chardev_recorder_type(&f->chr, "host"), 0); /* the host's input waits */
	for (unsigned i = 0; i < 16; i++)
		out(f, TX, (uint8_t)i);
	assert_int_equal(in(f, LSR), LSR_IDLE | LSR_DR); /* full, no overrun yet */
	out(f, TX, 16);
	assert_int_equal(f->chr.out_len, 0);
	out(f, IER, IER_RLSI);
	assert_int_equal(in(f, IIR), 0xc6);
	assert_int_equal(in(f, LSR), LSR_IDLE | LSR_DR | LSR_OE);
	assert_int_equal(in(f, LSR), LSR_IDLE | LSR_DR); /* reading it cleared the overrun and the cause */
	assert_int_equal(in(f, IIR), 0xc1);
	for (unsigned i = 0; i < 16; i++)
		assert_int_equal(in(f, RX), i);
	out(f, MCR, 0);
	assert_int_equal(f->chr.accepts, 1);
	assert_int_equal(chardev_recorder_feed(&f->chr), 4);
}

static void test_modem_deltas(void **state)
{
	struct fixture *f = *state;
	out(f, IER, IER_MSI);
	out(f, MCR, 0x1b); /* loopback with DCD, DSR and CTS still up */
	assert_false(f->irq.high);
	out(f, MCR, 0x19); /* CTS falls */
	assert_true(f->irq.high);
	assert_int_equal(in(f, IIR), 0x00);
	assert_int_equal(in(f, MSR), 0xa1);
	assert_false(f->irq.high);
	assert_int_equal(in(f, MSR), 0xa0);
	out(f, MCR, 0x1d); /* RI rises: no delta */
	assert_int_equal(in(f, MSR), 0xe0);
	out(f, MCR, 0x19); /* and falls: its trailing edge */
	assert_int_equal(in(f, MSR), 0xa4);
	out(f, MCR, 0x18); /* DSR falls, then DCD: what is not read adds up */
	out(f, MCR, 0x10);
	assert_int_equal(in(f, MSR), 0x0a);
}

/* No cause that is not enabled reaches IIR or the line, whatever else is. */
static void test_causes_need_their_enable_bit(void **state)
{
	struct fixture *f = *state;
	static const uint8_t causes[] = { IER_RDI, IER_THRI, IER_RLSI, IER_MSI };
	static const uint8_t iirs[] = { 0xcc, 0xc2, 0xc6, 0xc0 };
	out(f, FCR, 0xc1);
	out(f, MCR, 0x10); /* modem deltas */
	for (unsigned i = 0; i < 17; i++)
		out(f, TX, 'x'); /* data, overrun */
	for (unsigned i = 0; i < 16 - 1; i++)
		in(f, RX);
	assert_int_equal(in(f, IIR), 0xc1);
	for (size_t i = 0; i < ARRAY_SIZE(causes); i++) {
		out(f, IER, causes[i]);
		assert_true(f->irq.high);
		assert_int_equal(in(f, IIR), iirs[i]);
		out(f, IER, 0);
		assert_false(f->irq.high);
	}
	in(f, LSR);
	in(f, MSR);
	in(f, RX);
	out(f, IER, IER_RDI | IER_RLSI | IER_MSI);
	assert_int_equal(in(f, IIR), 0xc1);
	out(f, MCR, 0x11); /* a delta, its cause disabled */
	out(f, IER, IER_RDI | IER_RLSI);
	assert_int_equal(in(f, IIR), 0xc1);
	for (unsigned i = 0; i < 17; i++)
		out(f, TX, 'x'); /* an overrun, likewise */
	out(f, FCR, 0xc3);
	out(f, IER, IER_RDI);
	assert_int_equal(in(f, IIR), 0xc1);
}

static void test_causes_by_priority(void **state)
{
	struct fixture *f = *state;
	out(f, FCR, 0x01);
	out(f, MCR, 0x10); /* modem deltas */
	for (unsigned i = 0; i < 17; i++)
		out(f, TX, 'x'); /* data, overrun */
	out(f, IER, 0x0f);
	assert_int_equal(in(f, IIR), 0xc6);
	in(f, LSR);
	assert_int_equal(in(f, IIR), 0xc4);
	out(f, FCR, 0x03);
	assert_int_equal(in(f, IIR), 0xc2); /* which this read clears */
	assert_int_equal(in(f, IIR), 0xc0);
	in(f, MSR);
	assert_int_equal(in(f, IIR), 0xc1);
	assert_false(f->irq.high);
}

/* ---- as Linux does ---------------------------------------------------------------------------------------------- */

/* How many bytes the FIFO holds in loopback: what tells a 16550A from its descendants. */
static unsigned linux_size_fifo(struct fixture *f)
{
	out(f, LCR, 0);
	uint8_t old_fcr = in(f, IIR), old_mcr = in(f, MCR);
	out(f, FCR, 0x07);
	out(f, MCR, 0x10);
	out(f, LCR, 0x80);
	uint8_t dll = in(f, 0), dlm = in(f, 1);
	out(f, 0, 1);
	out(f, 1, 0);
	out(f, LCR, 0x03);
	for (unsigned i = 0; i < 256; i++)
		out(f, TX, (uint8_t)i);
	unsigned count = 0;
	while ((in(f, LSR) & LSR_DR) && count < 256) {
		in(f, RX);
		count++;
	}
	out(f, FCR, old_fcr);
	out(f, MCR, old_mcr);
	out(f, LCR, 0x80);
	out(f, 0, dll);
	out(f, 1, dlm);
	out(f, LCR, 0);
	return count;
}

static void test_linux_autoconfig_finds_a_16550a(void **state)
{
	struct fixture *f = *state;
	out(f, IER, 0);
	assert_int_equal(in(f, IER) & 0x0f, 0);
	out(f, IER, 0x0f);
	assert_int_equal(in(f, IER) & 0x0f, 0x0f);
	out(f, IER, 0);
	out(f, MCR, 0x10 | 0x0a); /* the loopback test */
	assert_int_equal(in(f, MSR) & 0xf0, 0x90);
	out(f, MCR, 0);

	out(f, LCR, 0xbf); /* EFR = 0, did it have one */
	out(f, FCR, 0);
	out(f, LCR, 0);
	out(f, FCR, 0x01);
	assert_int_equal(in(f, IIR) >> 6, 3);
	out(f, LCR, 0x80); /* not a 16650: EFR would read 0 */
	assert_int_not_equal(in(f, IIR), 0);
	out(f, LCR, 0xbf); /* not a 16650V2 */
	assert_int_not_equal(in(f, IIR), 0);
	out(f, LCR, 0xe0); /* not a NatSemi: the loop bit does not show in bank 2 */
	assert_false(in(f, 2) & 0x10);
	out(f, LCR, 0);
	out(f, MCR, 0x10);
	out(f, LCR, 0xe0);
	assert_false(in(f, 2) & 0x10);
	out(f, LCR, 0);
	out(f, MCR, 0);
	out(f, FCR, 0x21); /* not a 16750: no 64-byte FIFO, with DLAB or without */
	assert_int_equal(in(f, IIR) >> 5, 6);
	out(f, FCR, 0x01);
	out(f, LCR, 0x80);
	out(f, FCR, 0x21);
	assert_int_equal(in(f, IIR) >> 5, 6);
	out(f, FCR, 0x01);
	out(f, LCR, 0);
	out(f, IER, 0x40); /* not an XScale */
	assert_int_equal(in(f, IER), 0);
	assert_int_equal(linux_size_fifo(f), 16);

	out(f, FCR, 0x01); /* clean up */
	out(f, FCR, 0x07);
	out(f, FCR, 0x00);
	in(f, RX);
	out(f, IER, 0);
	assert_int_equal(f->chr.out_len, 0);
	in(f, MSR);
	assert_power_on(f);
}

/* serial8250_do_startup(): the interrupt must come back each time THRI is enabled, and with TEMT up. */
static void linux_startup(struct fixture *f)
{
	out(f, FCR, 0x01);
	out(f, FCR, 0x07);
	out(f, FCR, 0x00);
	in(f, LSR);
	in(f, RX);
	in(f, IIR);
	in(f, MSR);
	assert_int_not_equal(in(f, LSR), 0xff);
	for (int i = 0; i < 2; i++) {
		out(f, IER, IER_THRI);
		assert_true(f->irq.high);
		assert_int_equal(in(f, IIR) & 0x0f, 0x02);
		assert_false(f->irq.high);
		out(f, IER, 0);
	}
	out(f, LCR, 0x03);
	out(f, MCR, 0x0b);
	out(f, IER, IER_THRI);
	assert_true(in(f, LSR) & LSR_TEMT);
	assert_int_equal(in(f, IIR) & 0x0f, 0x02);
	out(f, IER, 0);
	out(f, FCR, 0x81);
	out(f, IER, IER_RDI | IER_RLSI);
}

static void test_linux_thre_test(void **state)
{
	linux_startup(*state);
}

static void test_thre_is_told_once(void **state)
{
	struct fixture *f = *state;
	out(f, IER, IER_THRI);
	assert_int_equal(in(f, IIR), 0x02);
	assert_int_equal(in(f, IIR), 0x01);
	out(f, IER, IER_THRI | IER_RDI); /* it was enabled already */
	assert_int_equal(in(f, IIR), 0x01);
	out(f, TX, 'a'); /* gone at once */
	assert_true(f->irq.high);
	assert_int_equal(in(f, IIR), 0x02);
}

/* The interrupt handler with its transmit and receive halves, until no cause is left. */
static void linux_interrupt(struct fixture *f, uint8_t *ier, const uint8_t **tx, size_t *tx_len, uint8_t *rx,
                            size_t *rx_len)
{
	while (!(in(f, IIR) & 1)) {
		uint8_t lsr = in(f, LSR);
		assert_false(lsr & LSR_OE);
		for (int limit = 256; (lsr & LSR_DR) && limit; limit--, lsr = in(f, LSR))
			rx[(*rx_len)++] = in(f, RX);
		in(f, MSR);
		if (!(lsr & LSR_THRE) || !(*ier & IER_THRI))
			continue;
		for (int i = 0; i < 16 && *tx_len; i++, (*tx_len)--)
			out(f, TX, *(*tx)++);
		if (!*tx_len)
			out(f, IER, *ier &= ~IER_THRI);
	}
}

static void test_linux_interrupt_driven_traffic(void **state)
{
	struct fixture *f = *state;
	enum { LEN = 1000 };
	uint8_t sent[LEN], typed[LEN], got[LEN], ier = IER_RDI | IER_RLSI | IER_THRI;
	fill_pattern(sent, LEN);
	memset(typed, 0, LEN);
	fill_pattern(typed + 1, LEN - 1);
	linux_startup(f);

	const uint8_t *tx = sent;
	size_t tx_len = LEN, rx_len = 0;
	f->chr.in = typed;
	f->chr.in_len = LEN;
	f->chr.room = 0;
	out(f, IER, ier);
	/* the other end takes 0 to 22 bytes at a time, and is asked to go on only after it was refused */
	for (unsigned turn = 0; tx_len || f->chr.in_len || f->chr.out_len < LEN || f->irq.high; turn++) {
		assert_true(turn < 1000);
		chardev_recorder_feed(&f->chr);
		chardev_recorder_drain(&f->chr, turn * 7 % 23);
		if (f->irq.high)
			linux_interrupt(f, &ier, &tx, &tx_len, got, &rx_len);
	}
	assert_int_equal(rx_len, LEN);
	assert_memory_equal(got, typed, LEN);
	assert_int_equal(f->chr.out_len, LEN);
	assert_memory_equal(f->chr.out, sent, LEN);
}

/* printk takes the port over for a message and puts IER back: what was typed meanwhile must be announced then. */
static void test_input_during_printk_is_announced(void **state)
{
	struct fixture *f = *state;
	linux_startup(f);
	uint8_t ier = in(f, IER);
	out(f, IER, 0);
	assert_int_equal(chardev_recorder_type(&f->chr, "ls\n"), 3);
	assert_false(f->irq.high);
	for (const char *c = "message"; *c; c++) {
		assert_true(in(f, LSR) & LSR_THRE);
		out(f, TX, (uint8_t)*c);
	}
	out(f, IER, ier);
	assert_true(f->irq.high);
	assert_memory_equal(f->chr.out, "message", 7);
	assert_int_equal(f->chr.writes, 7); /* each went straight through */
}

/* ---- flow control ----------------------------------------------------------------------------------------------- */

static void test_full_chardev_shows_in_lsr(void **state)
{
	struct fixture *f = *state;
	out(f, FCR, 0x01);
	out(f, IER, IER_THRI);
	in(f, IIR);
	f->chr.room = 1;
	out(f, TX, '0');
	assert_int_equal(in(f, LSR), LSR_IDLE);
	in(f, IIR);
	for (char c = '1'; c <= '9'; c++) {
		out(f, TX, (uint8_t)c);
		assert_int_equal(in(f, LSR), 0);
		assert_int_equal(in(f, IIR), 0xc1);
	}
	for (char c = 'a'; c <= 'g'; c++)
		out(f, TX, (uint8_t)c);
	unsigned writes = f->chr.writes;
	out(f, TX, '!');                         /* the seventeenth: the guest was told */
	assert_int_equal(f->chr.writes, writes); /* and nobody asked a full chardev again */

	chardev_recorder_drain(&f->chr, 5);
	assert_int_equal(in(f, LSR), 0);
	assert_false(f->irq.high);
	chardev_recorder_drain(&f->chr, SIZE_MAX);
	assert_int_equal(in(f, LSR), LSR_IDLE);
	assert_true(f->irq.high);
	assert_int_equal(in(f, IIR), 0xc2);
	assert_int_equal(f->chr.out_len, 17);
	assert_memory_equal(f->chr.out, "0123456789abcdefg", 17);
	chardev_recorder_drain(&f->chr, SIZE_MAX); /* nothing to say */
	assert_false(f->irq.high);
}

static void test_clearing_the_transmitter_drops_what_waits(void **state)
{
	struct fixture *f = *state;
	out(f, FCR, 0x01);
	out(f, IER, IER_THRI);
	in(f, IIR);
	f->chr.room = 0;
	out(f, TX, 'x');
	assert_int_equal(in(f, LSR), 0);
	out(f, FCR, 0x05);
	assert_int_equal(in(f, LSR), LSR_IDLE);
	assert_int_equal(in(f, IIR), 0xc2);
	chardev_recorder_drain(&f->chr, SIZE_MAX);
	assert_int_equal(f->chr.out_len, 0);
}

static void test_input_is_asked_for_at_half_a_fifo(void **state)
{
	struct fixture *f = *state;
	out(f, FCR, 0x01);
	assert_int_equal(chardev_recorder_type(&f->chr, "01234"), 5);
	assert_int_equal(f->chr.accepts, 0);
	assert_int_equal(chardev_recorder_type(&f->chr, "56789abcdefghij"), 11); /* what is left */
	for (int i = 0; i < 7; i++)
		in(f, RX);
	assert_int_equal(f->chr.accepts, 0);
	in(f, RX);
	assert_int_equal(f->chr.accepts, 1);
	in(f, LSR);
	assert_int_equal(f->chr.accepts, 1); /* asked once */
	assert_int_equal(chardev_recorder_feed(&f->chr), 4);
	for (const char *c = "89abcdefghij"; *c; c++)
		assert_int_equal(in(f, RX), *c);
	assert_int_equal(f->chr.accepts, 1); /* it was not refused since */
	assert_int_equal(in(f, RX), 0);
}

static void test_line_changes_are_few(void **state)
{
	struct fixture *f = *state;
	linux_startup(f);
	f->irq = (struct irq_recorder){ 0 };
	chardev_recorder_type(&f->chr, "0123456789");
	assert_int_equal(f->irq.calls, 1);
	for (int i = 0; i < 10; i++) {
		in(f, LSR);
		in(f, IIR);
		in(f, RX);
	}
	assert_int_equal(f->irq.calls, 2);
	for (int i = 0; i < 100; i++)
		out(f, TX, 'x');
	assert_int_equal(f->irq.calls, 2);
}

static void test_without_a_chardev(void **state)
{
	struct device *dev = uart16550_new((struct irq_line){ 0 }, NULL);
	assert_non_null(dev);
	dev_write(dev, TX, 1, 'x');
	assert_int_equal(dev_read(dev, LSR, 1), LSR_IDLE);
	dev_reset(dev);
	device_free(dev);
}

/* ---- life ------------------------------------------------------------------------------------------------------- */

static void fill_with_traffic(struct fixture *f)
{
	linux_startup(f);
	out(f, SCR, 0x77);
	out(f, IER, IER_RDI | IER_THRI);
	chardev_recorder_type(&f->chr, "typed");
	in(f, RX); /* so that the queue does not start at 0 */
	f->chr.room = 0;
	for (const char *c = "held"; *c; c++)
		out(f, TX, (uint8_t)*c);
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
	dev_save(f->dev, saved);

	struct irq_recorder irq = { 0 };
	struct chardev_recorder chr;
	chardev_recorder_init(&chr);
	struct fixture copy = { .dev = uart16550_new(irq_recorder_line(&irq), &chr.chr) };
	assert_int_equal(dev_load(copy.dev, saved), 0);
	assert_true(irq.high);
	assert_int_equal(chr.accepts, 1);
	assert_int_equal(chr.out_len, 4); /* the new chardev has room */
	assert_memory_equal(chr.out, "held", 4);
	for (const char *c = "yped"; *c; c++)
		assert_int_equal(in(&copy, RX), *c);
	assert_true(irq.high); /* THRE again, lest the guest waits for ever */
	assert_int_equal(in(&copy, IIR), 0xc2);
	assert_int_equal(in(&copy, SCR), 0x77);
	device_free(copy.dev);
}

/* A load brings the line into agreement even where it is not what we remember. */
static void test_load_drives_the_line(void **state)
{
	struct fixture *f = *state;
	uint8_t busy[DEV_STATE_MAX], idle[DEV_STATE_MAX];
	dev_save(f->dev, idle);
	fill_with_traffic(f);
	dev_save(f->dev, busy);
	f->irq.high = false; /* another interrupt controller */
	assert_int_equal(dev_load(f->dev, busy), 0);
	assert_true(f->irq.high);
	assert_int_equal(dev_load(f->dev, idle), 0);
	assert_false(f->irq.high);
	f->irq.high = true;
	assert_int_equal(dev_load(f->dev, idle), 0);
	assert_false(f->irq.high);
}

/* Loaded FIFOs hold no more than real ones, and come to an end. */
static void check_fifo_is_bounded(void *opaque)
{
	struct fixture *f = opaque;
	out(f, LCR, 0);
	unsigned count = 0;
	for (; in(f, LSR) & LSR_DR; count++)
		in(f, RX);
	assert_true(count <= 16);
	f->chr.out_len = 0;
	chardev_recorder_drain(&f->chr, SIZE_MAX);
	assert_true(f->chr.out_len <= 16);
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
		TEST(test_plain_storage),
		TEST(test_dlab_hides_data_and_ier),
		TEST(test_fcr_counts_only_with_its_enable_bit),
		TEST(test_fcr_keeps_the_fifos),
		TEST(test_trigger_levels),
		TEST(test_loopback),
		TEST(test_modem_deltas),
		TEST(test_causes_need_their_enable_bit),
		TEST(test_causes_by_priority),
		TEST(test_linux_autoconfig_finds_a_16550a),
		TEST(test_linux_thre_test),
		TEST(test_thre_is_told_once),
		TEST(test_linux_interrupt_driven_traffic),
		TEST(test_input_during_printk_is_announced),
		TEST(test_full_chardev_shows_in_lsr),
		TEST(test_clearing_the_transmitter_drops_what_waits),
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
