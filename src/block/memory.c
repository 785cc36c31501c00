// SPDX-License-Identifier: Apache-2.0
/* A disk in memory, gone with the VM. Every request is done before block_submit() returns. */
#include "src/block/block.h"

#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>

#include "src/base/util.h"

enum { PAGE = 4096 };

struct block_memory {
	struct block block;
	uint8_t *bytes;
};

static struct block_memory *memory_of(struct block *block)
{
	return container_of(block, struct block_memory, block);
}

static void memory_copy(uint8_t *at, const struct block_request *request)
{
	for (unsigned i = 0; i < request->iov_count; at += request->iov[i++].iov_len) {
		if (request->op == BLOCK_READ)
			memcpy(request->iov[i].iov_base, at, request->iov[i].iov_len);
		else
			memcpy(at, request->iov[i].iov_base, request->iov[i].iov_len);
	}
}

/* Whole pages go back to the host and come again as zeroes; the host's may be larger, then they are cleared by hand. */
static void memory_clear(uint8_t *bytes, uint64_t off, uint64_t len)
{
	uint64_t end = off + len, first = align_up(off, PAGE), last = align_down(end, PAGE);
	if (first >= last || madvise(bytes + first, last - first, MADV_DONTNEED) < 0) {
		memset(bytes + off, 0, len);
		return;
	}
	memset(bytes + off, 0, first - off);
	memset(bytes + last, 0, end - last);
}

static void memory_submit(struct block *block, struct block_request *request)
{
	uint8_t *bytes = memory_of(block)->bytes;
	switch (request->op) {
	case BLOCK_READ:
	case BLOCK_WRITE:
		memory_copy(bytes + request->off, request);
		break;
	case BLOCK_DISCARD:
	case BLOCK_WRITE_ZEROES:
		memory_clear(bytes, request->off, request->len);
		break;
	default: /* a flush; what is for zones does not come here */
		break;
	}
	request->done(request, 0);
}

static void memory_free(struct block *block)
{
	struct block_memory *memory = memory_of(block);
	if (memory->bytes)
		munmap(memory->bytes, block->size);
	free(memory);
}

static const struct block_ops memory_ops = { .submit = memory_submit, .free = memory_free };

static int memory_map(struct block_memory *memory, struct cvmm_error *err)
{
	int ret = block_check_size(memory->block.size, memory->block.logical_block, err);
	if (ret < 0)
		return ret;
	void *bytes = mmap(NULL, memory->block.size, PROT_READ | PROT_WRITE,
	                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (bytes == MAP_FAILED)
		return err_set(err, -errno, "%llu bytes: %m", (unsigned long long)memory->block.size);
	madvise(bytes, memory->block.size, MADV_DONTDUMP);
	memory->bytes = bytes;
	return 0;
}

struct block *block_memory_new(uint64_t size, uint32_t logical_block, struct cvmm_error *err)
{
	struct block_memory *memory = calloc(1, sizeof(*memory));
	if (!memory) {
		err_set(err, -ENOMEM, "disk in memory: %s", strerror(ENOMEM));
		return NULL;
	}
	memory->block = (struct block){
		.ops = &memory_ops,
		.size = size,
		.logical_block = logical_block ? logical_block : 512,
		.physical_block = PAGE,
		.discard_granularity = PAGE,
		.memory_align = 1,
	};
	block_set_name(&memory->block, "in memory");
	int ret = memory_map(memory, err);
	if (ret == 0)
		return &memory->block;
	err_prefix(err, ret, "disk in memory");
	block_free(&memory->block);
	return NULL;
}
