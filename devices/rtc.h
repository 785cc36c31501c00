/* SPDX-License-Identifier: Apache-2.0 */
/* Arm PrimeCell real time clock PL031 (Arm DDI 0224C): the host's wall clock, in seconds, with an alarm. */
#ifndef CVMM_DEVICES_RTC_H
#define CVMM_DEVICES_RTC_H

#include "devices/device.h"
#include "src/base/loop.h"

enum { PL031_WINDOW = 0x1000 };

/* @irq: level. @clock, @loop: not owned. NULL: no memory. */
struct device *pl031_new(struct irq_line irq, const struct clock *clock, struct loop *loop);

#endif
