/* SPDX-License-Identifier: Apache-2.0 */
/* One vCPU: its KVM descriptor and thread, KVM_RUN and the exit switch, which only dispatches. */
#ifndef CVMM_SRC_VCPU_H
#define CVMM_SRC_VCPU_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "src/base/error.h"

struct vm;
struct kvm_run;

enum { VCPU_TRACE_LEN = 16 }; /* a power of two */

/* One exit to user space, kept for crash reports. */
struct vcpu_exit {
	uint32_t reason; /* KVM_EXIT_* */
	bool write;
	uint8_t size;
	uint64_t addr; /* port or gpa */
	uint64_t data;
};

struct vcpu {
	struct vm *vm; /* not owned */
	unsigned index;
	int fd;              /* owned */
	struct kvm_run *run; /* mapped, vm->vcpu_run_size bytes */
	pthread_t thread;
	bool has_thread;
	atomic_uint_fast64_t exits; /* to user space; written by the vCPU's thread alone */
	struct vcpu_exit trace[VCPU_TRACE_LEN];
};

#endif
