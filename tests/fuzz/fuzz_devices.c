// SPDX-License-Identifier: Apache-2.0
/*
 * The platform's small devices under a hostile guest, with a host that types, stalls, lets time pass, saves and loads.
 * The first byte picks the device; then each step is an opcode and its operands, zeros once the input is used up.
 */
#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include <string.h>

#include "devices/platform.h"
#include "devices/rtc.h"
#include "devices/serial.h"
#include "src/base/loop.h"
#include "src/base/util.h"

enum { STATE_MAX = 512, STEPS_MAX = 1000 };

struct bench {
	const uint8_t *data; /* what is left of the input */
	size_t len;
	struct device *dev;
	uint64_t window;
	bool level; /* the line passes only changes on */
	bool high, syncing;
	struct chardev chr;
	size_t room; /* bytes that the chardev still takes */
	struct clock clock;
	uint64_t now_ns, wall_ns;
	struct loop *loop;
};

static uint8_t take(struct bench *bench)
{
	if (!bench->len)
		return 0;
	bench->len--;
	return *bench->data++;
}

static uint32_t take32(struct bench *bench)
{
	uint32_t val = 0;
	for (int i = 0; i < 4; i++)
		val = val << 8 | take(bench);
	return val;
}

/* ---- what the device is handed ---------------------------------------------------------------------------------- */

static void bench_irq(void *opaque, unsigned irq, bool level)
{
	struct bench *bench = opaque;
	if (bench->level && !bench->syncing)
		FUZZ_CHECK(level != bench->high);
	bench->high = level;
}

static void bench_request(void *opaque, enum machine_request request)
{
	FUZZ_CHECK(request == MACHINE_POWER_OFF || request == MACHINE_RESET);
}

static size_t bench_chr_write(struct chardev *chr, const uint8_t *buf, size_t len)
{
	struct bench *bench = container_of(chr, struct bench, chr);
	size_t taken = MIN(len, bench->room);
	for (size_t i = 0; i < taken; i++)
		(void)*(const volatile uint8_t *)&buf[i]; /* for the address sanitizer to see */
	bench->room -= taken;
	return taken;
}

static void bench_chr_accept(struct chardev *chr)
{
}

static uint64_t bench_now(const struct clock *clock)
{
	return container_of(clock, struct bench, clock)->now_ns;
}

static uint64_t bench_wall(const struct clock *clock)
{
	return container_of(clock, struct bench, clock)->wall_ns;
}

/* ---- steps ------------------------------------------------------------------------------------------------------ */

/* A width that the bus would let through. */
static unsigned step_width(struct bench *bench)
{
	unsigned widths = bench->dev->ops->widths;
	unsigned size = 1u << (take(bench) & 3);
	return widths & size ? size : widths & -widths;
}

/* Registers are near the start of the window, identification is near its end. */
static uint64_t step_offset(struct bench *bench, unsigned size)
{
	uint8_t where = take(bench);
	uint64_t off = where & 0x80 ? bench->window - 1 - (where & 0x7f) % bench->window : where % bench->window;
	return MIN(off, bench->window - size);
}

static void step_write(struct bench *bench)
{
	unsigned size = step_width(bench);
	uint64_t off = step_offset(bench, size);
	uint64_t val = take32(bench);
	bench->dev->ops->write(bench->dev, off, size, val & (UINT64_MAX >> (64 - 8 * size)));
}

static void step_read(struct bench *bench)
{
	unsigned size = step_width(bench);
	uint64_t off = step_offset(bench, size);
	bench->dev->ops->read(bench->dev, off, size);
}

static void step_input(struct bench *bench)
{
	const struct chardev_client *client = &bench->chr.client;
	uint8_t buf[64];
	size_t want = take(bench) % sizeof(buf);
	if (!client->lock)
		return;
	size_t room = client->input_room(client->opaque);
	size_t len = MIN(want, room);
	for (size_t i = 0; i < len; i++)
		buf[i] = take(bench);
	if (len)
		client->input(client->opaque, buf, len);
	FUZZ_CHECK(client->input_room(client->opaque) == room - len);
}

static void step_drain(struct bench *bench)
{
	const struct chardev_client *client = &bench->chr.client;
	bench->room = take(bench) % 40;
	if (client->lock && bench->room)
		client->writable(client->opaque);
}

static int load(struct bench *bench, const uint8_t *state)
{
	bench->syncing = true; /* brings the line into agreement, whatever it was */
	int ret = bench->dev->ops->load(bench->dev, state);
	bench->syncing = false;
	return ret;
}

static void step_save_load(struct bench *bench)
{
	uint8_t state[STATE_MAX], after[STATE_MAX];
	size_t size = bench->dev->ops->state_size;
	FUZZ_CHECK(size <= sizeof(state));
	bench->dev->ops->save(bench->dev, state);
	FUZZ_CHECK(load(bench, state) == 0);
	bench->dev->ops->save(bench->dev, state);
	if (!size)
		return;
	memcpy(after, state, size);
	after[take(bench) % size] ^= take(bench);
	int ret = load(bench, after);
	FUZZ_CHECK(ret == 0 || ret == -EINVAL);
	bench->dev->ops->save(bench->dev, after);
	if (ret)
		FUZZ_CHECK(!memcmp(state, after, size));
}

/* ---- devices ---------------------------------------------------------------------------------------------------- */

enum { UART16550, PL011, PL031, I8042, ACPI_REGS, RESET_PORT, PCI_CONF1, DEVICES };

/* Time passes; or somebody sets the host's clock, by a year or two at most. */
static void step_time(struct bench *bench)
{
	uint64_t ns = take32(bench) * NSEC_PER_MSEC;
	bench->now_ns += ns;
	bench->wall_ns += ns;
	loop_turn(bench->loop, 0);
}

static void step_set_clock(struct bench *bench)
{
	bench->wall_ns += (uint64_t)((int64_t)(int8_t)take(bench) * 6 * 24 * 3600 * (int64_t)NSEC_PER_SEC);
}

static void step_host(struct bench *bench, unsigned device)
{
	switch (take(bench) % 4) {
	case 0:
		bench->dev->ops->reset(bench->dev);
		break;
	case 1:
		step_time(bench);
		break;
	case 2:
		if (device == I8042)
			i8042_ctrl_alt_del(bench->dev);
		if (device == ACPI_REGS)
			acpi_regs_press_power_button(bench->dev);
		break;
	case 3:
		step_set_clock(bench);
		break;
	}
}

static void step(struct bench *bench, unsigned device)
{
	switch (take(bench) % 8) {
	case 0:
	case 1:
	case 2:
		step_write(bench);
		break;
	case 3:
	case 4:
		step_read(bench);
		break;
	case 5:
		step_input(bench);
		step_drain(bench);
		break;
	case 6:
		step_save_load(bench);
		break;
	case 7:
		step_host(bench, device);
		break;
	}
}

/* The line is what the device's own registers say of it. */
static void check_line(struct bench *bench, unsigned device)
{
	enum { PL011_MIS = 0x40, PL031_MIS = 0x18 };
	struct device *dev = bench->dev;
	if (device == PL011)
		FUZZ_CHECK(bench->high == (dev->ops->read(dev, PL011_MIS, 4) != 0));
	if (device == PL031)
		FUZZ_CHECK(bench->high == (dev->ops->read(dev, PL031_MIS, 4) != 0));
}

/* The same of a register that changes what it tells of: once, at the end. */
static void check_line_finally(struct bench *bench, unsigned device)
{
	enum { UART16550_IIR = 2 };
	struct device *dev = bench->dev;
	bool high = bench->high;
	if (device == UART16550)
		FUZZ_CHECK(high == !(dev->ops->read(dev, UART16550_IIR, 1) & 1));
}

static void bench_make(struct bench *bench, unsigned device)
{
	struct irq_line irq = { .set = bench_irq, .opaque = bench };
	struct machine_line machine = { .request = bench_request, .opaque = bench };
	bench->level = device != ACPI_REGS;
	switch (device) {
	case UART16550:
		bench->window = UART16550_WINDOW;
		bench->dev = uart16550_new(irq, &bench->chr);
		break;
	case PL011:
		bench->window = PL011_WINDOW;
		bench->dev = pl011_new(irq, &bench->chr);
		break;
	case PL031:
		bench->window = PL031_WINDOW;
		bench->dev = pl031_new(irq, &bench->clock, bench->loop);
		break;
	case I8042:
		bench->window = I8042_WINDOW;
		bench->dev = i8042_new(irq, machine);
		break;
	case ACPI_REGS:
		bench->window = ACPI_REGS_WINDOW;
		bench->dev = acpi_regs_new(irq, machine);
		break;
	case RESET_PORT:
		bench->window = 1;
		bench->dev = reset_port_new(machine);
		break;
	case PCI_CONF1:
		bench->window = PCI_CONF1_WINDOW;
		bench->dev = pci_conf1_new();
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static const struct chardev_ops chr_ops = { .write = bench_chr_write, .accept_input = bench_chr_accept };
	struct bench bench = {
		.data = data,
		.len = len,
		.chr.ops = &chr_ops,
		.clock = { .monotonic_ns = bench_now, .wall_ns = bench_wall },
		.now_ns = NSEC_PER_SEC,
		.wall_ns = 1700000000 * NSEC_PER_SEC,
	};
	unsigned device = take(&bench) % DEVICES;
	bench.loop = loop_new(&bench.clock, NULL);
	FUZZ_CHECK(bench.loop);
	bench_make(&bench, device);
	FUZZ_CHECK(bench.dev);
	for (int i = 0; i < STEPS_MAX && bench.len; i++) {
		step(&bench, device);
		check_line(&bench, device);
	}
	check_line_finally(&bench, device);
	bench.dev->ops->reset(bench.dev);
	FUZZ_CHECK(!bench.high);
	device_free(bench.dev);
	FUZZ_CHECK(!bench.chr.client.lock);
	loop_free(bench.loop);
	return 0;
}
