// SPDX-License-Identifier: Apache-2.0
/* The zones of a disk as a state machine. Transitions are one table; virtio 1.3, 5.2.6.2, and where it says nothing
 * (FINISH of an empty or closed zone) ZNS. */
#include "src/block/zones.h"

#include <stdlib.h>

#include "src/base/util.h"

/* ---- names ------------------------------------------------------------------------------------------------------- */

static const char *name_of(const char *const *names, size_t count, unsigned code)
{
	return code < count && names[code] ? names[code] : "?";
}

const char *zone_model_name(enum zone_model model)
{
	static const char *const names[] = { "none", "host-managed", "host-aware" };
	return name_of(names, ARRAY_SIZE(names), model);
}

const char *zone_type_name(enum zone_type type)
{
	static const char *const names[] = {
		[ZONE_CONVENTIONAL] = "conventional",
		[ZONE_WRITE_REQUIRED] = "sequential-required",
		[ZONE_WRITE_PREFERRED] = "sequential-preferred",
	};
	return name_of(names, ARRAY_SIZE(names), type);
}

const char *zone_state_name(enum zone_state state)
{
	static const char *const names[] = {
		[ZONE_NOT_WP] = "not-wp",
		[ZONE_EMPTY] = "empty",
		[ZONE_IMPLICIT_OPEN] = "implicit-open",
		[ZONE_EXPLICIT_OPEN] = "explicit-open",
		[ZONE_CLOSED] = "closed",
		[ZONE_READ_ONLY] = "read-only",
		[ZONE_FULL] = "full",
		[ZONE_OFFLINE] = "offline",
	};
	return name_of(names, ARRAY_SIZE(names), state);
}

/* ---- what a disk can be ------------------------------------------------------------------------------------------ */

static bool is_power_of_two(uint64_t value)
{
	return value && !(value & (value - 1));
}

static int check_sizes(const struct zone_geometry *geometry, struct cvmm_error *err)
{
	uint64_t block = geometry->block_size;
	if (block != 512 && block != 4096)
		return err_set(err, -EINVAL, "block size %llu: expected 512 or 4096", (unsigned long long)block);
	if (!is_power_of_two(geometry->zone_size) || geometry->zone_size < ZONE_SIZE_MIN ||
	    geometry->zone_size > ZONE_SIZE_MAX)
		return err_set(err, -EINVAL, "zone size %llu: expected a power of two from 64 KiB to 1 TiB",
		               (unsigned long long)geometry->zone_size);
	if (!geometry->size || geometry->size % block || geometry->size > INT64_MAX / 2)
		return err_set(err, -EINVAL, "size %llu: expected a multiple of the block size, %llu bytes",
		               (unsigned long long)geometry->size, (unsigned long long)block);
	if (zone_count(geometry) > ZONES_MAX)
		return err_set(err, -EINVAL, "%llu zones: at most %d; take larger ones",
		               (unsigned long long)zone_count(geometry), ZONES_MAX);
	if (!geometry->zone_capacity || geometry->zone_capacity % block ||
	    geometry->zone_capacity > geometry->zone_size)
		return err_set(err, -EINVAL, "zone capacity %llu: expected a multiple of %llu, not above the zone size",
		               (unsigned long long)geometry->zone_capacity, (unsigned long long)block);
	if (geometry->max_append % block)
		return err_set(err, -EINVAL, "largest append %u: expected a multiple of %llu", geometry->max_append,
		               (unsigned long long)block);
	return 0;
}

int zone_geometry_check(const struct zone_geometry *geometry, struct cvmm_error *err)
{
	bool aware = geometry->model == ZONE_MODEL_HOST_AWARE;
	if (!aware && geometry->model != ZONE_MODEL_HOST_MANAGED)
		return err_set(err, -EINVAL, "model %d: expected host-managed or host-aware", (int)geometry->model);
	int ret = check_sizes(geometry, err);
	if (ret < 0)
		return ret;
	if (geometry->conventional > zone_count(geometry))
		return err_set(err, -EINVAL, "%u conventional zones of %llu", geometry->conventional,
		               (unsigned long long)zone_count(geometry));
	if (geometry->max_open && geometry->max_active && geometry->max_open > geometry->max_active)
		return err_set(err, -EINVAL, "%u open zones of %u active ones: open zones are active",
		               geometry->max_open, geometry->max_active);
	/* To a guest that knows nothing of zones it is a disk like any other: all of it is there, all can be written. */
	if (aware && (geometry->zone_capacity < geometry->zone_size || geometry->max_open || geometry->max_active ||
	              geometry->max_append))
		return err_set(err, -EINVAL, "a host-aware disk has neither zone capacity, limits nor zone append");
	return 0;
}

/* ---- the set ----------------------------------------------------------------------------------------------------- */

static void set_all_empty(struct zones *zones)
{
	const struct zone_geometry *geometry = &zones->geometry;
	for (uint32_t i = 0; i < zones->count; i++) {
		struct zone *zone = &zones->zone[i];
		bool conventional = i < geometry->conventional;
		zone->type = conventional                               ? ZONE_CONVENTIONAL
		             : geometry->model == ZONE_MODEL_HOST_AWARE ? ZONE_WRITE_PREFERRED
		                                                        : ZONE_WRITE_REQUIRED;
		zone->state = conventional ? ZONE_NOT_WP : ZONE_EMPTY;
	}
}

/* A limit that cannot be reached is none. */
static uint32_t limit_in_force(uint32_t limit, uint32_t sequential)
{
	return limit && limit < sequential ? limit : UINT32_MAX;
}

int zones_init(struct zones *zones, const struct zone_geometry *geometry, struct cvmm_error *err)
{
	*zones = (struct zones){ .geometry = *geometry };
	int ret = zone_geometry_check(geometry, err);
	if (ret < 0)
		return ret;
	zones->count = (uint32_t)zone_count(geometry);
	zones->zone = calloc(zones->count, sizeof(*zones->zone));
	if (!zones->zone)
		return err_set(err, -ENOMEM, "out of memory for %u zones", zones->count);
	uint32_t sequential = zones->count - geometry->conventional;
	zones->max_open = limit_in_force(geometry->max_open, sequential);
	zones->max_active = limit_in_force(geometry->max_active, sequential);
	zones->cursor = zones->count - 1;
	set_all_empty(zones);
	return 0;
}

void zones_fini(struct zones *zones)
{
	free(zones->zone);
	*zones = (struct zones){ 0 };
}

uint64_t zones_len(const struct zones *zones, uint32_t index)
{
	return MIN(zones->geometry.zone_size, zones->geometry.size - zones_start(zones, index));
}

uint64_t zones_capacity(const struct zones *zones, uint32_t index)
{
	uint64_t len = zones_len(zones, index);
	return zones->zone[index].type == ZONE_CONVENTIONAL ? len : MIN(len, zones->geometry.zone_capacity);
}

static bool has_write_pointer(const struct zone *zone)
{
	return zone->state >= ZONE_EMPTY && zone->state <= ZONE_CLOSED;
}

void zones_info(const struct zones *zones, uint32_t index, struct zone_info *info)
{
	const struct zone *zone = &zones->zone[index];
	uint64_t start = zones_start(zones, index), len = zones_len(zones, index);
	*info = (struct zone_info){
		.start = start,
		.len = len,
		.capacity = zones_capacity(zones, index),
		.wp = start + (has_write_pointer(zone) ? zone->written : len),
		.type = zone->type,
		.state = zone->state,
	};
}

/* ---- transitions ------------------------------------------------------------------------------------------------- */

static uint32_t *state_counter(struct zones *zones, unsigned state)
{
	switch (state) {
	case ZONE_IMPLICIT_OPEN:
		return &zones->implicit;
	case ZONE_EXPLICIT_OPEN:
		return &zones->explicit;
	case ZONE_CLOSED:
		return &zones->closed;
	default:
		return NULL;
	}
}

/* The only place where a state changes, so that the counters are right. */
static void enter(struct zones *zones, struct zone *zone, unsigned state)
{
	uint32_t *from = state_counter(zones, zone->state), *to = state_counter(zones, state);
	if (from)
		--*from;
	if (to)
		++*to;
	zone->state = (uint8_t)state;
}

/* Closed; but one that holds nothing needs no resource and is empty. What is being written will hold something. */
static void close_zone(struct zones *zones, struct zone *zone)
{
	enter(zones, zone, zone->written || zone->writing ? ZONE_CLOSED : ZONE_EMPTY);
}

/* Close the next implicitly open zone, in turn. There is one. */
static void close_an_implicit(struct zones *zones)
{
	do
		zones->cursor = (zones->cursor + 1) % zones->count;
	while (zones->zone[zones->cursor].state != ZONE_IMPLICIT_OPEN);
	close_zone(zones, &zones->zone[zones->cursor]);
}

/*
 * Room for one more open zone, which comes from @state. The limit on active zones speaks first: closing does not help
 * there. A closed zone is active already. A file may have been left, by a crash, with more active zones than that.
 */
static int make_room(struct zones *zones, unsigned state)
{
	uint32_t open = zones->implicit + zones->explicit;
	if (state == ZONE_EMPTY && open + zones->closed >= zones->max_active)
		return ZONE_ACTIVE_RESOURCE;
	if (open < zones->max_open)
		return 0;
	if (!zones->implicit)
		return ZONE_OPEN_RESOURCE;
	close_an_implicit(zones);
	return 0;
}

enum { NEVER = 0, STAYS = 0xff, CLOSES = 0xfe, ROOM = 0x100 };

/* From a state by an operation to a state; ROOM: needs an open zone's resources, also if it only passes through them. */
static const uint16_t transitions[16][ZONE_OPS] = {
	[ZONE_EMPTY] = { [ZONE_OP_WRITE] = ZONE_IMPLICIT_OPEN | ROOM,
	                 [ZONE_OP_OPEN] = ZONE_EXPLICIT_OPEN | ROOM,
	                 [ZONE_OP_FINISH] = ZONE_FULL | ROOM,
	                 [ZONE_OP_RESET] = STAYS },
	[ZONE_IMPLICIT_OPEN] = { [ZONE_OP_WRITE] = STAYS,
	                         [ZONE_OP_OPEN] = ZONE_EXPLICIT_OPEN,
	                         [ZONE_OP_CLOSE] = CLOSES,
	                         [ZONE_OP_FINISH] = ZONE_FULL,
	                         [ZONE_OP_RESET] = ZONE_EMPTY },
	[ZONE_EXPLICIT_OPEN] = { [ZONE_OP_WRITE] = STAYS,
	                         [ZONE_OP_OPEN] = STAYS,
	                         [ZONE_OP_CLOSE] = CLOSES,
	                         [ZONE_OP_FINISH] = ZONE_FULL,
	                         [ZONE_OP_RESET] = ZONE_EMPTY },
	[ZONE_CLOSED] = { [ZONE_OP_WRITE] = ZONE_IMPLICIT_OPEN | ROOM,
	                  [ZONE_OP_OPEN] = ZONE_EXPLICIT_OPEN | ROOM,
	                  [ZONE_OP_CLOSE] = STAYS,
	                  [ZONE_OP_FINISH] = ZONE_FULL | ROOM,
	                  [ZONE_OP_RESET] = ZONE_EMPTY },
	[ZONE_FULL] = { [ZONE_OP_FINISH] = STAYS, [ZONE_OP_RESET] = ZONE_EMPTY },
	/* NOT_WP, READ_ONLY and OFFLINE: never */
};

bool zones_allow(enum zone_state state, enum zone_op op)
{
	return transitions[state & 15][op] != NEVER;
}

static int apply(struct zones *zones, struct zone *zone, enum zone_op op)
{
	unsigned entry = transitions[zone->state & 15][op], to = entry & 0xff;
	if (entry == NEVER)
		return ZONE_INVALID;
	if (entry & ROOM) {
		int ret = make_room(zones, zone->state);
		if (ret < 0)
			return ret;
	}
	if (to == CLOSES)
		close_zone(zones, zone);
	else if (to != STAYS)
		enter(zones, zone, to);
	return 0;
}

/* ---- reads and writes -------------------------------------------------------------------------------------------- */

/* Not empty, and inside the disk. */
static uint32_t last_index(const struct zones *zones, uint64_t off, uint64_t len)
{
	return zones_index(zones, off + len - 1);
}

int zones_read(const struct zones *zones, uint64_t off, uint64_t len, uint64_t *data)
{
	*data = len;
	if (!len)
		return 0;
	uint32_t first = zones_index(zones, off), last = last_index(zones, off, len);
	for (uint32_t i = first; i <= last; i++) {
		const struct zone *zone = &zones->zone[i];
		if (zone->state == ZONE_OFFLINE || (zone->type == ZONE_WRITE_REQUIRED && first != last))
			return ZONE_INVALID;
	}
	const struct zone *zone = &zones->zone[first];
	uint64_t at = off - zones_start(zones, first);
	if (zone->type == ZONE_WRITE_REQUIRED)
		*data = at < zone->written ? MIN(len, zone->written - at) : 0;
	return 0;
}

/* May the range be written, but for the resources that it takes? */
static int check_required(const struct zones *zones, uint32_t index, uint64_t at, uint64_t len)
{
	const struct zone *zone = &zones->zone[index];
	if (transitions[zone->state & 15][ZONE_OP_WRITE] == NEVER)
		return ZONE_INVALID;
	if (!range_inside(at, len, zones_capacity(zones, index)))
		return ZONE_INVALID;
	return at != zone->written || len % zones->geometry.block_size ? ZONE_UNALIGNED : 0;
}

static int check_write(const struct zones *zones, uint64_t off, uint64_t len)
{
	uint32_t first = zones_index(zones, off), last = last_index(zones, off, len);
	for (uint32_t i = first; i <= last; i++) {
		const struct zone *zone = &zones->zone[i];
		if (zone->state == ZONE_READ_ONLY || zone->state == ZONE_OFFLINE)
			return ZONE_INVALID;
		if (zone->type == ZONE_WRITE_REQUIRED && first != last)
			return ZONE_INVALID;
	}
	if (zones->zone[first].type == ZONE_WRITE_REQUIRED)
		return check_required(zones, first, off - zones_start(zones, first), len);
	return (off | len) % zones->geometry.block_size ? ZONE_UNALIGNED : 0;
}

/* There are no limits where several zones are written at once, or where a full one is: only required ones have those. */
static int begin_zone(struct zones *zones, struct zone *zone)
{
	if (zone->type == ZONE_CONVENTIONAL)
		return 0;
	int ret = zone->state == ZONE_FULL ? 0 : apply(zones, zone, ZONE_OP_WRITE);
	if (ret == 0)
		zone->writing = true;
	return ret;
}

int zones_begin_write(struct zones *zones, uint64_t off, uint64_t len)
{
	int ret = check_write(zones, off, len);
	for (uint32_t i = zones_index(zones, off); ret == 0 && i <= last_index(zones, off, len); i++)
		ret = begin_zone(zones, &zones->zone[i]);
	return ret;
}

/* The zone was written up to @end, counted from its start; or not, if that is 0. */
static void end_zone(struct zones *zones, uint32_t index, uint64_t end)
{
	struct zone *zone = &zones->zone[index];
	zone->writing = false;
	if (zone->type == ZONE_CONVENTIONAL)
		return;
	zone->written = MAX(zone->written, end);
	if (zone->state == ZONE_CLOSED && !zone->written)
		enter(zones, zone, ZONE_EMPTY); /* it was closed for what did not come */
	else if (zone->written == zones_capacity(zones, index) && has_write_pointer(zone))
		enter(zones, zone, ZONE_FULL);
}

void zones_end_write(struct zones *zones, uint64_t off, uint64_t len, bool good)
{
	for (uint32_t i = zones_index(zones, off); i <= last_index(zones, off, len); i++)
		end_zone(zones, i, good ? MIN(off + len - zones_start(zones, i), zones_len(zones, i)) : 0);
}

/* @off is the start of a zone: that one's index. */
static int index_of_start(const struct zones *zones, uint64_t off, uint32_t *index)
{
	if (off >= zones->geometry.size || off % zones->geometry.zone_size)
		return ZONE_INVALID;
	*index = zones_index(zones, off);
	return 0;
}

int zones_begin_append(struct zones *zones, uint64_t *off, uint64_t len)
{
	uint32_t index;
	if (!zones->geometry.max_append)
		return -EOPNOTSUPP;
	int ret = index_of_start(zones, *off, &index);
	if (ret < 0)
		return ret;
	const struct zone *zone = &zones->zone[index];
	if (zone->type != ZONE_WRITE_REQUIRED || !len || len > zones->geometry.max_append)
		return ZONE_INVALID;
	uint64_t at = *off + zone->written;
	ret = check_required(zones, index, zone->written, len);
	if (ret == 0)
		ret = zones_begin_write(zones, at, len);
	if (ret == 0)
		*off = at;
	return ret;
}

/* ---- operations on zones ----------------------------------------------------------------------------------------- */

static void mark(struct zone *zone, enum zone_op op)
{
	if (op == ZONE_OP_FINISH)
		zone->finished = true;
	if (op == ZONE_OP_RESET) {
		zone->finished = false;
		zone->written = 0;
	}
}

int zones_manage(struct zones *zones, enum zone_op op, uint64_t off)
{
	uint32_t index;
	int ret = index_of_start(zones, off, &index);
	if (ret == 0)
		ret = apply(zones, &zones->zone[index], op);
	if (ret == 0)
		mark(&zones->zone[index], op);
	return ret;
}

bool zones_has_to_reset(const struct zones *zones, uint32_t index)
{
	unsigned state = zones->zone[index].state;
	return (state >= ZONE_IMPLICIT_OPEN && state <= ZONE_CLOSED) || state == ZONE_FULL;
}

/* What a zone is that nobody has open. */
static unsigned resting_state(const struct zones *zones, uint32_t index)
{
	const struct zone *zone = &zones->zone[index];
	if (zone->finished || zone->written == zones_capacity(zones, index))
		return ZONE_FULL;
	return zone->written ? ZONE_CLOSED : ZONE_EMPTY;
}

int zones_force(struct zones *zones, uint32_t index, enum zone_state state)
{
	struct zone *zone = &zones->zone[index];
	if (zone->type == ZONE_CONVENTIONAL)
		return -EINVAL;
	if (state != ZONE_READ_ONLY && state != ZONE_OFFLINE && state != ZONE_NOT_WP)
		return -EINVAL;
	enter(zones, zone, state == ZONE_NOT_WP ? resting_state(zones, index) : state);
	return 0;
}

int zones_restore(struct zones *zones, uint32_t index, uint64_t written, bool finished, enum zone_state state)
{
	struct zone *zone = &zones->zone[index];
	if (zone->type == ZONE_CONVENTIONAL)
		return written || finished || state != ZONE_NOT_WP ? -EINVAL : 0;
	if (written > zones_capacity(zones, index) || written % zones->geometry.block_size)
		return -EINVAL;
	zone->written = written;
	zone->finished = finished;
	return zones_force(zones, index, state);
}
