// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/unit.h"

#include <string.h>

#include "src/base/util.h"
#include "src/block/zones.h"

enum { ZONE = 64 << 10, CAPACITY = 48 << 10, BLOCK = 4096 };

static const struct zone_geometry managed = {
	.model = ZONE_MODEL_HOST_MANAGED,
	.size = 10 * (uint64_t)ZONE,
	.zone_size = ZONE,
	.zone_capacity = CAPACITY,
	.conventional = 2,
	.max_append = 32 << 10,
	.block_size = BLOCK,
};

static struct zones made(struct zone_geometry geometry)
{
	struct zones zones;
	struct cvmm_error err;
	assert_int_equal(zones_init(&zones, &geometry, &err), 0);
	return zones;
}

static int write_at(struct zones *zones, uint64_t off, uint64_t len)
{
	int ret = zones_begin_write(zones, off, len);
	if (ret == 0)
		zones_end_write(zones, off, len, true);
	return ret;
}

static int append(struct zones *zones, uint64_t *off, uint64_t len)
{
	int ret = zones_begin_append(zones, off, len);
	if (ret == 0)
		zones_end_write(zones, *off, len, true);
	return ret;
}

static unsigned state(const struct zones *zones, uint32_t index)
{
	return zones->zone[index].state;
}

static uint64_t start(uint32_t index)
{
	return index * (uint64_t)ZONE;
}

/* ---- every state by every operation ------------------------------------------------------------------------------ */

/* How a zone gets where the test begins. IOPEN and CLOSED hold a block; EOPEN does so or does not. */
enum from { EMPTY, IOPEN, EOPEN_BARE, EOPEN, CLOSED, FULL, FINISHED, RDONLY, OFFLINE, CONV, FROMS };

static void bring(struct zones *zones, uint32_t index, enum from from)
{
	if (from == IOPEN || from == EOPEN || from == CLOSED || from == FINISHED)
		assert_int_equal(write_at(zones, start(index), BLOCK), 0);
	if (from == EOPEN || from == EOPEN_BARE)
		assert_int_equal(zones_manage(zones, ZONE_OP_OPEN, start(index)), 0);
	if (from == CLOSED)
		assert_int_equal(zones_manage(zones, ZONE_OP_CLOSE, start(index)), 0);
	if (from == FULL)
		assert_int_equal(write_at(zones, start(index), CAPACITY), 0);
	if (from == FINISHED)
		assert_int_equal(zones_manage(zones, ZONE_OP_FINISH, start(index)), 0);
	if (from == RDONLY || from == OFFLINE)
		assert_int_equal(zones_force(zones, index, from == RDONLY ? ZONE_READ_ONLY : ZONE_OFFLINE), 0);
}

/* What is done: as a zone takes it, in the place where the write pointer is. */
enum event { OUT, OUT_REST, APPEND, OPEN, CLOSE, FINISH, RESET, RESET_ALL, READ, EVENTS };

static int happen(struct zones *zones, uint32_t index, enum event event)
{
	static const enum zone_op ops[EVENTS] = {
		[OPEN] = ZONE_OP_OPEN, [CLOSE] = ZONE_OP_CLOSE, [FINISH] = ZONE_OP_FINISH, [RESET] = ZONE_OP_RESET
	};
	uint64_t off = start(index), written = zones->zone[index].written, data;
	switch (event) {
	case OUT:
		return write_at(zones, off + (written == CAPACITY ? 0 : written), BLOCK);
	case OUT_REST:
		return write_at(zones, off + (written == CAPACITY ? 0 : written), CAPACITY - written % CAPACITY);
	case APPEND:
		return append(zones, &off, BLOCK);
	case RESET_ALL:
		for (uint32_t i = 0; i < zones->count; i++)
			if (zones_has_to_reset(zones, i))
				assert_int_equal(zones_manage(zones, ZONE_OP_RESET, start(i)), 0);
		return 0;
	case READ:
		return zones_read(zones, off, BLOCK, &data);
	default:
		return zones_manage(zones, ops[event], off);
	}
}

#define BAD (-1) /* ZONE_INVALID, and nothing changes */

/* virtio 1.3, 5.2.6.2: the state afterwards. Events in the order above. */
static const int expected[FROMS][EVENTS] = {
	/*               OUT  REST  APPEND  OPEN  CLOSE  FINISH  RESET  RESET_ALL  READ */
	[EMPTY] = { 2, 14, 2, 3, BAD, 14, 1, 1, 1 },
	[IOPEN] = { 2, 14, 2, 3, 4, 14, 1, 1, 2 },
	[EOPEN_BARE] = { 3, 14, 3, 3, 1, 14, 1, 1, 3 },
	[EOPEN] = { 3, 14, 3, 3, 4, 14, 1, 1, 3 },
	[CLOSED] = { 2, 14, 2, 3, 4, 14, 1, 1, 4 },
	[FULL] = { BAD, BAD, BAD, BAD, BAD, 14, 1, 1, 14 },
	[FINISHED] = { BAD, BAD, BAD, BAD, BAD, 14, 1, 1, 14 },
	[RDONLY] = { BAD, BAD, BAD, BAD, BAD, BAD, BAD, 13, 13 },
	[OFFLINE] = { BAD, BAD, BAD, BAD, BAD, BAD, BAD, 15, BAD },
	[CONV] = { 0, 0, BAD, BAD, BAD, BAD, BAD, 0, 0 },
};

static void test_transitions(void **test)
{
	for (enum from from = 0; from < FROMS; from++) {
		for (enum event event = 0; event < EVENTS; event++) {
			uint32_t index = from == CONV ? 1 : 5;
			struct zones zones = made(managed);
			bring(&zones, index, from);
			struct zone before = zones.zone[index];
			int ret = happen(&zones, index, event);
			if (expected[from][event] == BAD) {
				assert_int_equal(ret, ZONE_INVALID);
				assert_memory_equal(&before, &zones.zone[index], sizeof(before));
			} else {
				assert_int_equal(ret, 0);
				assert_int_equal(state(&zones, index), expected[from][event]);
			}
			zones_fini(&zones);
		}
	}
}

/* Whoever leaves EMPTY needs an active and an open zone, whoever leaves CLOSED for an open state the latter. */
static void test_limits_by_transition(void **test)
{
	static const struct {
		enum from from;
		enum event event;
		int at_open_limit, at_active_limit;
	} cases[] = {
		{ EMPTY, OUT, ZONE_OPEN_RESOURCE, ZONE_ACTIVE_RESOURCE },
		{ EMPTY, APPEND, ZONE_OPEN_RESOURCE, ZONE_ACTIVE_RESOURCE },
		{ EMPTY, OPEN, ZONE_OPEN_RESOURCE, ZONE_ACTIVE_RESOURCE },
		{ EMPTY, FINISH, ZONE_OPEN_RESOURCE, ZONE_ACTIVE_RESOURCE },
		{ EMPTY, RESET, 0, 0 },
		{ EMPTY, CLOSE, ZONE_INVALID, ZONE_INVALID },
		{ CLOSED, OUT, ZONE_OPEN_RESOURCE, 0 },
		{ CLOSED, APPEND, ZONE_OPEN_RESOURCE, 0 },
		{ CLOSED, OPEN, ZONE_OPEN_RESOURCE, 0 },
		{ CLOSED, FINISH, ZONE_OPEN_RESOURCE, 0 },
		{ CLOSED, CLOSE, 0, 0 },
		{ CLOSED, RESET, 0, 0 },
		{ FULL, FINISH, 0, 0 },
		{ FULL, RESET, 0, 0 },
		{ FULL, OUT, ZONE_INVALID, ZONE_INVALID },
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct zone_geometry geometry = managed;
		geometry.max_open = 2;
		struct zones zones = made(geometry);
		bring(&zones, 9, cases[i].from);
		bring(&zones, 2, EOPEN);
		bring(&zones, 3, EOPEN_BARE);
		assert_int_equal(happen(&zones, 9, cases[i].event), cases[i].at_open_limit);
		zones_fini(&zones);

		geometry.max_open = 0;
		geometry.max_active = 3;
		zones = made(geometry);
		bring(&zones, 9, cases[i].from);
		bring(&zones, 2, EOPEN);
		bring(&zones, 3, CLOSED);
		if (cases[i].from != CLOSED)
			bring(&zones, 4, IOPEN);
		assert_int_equal(happen(&zones, 9, cases[i].event), cases[i].at_active_limit);
		zones_fini(&zones);
	}
}

static void test_both_limits(void **test)
{
	struct zone_geometry geometry = managed;
	geometry.max_open = geometry.max_active = 2;
	struct zones zones = made(geometry);
	bring(&zones, 2, EOPEN);
	bring(&zones, 3, EOPEN);
	assert_int_equal(write_at(&zones, start(4), BLOCK), ZONE_ACTIVE_RESOURCE);
	assert_int_equal(state(&zones, 4), ZONE_EMPTY);
	assert_int_equal(zones_manage(&zones, ZONE_OP_CLOSE, start(2)), 0);
	assert_int_equal(write_at(&zones, start(4), BLOCK), ZONE_ACTIVE_RESOURCE); /* closing does not help */
	assert_int_equal(write_at(&zones, start(2) + BLOCK, BLOCK), 0);            /* a closed zone is active already */
	assert_int_equal(state(&zones, 2), ZONE_IMPLICIT_OPEN);
	zones_fini(&zones);
}

/* Implicitly open zones make room in turn, explicitly open ones never. */
static void test_auto_close(void **test)
{
	struct zone_geometry geometry = managed;
	geometry.max_open = 3;
	struct zones zones = made(geometry);
	bring(&zones, 2, IOPEN);
	bring(&zones, 3, EOPEN);
	bring(&zones, 4, IOPEN);
	assert_int_equal(write_at(&zones, start(5), BLOCK), 0);
	assert_int_equal(state(&zones, 2), ZONE_CLOSED);
	assert_int_equal(zones_manage(&zones, ZONE_OP_OPEN, start(6)), 0);
	assert_int_equal(state(&zones, 4), ZONE_CLOSED);
	assert_int_equal(write_at(&zones, start(2) + BLOCK, BLOCK), 0); /* back, in the place of 5 */
	assert_int_equal(state(&zones, 5), ZONE_CLOSED);
	assert_int_equal(state(&zones, 2), ZONE_IMPLICIT_OPEN);
	assert_int_equal(state(&zones, 3), ZONE_EXPLICIT_OPEN);
	assert_int_equal(zones_manage(&zones, ZONE_OP_OPEN, start(2)), 0);
	assert_int_equal(write_at(&zones, start(4) + BLOCK, BLOCK), ZONE_OPEN_RESOURCE);
	zones_fini(&zones);
}

/* A zone may be closed to make room while its first write is on the way. */
static void test_auto_close_under_write(void **test)
{
	struct zone_geometry geometry = managed;
	geometry.max_open = 1;
	for (int good = 0; good < 2; good++) {
		struct zones zones = made(geometry);
		assert_int_equal(zones_begin_write(&zones, start(2), BLOCK), 0);
		assert_int_equal(write_at(&zones, start(3), BLOCK), 0);
		assert_int_equal(state(&zones, 2), ZONE_CLOSED);
		zones_end_write(&zones, start(2), BLOCK, good);
		assert_int_equal(state(&zones, 2), good ? ZONE_CLOSED : ZONE_EMPTY);
		assert_int_equal(zones.closed, good);
		assert_int_equal(zones.zone[2].written, good ? BLOCK : 0);
		zones_fini(&zones);
	}
	struct zones zones = made(geometry); /* the same, and full at once */
	assert_int_equal(zones_begin_write(&zones, start(2), CAPACITY), 0);
	assert_int_equal(write_at(&zones, start(3), BLOCK), 0);
	zones_end_write(&zones, start(2), CAPACITY, true);
	assert_int_equal(state(&zones, 2), ZONE_FULL);
	assert_int_equal(zones.closed, 0);
	zones_fini(&zones);
}

/* Limits that cannot be reached are none; a file may hold more active zones than are allowed. */
static void test_odd_limits(void **test)
{
	struct zone_geometry geometry = managed;
	geometry.max_open = geometry.max_active = 8;
	struct zones zones = made(geometry);
	for (uint32_t i = 2; i < 10; i++)
		assert_int_equal(zones_manage(&zones, ZONE_OP_OPEN, start(i)), 0);
	zones_fini(&zones);

	geometry.max_open = geometry.max_active = 1;
	zones = made(geometry);
	for (uint32_t i = 2; i < 5; i++)
		assert_int_equal(zones_restore(&zones, i, BLOCK, false, ZONE_NOT_WP), 0);
	assert_int_equal(write_at(&zones, start(5), BLOCK), ZONE_ACTIVE_RESOURCE);
	assert_int_equal(write_at(&zones, start(2) + BLOCK, BLOCK), 0);
	assert_int_equal(zones_manage(&zones, ZONE_OP_RESET, start(3)), 0);
	assert_int_equal(zones_manage(&zones, ZONE_OP_FINISH, start(4)), 0);
	assert_int_equal(write_at(&zones, start(5), BLOCK), ZONE_ACTIVE_RESOURCE);
	assert_int_equal(zones_manage(&zones, ZONE_OP_RESET, start(2)), 0);
	assert_int_equal(write_at(&zones, start(5), BLOCK), 0);
	zones_fini(&zones);
}

/* ---- the choice of errors, and what is read ---------------------------------------------------------------------- */

static void test_write_errors(void **test)
{
	struct zones zones = made(managed);
	bring(&zones, 3, IOPEN);
	assert_int_equal(write_at(&zones, start(3), BLOCK), ZONE_UNALIGNED);             /* behind */
	assert_int_equal(write_at(&zones, start(3) + 2 * BLOCK, BLOCK), ZONE_UNALIGNED); /* ahead */
	assert_int_equal(write_at(&zones, start(3) + BLOCK, 512), ZONE_UNALIGNED);       /* not of blocks */
	assert_int_equal(write_at(&zones, start(3) + BLOCK, CAPACITY), ZONE_INVALID);    /* beyond the capacity */
	assert_int_equal(write_at(&zones, start(3) + CAPACITY, BLOCK), ZONE_INVALID);    /* in what lies beyond */
	assert_int_equal(write_at(&zones, start(3) + BLOCK, ZONE), ZONE_INVALID);        /* over the border */
	assert_int_equal(write_at(&zones, start(2) - BLOCK, 2 * BLOCK), ZONE_INVALID);   /* from a conventional zone */
	assert_int_equal(write_at(&zones, start(1) - BLOCK, 2 * BLOCK), 0);              /* between those */
	assert_int_equal(write_at(&zones, start(1) + CAPACITY, BLOCK), 0);               /* which have no capacity */
	assert_int_equal(zones.zone[3].written, BLOCK);
	zones_fini(&zones);
}

static void test_append(void **test)
{
	struct zones zones = made(managed);
	uint64_t off = start(4);
	assert_int_equal(append(&zones, &off, 2 * BLOCK), 0);
	assert_int_equal(off, start(4));
	off = start(4);
	assert_int_equal(append(&zones, &off, BLOCK), 0);
	assert_int_equal(off, start(4) + 2 * BLOCK);
	static const struct {
		uint64_t off, len;
		int ret;
	} bad[] = {
		{ 4 * ZONE + BLOCK, BLOCK, ZONE_INVALID }, /* not a zone's start */
		{ 1 * ZONE, BLOCK, ZONE_INVALID },         /* conventional */
		{ 5 * ZONE, 36 << 10, ZONE_INVALID },      /* too large */
		{ 4 * ZONE, CAPACITY, ZONE_INVALID },
		{ 10 * ZONE, BLOCK, ZONE_INVALID }, /* beyond the disk */
		{ UINT64_MAX - ZONE + 1, BLOCK, ZONE_INVALID },
		{ 5 * ZONE, 512, ZONE_UNALIGNED },
		{ 5 * ZONE, 0, ZONE_INVALID },
	};
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		off = bad[i].off;
		assert_int_equal(append(&zones, &off, bad[i].len), bad[i].ret);
		assert_int_equal(off, bad[i].off);
	}
	assert_int_equal(write_at(&zones, start(6), CAPACITY - BLOCK), 0);
	off = start(6);
	assert_int_equal(append(&zones, &off, 2 * BLOCK), ZONE_INVALID); /* no room */
	assert_int_equal(append(&zones, &off, BLOCK), 0);
	assert_int_equal(state(&zones, 6), ZONE_FULL);
	zones_fini(&zones);

	struct zone_geometry geometry = managed;
	geometry.max_append = 0;
	zones = made(geometry);
	off = start(4);
	assert_int_equal(append(&zones, &off, BLOCK), -EOPNOTSUPP);
	zones_fini(&zones);
}

static void test_manage_wants_a_start(void **test)
{
	struct zones zones = made(managed);
	for (enum zone_op op = ZONE_OP_OPEN; op < ZONE_OPS; op++) {
		assert_int_equal(zones_manage(&zones, op, start(4) + BLOCK), ZONE_INVALID);
		assert_int_equal(zones_manage(&zones, op, managed.size), ZONE_INVALID);
		assert_int_equal(zones_manage(&zones, op, UINT64_MAX), ZONE_INVALID);
	}
	zones_fini(&zones);
}

static void test_reads(void **test)
{
	struct zones zones = made(managed);
	uint64_t data;
	bring(&zones, 3, CLOSED);
	assert_int_equal(zones_read(&zones, start(3), 2 * BLOCK, &data), 0);
	assert_int_equal(data, BLOCK);
	assert_int_equal(zones_read(&zones, start(3) + BLOCK, BLOCK, &data), 0);
	assert_int_equal(data, 0);
	assert_int_equal(zones_read(&zones, start(3) + 512, 512, &data), 0);
	assert_int_equal(data, 512);
	assert_int_equal(zones_read(&zones, start(3) + CAPACITY, ZONE - CAPACITY, &data), 0);
	assert_int_equal(data, 0);
	assert_int_equal(zones_read(&zones, start(3), ZONE + 512, &data), ZONE_INVALID); /* over the border */
	assert_int_equal(zones_read(&zones, start(2) - 512, 1024, &data), ZONE_INVALID);
	assert_int_equal(zones_read(&zones, start(1) - 512, 1024, &data), 0);
	assert_int_equal(data, 1024);
	assert_int_equal(zones_manage(&zones, ZONE_OP_FINISH, start(3)), 0);
	assert_int_equal(zones_read(&zones, start(3), 2 * BLOCK, &data), 0);
	assert_int_equal(data, BLOCK); /* finished is not written */
	assert_int_equal(zones_force(&zones, 3, ZONE_READ_ONLY), 0);
	assert_int_equal(zones_read(&zones, start(3), BLOCK, &data), 0);
	assert_int_equal(data, BLOCK);
	assert_int_equal(zones_force(&zones, 3, ZONE_OFFLINE), 0);
	assert_int_equal(zones_read(&zones, start(3), BLOCK, &data), ZONE_INVALID);
	zones_fini(&zones);
}

static void test_failed_write(void **test)
{
	struct zones zones = made(managed);
	assert_int_equal(zones_begin_write(&zones, start(3), BLOCK), 0);
	zones_end_write(&zones, start(3), BLOCK, false);
	assert_int_equal(zones.zone[3].written, 0);
	assert_int_equal(write_at(&zones, start(3), BLOCK), 0);
	assert_int_equal(zones.zone[3].written, BLOCK);
	zones_fini(&zones);
}

/* A write pointer is told where there is one, else the zone's end; the last zone may be a small one. */
static void test_info(void **test)
{
	struct zone_geometry geometry = managed;
	geometry.size -= 40 << 10;
	struct zones zones = made(geometry);
	struct zone_info info;
	assert_int_equal(zones.count, 10);
	bring(&zones, 3, IOPEN);
	bring(&zones, 4, FINISHED);
	zones_info(&zones, 3, &info);
	assert_int_equal(info.start, start(3));
	assert_int_equal(info.len, ZONE);
	assert_int_equal(info.capacity, CAPACITY);
	assert_int_equal(info.wp, start(3) + BLOCK);
	assert_int_equal(info.type, ZONE_WRITE_REQUIRED);
	assert_int_equal(info.state, ZONE_IMPLICIT_OPEN);
	zones_info(&zones, 4, &info);
	assert_int_equal(info.wp, start(5));
	zones_info(&zones, 0, &info);
	assert_int_equal(info.type, ZONE_CONVENTIONAL);
	assert_int_equal(info.capacity, ZONE);
	assert_int_equal(info.wp, start(1));
	zones_info(&zones, 9, &info);
	assert_int_equal(info.len, 24 << 10);
	assert_int_equal(info.capacity, 24 << 10);
	assert_int_equal(write_at(&zones, start(9), 24 << 10), 0);
	assert_int_equal(state(&zones, 9), ZONE_FULL);
	zones_fini(&zones);
}

/* Force is undone by NOT_WP: the zone is what its write pointer says. */
static void test_force(void **test)
{
	static const struct {
		enum from from;
		unsigned back;
	} cases[] = { { EMPTY, ZONE_EMPTY },   { IOPEN, ZONE_CLOSED }, { EOPEN_BARE, ZONE_EMPTY },
		      { CLOSED, ZONE_CLOSED }, { FULL, ZONE_FULL },    { FINISHED, ZONE_FULL },
		      { RDONLY, ZONE_EMPTY } };
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct zones zones = made(managed);
		bring(&zones, 4, cases[i].from);
		assert_int_equal(zones_force(&zones, 4, ZONE_OFFLINE), 0);
		assert_int_equal(zones.implicit + zones.explicit + zones.closed, 0);
		assert_false(zones_has_to_reset(&zones, 4));
		assert_int_equal(zones_force(&zones, 4, ZONE_NOT_WP), 0);
		assert_int_equal(state(&zones, 4), cases[i].back);
		zones_fini(&zones);
	}
	struct zones zones = made(managed);
	assert_int_equal(zones_force(&zones, 0, ZONE_OFFLINE), -EINVAL);
	assert_int_equal(zones_force(&zones, 4, ZONE_FULL), -EINVAL);
	zones_fini(&zones);
}

static void test_restore(void **test)
{
	struct zones zones = made(managed);
	assert_int_equal(zones_restore(&zones, 2, CAPACITY + BLOCK, false, ZONE_NOT_WP), -EINVAL);
	assert_int_equal(zones_restore(&zones, 2, 512, false, ZONE_NOT_WP), -EINVAL);
	assert_int_equal(zones_restore(&zones, 2, BLOCK, false, ZONE_IMPLICIT_OPEN), -EINVAL);
	assert_int_equal(zones_restore(&zones, 0, BLOCK, false, ZONE_NOT_WP), -EINVAL);
	assert_int_equal(zones_restore(&zones, 0, 0, true, ZONE_NOT_WP), -EINVAL);
	assert_int_equal(zones_restore(&zones, 0, 0, false, ZONE_NOT_WP), 0);
	assert_int_equal(zones_restore(&zones, 3, CAPACITY, false, ZONE_NOT_WP), 0);
	assert_int_equal(state(&zones, 3), ZONE_FULL);
	assert_int_equal(zones_restore(&zones, 4, BLOCK, true, ZONE_READ_ONLY), 0);
	assert_int_equal(state(&zones, 4), ZONE_READ_ONLY);
	zones_fini(&zones);
}

static void test_host_aware(void **test)
{
	struct zone_geometry geometry = managed;
	struct zones zones;
	uint64_t data;
	geometry.model = ZONE_MODEL_HOST_AWARE;
	geometry.max_append = 0;
	assert_int_equal(zones_init(&zones, &geometry, NULL), -EINVAL); /* its capacity is less than its size */
	geometry.zone_capacity = ZONE;
	zones = made(geometry);
	assert_int_equal(write_at(&zones, start(4) - BLOCK, 2 * BLOCK), 0); /* over a border, anywhere */
	assert_int_equal(state(&zones, 3), ZONE_FULL);
	assert_int_equal(state(&zones, 4), ZONE_IMPLICIT_OPEN);
	assert_int_equal(zones.zone[4].written, BLOCK);
	assert_int_equal(write_at(&zones, start(4), BLOCK), 0); /* again */
	assert_int_equal(write_at(&zones, start(3), BLOCK), 0); /* into a full one */
	assert_int_equal(state(&zones, 3), ZONE_FULL);
	assert_int_equal(write_at(&zones, start(1), 3 * ZONE), 0); /* conventional ones, too */
	assert_int_equal(zones_read(&zones, start(3), 4 * ZONE, &data), 0);
	assert_int_equal(data, 4 * ZONE);
	assert_int_equal(zones_manage(&zones, ZONE_OP_RESET, start(4)), 0);
	assert_int_equal(state(&zones, 4), ZONE_EMPTY);
	bring(&zones, 5, RDONLY);
	assert_int_equal(write_at(&zones, start(4), 2 * ZONE), ZONE_INVALID);
	assert_int_equal(state(&zones, 4), ZONE_EMPTY);
	zones_fini(&zones);
}

static void test_geometry(void **test)
{
	static const struct {
		size_t field, width;
		uint64_t value;
	} bad[] = {
#define FIELD(name, value) { offsetof(struct zone_geometry, name), sizeof(managed.name), value }
		FIELD(model, 0),
		FIELD(model, 3),
		FIELD(size, 0),
		FIELD(size, 10 * ZONE + 512),
		FIELD(size, UINT64_MAX),
		FIELD(size, ((uint64_t)ZONES_MAX + 1) * ZONE),
		FIELD(zone_size, 0),
		FIELD(zone_size, 96 << 10),
		FIELD(zone_size, 32 << 10),
		FIELD(zone_size, ZONE_SIZE_MAX * 2),
		FIELD(zone_capacity, 0),
		FIELD(zone_capacity, ZONE + BLOCK),
		FIELD(zone_capacity, 512),
		FIELD(conventional, 11),
		FIELD(max_append, 512),
		FIELD(block_size, 0),
		FIELD(block_size, 1024),
		FIELD(block_size, 8192),
	};
	struct cvmm_error err;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct zone_geometry geometry = managed;
		memcpy((char *)&geometry + bad[i].field, &bad[i].value, bad[i].width);
		assert_int_equal(zone_geometry_check(&geometry, &err), -EINVAL);
	}
	struct zone_geometry geometry = managed;
	geometry.max_open = 3;
	geometry.max_active = 2;
	assert_int_equal(zone_geometry_check(&geometry, &err), -EINVAL);
	geometry = managed;
	geometry.conventional = 10;
	assert_int_equal(zone_geometry_check(&geometry, &err), 0);
}

/* ---- random operations against a naive model --------------------------------------------------------------------- */

/* The rules again, as a reader of the specification would write them down: no counters, no table. */
struct model {
	struct zone_geometry geometry;
	unsigned state[10];
	uint64_t written[10];
	unsigned cursor;
};

static unsigned count_of(const struct model *model, unsigned one, unsigned two, unsigned three)
{
	unsigned count = 0;
	for (unsigned i = 0; i < 10; i++)
		count += model->state[i] == one || model->state[i] == two || model->state[i] == three;
	return count;
}

static int model_room(struct model *model, unsigned index)
{
	const struct zone_geometry *geometry = &model->geometry;
	if (model->state[index] == 1 && geometry->max_active && count_of(model, 2, 3, 4) >= geometry->max_active)
		return ZONE_ACTIVE_RESOURCE;
	if (!geometry->max_open || count_of(model, 2, 3, 3) < geometry->max_open)
		return 0;
	for (unsigned i = 1; i <= 10; i++) {
		unsigned candidate = (model->cursor + i) % 10;
		if (model->state[candidate] == 2) {
			model->state[candidate] = 4;
			model->cursor = candidate;
			return 0;
		}
	}
	return ZONE_OPEN_RESOURCE;
}

static int model_open(struct model *model, unsigned index, unsigned to)
{
	if (model->state[index] == 1 || model->state[index] == 4) {
		int ret = model_room(model, index);
		if (ret < 0)
			return ret;
		model->state[index] = to;
	}
	return 0;
}

static int model_write(struct model *model, uint64_t off, uint64_t len)
{
	unsigned index = (unsigned)(off / ZONE), last = (unsigned)((off + len - 1) / ZONE);
	if (last < 2)
		return 0;
	if (index != last || model->state[index] > 4)
		return ZONE_INVALID;
	if (off % ZONE + len > CAPACITY)
		return ZONE_INVALID;
	if (off % ZONE != model->written[index])
		return ZONE_UNALIGNED;
	int ret = model_open(model, index, 2);
	if (ret < 0)
		return ret;
	model->written[index] += len;
	if (model->written[index] == CAPACITY)
		model->state[index] = 14;
	return 0;
}

static int model_manage(struct model *model, enum event event, unsigned index)
{
	unsigned *zone = &model->state[index];
	if (index < 2 || *zone == 13 || *zone == 15)
		return ZONE_INVALID;
	if (event == RESET) {
		*zone = 1;
		model->written[index] = 0;
		return 0;
	}
	if (event == FINISH) {
		int ret = model_open(model, index, 2);
		if (ret == 0)
			*zone = 14;
		return ret;
	}
	if (*zone == 14 || (event == CLOSE && *zone == 1))
		return ZONE_INVALID;
	if (event == CLOSE)
		*zone = model->written[index] ? 4 : 1;
	else if (*zone == 2)
		*zone = 3;
	else
		return model_open(model, index, 3);
	return 0;
}

static uint32_t next_random(uint32_t *seed)
{
	*seed = *seed * 1664525 + 1013904223;
	return *seed >> 8;
}

static int random_step(struct zones *zones, struct model *model, uint32_t *seed)
{
	unsigned index = next_random(seed) % 10, what = next_random(seed) % 16;
	uint64_t off = start(index), len = BLOCK * (1 + next_random(seed) % 13), at = off;
	if (what < 6) { /* most of them at the write pointer, some beside */
		off += next_random(seed) % 8 ? model->written[index] : BLOCK * (next_random(seed) % 16);
		if (off + len > managed.size)
			return 0;
		int ret = write_at(zones, off, len);
		assert_int_equal(ret, model_write(model, off, len));
		return ret;
	}
	if (what < 9) {
		int ret = append(zones, &at, len), wanted = ZONE_INVALID;
		if (index >= 2 && len <= managed.max_append)
			wanted = model_write(model, off + model->written[index], len);
		assert_int_equal(ret, wanted);
		return ret;
	}
	if (what < 13) {
		enum event event = OPEN + (enum event)(what - 9);
		int ret = happen(zones, index, event);
		assert_int_equal(ret, model_manage(model, event, index));
		return ret;
	}
	if (what == 13 && next_random(seed) % 32 == 0) {
		happen(zones, index, RESET_ALL);
		for (unsigned i = 2; i < 10; i++)
			if (model->state[i] != 13 && model->state[i] != 15)
				model_manage(model, RESET, i);
	} else if (what == 14 && index >= 2 && next_random(seed) % 8 == 0) {
		unsigned forced = next_random(seed) % 2 ? 13 : 15;
		assert_int_equal(zones_force(zones, index, forced), 0);
		model->state[index] = forced;
	} else if (what == 15 && (model->state[index] == 13 || model->state[index] == 15)) {
		assert_int_equal(zones_force(zones, index, ZONE_NOT_WP), 0);
		if (zones->zone[index].finished) /* the model keeps no memory of that */
			model->state[index] = 14;
		else
			model->state[index] = !model->written[index] ? 1 : model->written[index] == CAPACITY ? 14 : 4;
	}
	return 0;
}

static void assert_same(const struct zones *zones, const struct model *model)
{
	for (unsigned i = 0; i < 10; i++) {
		assert_int_equal(zones->zone[i].state, model->state[i]);
		assert_int_equal(zones->zone[i].written, model->written[i]);
	}
	assert_int_equal(zones->implicit, count_of(model, 2, 2, 2));
	assert_int_equal(zones->explicit, count_of(model, 3, 3, 3));
	assert_int_equal(zones->closed, count_of(model, 4, 4, 4));
}

static void test_random(void **test)
{
	unsigned errors[3] = { 0 };
	for (uint32_t seed = 1; seed <= 2000; seed++) {
		uint32_t random = seed;
		struct model model = { .geometry = managed, .cursor = 9 };
		model.geometry.max_open = seed % 4;
		model.geometry.max_active = seed / 4 % 3 ? seed % 4 + seed / 4 % 3 : 0;
		for (unsigned i = 2; i < 10; i++)
			model.state[i] = 1;
		struct zones zones = made(model.geometry);
		for (unsigned step = 0; step < 300; step++) {
			int ret = random_step(&zones, &model, &random);
			errors[0] += ret == ZONE_OPEN_RESOURCE;
			errors[1] += ret == ZONE_ACTIVE_RESOURCE;
			errors[2] += ret == ZONE_UNALIGNED;
			assert_same(&zones, &model);
		}
		zones_fini(&zones);
	}
	for (size_t i = 0; i < ARRAY_SIZE(errors); i++)
		assert_true(errors[i] > 100); /* the walk has been there */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_transitions),
		cmocka_unit_test(test_limits_by_transition),
		cmocka_unit_test(test_both_limits),
		cmocka_unit_test(test_auto_close),
		cmocka_unit_test(test_auto_close_under_write),
		cmocka_unit_test(test_odd_limits),
		cmocka_unit_test(test_write_errors),
		cmocka_unit_test(test_append),
		cmocka_unit_test(test_manage_wants_a_start),
		cmocka_unit_test(test_reads),
		cmocka_unit_test(test_failed_write),
		cmocka_unit_test(test_info),
		cmocka_unit_test(test_force),
		cmocka_unit_test(test_restore),
		cmocka_unit_test(test_host_aware),
		cmocka_unit_test(test_geometry),
		cmocka_unit_test(test_random),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
