/* SPDX-License-Identifier: Apache-2.0 */
/* From the files named in the description to guest memory and entry registers. */
#ifndef CVMM_SRC_BOOT_H
#define CVMM_SRC_BOOT_H

#include <pthread.h>

#include "arch/arch.h"
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

/*
 * A boot under way: a thread of its own reads kernel and initrd into guest memory while the caller has KVM make the rest,
 * since both take their time: the one on the processor or a disk, the other waiting inside the kernel for memory slots to
 * be taken in by all CPUs.
 */
struct boot_load {
	struct vm *vm;                  /* not owned */
	const struct boot_files *files; /* not owned */
	struct boot boot;
	pthread_t thread;
	int ret; /* the thread's, with its error */
	struct cvmm_error err;
};

/* After vm_create(). If it succeeds, boot_load_wait() must follow. */
int boot_load_start(struct boot_load *load, struct vm *vm, const struct boot_files *files, struct cvmm_error *err);
int boot_load_wait(struct boot_load *load, struct cvmm_error *err);

/* After vm_build(): all that goes with the kernel, and the boot vCPU's entry. */
int boot_enter(struct boot_load *load, struct cvmm_error *err);

#endif
