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

struct arch_vm;    /* the architecture's own part, arch/<isa>/vm.c */
struct boot_files; /* src/boot.h */
struct irqfd;      /* src/virtio_wiring.h */
struct backends;   /* src/virtio_devices.h */

/* What the vCPU threads may do now; they look after each exit. */
enum vm_gate { VM_HOLD, VM_RUN, VM_LEAVE };

struct vm {
	/* borrowed from the maker, which outlives this; set before vm_build() */
	const struct config *config;
	int kvm_fd;
	struct loop *loop; /* the first I/O thread's: console and timers */
	struct loop
		*loops[CONFIG_IOTHREADS_MAX]; /* all of them, that one at 0; devices' queues are spread over these */
	unsigned loop_count;
	const struct backends *backends; /* of config's devices */
	const struct clock *clock;
	struct chardev *console;    /* NULL: none */
	struct log *log;            /* what its threads speak into */
	struct loop_call *all_left; /* posted when every vCPU thread has left its loop */

	int fd;                  /* the VM's; owned; -1: none */
	size_t vcpu_run_size;    /* KVM_GET_VCPU_MMAP_SIZE */
	struct guest_memory mem; /* owned */
	struct bus mmio, pio;
	struct device *devices[VM_DEVICES_MAX]; /* owned, in order of making */
	unsigned device_count;
	struct irqfd *irqfds; /* owned list; src/virtio_wiring.c */
	struct vcpu *vcpus;   /* owned array */
	unsigned vcpu_count;
	struct arch_vm *arch;        /* owned by arch/: arch_vm_init() to arch_vm_fini() */
	struct machine_line machine; /* for devices: vm_end() */

	pthread_mutex_t lock;   /* what follows, but for gate's readers; below any device's lock */
	pthread_cond_t changed; /* gate, holding or threads_left moved */
	atomic_int gate;        /* enum vm_gate */
	unsigned thread_count;  /* vCPU threads made */
	unsigned holding;       /* of these, how many wait at the gate */
	unsigned left;          /* and how many have left for good */
	enum cvmm_end end;      /* the first reason given */
	struct cvmm_error end_error;
	char *report; /* owned; the crash report, or NULL */
};

/* Valid but empty; the borrowed fields are the caller's to set. Then vm_fini() accepts any stage. */
void vm_init(struct vm *vm);
void vm_fini(struct vm *vm); /* threads must have been joined */

/* Everything up to, but without, the kernel: KVM objects, memory, vCPUs, devices. */
int vm_build(struct vm *vm, struct cvmm_error *err);

/* Start a thread for each vCPU; they run at once. */
int vm_run(struct vm *vm, struct cvmm_error *err);
/* Wait for all vCPU threads, which vm_end() sent away. */
void vm_join(struct vm *vm);

/* Hold all vCPUs outside the guest, their last exit completed; -EALREADY: the VM is ending. Not on a vCPU's thread. */
int vm_pause(struct vm *vm);
void vm_resume(struct vm *vm);

/* No vCPU enters the guest again. The first reason stands. Any thread, device locks held or not. @error may be NULL. */
void vm_end(struct vm *vm, enum cvmm_end end, const struct cvmm_error *error);
/* The same with many lines that say more; @report is taken, and kept if this is the first reason. */
void vm_end_reported(struct vm *vm, enum cvmm_end end, const struct cvmm_error *error, char *report);

/* No vCPU runs any more: have devices finish what they do on I/O threads, which may end then. */
void vm_finish_devices(struct vm *vm);

/* Own @dev from here on (freed at once on failure) and put its window on @bus. NULL @dev: -ENOMEM. */
int vm_add_device(struct vm *vm, struct bus *bus, uint64_t base, uint64_t size, struct device *dev,
                  struct cvmm_error *err);

/* How long a guest of nothing but a counting loop of @iterations takes in kernel mode; see `cvmm doctor`. */
int vm_run_micro_guest(int kvm_fd, uint64_t iterations, uint64_t *elapsed_ns, struct cvmm_error *err);

#endif
