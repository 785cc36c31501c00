// SPDX-License-Identifier: Apache-2.0
/*
 * Arm PrimeCell UART PL011 r1p5 (Arm DDI 0183G, chapter 3). The line is as fast as its other end: a byte written to
 * UARTDR is gone at once, and only while the chardev is full does the transmit FIFO fill. A receive time-out elapses at
 * once. UARTEN, TXE and RXE gate nothing: without firmware nobody sets them before Linux's early console writes.
 */
#include "devices/serial.h"

#include <errno.h>

#include "devices/fifo.h"
#include "src/base/log.h"
#include "src/base/util.h"

enum {
	UARTDR = 0x00,
	UARTRSR = 0x04, /* written: UARTECR */
	UARTFR = 0x18,
	UARTILPR = 0x20,
	UARTIBRD = 0x24,
	UARTFBRD = 0x28,
	UARTLCR_H = 0x2c,
	UARTCR = 0x30,
	UARTIFLS = 0x34,
	UARTIMSC = 0x38,
	UARTRIS = 0x3c,
	UARTMIS = 0x40,
	UARTICR = 0x44,
	UARTDMACR = 0x48,
	UARTPeriphID0 = 0xfe0,
};
enum { RSR_OE = 1 << 3 };
enum {
	FR_CTS = 1 << 0,
	FR_DSR = 1 << 1,
	FR_DCD = 1 << 2,
	FR_BUSY = 1 << 3,
	FR_RXFE = 1 << 4,
	FR_TXFF = 1 << 5,
	FR_RXFF = 1 << 6,
	FR_TXFE = 1 << 7,
	FR_RI = 1 << 8,
};
enum { LCR_H_FEN = 1 << 4 };
enum { CR_LBE = 1 << 7, CR_DTR = 1 << 10, CR_RTS = 1 << 11, CR_OUT1 = 1 << 12, CR_OUT2 = 1 << 13 };
enum { CR_MASK = 0xff87, CR_POWER_ON = 0x300 };
enum { IFLS_MASK = 0x3f, IFLS_POWER_ON = 0x12 };
enum {
	INT_RI = 1 << 0,
	INT_CTS = 1 << 1,
	INT_DCD = 1 << 2,
	INT_DSR = 1 << 3,
	INT_RX = 1 << 4,
	INT_TX = 1 << 5,
	INT_RT = 1 << 6,
	INT_OE = 1 << 10,
	INT_MASK = 0x7ff,
	INT_LATCHED = INT_RI | INT_CTS | INT_DCD | INT_DSR | INT_RX | INT_TX | INT_OE,
};
enum { IBRD_MASK = 0xffff, FBRD_MASK = 0x3f, DMACR_MASK = 0x7, BYTE_MASK = 0xff };

enum { PL011_FIFO_DEPTH = 32 };
_Static_assert((int)PL011_FIFO_DEPTH <= (int)FIFO_SIZE, "the queue holds a full FIFO");

/* UARTPeriphID0-3: part 011, Arm, r1p5, which has FIFOs of 32; UARTPCellID0-3. */
static const uint8_t pl011_ids[] = { 0x11, 0x10, 0x34, 0x00, 0x0d, 0xf0, 0x05, 0xb1 };

struct pl011_state {
	uint16_t cr, imsc, ibrd;
	uint16_t latched; /* UARTRIS, but for RT, which follows the FIFO */
	uint8_t lcr_h, ifls, fbrd, ilpr, dmacr, rsr;
	struct fifo rx, tx; /* tx: what the chardev had no room for */
};

struct pl011 {
	struct device dev;
	struct irq_level irq;
	struct chardev *chr; /* not owned; may be NULL */
	bool starved;        /* the chardev was told that there is no room for input */
	struct pl011_state state;
};

/* The transmitter's interrupt is up from the start, so that a driver may just unmask it and wait. */
static const struct pl011_state pl011_power_on = { .cr = CR_POWER_ON, .ifls = IFLS_POWER_ON, .latched = INT_TX };

/* With the FIFOs disabled there is one byte each way. */
static unsigned pl011_depth(const struct pl011_state *s)
{
	return s->lcr_h & LCR_H_FEN ? PL011_FIFO_DEPTH : 1;
}

/* Bytes at the trigger that three bits of UARTIFLS select: 1/8, 1/4, 1/2, 3/4, 7/8; the rest is reserved. */
static unsigned pl011_level(unsigned select)
{
	static const uint8_t levels[8] = { 4, 8, 16, 24, 28, 28, 28, 28 };
	return levels[select & 7];
}

static bool pl011_rx_triggers(const struct pl011_state *s)
{
	return s->rx.count >= (s->lcr_h & LCR_H_FEN ? pl011_level(s->ifls >> 3) : 1);
}

static bool pl011_tx_triggers(const struct pl011_state *s)
{
	return s->tx.count <= (s->lcr_h & LCR_H_FEN ? pl011_level(s->ifls) : 0);
}

/* The modem bits of UARTFR: the other end is ready always; in loopback they are our own outputs. */
static uint16_t pl011_modem_lines(const struct pl011_state *s)
{
	if (!(s->cr & CR_LBE))
		return FR_CTS | FR_DSR | FR_DCD;
	return (uint16_t)((s->cr & CR_RTS ? FR_CTS : 0) | (s->cr & CR_DTR ? FR_DSR : 0) |
	                  (s->cr & CR_OUT1 ? FR_DCD : 0) | (s->cr & CR_OUT2 ? FR_RI : 0));
}

static uint16_t pl011_fr(const struct pl011_state *s)
{
	unsigned depth = pl011_depth(s);
	return (uint16_t)(pl011_modem_lines(s) | (s->tx.count ? FR_BUSY : FR_TXFE) | (s->rx.count ? 0 : FR_RXFE) |
	                  (s->tx.count >= depth ? FR_TXFF : 0) | (s->rx.count >= depth ? FR_RXFF : 0));
}

/* RT cannot be cleared while data waits: on hardware, too, it would be back 32 bit times later. */
static uint16_t pl011_ris(const struct pl011_state *s)
{
	return s->latched | (s->rx.count ? INT_RT : 0);
}

static unsigned pl011_room(const struct pl011_state *s)
{
	unsigned depth = pl011_depth(s);
	return s->cr & CR_LBE || s->rx.count >= depth ? 0 : depth - s->rx.count;
}

/* After every access: the line follows the interrupts; a starved chardev may go on once half the FIFO is free, not for
 * each byte read. */
static void pl011_settle(struct pl011 *uart)
{
	const struct pl011_state *s = &uart->state;
	irq_level_set(&uart->irq, pl011_ris(s) & s->imsc);
	if (uart->starved && pl011_room(s) && s->rx.count <= pl011_depth(s) / 2) {
		uart->starved = false;
		chardev_accept_input(uart->chr);
	}
}

static void pl011_receive(struct pl011_state *s, uint8_t byte)
{
	if (!fifo_push(&s->rx, pl011_depth(s), byte)) {
		s->rsr |= RSR_OE;
		s->latched |= INT_OE;
	}
	if (pl011_rx_triggers(s))
		s->latched |= INT_RX;
}

static uint8_t pl011_read_dr(struct pl011_state *s)
{
	uint8_t byte = fifo_pop(&s->rx);
	if (!pl011_rx_triggers(s))
		s->latched &= ~INT_RX;
	return byte;
}

static uint16_t pl011_read_reg(struct pl011_state *s, uint64_t off)
{
	switch (off) {
	case UARTDR:
		return pl011_read_dr(s);
	case UARTRSR:
		return s->rsr;
	case UARTFR:
		return pl011_fr(s);
	case UARTILPR:
		return s->ilpr;
	case UARTIBRD:
		return s->ibrd;
	case UARTFBRD:
		return s->fbrd;
	case UARTLCR_H:
		return s->lcr_h;
	case UARTCR:
		return s->cr;
	case UARTIFLS:
		return s->ifls;
	case UARTIMSC:
		return s->imsc;
	case UARTRIS:
		return pl011_ris(s);
	case UARTMIS:
		return pl011_ris(s) & s->imsc;
	case UARTDMACR:
		return s->dmacr;
	}
	if (off >= UARTPeriphID0 && off % 4 == 0)
		return pl011_ids[(off - UARTPeriphID0) / 4];
	return 0; /* write-only, reserved or between registers */
}

static uint64_t pl011_read(struct device *dev, uint64_t off, unsigned size)
{
	struct pl011 *uart = container_of(dev, struct pl011, dev);
	uint16_t val = pl011_read_reg(&uart->state, off);
	pl011_settle(uart);
	return val;
}

static void pl011_write_dr(struct pl011 *uart, uint8_t val)
{
	struct pl011_state *s = &uart->state;
	if (s->cr & CR_LBE)
		pl011_receive(s, val);
	else if (!fifo_send(&s->tx, PL011_FIFO_DEPTH, uart->chr, val))
		log_guest("pl011: a byte written to a full transmitter is lost");
	if (pl011_tx_triggers(s))
		s->latched |= INT_TX;
	else
		s->latched &= ~INT_TX;
}

/* Disabling the FIFOs flushes them (DDI 0183G, 3.3.8, UARTCR); enabling them keeps what is on its way. */
static void pl011_write_lcr_h(struct pl011_state *s, uint8_t val)
{
	if (s->lcr_h & ~val & LCR_H_FEN) {
		if (s->tx.count)
			s->latched |= INT_TX;
		s->latched &= ~INT_RX;
		fifo_clear(&s->rx);
		fifo_clear(&s->tx);
	}
	s->lcr_h = val;
}

static void pl011_write_cr(struct pl011_state *s, uint16_t val)
{
	static const struct {
		uint16_t fr, irq;
	} lines[] = {
		{ FR_RI, INT_RI },
		{ FR_CTS, INT_CTS },
		{ FR_DCD, INT_DCD },
		{ FR_DSR, INT_DSR },
	};
	uint16_t before = pl011_modem_lines(s);
	s->cr = val & CR_MASK;
	uint16_t changed = before ^ pl011_modem_lines(s);
	for (size_t i = 0; i < ARRAY_SIZE(lines); i++)
		if (changed & lines[i].fr)
			s->latched |= lines[i].irq;
}

/* A level moved below what waits is passed, as if the last byte had just come. */
static void pl011_write_ifls(struct pl011_state *s, uint8_t val)
{
	s->ifls = val & IFLS_MASK;
	if (pl011_rx_triggers(s))
		s->latched |= INT_RX;
}

static void pl011_write_reg(struct pl011 *uart, uint64_t off, uint64_t val)
{
	struct pl011_state *s = &uart->state;
	switch (off) {
	case UARTDR:
		pl011_write_dr(uart, (uint8_t)val);
		break;
	case UARTRSR:
		s->rsr = 0;
		break;
	case UARTILPR:
		s->ilpr = val & BYTE_MASK;
		break;
	case UARTIBRD:
		s->ibrd = val & IBRD_MASK;
		break;
	case UARTFBRD:
		s->fbrd = val & FBRD_MASK;
		break;
	case UARTLCR_H:
		pl011_write_lcr_h(s, val & BYTE_MASK);
		break;
	case UARTCR:
		pl011_write_cr(s, (uint16_t)val);
		break;
	case UARTIFLS:
		pl011_write_ifls(s, (uint8_t)val);
		break;
	case UARTIMSC:
		s->imsc = val & INT_MASK;
		break;
	case UARTICR:
		s->latched &= ~(uint16_t)val;
		break;
	case UARTDMACR:
		s->dmacr = val & DMACR_MASK; /* kept, but there is no DMA controller to ask */
		break;
	} /* the rest is read-only or reserved */
}

static void pl011_write(struct device *dev, uint64_t off, unsigned size, uint64_t val)
{
	struct pl011 *uart = container_of(dev, struct pl011, dev);
	pl011_write_reg(uart, off, val);
	pl011_settle(uart);
}

/* ---- the chardev's side ----------------------------------------------------------------------------------------- */

static size_t pl011_input_room(void *opaque)
{
	struct pl011 *uart = opaque;
	unsigned room = pl011_room(&uart->state);
	uart->starved = !room;
	return room;
}

static void pl011_input(void *opaque, const uint8_t *buf, size_t len)
{
	struct pl011 *uart = opaque;
	for (size_t i = 0; i < len; i++)
		pl011_receive(&uart->state, buf[i]);
	uart->starved = !pl011_room(&uart->state);
	pl011_settle(uart);
}

static void pl011_writable(void *opaque)
{
	struct pl011 *uart = opaque;
	if (!uart->state.tx.count)
		return;
	fifo_drain(&uart->state.tx, uart->chr);
	if (pl011_tx_triggers(&uart->state))
		uart->state.latched |= INT_TX;
	pl011_settle(uart);
}

/* ---- life ------------------------------------------------------------------------------------------------------- */

static void pl011_reset(struct device *dev)
{
	struct pl011 *uart = container_of(dev, struct pl011, dev);
	uart->state = pl011_power_on;
	pl011_settle(uart);
}

static void pl011_save(const struct device *dev, void *state)
{
	const struct pl011 *uart = container_of(dev, struct pl011, dev);
	memcpy(state, &uart->state, sizeof(uart->state));
}

static bool pl011_valid(const struct pl011_state *s)
{
	return !(s->cr & ~CR_MASK) && !(s->imsc & ~INT_MASK) && !(s->latched & ~INT_LATCHED) &&
	       !(s->ifls & ~IFLS_MASK) && !(s->fbrd & ~FBRD_MASK) && !(s->dmacr & ~DMACR_MASK) && !(s->rsr & ~RSR_OE) &&
	       fifo_valid(&s->rx, pl011_depth(s)) && fifo_valid(&s->tx, PL011_FIFO_DEPTH);
}

static int pl011_load(struct device *dev, const void *state)
{
	struct pl011 *uart = container_of(dev, struct pl011, dev);
	struct pl011_state loaded;
	memcpy(&loaded, state, sizeof(loaded));
	if (!pl011_valid(&loaded))
		return -EINVAL;
	uart->state = loaded;
	fifo_drain(&uart->state.tx, uart->chr);
	if (loaded.tx.count && pl011_tx_triggers(&uart->state))
		uart->state.latched |= INT_TX;
	uart->starved = true; /* the chardev, perhaps another one, last saw another FIFO */
	irq_level_sync(&uart->irq, pl011_ris(&uart->state) & uart->state.imsc);
	pl011_settle(uart);
	return 0;
}

static void pl011_free(struct device *dev)
{
	struct pl011 *uart = container_of(dev, struct pl011, dev);
	if (uart->chr)
		uart->chr->client = (struct chardev_client){ 0 };
	device_fini(dev);
	free(uart);
}

static const struct device_ops pl011_ops = {
	.name = "pl011",
	.widths = 1 | 2 | 4,
	.read = pl011_read,
	.write = pl011_write,
	.reset = pl011_reset,
	.free = pl011_free,
	.state_size = sizeof(struct pl011_state),
	.save = pl011_save,
	.load = pl011_load,
};

struct device *pl011_new(struct irq_line irq, struct chardev *chr)
{
	struct pl011 *uart = calloc(1, sizeof(*uart));
	if (!uart)
		return NULL;
	device_init(&uart->dev, &pl011_ops);
	uart->irq.line = irq;
	uart->chr = chr;
	uart->state = pl011_power_on;
	if (chr)
		chr->client = (struct chardev_client){
			.lock = &uart->dev.lock,
			.input_room = pl011_input_room,
			.input = pl011_input,
			.writable = pl011_writable,
			.opaque = uart,
		};
	return &uart->dev;
}
