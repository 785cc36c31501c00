/* SPDX-License-Identifier: Apache-2.0 */
/* The PC's few platform registers: i8042, ACPI sleep and reset registers with the generic event device, legacy reset,
 * PCI configuration ports. */
#ifndef CVMM_DEVICES_PLATFORM_H
#define CVMM_DEVICES_PLATFORM_H

#include "devices/device.h"

/*
 * Hardware-reduced ACPI: sleep control, sleep status, reset (ACPI 6.5, 4.8.3.7, 4.8.3.6), then the event register that
 * the DSDT's GED method reads and thereby clears, bit 0 being the power button.
 */
enum {
	ACPI_REGS_SLEEP_CONTROL = 0,
	ACPI_REGS_SLEEP_STATUS = 1,
	ACPI_REGS_RESET = 2,
	ACPI_REGS_EVENT = 3,
	ACPI_REGS_WINDOW = 4,
	ACPI_RESET_VALUE = 0x42,
	ACPI_S5_SLP_TYP = 5,
	ACPI_EVENT_POWER_BUTTON = 1 << 0,
};

/* @irq: the GED's, edge. NULL: no memory. */
struct device *acpi_regs_new(struct irq_line irq, struct machine_line machine);
/* Press the power button: any thread; takes the device's lock. */
void acpi_regs_press_power_button(struct device *dev);

/* PC keyboard controller (Intel 8042), registers 0x60 (offset 0) and 0x64 (offset 4): a keyboard that answers probes,
 * and the reset line. @irq: keyboard, IRQ 1. NULL: no memory. */
enum { I8042_WINDOW = 5 };
struct device *i8042_new(struct irq_line irq, struct machine_line machine);
/* Type Ctrl-Alt-Del: any thread; takes the device's lock. False: the guest does not listen to the keyboard. */
bool i8042_ctrl_alt_del(struct device *dev);

/* What is left of the reset ports where there is no i8042: command 0xfe to port 0x64 (offset 0 of a one-byte window). */
struct device *reset_port_new(struct machine_line machine);

/* PCI configuration mechanism #1: address at offset 0, data at 4; the bus has only its host bridge. NULL: no memory. */
enum { PCI_CONF1_WINDOW = 8 };
struct device *pci_conf1_new(void);

#endif
