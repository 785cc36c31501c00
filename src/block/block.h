/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Disk back ends: a request in, a completion out. A device (virtio-blk, NVMe) is handed a struct block and submits
 * requests from the thread of the loop that each names; done() is called on that thread, perhaps before block_submit()
 * returns. Requests are the device's, from an array made in advance: nothing is allocated on the way, no lock is taken.
 */
#ifndef CVMM_SRC_BLOCK_BLOCK_H
#define CVMM_SRC_BLOCK_BLOCK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "src/base/error.h"
#include "src/base/loop.h"

enum block_op {
	BLOCK_READ,
	BLOCK_WRITE,
	BLOCK_FLUSH,
	BLOCK_DISCARD,
	BLOCK_WRITE_ZEROES,
	/* Zoned disks alone (zone.h); off: the zone's start, len: 0. They fail with the ZONE_ errors. */
	BLOCK_ZONE_REPORT, /* off: anywhere; zones from that one on, by report() */
	BLOCK_ZONE_APPEND, /* len and segments as of a write; off is, when done, where it was written */
	BLOCK_ZONE_OPEN,
	BLOCK_ZONE_CLOSE,
	BLOCK_ZONE_FINISH,
	BLOCK_ZONE_RESET,
	BLOCK_ZONE_RESET_ALL, /* off: 0 */
};

enum {
	BLOCK_FUA = 1 << 0,       /* WRITE, DISCARD, WRITE_ZEROES: on stable storage when done */
	BLOCK_MAY_UNMAP = 1 << 1, /* WRITE_ZEROES: may leave a hole */
};

struct block;
struct block_bounce;
struct block_request;
struct zone_geometry;
struct zone_info;
struct zone_queues;

/* What a zoned back end, which passes requests on to another one, keeps of them meanwhile. */
struct block_zone_request {
	void (*done)(struct block_request *request, int result); /* of the device */
	void (*then)(struct block_request *request, int result); /* what follows the step under way */
	struct block *block;
	enum block_op op;
	unsigned flags;
	uint64_t off, len;
	uint32_t first, last;       /* zones that it has to itself, from the first one to */
	uint32_t zone;              /* the one it waits for; then how far it has got */
	int result;                 /* for then() */
	struct block_request *next; /* in the queue of a zone, or of those that wait for the table */
	struct loop_call call;
	struct zone_queues *queues;                 /* where it waits */
	int (*work)(struct block_request *request); /* what a worker does for it */
	bool retried;                               /* once more after zones were looked at again */
	int error;                                  /* what it failed with, while it is found out why */
};

struct block_request {
	void (*done)(struct block_request *request, int result); /* 0 or a negative errno; all was done or it failed */
	struct loop *loop;                                       /* whose thread submits and hears of it; not owned */
	enum block_op op;
	unsigned flags;
	uint64_t off, len; /* bytes, multiples of the logical block; FLUSH: 0 */
	struct iovec *iov; /* READ, WRITE: len bytes; not owned, changed on the way */
	unsigned iov_count;
	/* ZONE_REPORT: one zone; false: enough. Called before done(), perhaps on another thread. */
	bool (*report)(struct block_request *request, const struct zone_info *zone);
	struct block_bounce *bounce; /* the submitter's, of this loop; NULL: segments always suit memory_align */
	/* the back end's own */
	struct block *block;
	struct loop_io io;
	uint64_t progress;
	struct iovec own_iov;
	struct block_request *next;
	struct block_zone_request zone;
};

struct block_ops {
	/* The range has been checked: inside the size, whole blocks, nothing written to what is read-only. A zoned disk
	 * has its own idea of the blocks that writes are made of, and of the range of what there is for zones alone. */
	void (*submit)(struct block *block, struct block_request *request);
	/* Make it @size bytes, or, if 0, find out how many there are; set block->size. NULL: it has the size it has. */
	int (*resize)(struct block *block, uint64_t size, struct cvmm_error *err);
	void (*free)(struct block *block);
};

struct block {
	const struct block_ops *ops;
	uint64_t size;                       /* bytes; grows or shrinks by block_resize(): read it by block_size() */
	uint32_t logical_block;              /* bytes: 512 or 4096; offsets and lengths are multiples */
	uint32_t physical_block, optimal_io; /* bytes; hints for the guest; optimal_io 0: unknown */
	uint64_t discard_granularity;        /* bytes; 0: no discard */
	uint32_t memory_align;               /* of segments, bytes; 1: any. Others go through a bounce buffer */
	bool read_only, writeback;           /* writeback: a write is stable only after a flush */
	const struct zone_geometry *zones;   /* zone.h; NULL: not zoned */
	char name[64];                       /* for logs: the file's name, cut in front */
};

/* Any thread. */
static inline uint64_t block_size(const struct block *block)
{
	return __atomic_load_n(&block->size, __ATOMIC_RELAXED);
}

/*
 * Where a back end wants aligned segments, each queue has a buffer for requests that have others: one at a time goes
 * through it, piece by piece, while the others wait for their turn. Memory is touched by the first that needs it.
 */
struct block_bounce {
	uint8_t *buf;               /* BLOCK_BOUNCE_SIZE bytes; owned */
	struct block_request *user; /* whose turn it is, followed by those that wait */
	struct block_request *last;
};

enum { BLOCK_BOUNCE_SIZE = 256 * 1024 };

/* 0 or -ENOMEM. Only zeroed before: fini() is welcome. */
int block_bounce_init(struct block_bounce *bounce, const struct block *block);
void block_bounce_fini(struct block_bounce *bounce);

enum block_cache {
	BLOCK_CACHE_WRITEBACK, /* the host's page cache; a flush reaches the disk */
	BLOCK_CACHE_NONE,      /* O_DIRECT; a flush reaches the disk */
	BLOCK_CACHE_UNSAFE,    /* the host's page cache; flushes do nothing */
};

struct block_file_options {
	const char *path;              /* or */
	int fd;                        /* -1: path; duplicated */
	bool read_only, direct, share; /* share: no lock; direct: O_DIRECT */
	enum block_cache cache;
	uint32_t logical_block; /* 0: from the host: 512, or what O_DIRECT or the device wants */
};

/* A regular file or a block device. Locked (open file description locks) unless shared, so that two machines never write
 * one image. NULL with @err: cannot be opened, is locked (-EWOULDBLOCK), has no whole number of blocks, ... */
struct block *block_file_open(const struct block_file_options *options, struct cvmm_error *err);
/* @size bytes of memory that start as zeroes. @logical_block: 0: 512. */
struct block *block_memory_new(uint64_t size, uint32_t logical_block, struct cvmm_error *err);
void block_free(struct block *block); /* NULL is welcome; no request may be under way */

/* Check @request's range, then let the back end do it. -EINVAL: part of a block, or beyond the end; -EROFS. */
void block_submit(struct block *block, struct block_request *request);

/* The file has grown or shrunk, or shall: @size 0 asks the file. One thread at a time. 0 or a negative errno. */
int block_resize(struct block *block, uint64_t size, struct cvmm_error *err);

/* --- for back ends --- */

/* Is @size a disk of whole blocks? 0, or -EINVAL with @err. */
int block_check_size(uint64_t size, uint32_t logical_block, struct cvmm_error *err);
void block_set_name(struct block *block, const char *name);
/* @request is done: who submitted it hears of it, and so does the log of what went wrong on the host. */
void block_done(struct block_request *request, int result);
/* Leave out the first @len bytes of @request's segments. */
void block_consume(struct block_request *request, uint64_t len);
/* Is it @request's turn with its queue's buffer? If not, it waits until block_bounce_leave() returns it. */
bool block_bounce_enter(struct block_request *request);
bool block_bounce_holds(const struct block_request *request);
/* @request is done with it; returns whose turn is next, or NULL. */
struct block_request *block_bounce_leave(struct block_request *request);

#endif
