// SPDX-License-Identifier: Apache-2.0
/* cvmm_zone_*() of cvmm.h: zoned files made, shown and changed while no machine uses them. */
#include <cvmm.h>

#include <fcntl.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "src/base/util.h"
#include "src/block/zone_image.h"

/* One set of numbers, the specification's. */
_Static_assert((int)CVMM_ZONE_HOST_AWARE == (int)ZONE_MODEL_HOST_AWARE, "same");
_Static_assert((int)CVMM_ZONE_WRITE_PREFERRED == (int)ZONE_WRITE_PREFERRED, "same");
_Static_assert((int)CVMM_ZONE_NOT_WP == (int)ZONE_NOT_WP && (int)CVMM_ZONE_CLOSED == (int)ZONE_CLOSED, "same");
_Static_assert((int)CVMM_ZONE_READ_ONLY == (int)ZONE_READ_ONLY && (int)CVMM_ZONE_OFFLINE == (int)ZONE_OFFLINE, "same");

const char *cvmm_zone_model_name(enum cvmm_zone_model model)
{
	return zone_model_name((enum zone_model)model);
}

const char *cvmm_zone_type_name(enum cvmm_zone_type type)
{
	return zone_type_name((enum zone_type)type);
}

const char *cvmm_zone_state_name(enum cvmm_zone_state state)
{
	return zone_state_name((enum zone_state)state);
}

/* ---- format ------------------------------------------------------------------------------------------------------ */

static struct zone_geometry geometry_of(const struct cvmm_zone_layout *layout)
{
	return (struct zone_geometry){
		.model = (enum zone_model)layout->model,
		.size = layout->size,
		.zone_size = layout->zone_size,
		.zone_capacity = layout->zone_capacity,
		.conventional = layout->conventional,
		.max_open = layout->max_open,
		.max_active = layout->max_active,
		.max_append = layout->max_append,
		.block_size = layout->block_size,
	};
}

/* What is there already stays, unless it is empty or @force: and nobody uses it. */
static int check_there(int fd, bool force, struct cvmm_error *err)
{
	struct stat st;
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	if (fstat(fd, &st) < 0)
		return err_set(err, -errno, "%m");
	if (!S_ISREG(st.st_mode))
		return err_set(err, -EINVAL, "is not a regular file");
	if (st.st_size && !force)
		return err_set(err, -EEXIST, "is there and not empty: --force overwrites it");
	if (fcntl(fd, F_OFD_SETLK, &lock) < 0 && (errno == EAGAIN || errno == EACCES))
		return err_set(err, -EWOULDBLOCK, "is in use by another process");
	return 0;
}

static int format_fd(int fd, const struct zone_geometry *geometry, struct cvmm_error *err)
{
	uint64_t id, len = zone_format_data_off(geometry) + geometry->size;
	if (getrandom(&id, sizeof(id), 0) != sizeof(id))
		return err_set(err, -EIO, "no random number to be had");
	if (ftruncate(fd, 0) < 0 || ftruncate(fd, (off_t)len) < 0)
		return err_set(err, -errno, "cannot be %llu bytes long: %m", (unsigned long long)len);
	struct block_file_options options = { .fd = fd };
	struct cvmm_error why;
	struct block *file = block_file_open(&options, &why);
	if (!file)
		return err_set(err, why.code, "%s", why.msg);
	int ret = zone_image_format(file, geometry, id);
	block_free(file);
	return ret < 0 ? err_set(err, ret, "%s", strerror(-ret)) : 0;
}

/* The type is looked at first: opening a FIFO waits for its other end. */
static int format_path(const char *path, const struct zone_geometry *geometry, bool force, struct cvmm_error *err)
{
	struct stat st;
	bool there = stat(path, &st) == 0;
	if (there && !S_ISREG(st.st_mode))
		return err_set(err, -EINVAL, "is not a regular file");
	CLEANUP_CLOSE int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOCTTY | (there ? 0 : O_EXCL), 0666);
	if (fd < 0)
		return err_set(err, -errno, "%m");
	int ret = check_there(fd, force, err);
	if (ret == 0)
		ret = format_fd(fd, geometry, err);
	if (ret < 0 && !there)
		unlink(path);
	return ret;
}

int cvmm_zone_format(const char *path, const struct cvmm_zone_layout *layout, bool force, struct cvmm_error *err)
{
	struct zone_geometry geometry = geometry_of(layout);
	int ret = zone_geometry_check(&geometry, err);
	if (ret == 0)
		ret = format_path(path, &geometry, force, err);
	return ret < 0 ? err_prefix(err, ret, "%s", path) : 0;
}

/* ---- report ------------------------------------------------------------------------------------------------------ */

static int load(struct zone_image *image, const char *path, bool write, struct cvmm_error *err)
{
	struct cvmm_error why;
	struct block_file_options options = { .path = path, .fd = -1, .read_only = !write, .share = !write };
	*image = (struct zone_image){ 0 };
	struct block *file = block_file_open(&options, &why);
	if (!file)
		return err_set(err, why.code, "%s", why.msg);
	int ret = zone_image_load(image, file, err);
	return ret < 0 ? err_prefix(err, ret, "disk %s", path) : 0;
}

static void tell_layout(const struct zone_geometry *geometry, struct cvmm_zone_layout *layout)
{
	*layout = (struct cvmm_zone_layout){
		.model = (enum cvmm_zone_model)geometry->model,
		.size = geometry->size,
		.zone_size = geometry->zone_size,
		.zone_capacity = geometry->zone_capacity,
		.conventional = geometry->conventional,
		.max_open = geometry->max_open,
		.max_active = geometry->max_active,
		.max_append = geometry->max_append,
		.block_size = geometry->block_size,
	};
}

static int tell_zone(const struct zones *zones, uint32_t index, int (*fn)(void *opaque, const struct cvmm_zone *zone),
                     void *opaque)
{
	struct zone_info info;
	zones_info(zones, index, &info);
	struct cvmm_zone zone = {
		.start = info.start,
		.len = info.len,
		.capacity = info.capacity,
		.wp = info.wp,
		.type = (enum cvmm_zone_type)info.type,
		.state = (enum cvmm_zone_state)info.state,
	};
	return fn(opaque, &zone);
}

int cvmm_zone_report(const char *path, struct cvmm_zone_layout *layout, uint32_t first, uint32_t count,
                     int (*fn)(void *opaque, const struct cvmm_zone *zone), void *opaque, struct cvmm_error *err)
{
	struct zone_image image;
	int ret = load(&image, path, false, err);
	if (ret == 0 && layout)
		tell_layout(&image.zones.geometry, layout);
	for (uint64_t i = first; ret == 0 && fn && i < (uint64_t)first + count && i < image.zones.count; i++)
		ret = tell_zone(&image.zones, (uint32_t)i, fn, opaque);
	zone_image_fini(&image);
	return ret;
}

/* ---- changes ----------------------------------------------------------------------------------------------------- */

static int check_range(const struct zones *zones, uint32_t first, uint32_t count, struct cvmm_error *err)
{
	if (range_inside(first, count, zones->count))
		return 0;
	return err_set(err, -EINVAL, "has zones 0 to %u: there are no %u from %u on", zones->count - 1, count, first);
}

/* Each page of the table that one of these zones is in. */
static int store(struct zone_image *image, uint32_t first, uint32_t count, struct cvmm_error *err)
{
	int ret = 0;
	for (uint32_t page = first / ZONE_RECORDS; ret == 0 && page <= (first + count - 1) / ZONE_RECORDS; page++)
		ret = zone_image_store(image, page * ZONE_RECORDS);
	return ret < 0 ? err_set(err, ret, "its table: %s", strerror(-ret)) : 0;
}

/* Room is given back when the table says that nothing is there; if it cannot be, no matter. */
static void punch(const struct zone_image *image, uint32_t index)
{
	if (image->file->discard_granularity)
		zone_image_io(image->file, BLOCK_DISCARD, image->data_off + zones_start(&image->zones, index), NULL,
		              zones_len(&image->zones, index));
}

/* Host-aware disks are read without regard to write pointers: zeroes come first there. */
static int clear(const struct zone_image *image, uint32_t index)
{
	if (image->zones.geometry.model != ZONE_MODEL_HOST_AWARE)
		return 0;
	struct block *file = image->file;
	return zone_image_io(file, BLOCK_WRITE_ZEROES, image->data_off + zones_start(&image->zones, index), NULL,
	                     zones_len(&image->zones, index));
}

static int reset_check(const struct zones *zones, uint32_t first, uint32_t count, struct cvmm_error *err)
{
	for (uint32_t i = first; i < first + count; i++) {
		unsigned state = zones->zone[i].state;
		if (!zones_has_to_reset(zones, i) && state != ZONE_EMPTY)
			return err_set(err, -EINVAL, "zone %u is %s: cannot be reset", i,
			               state == ZONE_NOT_WP ? "conventional" : zone_state_name(state));
	}
	return 0;
}

static int reset(struct zone_image *image, uint32_t first, uint32_t count, struct cvmm_error *err)
{
	struct zones *zones = &image->zones;
	CLEANUP_FREE bool *changed = calloc(count, sizeof(*changed));
	if (!changed)
		return err_set(err, -ENOMEM, "out of memory for %u zones", count);
	for (uint32_t i = 0; i < count; i++) {
		changed[i] = zones_has_to_reset(zones, first + i);
		int ret = changed[i] ? clear(image, first + i) : 0;
		if (ret < 0)
			return err_set(err, ret, "zone %u: %s", first + i, strerror(-ret));
		if (changed[i])
			zones_manage(zones, ZONE_OP_RESET, zones_start(zones, first + i));
	}
	int ret = store(image, first, count, err);
	for (uint32_t i = 0; ret == 0 && i < count; i++)
		if (changed[i])
			punch(image, first + i);
	return ret;
}

int cvmm_zone_reset(const char *path, uint32_t first, uint32_t count, struct cvmm_error *err)
{
	struct zone_image image;
	bool all = count == 0;
	int ret = load(&image, path, true, err);
	if (ret < 0) {
		zone_image_fini(&image);
		return ret;
	}
	if (all) {
		first = 0;
		count = image.zones.count;
	}
	ret = check_range(&image.zones, first, count, err);
	if (ret == 0 && !all)
		ret = reset_check(&image.zones, first, count, err);
	if (ret == 0)
		ret = reset(&image, first, count, err);
	zone_image_fini(&image);
	return ret < 0 ? err_prefix(err, ret, "disk %s", path) : 0;
}

static int set_state(struct zone_image *image, uint32_t first, uint32_t count, enum zone_state state,
                     struct cvmm_error *err)
{
	int ret = check_range(&image->zones, first, count, err);
	if (ret == 0 && !count)
		ret = err_set(err, -EINVAL, "no zone is named");
	for (uint32_t i = first; ret == 0 && i < first + count; i++)
		if (zones_force(&image->zones, i, state) < 0)
			ret = err_set(err, -EINVAL, "zone %u: %s", i,
			              image->zones.zone[i].type == ZONE_CONVENTIONAL
			                      ? "a conventional zone has no such state"
			                      : "not a state that can be set");
	return ret < 0 ? ret : store(image, first, count, err);
}

int cvmm_zone_set_state(const char *path, uint32_t first, uint32_t count, enum cvmm_zone_state state,
                        struct cvmm_error *err)
{
	struct zone_image image;
	int ret = load(&image, path, true, err);
	if (ret == 0) {
		ret = set_state(&image, first, count, (enum zone_state)state, err);
		if (ret < 0)
			err_prefix(err, ret, "disk %s", path);
	}
	zone_image_fini(&image);
	return ret;
}
