// SPDX-License-Identifier: Apache-2.0
/*
 * The head of a zoned file: superblocks and table. The first byte says whether checksums are made right, so that what
 * they guard is reached, and bytes beyond the head are operations on the zones that came out.
 */
#include "tests/fuzz/fuzz.h"

#include <string.h>
#include <zlib.h>

#include "src/base/util.h"
#include "src/block/zone_format.h"

enum { HEAD_MAX = 256 * 1024, SUPER_CRC = 12, PAGE_CRC = 4 };

static uint8_t head[HEAD_MAX];

static void seal(uint8_t *page, size_t crc_off)
{
	memset(page + crc_off, 0, 4);
	uint32_t crc = (uint32_t)crc32(0, page, ZONE_PAGE_SIZE);
	for (unsigned i = 0; i < 4; i++)
		page[crc_off + i] = (uint8_t)(crc >> 8 * i);
}

static void seal_all(size_t len)
{
	for (size_t off = 0; off < len; off += ZONE_PAGE_SIZE)
		seal(head + off, off < ZONE_SUPERBLOCKS * ZONE_PAGE_SIZE ? SUPER_CRC : PAGE_CRC);
}

/* What a guest, or whoever continues such a file, relies on. */
static void check_zones(const struct zones *zones)
{
	uint32_t implicit = 0, explicit = 0, closed = 0;
	for (uint32_t i = 0; i < zones->count; i++) {
		const struct zone *zone = &zones->zone[i];
		struct zone_info info;
		zones_info(zones, i, &info);
		FUZZ_CHECK(info.wp >= info.start && info.wp <= info.start + info.len);
		FUZZ_CHECK(info.start + info.len <= zones->geometry.size && info.capacity <= info.len);
		FUZZ_CHECK(zone->written <= info.capacity);
		FUZZ_CHECK(zone_state_name(info.state)[0] != '?' && zone_type_name(info.type)[0] != '?');
		FUZZ_CHECK(info.state != ZONE_EMPTY || !zone->written);
		implicit += info.state == ZONE_IMPLICIT_OPEN;
		explicit += info.state == ZONE_EXPLICIT_OPEN;
		closed += info.state == ZONE_CLOSED;
	}
	FUZZ_CHECK(implicit == zones->implicit && explicit == zones->explicit && closed == zones->closed);
}

static void operate(struct zones *zones, const uint8_t *data, size_t len)
{
	for (; len >= 4; data += 4, len -= 4) {
		uint32_t index = (data[1] | data[2] << 8u) % zones->count;
		uint64_t off = zones_start(zones, index), size = data[3] * (uint64_t)512, written;
		switch (data[0] % 8) {
		case 0:
		case 1:
			off += data[0] & 8 ? 0 : zones->zone[index].written;
			if (size && range_inside(off, size, zones->geometry.size) &&
			    zones_begin_write(zones, off, size) == 0)
				zones_end_write(zones, off, size, !(data[0] & 16));
			break;
		case 2:
			if (zones_begin_append(zones, &off, size) == 0)
				zones_end_write(zones, off, size, !(data[0] & 16));
			break;
		case 3:
			if (range_inside(off, size, zones->geometry.size) &&
			    zones_read(zones, off, size, &written) == 0)
				FUZZ_CHECK(written <= size);
			break;
		default:
			zones_manage(zones, (enum zone_op)(ZONE_OP_OPEN + data[0] % 4), off);
			break;
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct zone_geometry geometry;
	struct zones zones;
	struct zone_table table;
	struct cvmm_error err;
	uint64_t id;
	if (!len)
		return 0;
	size_t used = MIN(len - 1, sizeof(head));
	memset(head, 0, sizeof(head));
	memcpy(head, data + 1, used);
	if (data[0] & 1)
		seal_all(used);
	int ret = zone_format_parse_super(head, &geometry, &id, &err);
	FUZZ_CHECK(ret == 0 || ret == -ENOEXEC);
	if (ret < 0 || zone_format_head(&geometry) > sizeof(head))
		return 0;
	ret = zone_format_parse(head, &geometry, id, &zones, &table, &err);
	FUZZ_CHECK(ret == 0 || ret == -ENOEXEC || ret == -ENOMEM);
	if (ret == 0) {
		check_zones(&zones);
		if (used > zone_format_head(&geometry))
			operate(&zones, data + 1 + zone_format_head(&geometry), used - zone_format_head(&geometry));
		check_zones(&zones);
	}
	zone_table_fini(&table);
	zones_fini(&zones);
	return 0;
}
