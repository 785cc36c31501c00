// SPDX-License-Identifier: Apache-2.0
/* Port 0x64 of a PC without a keyboard controller: no more than the command that pulses the reset line. It reads as an
 * idle controller, so that whoever waits for one before asking for the reset does not wait long. */
#include "devices/platform.h"

#include "src/base/util.h"

enum { PULSE_RESET = 0xfe };

struct reset_port {
	struct device dev;
	struct machine_line machine;
};

static uint64_t reset_port_read(struct device *dev, uint64_t off, unsigned size)
{
	return 0;
}

static void reset_port_write(struct device *dev, uint64_t off, unsigned size, uint64_t val)
{
	struct reset_port *port = container_of(dev, struct reset_port, dev);
	if (off == 0 && val == PULSE_RESET)
		machine_ask(&port->machine, MACHINE_RESET);
}

static void reset_port_reset(struct device *dev)
{
}

static void reset_port_save(const struct device *dev, void *state)
{
}

static int reset_port_load(struct device *dev, const void *state)
{
	return 0;
}

static void reset_port_free(struct device *dev)
{
	device_fini(dev);
	free(container_of(dev, struct reset_port, dev));
}

static const struct device_ops reset_port_ops = {
	.name = "reset port",
	.widths = 1,
	.read = reset_port_read,
	.write = reset_port_write,
	.reset = reset_port_reset,
	.free = reset_port_free,
	.state_size = 0, /* there is none */
	.save = reset_port_save,
	.load = reset_port_load,
};

struct device *reset_port_new(struct machine_line machine)
{
	struct reset_port *port = calloc(1, sizeof(*port));
	if (!port)
		return NULL;
	device_init(&port->dev, &reset_port_ops);
	port->machine = machine;
	return &port->dev;
}
