/* SPDX-License-Identifier: Apache-2.0 */
/* Interrupt lines over KVM_IRQ_LINE. (irqfd and MSI routes join with the devices that need them.) */
#ifndef CVMM_SRC_IRQ_H
#define CVMM_SRC_IRQ_H

#include "devices/device.h"

struct vm;

/* The line of @gsi: on x86_64 an IOAPIC pin, on aarch64 an SPI counted from 0 (INTID - 32). */
struct irq_line irq_line(struct vm *vm, unsigned gsi);

#endif
