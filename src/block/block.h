/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Disk back ends: a request in, a completion out. A device (virtio-blk, NVMe) is handed a struct block and submits
 * requests from the thread of the loop that each names; done() is called on that thread, perhaps before block_submit()
 * returns. Requests are the device's, from an array made in advance: nothing is allocated on the way.
 */
#ifndef CVMM_SRC_BLOCK_BLOCK_H
#define CVMM_SRC_BLOCK_BLOCK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "src/base/error.h"
#include "src/base/loop.h"

enum block_op { BLOCK_READ, BLOCK_WRITE, BLOCK_FLUSH, BLOCK_DISCARD, BLOCK_WRITE_ZEROES };

enum {
	BLOCK_FUA = 1 << 0,       /* WRITE, WRITE_ZEROES: on stable storage when done */
	BLOCK_MAY_UNMAP = 1 << 1, /* WRITE_ZEROES: may leave a hole */
};

struct block_request {
	void (*done)(struct block_request *request, int result); /* 0 or a negative errno; all was done or it failed */
	struct loop *loop;   /* whose thread submits and hears of it; not owned */
	enum block_op op;
	unsigned flags;
	uint64_t off, len;         /* bytes, multiples of the logical block; FLUSH: 0 */
	struct iovec *iov;         /* READ, WRITE: len bytes; not owned, may be changed on the way */
	unsigned iov_count;
	/* the back end's own */
	struct loop_io io;
	uint64_t progress;
};

struct block;

struct block_ops {
	/* The range has been checked against size and read_only. */
	void (*submit)(struct block *block, struct block_request *request);
	void (*free)(struct block *block);
};

struct block {
	const struct block_ops *ops;
	uint64_t size;                  /* bytes; grows or shrinks by block_resize() */
	uint32_t logical_block;         /* bytes: 512 or 4096; offsets and lengths are multiples */
	uint32_t physical_block, optimal_io; /* bytes; hints for the guest */
	uint64_t discard_granularity;   /* bytes; 0: no discard */
	bool read_only, writeback;      /* writeback: a write is stable only after a flush */
	char name[64];                  /* for logs: the file's name, cut in front */
};

enum block_cache { BLOCK_CACHE_WRITEBACK, BLOCK_CACHE_NONE, BLOCK_CACHE_UNSAFE };

struct block_file_options {
	const char *path; /* or */
	int fd;           /* -1: path; duplicated */
	bool read_only, direct, share; /* share: no lock; direct: O_DIRECT */
	enum block_cache cache;
	uint32_t logical_block; /* 0: from the host: 512, or what O_DIRECT or the device wants */
};

/* A regular file or a block device. Locked (open file description locks) unless shared, so that two machines never write
 * one image. NULL with @err: cannot be opened, is locked (-EWOULDBLOCK), has no whole number of blocks, ... */
struct block *block_file_open(const struct block_file_options *options, struct cvmm_error *err);
/* @size bytes of memory that start as zeroes. */
struct block *block_memory_new(uint64_t size, uint32_t logical_block, struct cvmm_error *err);
void block_free(struct block *block); /* NULL is welcome; no request may be under way */

/* Check @request's range, then let the back end do it. */
void block_submit(struct block *block, struct block_request *request);

/* The file has grown or shrunk, or shall: @size 0 asks the file. 0 or a negative errno. */
int block_resize(struct block *block, uint64_t size, struct cvmm_error *err);

#endif
