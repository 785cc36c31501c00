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
	uint8_t size;  /* of one access, in bytes */
	uint64_t addr; /* port or gpa */
	uint64_t data; /* written, or read */
};

struct vcpu {
	struct vm *vm; /* not owned */
	unsigned index;
	int fd;              /* owned; -1: none */
	struct kvm_run *run; /* mapped, vm->vcpu_run_size bytes; NULL: none */
	pthread_t thread;
	bool has_thread;
	atomic_uint_fast64_t exits;             /* to user space; written by the vCPU's thread alone */
	struct vcpu_exit trace[VCPU_TRACE_LEN]; /* exit n is at n modulo the length */
};

/* Make vCPU @index of @vm in KVM. vcpu_fini() accepts any stage. */
int vcpu_init(struct vcpu *vcpu, struct vm *vm, unsigned index, struct cvmm_error *err);
void vcpu_fini(struct vcpu *vcpu);

int vcpu_start(struct vcpu *vcpu, struct cvmm_error *err);
/* Bring it out of the guest, soon; its thread then looks at the gate. Any thread. */
void vcpu_kick(struct vcpu *vcpu);

#endif
