/* SPDX-License-Identifier: Apache-2.0 */
/* The in-kernel interrupt controller: GICv3 with an ITS where the host has it, else GICv2. */
#ifndef CVMM_ARCH_AARCH64_GIC_H
#define CVMM_ARCH_AARCH64_GIC_H

#include <stdbool.h>

#include "src/base/error.h"

struct gic {
	bool v3;
	int fd, its_fd; /* owned; -1: none */
};

/* See what the host offers; nothing is made yet. -EOPNOTSUPP: nothing for @vcpus. Then gic_fini() accepts any stage. */
int gic_choose(struct gic *gic, int vm_fd, unsigned vcpus, struct cvmm_error *err);

/* Make it; every vCPU must exist, none can follow. */
int gic_create(struct gic *gic, int vm_fd, struct cvmm_error *err);

void gic_fini(struct gic *gic);

#endif
