/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The few functions in which architectures differ. src/vm.c calls them in the order in which they stand here; each may
 * rely on those before it having succeeded. arch_vm_fini() accepts any stage.
 */
#ifndef CVMM_ARCH_ARCH_H
#define CVMM_ARCH_ARCH_H

#include <stdint.h>

#include "loader/kernel.h"
#include "src/kvm.h"
#include "src/vm.h"

extern const char arch_name[];                    /* "x86_64", "aarch64" */
extern const enum kernel_arch arch_kernel;        /* what it boots */
extern const char arch_default_cmdline[];         /* console=... and so on */
extern const struct kvm_cap_need arch_kvm_caps[]; /* ends with name NULL */
enum { ARCH_MAX_CPUS = 254 };

/* -EINVAL: @config has an option that this architecture's machine has not. No KVM call, no file. */
int arch_check_config(const struct config *config, struct cvmm_error *err);

/* The argument of KVM_CREATE_VM that fits @config: 0, or on aarch64 the IPA size. Negative errno: cannot be. */
int64_t arch_vm_type(int kvm_fd, const struct config *config, struct cvmm_error *err);

/* vm->fd exists: lay out guest memory into vm->mem (not yet given to KVM), make what must precede it (TSS address on
 * x86_64). */
int arch_vm_init(struct vm *vm, struct cvmm_error *err);

/* KVM has the memory: interrupt controllers that must precede vCPUs (x86_64's). */
int arch_irqchip_init(struct vm *vm, struct cvmm_error *err);

/* vm->vcpus[i].fd and .run exist, for all: CPUID, features, KVM_ARM_VCPU_INIT; then what needs all vCPUs (GIC). */
int arch_vcpus_init(struct vm *vm, struct cvmm_error *err);

/* Make the machine's devices with vm_add_device(): serial port, clock, power button. */
int arch_add_devices(struct vm *vm, struct cvmm_error *err);

/* Where virtio-mmio devices sit: slots from 0, each with an address and an interrupt of its own (layout.h). */
struct virtio_slot {
	uint64_t base;
	unsigned gsi;
};
extern const unsigned arch_virtio_slots;
struct virtio_slot arch_virtio_slot(unsigned slot);
/* Put @dev, taken as by vm_add_device(), into @slot, and tell the guest of it. Each slot once, in their order. */
int arch_add_virtio(struct vm *vm, unsigned slot, struct device *dev, struct cvmm_error *err);

/* What is to be booted. Nothing owned. */
struct boot {
	const struct kernel_image *kernel;
	const char *cmdline;
	uint64_t load_gpa; /* added to the addresses of the kernel's segments and entry; by arch_place_kernel() */
	uint64_t initrd_gpa, initrd_len; /* gpa by arch_place_initrd(); len 0: none */
};

/* Where the kernel goes, and an initrd of boot->initrd_len bytes beside it; src/boot.c reads both into guest memory.
 * -ENOMEM: does not fit, and @err says how much memory would do. */
int arch_place_kernel(const struct vm *vm, struct boot *boot, struct cvmm_error *err);
int arch_place_initrd(const struct vm *vm, struct boot *boot, struct cvmm_error *err);

/* Tables and command line into guest memory; entry registers into the boot vCPU, the others parked. Kernel and initrd are
 * in place already. */
int arch_boot(struct vm *vm, const struct boot *boot, struct cvmm_error *err);

/* What KVM_IRQ_LINE calls the line of @gsi (src/irq.h). */
uint32_t arch_irq_line_number(unsigned gsi);

/* Press the power button; any thread. */
void arch_press_power_button(struct vm *vm);

/*
 * An exit whose reason src/vcpu.c does not know. Returns what to do next.
 * ARCH_EXIT_UNKNOWN: nobody knows it: a crash.
 */
enum arch_exit { ARCH_EXIT_HANDLED, ARCH_EXIT_UNKNOWN };
enum arch_exit arch_vcpu_exit(struct vcpu *vcpu);

/* Add the registers of a stopped vCPU, many lines; for crash reports. */
struct text;
void arch_vcpu_describe(struct vcpu *vcpu, struct text *text);

/*
 * The micro guest of `cvmm doctor`: code that loops @iterations times in kernel mode and then makes an exit by a write
 * to a port or an address where nothing is. Writes it to vm memory and sets vCPU 0 on it.
 */
int arch_micro_guest(struct vm *vm, uint64_t iterations, struct cvmm_error *err);
extern const unsigned arch_micro_guest_loop_instructions; /* per iteration */

void arch_vm_fini(struct vm *vm);

#endif
