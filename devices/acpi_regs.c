// SPDX-License-Identifier: Apache-2.0
/* The registers behind hardware-reduced ACPI (ACPI 6.5, 4.8.3.6 and 4.8.3.7) and behind the DSDT's event device. */
#include "devices/platform.h"

#include <errno.h>

#include "src/base/util.h"

enum { SLP_TYP_SHIFT = 2, SLP_TYP_MASK = 7 << SLP_TYP_SHIFT, SLP_EN = 1 << 5 };
enum { WAK_STS = 1 << 7 };

struct acpi_regs_state {
	uint8_t slp_typ; /* as it stands in the control register */
	uint8_t wak_sts; /* WAK_STS or 0 */
	uint8_t events;  /* pending, until the event register is read */
};

struct acpi_regs {
	struct device dev;
	struct irq_line irq;
	struct machine_line machine;
	struct acpi_regs_state state;
};

static uint64_t acpi_regs_read(struct device *dev, uint64_t off, unsigned size)
{
	struct acpi_regs *regs = container_of(dev, struct acpi_regs, dev);
	struct acpi_regs_state *s = &regs->state;
	switch (off) {
	case ACPI_REGS_SLEEP_CONTROL:
		return s->slp_typ; /* SLP_EN is write-only */
	case ACPI_REGS_SLEEP_STATUS:
		return s->wak_sts;
	case ACPI_REGS_EVENT: {
		uint8_t events = s->events;
		s->events = 0;
		return events;
	}
	}
	return 0;
}

/* Of the sleep types there is only S5; out of any other the guest wakes at once, or it would poll WAK_STS for ever. */
static void acpi_regs_sleep(struct acpi_regs *regs, uint8_t control)
{
	regs->state.slp_typ = control & SLP_TYP_MASK;
	if (!(control & SLP_EN))
		return;
	if (regs->state.slp_typ == ACPI_S5_SLP_TYP << SLP_TYP_SHIFT)
		machine_ask(&regs->machine, MACHINE_POWER_OFF);
	else
		regs->state.wak_sts = WAK_STS;
}

static void acpi_regs_write(struct device *dev, uint64_t off, unsigned size, uint64_t val)
{
	struct acpi_regs *regs = container_of(dev, struct acpi_regs, dev);
	switch (off) {
	case ACPI_REGS_SLEEP_CONTROL:
		acpi_regs_sleep(regs, (uint8_t)val);
		break;
	case ACPI_REGS_SLEEP_STATUS:
		regs->state.wak_sts &= ~(uint8_t)val; /* write one to clear */
		break;
	case ACPI_REGS_RESET:
		if (val == ACPI_RESET_VALUE)
			machine_ask(&regs->machine, MACHINE_RESET);
		break;
	}
}

void acpi_regs_press_power_button(struct device *dev)
{
	struct acpi_regs *regs = container_of(dev, struct acpi_regs, dev);
	pthread_mutex_lock(&dev->lock);
	regs->state.events |= ACPI_EVENT_POWER_BUTTON;
	irq_pulse(&regs->irq);
	pthread_mutex_unlock(&dev->lock);
}

static void acpi_regs_reset(struct device *dev)
{
	struct acpi_regs *regs = container_of(dev, struct acpi_regs, dev);
	regs->state = (struct acpi_regs_state){ 0 };
}

static void acpi_regs_save(const struct device *dev, void *state)
{
	const struct acpi_regs *regs = container_of(dev, struct acpi_regs, dev);
	memcpy(state, &regs->state, sizeof(regs->state));
}

static int acpi_regs_load(struct device *dev, const void *state)
{
	struct acpi_regs *regs = container_of(dev, struct acpi_regs, dev);
	struct acpi_regs_state loaded;
	memcpy(&loaded, state, sizeof(loaded));
	if (loaded.slp_typ & ~SLP_TYP_MASK || loaded.wak_sts & ~WAK_STS || loaded.events & ~ACPI_EVENT_POWER_BUTTON)
		return -EINVAL;
	regs->state = loaded;
	if (loaded.events)
		irq_pulse(&regs->irq); /* the edge may not have reached the guest */
	return 0;
}

static void acpi_regs_free(struct device *dev)
{
	device_fini(dev);
	free(container_of(dev, struct acpi_regs, dev));
}

static const struct device_ops acpi_regs_ops = {
	.name = "acpi",
	.widths = 1,
	.read = acpi_regs_read,
	.write = acpi_regs_write,
	.reset = acpi_regs_reset,
	.free = acpi_regs_free,
	.state_size = sizeof(struct acpi_regs_state),
	.save = acpi_regs_save,
	.load = acpi_regs_load,
};

struct device *acpi_regs_new(struct irq_line irq, struct machine_line machine)
{
	struct acpi_regs *regs = calloc(1, sizeof(*regs));
	if (!regs)
		return NULL;
	device_init(&regs->dev, &acpi_regs_ops);
	regs->irq = irq;
	regs->machine = machine;
	return &regs->dev;
}
