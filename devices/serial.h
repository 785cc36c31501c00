/* SPDX-License-Identifier: Apache-2.0 */
/* Serial ports: 16550A UART (PC16550D data sheet), Arm PL011 UART (Arm DDI 0183G). */
#ifndef CVMM_DEVICES_SERIAL_H
#define CVMM_DEVICES_SERIAL_H

#include "devices/chardev.h"
#include "devices/device.h"

enum { UART16550_WINDOW = 8, PL011_WINDOW = 0x1000 };

/* @irq: level, high while a cause is pending. @chr: not owned, outlives the device; may be NULL. NULL: no memory. */
struct device *uart16550_new(struct irq_line irq, struct chardev *chr);
struct device *pl011_new(struct irq_line irq, struct chardev *chr);

#endif
