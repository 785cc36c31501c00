/* SPDX-License-Identifier: Apache-2.0 */
/* What the aarch64 files share: the architecture's part of a VM, its table of devices, and vCPU set-up. */
#ifndef CVMM_ARCH_AARCH64_MACHINE_H
#define CVMM_ARCH_AARCH64_MACHINE_H

#include "arch/aarch64/fdt.h"
#include "arch/aarch64/gic.h"
#include "arch/arch.h"

struct arch_vm {
	struct gic gic;
	uint32_t features;                     /* of every vCPU: bits KVM_ARM_VCPU_* */
	uint64_t mpidr[ARCH_MAX_CPUS];         /* MPIDR_EL1 of each, as KVM chose it */
	struct device *power_key;              /* not owned */
	struct fdt_device fdt[VM_DEVICES_MAX]; /* what the FDT lists */
	unsigned fdt_count;
};

/* vcpu.c. Which KVM_ARM_VCPU_* features this host's vCPUs get. */
uint32_t arm_vcpu_features(int vm_fd);
/* KVM_ARM_VCPU_INIT; all but vCPU 0 wait for the guest's PSCI CPU_ON. */
int arm_vcpu_init(struct vcpu *vcpu, struct cvmm_error *err);
/* The performance monitor, which wants its GIC first. */
int arm_vcpu_init_pmu(struct vcpu *vcpu, struct cvmm_error *err);
/* Where it starts: X0 to X3, PC, and EL1 with interrupts masked. */
int arm_vcpu_set_entry(struct vcpu *vcpu, uint64_t pc, const uint64_t x[4], struct cvmm_error *err);

#endif
