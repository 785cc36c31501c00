// SPDX-License-Identifier: Apache-2.0
#include "src/base/memory.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>

#include "src/base/util.h"

enum { GUEST_PAGE = 4096, HUGE_PAGE = 2 << 20 };

/* Anonymous memory whose address is 2 MiB aligned, so that guest and host huge pages fall together. */
static uint8_t *map_aligned(uint64_t size)
{
	uint64_t span;
	if (__builtin_add_overflow(size, (uint64_t)HUGE_PAGE, &span))
		return NULL;
	uint8_t *at = mmap(NULL, span, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (at == MAP_FAILED)
		return NULL;
	uint8_t *start = (uint8_t *)align_up((uintptr_t)at, HUGE_PAGE);
	uint8_t *end = start + size;
	if (start > at)
		munmap(at, (size_t)(start - at));
	if (at + span > end)
		munmap(end, (size_t)(at + span - end));
	madvise(start, size, MADV_DONTDUMP); /* a guest's memory is not ours to leave in a core file */
	madvise(start, size, MADV_HUGEPAGE); /* advice only: kernels without THP refuse it */
	return start;
}

static int check_region(const struct guest_memory *mem, uint64_t gpa, uint64_t size, struct cvmm_error *err)
{
	uint64_t end;
	if (!size || (gpa | size) % GUEST_PAGE || __builtin_add_overflow(gpa, size, &end))
		return err_set(err, -EINVAL, "memory region 0x%" PRIx64 "+0x%" PRIx64 " is not made of pages", gpa,
		               size);
	if (mem->count == GUEST_REGIONS_MAX)
		return err_set(err, -EINVAL, "more than %d memory regions", GUEST_REGIONS_MAX);
	if (mem->count) {
		const struct guest_region *last = &mem->regions[mem->count - 1];
		if (gpa < last->gpa + last->size)
			return err_set(err, -EINVAL, "memory region 0x%" PRIx64 " is not above the one before", gpa);
	}
	return 0;
}

int guest_memory_add(struct guest_memory *mem, uint64_t gpa, uint64_t size, struct cvmm_error *err)
{
	int ret = check_region(mem, gpa, size, err);
	if (ret < 0)
		return ret;
	uint8_t *hva = map_aligned(size);
	if (!hva)
		return err_set(err, -ENOMEM, "cannot map %" PRIu64 " MiB of guest memory: %m", size / MIB);
	mem->regions[mem->count++] = (struct guest_region){ .gpa = gpa, .size = size, .hva = hva };
	return 0;
}

void guest_memory_fini(struct guest_memory *mem)
{
	while (mem->count) {
		struct guest_region *region = &mem->regions[--mem->count];
		munmap(region->hva, region->size);
	}
}

static const struct guest_region *region_of(const struct guest_memory *mem, uint64_t gpa)
{
	for (unsigned i = 0; i < mem->count; i++)
		if (gpa - mem->regions[i].gpa < mem->regions[i].size) /* wraps to a large value below gpa */
			return &mem->regions[i];
	return NULL;
}

uint64_t guest_room(const struct guest_memory *mem, uint64_t gpa)
{
	const struct guest_region *region = region_of(mem, gpa);
	return region ? region->size - (gpa - region->gpa) : 0;
}

void *guest_at(const struct guest_memory *mem, uint64_t gpa, uint64_t len)
{
	const struct guest_region *region = region_of(mem, gpa);
	if (!region || !len || !range_inside(gpa - region->gpa, len, region->size))
		return NULL;
	return region->hva + (gpa - region->gpa);
}

int guest_read(const struct guest_memory *mem, uint64_t gpa, void *buf, size_t len)
{
	const void *at = guest_at(mem, gpa, len);
	if (!at)
		return len ? -EFAULT : 0;
	memcpy(buf, at, len);
	return 0;
}

int guest_write(const struct guest_memory *mem, uint64_t gpa, const void *buf, size_t len)
{
	void *at = guest_at(mem, gpa, len);
	if (!at)
		return len ? -EFAULT : 0;
	memcpy(at, buf, len);
	return 0;
}

uint64_t guest_memory_size(const struct guest_memory *mem)
{
	uint64_t size = 0;
	for (unsigned i = 0; i < mem->count; i++)
		size += mem->regions[i].size;
	return size;
}
