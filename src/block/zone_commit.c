// SPDX-License-Identifier: Apache-2.0
/*
 * How the table of a zoned file gets there, in this order: what the zones are is noted, data is made stable, the pages of
 * the table that have changed are written, each over its older copy, these are made stable. So what a page says was true
 * of stable data, and while a page is written its other copy is whole: a crash at any point leaves what was flushed last.
 *
 * There is one commit at a time, for all that waited when it began; what comes meanwhile waits for the next one.
 */
#include "src/block/zoned.h"

#include <stdlib.h>

#include "src/base/util.h"

static void commit_begin(struct zoned *zoned);
static void commit_next_page(struct zoned *zoned);

static struct zoned *commit_of(struct block_request *request)
{
	return container_of(request, struct zoned, commit.request);
}

int zoned_commit_init(struct zoned *zoned)
{
	struct zone_commit *commit = &zoned->commit;
	if (!zoned->table.pages)
		return 0;
	commit->page = aligned_alloc(ZONE_PAGE_SIZE, ZONE_PAGE_SIZE);
	commit->records = calloc(zoned->zones.count, sizeof(*commit->records));
	return commit->page && commit->records ? 0 : -ENOMEM;
}

void zoned_commit_fini(struct zoned *zoned)
{
	free(zoned->commit.page);
	free(zoned->commit.records);
}

/* ---- those who wait ---------------------------------------------------------------------------------------------- */

/* On this thread or on the request's own. */
static void commit_tell(struct block_request *request, const struct loop *here, int result)
{
	if (request->loop == here)
		request->zone.then(request, result);
	else
		zone_request_post(request, result);
}

void zoned_commit(struct zoned *zoned, struct block_request *request,
                  void (*then)(struct block_request *request, int result))
{
	struct zone_commit *commit = &zoned->commit;
	if (!zoned->table.pages) {
		then(request, 0);
		return;
	}
	pthread_mutex_lock(&zoned->lock);
	request->zone.then = then;
	request->zone.next = NULL;
	if (commit->waiting)
		commit->last->zone.next = request;
	else
		commit->waiting = request;
	commit->last = request;
	bool first = !commit->running;
	commit->running = true;
	pthread_mutex_unlock(&zoned->lock);
	if (!first)
		return;
	commit->request.loop = request->loop;
	commit_begin(zoned);
}

/* ---- one commit -------------------------------------------------------------------------------------------------- */

static void commit_lower(struct zoned *zoned, enum block_op op, uint64_t off, uint64_t len,
                         void (*done)(struct block_request *request, int result))
{
	struct zone_commit *commit = &zoned->commit;
	commit->iov = (struct iovec){ commit->page, len };
	commit->request = (struct block_request){
		.done = done,
		.loop = commit->request.loop,
		.op = op,
		.off = off,
		.len = len,
		.iov = &commit->iov,
		.iov_count = 1,
	};
	block_submit(zoned->lower, &commit->request);
}

static uint32_t records_in(const struct zoned *zoned, uint32_t page)
{
	return MIN(zoned->zones.count - page * ZONE_RECORDS, (uint32_t)ZONE_RECORDS);
}

static void note_page(struct zoned *zoned, uint32_t page)
{
	uint32_t first = page * ZONE_RECORDS;
	for (uint32_t i = first; i < first + records_in(zoned, page); i++)
		zoned->commit.records[i] = zone_format_record(&zoned->zones.zone[i]);
	zoned->table.page[page].dirty = false;
	zoned->table.page[page].committing = true;
}

/* Good: the other copy is the newer one now. Else the next commit goes to the same place again. */
static void commit_settle(struct zoned *zoned, bool good)
{
	for (uint32_t i = 0; i < zoned->table.pages; i++) {
		struct zone_page *page = &zoned->table.page[i];
		if (!page->committing)
			continue;
		page->committing = false;
		page->sequence += good;
		page->slot ^= good;
		page->dirty |= !good;
	}
}

static void commit_end(struct zoned *zoned, int result)
{
	struct zone_commit *commit = &zoned->commit;
	const struct loop *here = commit->request.loop;
	pthread_mutex_lock(&zoned->lock);
	commit_settle(zoned, result == 0);
	struct block_request *request = commit->joined, *next;
	bool more = commit->waiting;
	commit->running = more;
	pthread_mutex_unlock(&zoned->lock);
	for (; request; request = next) {
		next = request->zone.next;
		commit_tell(request, here, result);
	}
	if (more)
		commit_begin(zoned);
}

static void commit_finished(struct block_request *request, int result)
{
	commit_end(commit_of(request), result);
}

static void commit_page_written(struct block_request *request, int result)
{
	struct zoned *zoned = commit_of(request);
	zoned->commit.wrote = true;
	zoned->commit.at++;
	if (result < 0)
		commit_end(zoned, result);
	else
		commit_next_page(zoned);
}

static void commit_next_page(struct zoned *zoned)
{
	struct zone_commit *commit = &zoned->commit;
	const struct zone_table *table = &zoned->table;
	while (commit->at < table->pages && !table->page[commit->at].committing)
		commit->at++;
	if (commit->at < table->pages) {
		const struct zone_page *page = &table->page[commit->at];
		zone_format_page(commit->page, table->id, commit->at, page->sequence + 1,
		                 &commit->records[commit->at * ZONE_RECORDS], records_in(zoned, commit->at));
		commit_lower(zoned, BLOCK_WRITE, zone_format_page_off(commit->at, !page->slot), ZONE_PAGE_SIZE,
		             commit_page_written);
	} else if (commit->wrote) {
		commit_lower(zoned, BLOCK_FLUSH, 0, 0, commit_finished);
	} else {
		commit_end(zoned, 0);
	}
}

static void commit_data_stable(struct block_request *request, int result)
{
	struct zoned *zoned = commit_of(request);
	if (result < 0)
		commit_end(zoned, result);
	else
		commit_next_page(zoned);
}

/* Whatever is noted here was written before, and so the flush that follows reaches it. */
static void commit_begin(struct zoned *zoned)
{
	struct zone_commit *commit = &zoned->commit;
	pthread_mutex_lock(&zoned->lock);
	commit->joined = TAKE_PTR(commit->waiting);
	commit->at = 0;
	commit->wrote = false;
	for (uint32_t i = 0; i < zoned->table.pages; i++)
		if (zoned->table.page[i].dirty)
			note_page(zoned, i);
	pthread_mutex_unlock(&zoned->lock);
	commit_lower(zoned, BLOCK_FLUSH, 0, 0, commit_data_stable);
}
