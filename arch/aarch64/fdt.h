/* SPDX-License-Identifier: Apache-2.0 */
/* The flattened device tree (Devicetree Specification 0.4; bindings: Linux Documentation/devicetree/bindings). Pure:
 * a description in, a blob out. */
#ifndef CVMM_ARCH_AARCH64_FDT_H
#define CVMM_ARCH_AARCH64_FDT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/base/error.h"

enum fdt_device_kind { FDT_PL011, FDT_PL031, FDT_VIRTIO_MMIO };

struct fdt_device {
	enum fdt_device_kind kind;
	uint64_t base, size;
	unsigned spi; /* level triggered */
};

enum fdt_gic { FDT_GIC_V2, FDT_GIC_V3 };

struct fdt_machine {
	const char *cmdline;
	uint64_t ram_base, ram_size;
	uint64_t initrd, initrd_len; /* len 0: none */
	const uint64_t *mpidr;       /* MPIDR_EL1 of each vCPU, as KVM says */
	unsigned vcpus;
	enum fdt_gic gic;
	bool its; /* GICv3 only */
	bool pmu;
	const struct fdt_device *devices; /* the first FDT_PL011 is the console */
	unsigned device_count;
	uint8_t rng_seed[64];
	uint64_t kaslr_seed; /* 0: none */
};

/* Build the tree into @buf and set @len to the bytes used. -ENOSPC: @size is too small. */
int fdt_build(const struct fdt_machine *machine, void *buf, size_t size, size_t *len, struct cvmm_error *err);

#endif
