/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where kernel, FDT and initrd go in RAM, from the bottom (Linux Documentation/arch/arm64/booting.rst):
 *
 *   ram ┬ text_offset ┬ kernel, image_size ┬ up to 2 MiB ┬ FDT, 2 MiB ┬ initrd, page aligned ┬ free
 *
 * Pure: numbers in, numbers out.
 */
#ifndef CVMM_ARCH_AARCH64_PLACE_H
#define CVMM_ARCH_AARCH64_PLACE_H

#include "src/base/error.h"
#include "src/base/util.h"

enum { FDT_ROOM = 2 << 20 };

struct place_request {
	uint64_t ram_gpa, ram_size;       /* ram_gpa: 1 GiB aligned */
	uint64_t text_offset, kernel_len; /* from the image: hostile */
	uint64_t initrd_len;              /* 0: none */
};

struct placement {
	uint64_t kernel, fdt, initrd; /* gpa; initrd 0: none */
};

/* -EINVAL: an image that fits nowhere; -ENOMEM: too little RAM, and @err says how much would do. The caller puts the
 * file's name in front: the kernel's, or the initrd's if there is one. */
int place(const struct place_request *want, struct placement *at, struct cvmm_error *err);

#endif
