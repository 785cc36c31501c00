/* SPDX-License-Identifier: Apache-2.0 */
/* From the files named in the description to guest memory and entry registers. */
#ifndef CVMM_SRC_BOOT_H
#define CVMM_SRC_BOOT_H

#include "loader/kernel.h"
#include "src/config.h"
#include "src/vm.h"

/* The kernel and initrd, open and looked at. */
struct boot_files {
	int kernel_fd, initrd_fd; /* owned; -1: none */
	const uint8_t *map;       /* the kernel's bytes; owned mapping */
	size_t map_len;
	struct kernel_image kernel; /* points into map, or owns its bytes */
	uint64_t initrd_len;
	char *cmdline; /* owned */
};

/* Open and recognise what @config names, before any KVM call. boot_files_fini() accepts any stage. */
int boot_files_open(struct boot_files *files, const struct config *config, struct cvmm_error *err);
void boot_files_fini(struct boot_files *files);

/* Put all into the memory and the boot vCPU of a VM that vm_build() made. */
int boot_load(struct vm *vm, const struct boot_files *files, struct cvmm_error *err);

#endif
