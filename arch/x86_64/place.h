/* SPDX-License-Identifier: Apache-2.0 */
/* Where a kernel and its initrd go in guest memory. Pure. */
#ifndef CVMM_ARCH_X86_64_PLACE_H
#define CVMM_ARCH_X86_64_PLACE_H

#include <stdint.h>

#include "loader/kernel.h"

struct place {
	uint64_t load; /* added to the segments' and entry's addresses */
	uint64_t end;  /* of all memory that the kernel takes to start */
};

/* @ram: bytes of guest memory. -ENOEXEC: the kernel asks for what no machine has; -ENOMEM: the machine is too small, and
 * @err says how much memory would do. */
int place_kernel(const struct kernel_image *kernel, uint64_t ram, struct place *place, struct cvmm_error *err);

/* Beside the kernel, at *@gpa. -ENOMEM likewise. */
int place_initrd(const struct kernel_image *kernel, uint64_t ram, uint64_t len, uint64_t *gpa, struct cvmm_error *err);

#endif
