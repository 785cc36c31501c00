/* SPDX-License-Identifier: Apache-2.0 */
/* Address range -> device. Checks range and width, takes the device's lock. One bus for MMIO, one for port I/O; the
 * ranges are laid down before vCPUs run and then only read. */
#ifndef CVMM_DEVICES_BUS_H
#define CVMM_DEVICES_BUS_H

#include "devices/device.h"
#include "src/base/error.h"

enum { BUS_RANGES_MAX = 64 };

struct bus_range {
	uint64_t base, size;
	struct device *dev; /* not owned */
	uint64_t dev_off;   /* the window starts here in the device's registers */
};

struct bus {
	const char *name;                        /* "mmio", "pio": for logs */
	struct bus_range ranges[BUS_RANGES_MAX]; /* ascending, disjoint */
	unsigned count;
};

/* -EINVAL: empty, wraps, overlaps another range; -ENOSPC: too many. */
int bus_add(struct bus *bus, uint64_t base, uint64_t size, struct device *dev, struct cvmm_error *err);
/* The same for a device with several windows: offset 0 of this one is its register @dev_off. */
int bus_add_window(struct bus *bus, uint64_t base, uint64_t size, struct device *dev, uint64_t dev_off,
                   struct cvmm_error *err);

/*
 * One access of @size bytes (1 to 8, whatever KVM reports) by a vCPU. What no device claims, or a device does not admit
 * at that width, reads as all ones and is not written. Returns whether a device took it.
 */
bool bus_read(struct bus *bus, uint64_t addr, void *data, unsigned size);
bool bus_write(struct bus *bus, uint64_t addr, const void *data, unsigned size);

#endif
