// SPDX-License-Identifier: Apache-2.0
/* KVM Documentation/virt/kvm/api.rst: 4.82 KVM_ARM_VCPU_INIT, 4.68 KVM_SET_ONE_REG; devices/vcpu.rst: the PMU. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "arch/aarch64/layout.h"
#include "arch/aarch64/machine.h"
#include "src/base/log.h"
#include "src/base/text.h"
#include "src/base/util.h"

#define CORE_REG(field)                                                                                                \
	(KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE | (offsetof(struct kvm_regs, field) / sizeof(uint32_t)))
#define X_REG(n) (CORE_REG(regs.regs[0]) + 2 * (uint64_t)(n)) /* counted in words of 32 bits */
#define SYS_REG(op0, op1, crn, crm, op2) ARM64_SYS_REG(op0, op1, crn, crm, op2)
#define MPIDR_EL1 SYS_REG(3, 0, 0, 0, 5)

enum { PSTATE_EL1H_DAIF = 0x3c5 };
enum { FEATURE_PTRAUTH = 1u << KVM_ARM_VCPU_PTRAUTH_ADDRESS | 1u << KVM_ARM_VCPU_PTRAUTH_GENERIC };

static int get_reg(struct vcpu *vcpu, uint64_t id, uint64_t *value)
{
	struct kvm_one_reg reg = { .id = id, .addr = (uintptr_t)value };
	return kvm_ioctl_ptr(vcpu->fd, KVM_GET_ONE_REG, &reg);
}

static int set_reg(struct vcpu *vcpu, uint64_t id, uint64_t value)
{
	struct kvm_one_reg reg = { .id = id, .addr = (uintptr_t)&value };
	return kvm_ioctl_ptr(vcpu->fd, KVM_SET_ONE_REG, &reg);
}

uint32_t arm_vcpu_features(int vm_fd)
{
	uint32_t features = 1u << KVM_ARM_VCPU_PSCI_0_2;
	if (kvm_cap(vm_fd, KVM_CAP_ARM_PMU_V3))
		features |= 1u << KVM_ARM_VCPU_PMU_V3;
	if (kvm_cap(vm_fd, KVM_CAP_ARM_SVE))
		features |= 1u << KVM_ARM_VCPU_SVE;
	if (kvm_cap(vm_fd, KVM_CAP_ARM_PTRAUTH_ADDRESS) && kvm_cap(vm_fd, KVM_CAP_ARM_PTRAUTH_GENERIC))
		features |= FEATURE_PTRAUTH; /* KVM takes both or none */
	return features;
}

int arm_vcpu_init(struct vcpu *vcpu, struct cvmm_error *err)
{
	struct arch_vm *arch = vcpu->vm->arch;
	struct kvm_vcpu_init init;
	int ret = kvm_ioctl_ptr(vcpu->vm->fd, KVM_ARM_PREFERRED_TARGET, &init);
	if (ret < 0)
		return err_set(err, ret, "KVM_ARM_PREFERRED_TARGET: %s", strerror(-ret));
	init.features[0] = arch->features | (vcpu->index ? 1u << KVM_ARM_VCPU_POWER_OFF : 0);
	ret = kvm_ioctl_ptr(vcpu->fd, KVM_ARM_VCPU_INIT, &init);
	if (ret < 0)
		return err_set(err, ret, "KVM_ARM_VCPU_INIT with features 0x%x: %s", init.features[0], strerror(-ret));
	if (arch->features & 1u << KVM_ARM_VCPU_SVE) { /* with every vector length the host has */
		int feature = KVM_ARM_VCPU_SVE;
		ret = kvm_ioctl_ptr(vcpu->fd, KVM_ARM_VCPU_FINALIZE, &feature);
		if (ret < 0)
			return err_set(err, ret, "KVM_ARM_VCPU_FINALIZE of SVE: %s", strerror(-ret));
	}
	ret = get_reg(vcpu, MPIDR_EL1, &arch->mpidr[vcpu->index]);
	return ret < 0 ? err_set(err, ret, "reading MPIDR_EL1: %s", strerror(-ret)) : 0;
}

int arm_vcpu_init_pmu(struct vcpu *vcpu, struct cvmm_error *err)
{
	int intid = INTID_PPI + PPI_PMU;
	struct kvm_device_attr steps[] = {
		{ .group = KVM_ARM_VCPU_PMU_V3_CTRL, .attr = KVM_ARM_VCPU_PMU_V3_IRQ, .addr = (uintptr_t)&intid },
		{ .group = KVM_ARM_VCPU_PMU_V3_CTRL, .attr = KVM_ARM_VCPU_PMU_V3_INIT },
	};
	for (unsigned i = 0; i < ARRAY_SIZE(steps); i++) {
		int ret = kvm_ioctl_ptr(vcpu->fd, KVM_SET_DEVICE_ATTR, &steps[i]);
		if (ret < 0)
			return err_set(err, ret, "PMU: %s: %s", i ? "start" : "interrupt", strerror(-ret));
	}
	return 0;
}

int arm_vcpu_set_entry(struct vcpu *vcpu, uint64_t pc, const uint64_t x[4], struct cvmm_error *err)
{
	const struct {
		uint64_t id, value;
	} regs[] = {
		{ X_REG(0), x[0] }, { X_REG(1), x[1] },        { X_REG(2), x[2] },
		{ X_REG(3), x[3] }, { CORE_REG(regs.pc), pc }, { CORE_REG(regs.pstate), PSTATE_EL1H_DAIF },
	};
	for (unsigned i = 0; i < ARRAY_SIZE(regs); i++) {
		int ret = set_reg(vcpu, regs[i].id, regs[i].value);
		if (ret < 0)
			return err_set(err, ret, "KVM_SET_ONE_REG 0x%" PRIx64 ": %s", regs[i].id, strerror(-ret));
	}
	return 0;
}

/* A load or store that KVM cannot tell us the meaning of (a pair, a write-back form) where there is no memory. No
 * device takes such accesses: the guest gets the abort that a real bus would answer with. */
static enum arch_exit reject_access(struct vcpu *vcpu)
{
	struct kvm_vcpu_events events = { .exception.ext_dabt_pending = 1 };
	log_guest("vcpu %u: access of an unknown kind at 0x%llx is aborted", vcpu->index,
	          (unsigned long long)vcpu->run->arm_nisv.fault_ipa);
	return kvm_ioctl_ptr(vcpu->fd, KVM_SET_VCPU_EVENTS, &events) < 0 ? ARCH_EXIT_UNKNOWN : ARCH_EXIT_HANDLED;
}

enum arch_exit arch_vcpu_exit(struct vcpu *vcpu)
{
	return vcpu->run->exit_reason == KVM_EXIT_ARM_NISV ? reject_access(vcpu) : ARCH_EXIT_UNKNOWN;
}

struct named_reg {
	const char *name;
	uint64_t id;
};

static const struct named_reg state_regs[] = {
	{ "PC", CORE_REG(regs.pc) },         { "PSTATE", CORE_REG(regs.pstate) },
	{ "SP_EL0", CORE_REG(regs.sp) },     { "SP_EL1", CORE_REG(sp_el1) },
	{ "ELR", CORE_REG(elr_el1) },        { "SPSR", CORE_REG(spsr[KVM_SPSR_EL1]) },
	{ "ESR", SYS_REG(3, 0, 5, 2, 0) },   { "FAR", SYS_REG(3, 0, 6, 0, 0) },
	{ "VBAR", SYS_REG(3, 0, 12, 0, 0) }, { "SCTLR", SYS_REG(3, 0, 1, 0, 0) },
	{ "TTBR0", SYS_REG(3, 0, 2, 0, 0) }, { "TTBR1", SYS_REG(3, 0, 2, 0, 1) },
	{ "TCR", SYS_REG(3, 0, 2, 0, 2) },   { "MPIDR", MPIDR_EL1 },
};

enum { REGS_A_LINE = 4 };

/* The @nth register of its block: on the line, or on a new one. */
static void describe_reg(struct text *text, struct vcpu *vcpu, const struct named_reg *reg, unsigned nth)
{
	uint64_t value;
	if (nth)
		text_add(text, "%s", nth % REGS_A_LINE ? "  " : "\n");
	if (get_reg(vcpu, reg->id, &value) < 0)
		text_add(text, "%6s ????????????????", reg->name);
	else
		text_add(text, "%6s %016" PRIx64, reg->name, value);
}

void arch_vcpu_describe(struct vcpu *vcpu, struct text *text)
{
	for (unsigned i = 0; i < ARRAY_SIZE(state_regs); i++)
		describe_reg(text, vcpu, &state_regs[i], i);
	text_add(text, "\n");
	for (unsigned i = 0; i < 31; i++) {
		char name[8];
		snprintf(name, sizeof(name), "X%u", i);
		describe_reg(text, vcpu, &(struct named_reg){ name, X_REG(i) }, i);
	}
	text_add(text, "\n");
}
