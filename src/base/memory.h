/* SPDX-License-Identifier: Apache-2.0 */
/* Guest memory: a few regions of (gpa, size, hva). The only code that turns a guest address into a pointer. */
#ifndef CVMM_BASE_MEMORY_H
#define CVMM_BASE_MEMORY_H

#include <stddef.h>
#include <stdint.h>

#include "src/base/error.h"

enum { GUEST_REGIONS_MAX = 8 };

struct guest_region {
	uint64_t gpa, size; /* bytes, page multiples */
	uint8_t *hva;
};

struct guest_memory {
	struct guest_region regions[GUEST_REGIONS_MAX]; /* ascending, disjoint; the mappings are owned */
	unsigned count;
};

/* Add RAM at @gpa: anonymous memory, zero, touched lazily, without swap reservation, 2 MiB aligned, not in core dumps.
 * -EINVAL: not page aligned, wraps, overlaps or too many; -ENOMEM. */
int guest_memory_add(struct guest_memory *mem, uint64_t gpa, uint64_t size, struct cvmm_error *err);

/* Unmap everything. A zeroed or finished struct is welcome. */
void guest_memory_fini(struct guest_memory *mem);

/* The bytes [gpa, gpa + len), or NULL unless they lie in one region. A length of 0 is never inside. */
void *guest_at(const struct guest_memory *mem, uint64_t gpa, uint64_t len);

/* How many bytes from @gpa on lie in its region; 0: none. */
uint64_t guest_room(const struct guest_memory *mem, uint64_t gpa);

/* Copy out of or into guest memory. 0 or -EFAULT, then nothing was copied. */
int guest_read(const struct guest_memory *mem, uint64_t gpa, void *buf, size_t len);
int guest_write(const struct guest_memory *mem, uint64_t gpa, const void *buf, size_t len);

/* Bytes of RAM in all regions. */
uint64_t guest_memory_size(const struct guest_memory *mem);

#endif
