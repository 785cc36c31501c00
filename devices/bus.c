// SPDX-License-Identifier: Apache-2.0
#include "devices/bus.h"

#include <errno.h>
#include <inttypes.h>

#include "src/base/log.h"
#include "src/base/util.h"

int bus_add(struct bus *bus, uint64_t base, uint64_t size, struct device *dev, struct cvmm_error *err)
{
	return bus_add_window(bus, base, size, dev, 0, err);
}

int bus_add_window(struct bus *bus, uint64_t base, uint64_t size, struct device *dev, uint64_t dev_off,
                   struct cvmm_error *err)
{
	uint64_t end;
	if (!size || __builtin_add_overflow(base, size, &end))
		return err_set(err, -EINVAL, "%s: empty or wrapping range at 0x%" PRIx64, dev->ops->name, base);
	if (bus->count == BUS_RANGES_MAX)
		return err_set(err, -ENOSPC, "%s: more than %d ranges on the %s bus", dev->ops->name, BUS_RANGES_MAX,
		               bus->name);
	unsigned at = 0;
	while (at < bus->count && bus->ranges[at].base < base)
		at++;
	const struct bus_range *before = at ? &bus->ranges[at - 1] : NULL;
	const struct bus_range *after = at < bus->count ? &bus->ranges[at] : NULL;
	if ((before && base - before->base < before->size) || (after && after->base < end))
		return err_set(err, -EINVAL, "%s: 0x%" PRIx64 " is taken on the %s bus", dev->ops->name, base,
		               bus->name);
	memmove(&bus->ranges[at + 1], &bus->ranges[at], (bus->count - at) * sizeof(bus->ranges[0]));
	bus->ranges[at] = (struct bus_range){ .base = base, .size = size, .dev = dev, .dev_off = dev_off };
	bus->count++;
	return 0;
}

static const struct bus_range *bus_find(const struct bus *bus, uint64_t addr)
{
	unsigned low = 0, high = bus->count;
	while (low < high) {
		unsigned mid = (low + high) / 2;
		if (addr < bus->ranges[mid].base)
			high = mid;
		else if (addr - bus->ranges[mid].base < bus->ranges[mid].size)
			return &bus->ranges[mid];
		else
			low = mid + 1;
	}
	return NULL;
}

/* The range that takes this access, or NULL. */
static const struct bus_range *bus_admit(const struct bus *bus, uint64_t addr, unsigned size, const char *what)
{
	const struct bus_range *range = bus_find(bus, addr);
	if (!range) {
		log_guest("%s: %s of %u bytes at 0x%" PRIx64 ": nothing is there", bus->name, what, size, addr);
		return NULL;
	}
	bool width_ok = size && size <= 8 && !(size & (size - 1)) && (range->dev->ops->widths & size);
	if (!width_ok || !range_inside(addr - range->base, size, range->size)) {
		log_guest("%s: %s: %s of %u bytes at 0x%" PRIx64 " is not admitted", bus->name, range->dev->ops->name,
		          what, size, addr);
		return NULL;
	}
	return range;
}

bool bus_read(struct bus *bus, uint64_t addr, void *data, unsigned size)
{
	const struct bus_range *range = bus_admit(bus, addr, size, "read");
	if (!range) {
		memset(data, 0xff, size);
		return false;
	}
	struct device *dev = range->dev;
	pthread_mutex_lock(&dev->lock);
	uint64_t val = htole64(dev->ops->read(dev, addr - range->base + range->dev_off, size));
	pthread_mutex_unlock(&dev->lock);
	memcpy(data, &val, size);
	return true;
}

bool bus_write(struct bus *bus, uint64_t addr, const void *data, unsigned size)
{
	const struct bus_range *range = bus_admit(bus, addr, size, "write");
	if (!range)
		return false;
	uint64_t val = 0;
	memcpy(&val, data, size);
	struct device *dev = range->dev;
	pthread_mutex_lock(&dev->lock);
	dev->ops->write(dev, addr - range->base + range->dev_off, size, le64toh(val));
	pthread_mutex_unlock(&dev->lock);
	return true;
}
