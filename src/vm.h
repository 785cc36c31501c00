/* SPDX-License-Identifier: Apache-2.0 */
/* struct vm: makes, starts, stops and frees all parts of a virtual machine, in one visible order. */
#ifndef CVMM_SRC_VM_H
#define CVMM_SRC_VM_H

#include <pthread.h>
#include <stdatomic.h>

#include "devices/bus.h"
#include "devices/chardev.h"
#include "src/base/log.h"
#include "src/base/loop.h"
#include "src/base/memory.h"
#include "src/config.h"
#include "src/irq.h"
#include "src/vcpu.h"

enum { VM_DEVICES_MAX = 64 };

struct arch_vm; /* the architecture's own part, arch/<isa>/vm.c */

struct vm {
	const struct config *config; /* not owned */
	int kvm_fd;                  /* not owned */
	int fd;                      /* the VM's; owned */
	size_t vcpu_run_size;        /* KVM_GET_VCPU_MMAP_SIZE */
	struct guest_memory mem;     /* owned */
	struct bus mmio, pio;
	struct irq irq;
	struct device *devices[VM_DEVICES_MAX]; /* owned, in order of making */
	unsigned device_count;
	struct vcpu *vcpus; /* owned array */
	unsigned vcpu_count;
	struct arch_vm *arch; /* owned by arch/: arch_vm_init() to arch_vm_fini() */

	/* borrowed from the handle, which outlives this */
	struct loop *loop;
	const struct clock *clock;
	struct chardev *console; /* NULL: none */
	struct machine_line machine;
};

/* Own @dev from here on (freed at once on failure) and put its window on @bus. NULL @dev: -ENOMEM. */
int vm_add_device(struct vm *vm, struct bus *bus, uint64_t base, uint64_t size, struct device *dev,
                  struct cvmm_error *err);

#endif
