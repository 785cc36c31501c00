/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The head of a zoned file: bytes to zones and back, see docs/zoned-format.md. Pure: who reads and writes is elsewhere.
 */
#ifndef CVMM_SRC_BLOCK_ZONE_FORMAT_H
#define CVMM_SRC_BLOCK_ZONE_FORMAT_H

#include <stddef.h>

#include "src/block/zones.h"

enum {
	ZONE_PAGE_SIZE = 4096, /* of a superblock and of a page of the table: written in one piece */
	ZONE_SUPERBLOCKS = 2,
	ZONE_RECORDS = 254, /* zones in a page */
};

/* What is kept of a zone. */
struct zone_record {
	uint64_t written;
	bool finished, read_only, offline;
};

struct zone_page {
	uint64_t sequence; /* of the newer copy */
	uint8_t slot;      /* where that is: 0 or 1; the next one goes to the other */
	bool dirty;        /* zones have changed since */
	bool committing;   /* on its way to the file */
};

struct zone_table {
	uint64_t id;            /* ties the pages to their superblock */
	struct zone_page *page; /* owned array */
	uint32_t pages;
};

static inline uint32_t zone_format_pages(uint32_t zones)
{
	return (zones + ZONE_RECORDS - 1) / ZONE_RECORDS;
}

uint64_t zone_format_page_off(uint32_t page, unsigned slot);
/* The head's length, and where the zones' data begins. */
uint64_t zone_format_head(const struct zone_geometry *geometry);
uint64_t zone_format_data_off(const struct zone_geometry *geometry);

struct zone_record zone_format_record(const struct zone *zone);

/* Fill one ZONE_PAGE_SIZE. */
void zone_format_super(void *page, const struct zone_geometry *geometry, uint64_t id);
void zone_format_page(void *page, uint64_t id, uint32_t index, uint64_t sequence, const struct zone_record *records,
                      uint32_t count);

/* From the file's first two pages, the superblocks. 0, or -ENOEXEC with @err; @geometry is one that can be. */
int zone_format_parse_super(const void *pages, struct zone_geometry *geometry, uint64_t *id, struct cvmm_error *err);
/*
 * From the whole head, zone_format_head() bytes, of a superblock that was parsed. 0; -ENOEXEC: damaged; -ENOMEM.
 * After each zones_fini() and zone_table_fini() are welcome.
 */
int zone_format_parse(const uint8_t *head, const struct zone_geometry *geometry, uint64_t id, struct zones *zones,
                      struct zone_table *table, struct cvmm_error *err);
void zone_table_fini(struct zone_table *table);

#endif
