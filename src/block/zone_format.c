// SPDX-License-Identifier: Apache-2.0
/* The head of a zoned file, see docs/zoned-format.md. */
#include "src/block/zone_format.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include <linux/types.h>

#include "src/base/util.h"

enum { VERSION = 1, DATA_ALIGN = 1 << 20 };

#define SUPER_MAGIC "CVMMZONE"
#define PAGE_MAGIC "ZTBL"

struct super {
	char magic[8];
	__le32 version;
	__le32 crc; /* of the whole page, this being 0 */
	__le64 id;
	__le64 size, zone_size, zone_capacity;
	__le64 data_off;
	__le32 conventional, max_open, max_active, max_append;
	__le32 block_size, model;
	uint8_t reserved[4016]; /* 0 */
};
_Static_assert(sizeof(struct super) == ZONE_PAGE_SIZE, "on disk");

enum { FINISHED = 1 << 0, READ_ONLY = 1 << 1, OFFLINE = 1 << 2 };

struct record {
	__le64 written;
	__le32 flags;
	__le32 reserved; /* 0 */
};

struct page {
	char magic[4];
	__le32 crc; /* of the whole page, this being 0 */
	__le64 id;
	__le64 sequence;
	__le32 index;
	__le32 reserved; /* 0 */
	struct record records[ZONE_RECORDS];
};
_Static_assert(sizeof(struct page) == ZONE_PAGE_SIZE, "on disk");

uint64_t zone_format_page_off(uint32_t page, unsigned slot)
{
	return (ZONE_SUPERBLOCKS + (uint64_t)page * 2 + slot) * ZONE_PAGE_SIZE;
}

uint64_t zone_format_head(const struct zone_geometry *geometry)
{
	return zone_format_page_off(zone_format_pages((uint32_t)zone_count(geometry)), 0);
}

uint64_t zone_format_data_off(const struct zone_geometry *geometry)
{
	return align_up(zone_format_head(geometry), DATA_ALIGN);
}

/* As if the four bytes at @crc_off were 0. */
static uint32_t checksum(const void *page, size_t crc_off)
{
	static const uint8_t zeroes[4];
	const uint8_t *bytes = page;
	size_t rest = crc_off + sizeof(zeroes);
	uLong crc = crc32(0, bytes, (uInt)crc_off);
	crc = crc32(crc, zeroes, sizeof(zeroes));
	return (uint32_t)crc32(crc, bytes + rest, (uInt)(ZONE_PAGE_SIZE - rest));
}

/* ---- superblock -------------------------------------------------------------------------------------------------- */

void zone_format_super(void *page, const struct zone_geometry *geometry, uint64_t id)
{
	struct super super = {
		.magic = SUPER_MAGIC,
		.version = htole32(VERSION),
		.id = htole64(id),
		.size = htole64(geometry->size),
		.zone_size = htole64(geometry->zone_size),
		.zone_capacity = htole64(geometry->zone_capacity),
		.data_off = htole64(zone_format_data_off(geometry)),
		.conventional = htole32(geometry->conventional),
		.max_open = htole32(geometry->max_open),
		.max_active = htole32(geometry->max_active),
		.max_append = htole32(geometry->max_append),
		.block_size = htole32(geometry->block_size),
		.model = htole32((uint32_t)geometry->model),
	};
	super.crc = htole32(checksum(&super, offsetof(struct super, crc)));
	memcpy(page, &super, sizeof(super));
}

static bool has_magic(const struct super *super)
{
	return !memcmp(super->magic, SUPER_MAGIC, sizeof(super->magic));
}

static bool is_whole(const struct super *super)
{
	return has_magic(super) && le32toh(super->crc) == checksum(super, offsetof(struct super, crc));
}

static int parse_super(const struct super *super, struct zone_geometry *geometry, uint64_t *id, struct cvmm_error *err)
{
	if (le32toh(super->version) != VERSION)
		return err_set(err, -ENOEXEC, "is a zoned file of version %u, expected %d", le32toh(super->version),
		               VERSION);
	*id = le64toh(super->id);
	*geometry = (struct zone_geometry){
		.model = le32toh(super->model),
		.size = le64toh(super->size),
		.zone_size = le64toh(super->zone_size),
		.zone_capacity = le64toh(super->zone_capacity),
		.conventional = le32toh(super->conventional),
		.max_open = le32toh(super->max_open),
		.max_active = le32toh(super->max_active),
		.max_append = le32toh(super->max_append),
		.block_size = le32toh(super->block_size),
	};
	if (zone_geometry_check(geometry, err) < 0)
		return err_prefix(err, -ENOEXEC, "superblock");
	if (le64toh(super->data_off) != zone_format_data_off(geometry))
		return err_set(err, -ENOEXEC, "superblock: data at %llu, expected at %llu",
		               (unsigned long long)le64toh(super->data_off),
		               (unsigned long long)zone_format_data_off(geometry));
	return 0;
}

int zone_format_parse_super(const void *pages, struct zone_geometry *geometry, uint64_t *id, struct cvmm_error *err)
{
	struct super super[ZONE_SUPERBLOCKS];
	memcpy(super, pages, sizeof(super));
	for (unsigned i = 0; i < ZONE_SUPERBLOCKS; i++)
		if (is_whole(&super[i]))
			return parse_super(&super[i], geometry, id, err);
	if (has_magic(&super[0]) || has_magic(&super[1]))
		return err_set(err, -ENOEXEC, "both copies of its superblock are damaged");
	return err_set(err, -ENOEXEC, "is not a zoned file: \"cvmm zone format\" makes one");
}

/* ---- the table --------------------------------------------------------------------------------------------------- */

struct zone_record zone_format_record(const struct zone *zone)
{
	return (struct zone_record){
		.written = zone->written,
		.finished = zone->finished,
		.read_only = zone->state == ZONE_READ_ONLY,
		.offline = zone->state == ZONE_OFFLINE,
	};
}

void zone_format_page(void *at, uint64_t id, uint32_t index, uint64_t sequence, const struct zone_record *records,
                      uint32_t count)
{
	struct page page = {
		.magic = PAGE_MAGIC,
		.id = htole64(id),
		.sequence = htole64(sequence),
		.index = htole32(index),
	};
	for (uint32_t i = 0; i < count; i++) {
		const struct zone_record *record = &records[i];
		unsigned flags = (record->finished ? FINISHED : 0) | (record->read_only ? READ_ONLY : 0) |
		                 (record->offline ? OFFLINE : 0);
		page.records[i] = (struct record){ .written = htole64(record->written), .flags = htole32(flags) };
	}
	page.crc = htole32(checksum(&page, offsetof(struct page, crc)));
	memcpy(at, &page, sizeof(page));
}

/* A copy that was written whole, for this place and this file. Its sequence has room to grow. */
static bool is_page(const struct page *page, uint64_t id, uint32_t index)
{
	return !memcmp(page->magic, PAGE_MAGIC, sizeof(page->magic)) && le64toh(page->id) == id &&
	       le32toh(page->index) == index && le64toh(page->sequence) <= INT64_MAX &&
	       le32toh(page->crc) == checksum(page, offsetof(struct page, crc));
}

static int parse_record(struct zones *zones, uint32_t index, const struct record *record)
{
	uint32_t flags = le32toh(record->flags);
	enum zone_state state = flags & OFFLINE ? ZONE_OFFLINE : flags & READ_ONLY ? ZONE_READ_ONLY : ZONE_NOT_WP;
	if (flags & ~(uint32_t)(FINISHED | READ_ONLY | OFFLINE) || record->reserved)
		return -EINVAL;
	return zones_restore(zones, index, le64toh(record->written), flags & FINISHED, state);
}

static int parse_records(struct zones *zones, const struct page *page, uint32_t first, struct cvmm_error *err)
{
	for (uint32_t i = 0; i < ZONE_RECORDS && first + i < zones->count; i++)
		if (parse_record(zones, first + i, &page->records[i]) < 0)
			return err_set(err, -ENOEXEC, "zone %u: its record in the table cannot be", first + i);
	return 0;
}

/* The newer of the copies that are whole. */
static int parse_page(struct zones *zones, struct zone_table *table, uint32_t index, const uint8_t *head,
                      struct cvmm_error *err)
{
	struct page copy[2];
	memcpy(copy, head + zone_format_page_off(index, 0), sizeof(copy));
	bool whole[2] = { is_page(&copy[0], table->id, index), is_page(&copy[1], table->id, index) };
	uint32_t first = index * ZONE_RECORDS;
	if (!whole[0] && !whole[1])
		return err_set(err, -ENOEXEC, "both copies of page %u of its table, from zone %u on, are damaged",
		               index, first);
	unsigned slot = !whole[0] || (whole[1] && le64toh(copy[1].sequence) > le64toh(copy[0].sequence));
	table->page[index] = (struct zone_page){ .sequence = le64toh(copy[slot].sequence), .slot = (uint8_t)slot };
	return parse_records(zones, &copy[slot], first, err);
}

int zone_format_parse(const uint8_t *head, const struct zone_geometry *geometry, uint64_t id, struct zones *zones,
                      struct zone_table *table, struct cvmm_error *err)
{
	*table = (struct zone_table){ .id = id };
	int ret = zones_init(zones, geometry, err);
	if (ret < 0)
		return ret;
	table->pages = zone_format_pages(zones->count);
	table->page = calloc(table->pages, sizeof(*table->page));
	if (!table->page)
		return err_set(err, -ENOMEM, "out of memory for %u zones", zones->count);
	for (uint32_t i = 0; ret == 0 && i < table->pages; i++)
		ret = parse_page(zones, table, i, head, err);
	return ret;
}

void zone_table_fini(struct zone_table *table)
{
	free(table->page);
	*table = (struct zone_table){ 0 };
}
