/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of this folder share: the architecture's part of a VM, and the ways into a vCPU. */
#ifndef CVMM_ARCH_X86_64_MACHINE_H
#define CVMM_ARCH_X86_64_MACHINE_H

#include "arch/x86_64/acpi.h"
#include "arch/x86_64/cpuid.h"
#include "src/vm.h"

struct arch_vm {
	struct cpuid cpuid;       /* what KVM supports; from arch_vcpus_init() on, what vCPUs were given */
	struct device *acpi_regs; /* not owned */
	struct acpi_device acpi[VM_DEVICES_MAX]; /* what the DSDT lists */
	unsigned acpi_count;
};

/* Let @vcpu start in long mode with identity-mapped memory (boot.rst, 64-bit boot protocol), or in protected mode
 * without paging (PVH), at @rip, with @pointer in RSI or EBX. Writes the GDT and page tables needed into guest memory. */
int cpu_enter_long(struct vcpu *vcpu, uint64_t rip, uint64_t pointer, struct cvmm_error *err);
int cpu_enter_pvh(struct vcpu *vcpu, uint32_t rip, uint32_t pointer, struct cvmm_error *err);

#endif
