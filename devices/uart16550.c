// SPDX-License-Identifier: Apache-2.0
/*
 * 16550A UART, after the National Semiconductor PC16550D data sheet. The line is as fast as its other end: a byte
 * written to THR is gone at once, and only while the chardev is full does the transmit FIFO fill and LSR say so. A
 * receive time-out elapses at once, so that no input waits below the trigger level.
 */
#include "devices/serial.h"

#include <errno.h>

#include "devices/fifo.h"
#include "src/base/log.h"
#include "src/base/util.h"

enum { RBR = 0, THR = 0, IER = 1, IIR = 2, FCR = 2, LCR = 3, MCR = 4, LSR = 5, MSR = 6, SCR = 7 };
enum { DLL = 0, DLM = 1 }; /* in place of RBR/THR and IER while LCR has DLAB */

enum { IER_RDI = 1 << 0, IER_THRI = 1 << 1, IER_RLSI = 1 << 2, IER_MSI = 1 << 3, IER_MASK = 0x0f };
enum {
	IIR_MODEM = 0x00,
	IIR_NONE = 0x01,
	IIR_THRE = 0x02,
	IIR_RX = 0x04,
	IIR_LINE = 0x06,
	IIR_TIMEOUT = 0x0c,
	IIR_FIFO = 0xc0,
};
enum { FCR_ENABLE = 1 << 0, FCR_CLEAR_RX = 1 << 1, FCR_CLEAR_TX = 1 << 2, FCR_DMA = 1 << 3, FCR_TRIGGER_SHIFT = 6 };
enum { FCR_KEPT = FCR_ENABLE | FCR_DMA | 3 << FCR_TRIGGER_SHIFT };
enum { LCR_DLAB = 1 << 7 };
enum { MCR_DTR = 1 << 0, MCR_RTS = 1 << 1, MCR_OUT1 = 1 << 2, MCR_OUT2 = 1 << 3, MCR_LOOP = 1 << 4, MCR_MASK = 0x1f };
enum { LSR_DR = 1 << 0, LSR_OE = 1 << 1, LSR_THRE = 1 << 5, LSR_TEMT = 1 << 6 };
enum { MSR_CTS = 1 << 4, MSR_DSR = 1 << 5, MSR_RI = 1 << 6, MSR_DCD = 1 << 7, MSR_DELTA = 0x0f };

enum { UART_FIFO_DEPTH = 16 };

struct uart16550_state {
	uint8_t ier, fcr, lcr, mcr, scr, dll, dlm;
	uint8_t msr_delta;  /* MSR bits 3:0, until MSR is read */
	uint8_t overrun;    /* LSR_OE or 0, until LSR is read */
	uint8_t thre;       /* the transmitter ran empty and IIR has not told so yet */
	struct fifo rx, tx; /* tx: what the chardev had no room for */
};

struct uart16550 {
	struct device dev;
	struct irq_level irq;
	struct chardev *chr; /* not owned; may be NULL */
	bool starved;        /* the chardev was told that there is no room for input */
	struct uart16550_state state;
};

static const struct uart16550_state uart16550_power_on = {
	.dll = 1, /* undefined in the data sheet; 115200 baud, since a probing Linux console divides by it */
};

/* In 16450 mode there is one byte each way. */
static unsigned uart16550_rx_depth(const struct uart16550_state *s)
{
	return s->fcr & FCR_ENABLE ? UART_FIFO_DEPTH : 1;
}

static unsigned uart16550_rx_trigger(const struct uart16550_state *s)
{
	static const uint8_t levels[] = { 1, 4, 8, 14 };
	return s->fcr & FCR_ENABLE ? levels[s->fcr >> FCR_TRIGGER_SHIFT] : 1;
}

/* MSR bits 7:4: the other end is ready always; in loopback they are our own outputs. */
static uint8_t uart16550_modem_lines(const struct uart16550_state *s)
{
	if (!(s->mcr & MCR_LOOP))
		return MSR_DCD | MSR_DSR | MSR_CTS;
	return (uint8_t)((s->mcr & MCR_RTS ? MSR_CTS : 0) | (s->mcr & MCR_DTR ? MSR_DSR : 0) |
	                 (s->mcr & MCR_OUT1 ? MSR_RI : 0) | (s->mcr & MCR_OUT2 ? MSR_DCD : 0));
}

/* The enabled cause of the highest priority (PC16550D, table IV). */
static uint8_t uart16550_cause(const struct uart16550_state *s)
{
	if ((s->ier & IER_RLSI) && s->overrun)
		return IIR_LINE;
	if ((s->ier & IER_RDI) && s->rx.count)
		return s->rx.count >= uart16550_rx_trigger(s) ? IIR_RX : IIR_TIMEOUT;
	if ((s->ier & IER_THRI) && s->thre)
		return IIR_THRE;
	if ((s->ier & IER_MSI) && s->msr_delta)
		return IIR_MODEM;
	return IIR_NONE;
}

static unsigned uart16550_room(const struct uart16550_state *s)
{
	unsigned depth = uart16550_rx_depth(s);
	return s->mcr & MCR_LOOP || s->rx.count >= depth ? 0 : depth - s->rx.count;
}

/* After every access: the line follows the causes; a starved chardev may go on once half the FIFO is free, not for
 * each byte read. */
static void uart16550_settle(struct uart16550 *uart)
{
	const struct uart16550_state *s = &uart->state;
	irq_level_set(&uart->irq, uart16550_cause(s) != IIR_NONE);
	if (uart->starved && uart16550_room(s) && s->rx.count <= uart16550_rx_depth(s) / 2) {
		uart->starved = false;
		chardev_accept_input(uart->chr);
	}
}

static uint8_t uart16550_read_iir(struct uart16550_state *s)
{
	uint8_t cause = uart16550_cause(s);
	if (cause == IIR_THRE)
		s->thre = false;
	return cause | (s->fcr & FCR_ENABLE ? IIR_FIFO : 0);
}

static uint8_t uart16550_read_lsr(struct uart16550_state *s)
{
	uint8_t lsr = s->overrun | (s->rx.count ? LSR_DR : 0) | (s->tx.count ? 0 : LSR_THRE | LSR_TEMT);
	s->overrun = 0;
	return lsr;
}

static uint8_t uart16550_read_msr(struct uart16550_state *s)
{
	uint8_t msr = uart16550_modem_lines(s) | s->msr_delta;
	s->msr_delta = 0;
	return msr;
}

static uint8_t uart16550_read_reg(struct uart16550_state *s, uint64_t off)
{
	bool dlab = s->lcr & LCR_DLAB;
	switch (off) {
	case RBR:
		return dlab ? s->dll : fifo_pop(&s->rx);
	case IER:
		return dlab ? s->dlm : s->ier;
	case IIR:
		return uart16550_read_iir(s);
	case LCR:
		return s->lcr;
	case MCR:
		return s->mcr;
	case LSR:
		return uart16550_read_lsr(s);
	case MSR:
		return uart16550_read_msr(s);
	default:
		return s->scr;
	}
}

static uint64_t uart16550_read(struct device *dev, uint64_t off, unsigned size)
{
	struct uart16550 *uart = container_of(dev, struct uart16550, dev);
	uint8_t val = uart16550_read_reg(&uart->state, off);
	uart16550_settle(uart);
	return val;
}

static void uart16550_write_thr(struct uart16550 *uart, uint8_t val)
{
	struct uart16550_state *s = &uart->state;
	if (s->mcr & MCR_LOOP) {
		if (!fifo_push(&s->rx, uart16550_rx_depth(s), val))
			s->overrun = LSR_OE;
	} else if (!fifo_send(&s->tx, UART_FIFO_DEPTH, uart->chr, val)) {
		log_guest("uart16550: a byte written to a full transmitter is lost");
	}
	s->thre = !s->tx.count;
}

/* Enabling THRI while the transmitter is empty raises it at once, each time: Linux's start-up tests that twice. */
static void uart16550_write_ier(struct uart16550_state *s, uint8_t val)
{
	if (val & ~s->ier & IER_THRI)
		s->thre = !s->tx.count;
	s->ier = val & IER_MASK;
}

static void uart16550_write_fcr(struct uart16550_state *s, uint8_t val)
{
	bool toggled = (val ^ s->fcr) & FCR_ENABLE;
	if (!(val & FCR_ENABLE))
		val = 0; /* the other bits count only together with this one */
	if (toggled || val & FCR_CLEAR_RX)
		fifo_clear(&s->rx);
	if ((toggled || val & FCR_CLEAR_TX) && s->tx.count) {
		fifo_clear(&s->tx);
		s->thre = true;
	}
	s->fcr = val & FCR_KEPT;
}

static void uart16550_write_mcr(struct uart16550_state *s, uint8_t val)
{
	uint8_t before = uart16550_modem_lines(s);
	s->mcr = val & MCR_MASK;
	uint8_t after = uart16550_modem_lines(s);
	uint8_t changed = (before ^ after) & (MSR_CTS | MSR_DSR | MSR_DCD);
	uint8_t rang = before & ~after & MSR_RI; /* TERI: the trailing edge alone */
	s->msr_delta |= (changed | rang) >> 4;
}

static void uart16550_write(struct device *dev, uint64_t off, unsigned size, uint64_t val)
{
	struct uart16550 *uart = container_of(dev, struct uart16550, dev);
	struct uart16550_state *s = &uart->state;
	bool dlab = s->lcr & LCR_DLAB;
	switch (off) {
	case THR:
		if (dlab)
			s->dll = (uint8_t)val;
		else
			uart16550_write_thr(uart, (uint8_t)val);
		break;
	case IER:
		if (dlab)
			s->dlm = (uint8_t)val;
		else
			uart16550_write_ier(s, (uint8_t)val);
		break;
	case FCR:
		uart16550_write_fcr(s, (uint8_t)val);
		break;
	case LCR:
		s->lcr = (uint8_t)val;
		break;
	case MCR:
		uart16550_write_mcr(s, (uint8_t)val);
		break;
	case SCR:
		s->scr = (uint8_t)val;
		break;
	} /* LSR and MSR are read-only */
	uart16550_settle(uart);
}

/* ---- the chardev's side ----------------------------------------------------------------------------------------- */

static size_t uart16550_input_room(void *opaque)
{
	struct uart16550 *uart = opaque;
	unsigned room = uart16550_room(&uart->state);
	uart->starved = !room;
	return room;
}

static void uart16550_input(void *opaque, const uint8_t *buf, size_t len)
{
	struct uart16550 *uart = opaque;
	unsigned depth = uart16550_rx_depth(&uart->state);
	for (size_t i = 0; i < len; i++)
		if (!fifo_push(&uart->state.rx, depth, buf[i]))
			uart->state.overrun = LSR_OE;
	uart->starved = !uart16550_room(&uart->state);
	uart16550_settle(uart);
}

static void uart16550_writable(void *opaque)
{
	struct uart16550 *uart = opaque;
	if (!uart->state.tx.count)
		return;
	fifo_drain(&uart->state.tx, uart->chr);
	if (!uart->state.tx.count)
		uart->state.thre = true;
	uart16550_settle(uart);
}

/* ---- life ------------------------------------------------------------------------------------------------------- */

static void uart16550_reset(struct device *dev)
{
	struct uart16550 *uart = container_of(dev, struct uart16550, dev);
	uart->state = uart16550_power_on;
	uart16550_settle(uart);
}

static void uart16550_save(const struct device *dev, void *state)
{
	const struct uart16550 *uart = container_of(dev, struct uart16550, dev);
	memcpy(state, &uart->state, sizeof(uart->state));
}

static bool uart16550_valid(const struct uart16550_state *s)
{
	return !(s->ier & ~IER_MASK) && !(s->fcr & ~FCR_KEPT) && !(s->mcr & ~MCR_MASK) &&
	       !(s->msr_delta & ~MSR_DELTA) && !(s->overrun & ~LSR_OE) && s->thre <= 1 &&
	       fifo_valid(&s->rx, uart16550_rx_depth(s)) && fifo_valid(&s->tx, UART_FIFO_DEPTH);
}

static int uart16550_load(struct device *dev, const void *state)
{
	struct uart16550 *uart = container_of(dev, struct uart16550, dev);
	struct uart16550_state loaded;
	memcpy(&loaded, state, sizeof(loaded));
	if (!uart16550_valid(&loaded))
		return -EINVAL;
	uart->state = loaded;
	fifo_drain(&uart->state.tx, uart->chr);
	/* An edge that was on its way to the guest may be lost: a THRE too many does no harm, one too few stalls it. */
	uart->state.thre = !uart->state.tx.count;
	uart->starved = true; /* the chardev, perhaps another one, last saw another FIFO */
	irq_level_sync(&uart->irq, uart16550_cause(&uart->state) != IIR_NONE);
	uart16550_settle(uart);
	return 0;
}

static void uart16550_free(struct device *dev)
{
	struct uart16550 *uart = container_of(dev, struct uart16550, dev);
	if (uart->chr)
		uart->chr->client = (struct chardev_client){ 0 };
	device_fini(dev);
	free(uart);
}

static const struct device_ops uart16550_ops = {
	.name = "uart16550",
	.widths = 1,
	.read = uart16550_read,
	.write = uart16550_write,
	.reset = uart16550_reset,
	.free = uart16550_free,
	.state_size = sizeof(struct uart16550_state),
	.save = uart16550_save,
	.load = uart16550_load,
};

struct device *uart16550_new(struct irq_line irq, struct chardev *chr)
{
	struct uart16550 *uart = calloc(1, sizeof(*uart));
	if (!uart)
		return NULL;
	device_init(&uart->dev, &uart16550_ops);
	uart->irq.line = irq;
	uart->chr = chr;
	uart->state = uart16550_power_on;
	if (chr)
		chr->client = (struct chardev_client){
			.lock = &uart->dev.lock,
			.input_room = uart16550_input_room,
			.input = uart16550_input,
			.writable = uart16550_writable,
			.opaque = uart,
		};
	return &uart->dev;
}
