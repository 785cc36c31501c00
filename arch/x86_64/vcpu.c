// SPDX-License-Identifier: Apache-2.0
/* vCPUs: what they are (CPUID, MSRs, local APIC), where they start, and what to say of them after a crash. */
#include "arch/x86_64/machine.h"

#include <errno.h>
#include <inttypes.h>

#include "arch/arch.h"
#include "arch/x86_64/layout.h"
#include "arch/x86_64/linux_boot.h"
#include "src/base/text.h"
#include "src/kvm.h"

const struct kvm_cap_need arch_kvm_caps[] = {
	{ KVM_CAP_EXT_CPUID, "EXT_CPUID", true, "choosing CPU features" },
	{ KVM_CAP_SET_TSS_ADDR, "SET_TSS_ADDR", true, "real mode on older Intel CPUs" },
	{ KVM_CAP_SET_IDENTITY_MAP_ADDR, "SET_IDENTITY_MAP_ADDR", true, "real mode on older Intel CPUs" },
	{ KVM_CAP_TSC_DEADLINE_TIMER, "TSC_DEADLINE_TIMER", false, "cheaper timers in the guest" },
	{ 0 },
};

/* ---- what a vCPU is */

enum { MSR_MISC_ENABLE = 0x1a0, MSR_MTRR_DEF_TYPE = 0x2ff };
enum { MISC_FAST_STRINGS = 1 << 0, MISC_NO_BTS = 1 << 11, MISC_NO_PEBS = 1 << 12 };
enum { MTRR_ENABLE = 1 << 11, MTRR_WRITE_BACK = 6 };

/* What firmware would leave in MSRs, where that differs from KVM's reset values. */
static const struct kvm_msr_entry boot_msrs[] = {
	{ .index = MSR_MISC_ENABLE, .data = MISC_FAST_STRINGS | MISC_NO_BTS | MISC_NO_PEBS },
	{ .index = MSR_MTRR_DEF_TYPE, .data = MTRR_ENABLE | MTRR_WRITE_BACK },
};

static int cpu_set_msrs(struct vcpu *vcpu, struct cvmm_error *err)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entries[ARRAY_SIZE(boot_msrs)];
	} msrs = { .head.nmsrs = ARRAY_SIZE(boot_msrs) };
	memcpy(msrs.entries, boot_msrs, sizeof(boot_msrs));
	int set = kvm_ioctl_ptr(vcpu->fd, KVM_SET_MSRS, &msrs);
	if (set < 0)
		return err_set(err, set, "vCPU %u: KVM_SET_MSRS: %s", vcpu->index, strerror(-set));
	if ((size_t)set < ARRAY_SIZE(boot_msrs))
		return err_set(err, -EOPNOTSUPP, "vCPU %u: KVM refuses MSR 0x%x", vcpu->index, boot_msrs[set].index);
	return 0;
}

static int cpu_set_cpuid(struct vcpu *vcpu, struct cpuid *cpuid, struct cvmm_error *err)
{
	cpuid_set_apic_id(cpuid, vcpu->index);
	int ret = kvm_ioctl_ptr(vcpu->fd, KVM_SET_CPUID2, cpuid);
	return ret < 0 ? err_set(err, ret, "vCPU %u: KVM_SET_CPUID2: %s", vcpu->index, strerror(-ret)) : 0;
}

/* Local interrupt pins as firmware leaves them on the boot CPU. The others' are reset by INIT: setting them is idle. */
static int cpu_set_lint(struct vcpu *vcpu, struct cvmm_error *err)
{
	enum { LVT_LINT0 = 0x350, LVT_LINT1 = 0x360, DELIVER_NMI = 4 << 8, DELIVER_EXTINT = 7 << 8 };
	struct kvm_lapic_state lapic;
	int ret = kvm_ioctl_ptr(vcpu->fd, KVM_GET_LAPIC, &lapic);
	if (!ret) {
		store_le32(lapic.regs + LVT_LINT0, DELIVER_EXTINT);
		store_le32(lapic.regs + LVT_LINT1, DELIVER_NMI);
		ret = kvm_ioctl_ptr(vcpu->fd, KVM_SET_LAPIC, &lapic);
	}
	return ret < 0 ? err_set(err, ret, "vCPU %u: local APIC: %s", vcpu->index, strerror(-ret)) : 0;
}

int arch_vcpus_init(struct vm *vm, struct cvmm_error *err)
{
	struct cpuid *cpuid = &vm->arch->cpuid;
	int ret = cpuid_filter(cpuid, vm->vcpu_count, kvm_cap(vm->fd, KVM_CAP_TSC_DEADLINE_TIMER));
	if (ret < 0)
		return err_set(err, ret, "CPUID: more than %d leaves", CPUID_ENTRIES_MAX);
	for (unsigned i = 0; !ret && i < vm->vcpu_count; i++) {
		ret = cpu_set_cpuid(&vm->vcpus[i], cpuid, err);
		if (!ret)
			ret = cpu_set_msrs(&vm->vcpus[i], err);
	}
	return ret ? ret : cpu_set_lint(&vm->vcpus[0], err);
}

/* ---- where it starts */

enum { CR0_PE = 1 << 0, CR0_ET = 1 << 4, CR4_PAE = 1 << 5, EFER_LME = 1 << 8, EFER_LMA = 1 << 10, RFLAGS_1 = 1 << 1 };
#define CR0_PG (1u << 31)

/* Intel SDM 3A, 3.4.5: a descriptor as the processor caches it. */
static struct kvm_segment segment_of(uint64_t desc, unsigned selector_index)
{
	struct kvm_segment seg = {
		.base = (desc >> 16 & 0xffffff) | (desc >> 56 & 0xff) << 24,
		.limit = (desc & 0xffff) | (desc >> 48 & 0xf) << 16,
		.selector = selector_index * 8,
		.type = desc >> 40 & 0xf,
		.s = desc >> 44 & 1,
		.dpl = desc >> 45 & 3,
		.present = desc >> 47 & 1,
		.avl = desc >> 52 & 1,
		.l = desc >> 53 & 1,
		.db = desc >> 54 & 1,
		.g = desc >> 55 & 1,
	};
	if (seg.g)
		seg.limit = seg.limit << 12 | 0xfff;
	return seg;
}

static int cpu_write_gdt(const struct vm *vm, enum gdt_kind kind)
{
	uint8_t gdt[GDT_ENTRIES * 8];
	for (size_t i = 0; i < GDT_ENTRIES; i++)
		store_le64(gdt + 8 * i, gdt_entries[kind][i]);
	return guest_write(&vm->mem, GDT_GPA, gdt, sizeof(gdt));
}

static int cpu_write_page_tables(const struct vm *vm)
{
	uint8_t *tables = guest_at(&vm->mem, PAGE_TABLES_GPA, IDENTITY_MAP_SIZE);
	if (!tables)
		return -EFAULT;
	identity_map_build(tables, PAGE_TABLES_GPA);
	return 0;
}

static void sregs_use_gdt(struct kvm_sregs *sregs, enum gdt_kind kind)
{
	const uint64_t *gdt = gdt_entries[kind];
	sregs->gdt = (struct kvm_dtable){ .base = GDT_GPA, .limit = GDT_ENTRIES * 8 - 1 };
	sregs->idt = (struct kvm_dtable){ 0 };
	sregs->cs = segment_of(gdt[GDT_CODE], GDT_CODE);
	sregs->ds = segment_of(gdt[GDT_DATA], GDT_DATA);
	sregs->es = sregs->fs = sregs->gs = sregs->ss = sregs->ds;
	sregs->tr = segment_of(gdt[GDT_TSS], GDT_TSS);
}

static int cpu_set_registers(struct vcpu *vcpu, const struct kvm_sregs *sregs, const struct kvm_regs *regs)
{
	const struct kvm_fpu fpu = { .fcw = 0x37f, .mxcsr = 0x1f80 };
	int ret = kvm_ioctl_ptr(vcpu->fd, KVM_SET_SREGS, sregs);
	if (!ret)
		ret = kvm_ioctl_ptr(vcpu->fd, KVM_SET_REGS, regs);
	return ret ? ret : kvm_ioctl_ptr(vcpu->fd, KVM_SET_FPU, &fpu);
}

static int cpu_enter(struct vcpu *vcpu, enum gdt_kind kind, const struct kvm_regs *regs, struct cvmm_error *err)
{
	struct kvm_sregs sregs;
	int ret = kvm_ioctl_ptr(vcpu->fd, KVM_GET_SREGS, &sregs);
	if (!ret)
		ret = cpu_write_gdt(vcpu->vm, kind);
	if (!ret && kind == GDT_64)
		ret = cpu_write_page_tables(vcpu->vm);
	if (ret < 0)
		return err_set(err, ret, "vCPU %u: entry state: %s", vcpu->index, strerror(-ret));
	sregs_use_gdt(&sregs, kind);
	bool paging = kind == GDT_64;
	sregs.cr0 = CR0_PE | CR0_ET | (paging ? CR0_PG : 0);
	sregs.cr3 = paging ? PAGE_TABLES_GPA : 0;
	sregs.cr4 = paging ? CR4_PAE : 0;
	sregs.efer = paging ? EFER_LME | EFER_LMA : 0;
	ret = cpu_set_registers(vcpu, &sregs, regs);
	return ret < 0 ? err_set(err, ret, "vCPU %u: entry registers: %s", vcpu->index, strerror(-ret)) : 0;
}

int cpu_enter_long(struct vcpu *vcpu, uint64_t rip, uint64_t pointer, struct cvmm_error *err)
{
	const struct kvm_regs regs = { .rip = rip, .rsi = pointer, .rflags = RFLAGS_1 };
	return cpu_enter(vcpu, GDT_64, &regs, err);
}

int cpu_enter_pvh(struct vcpu *vcpu, uint32_t rip, uint32_t pointer, struct cvmm_error *err)
{
	const struct kvm_regs regs = { .rip = rip, .rbx = pointer, .rflags = RFLAGS_1 };
	return cpu_enter(vcpu, GDT_32, &regs, err);
}

int arch_micro_guest(struct vm *vm, uint64_t iterations, struct cvmm_error *err)
{
	/* clang-format off */
	static const uint8_t code[] = {
		0x48, 0xb9, 0, 0, 0, 0, 0, 0, 0, 0, /* mov $iterations, %rcx */
		0x48, 0xff, 0xc9,                   /* 1: dec %rcx */
		0x75, 0xfb,                         /* jnz 1b */
		0xe6, MICRO_GUEST_PORT,             /* out %al, $MICRO_GUEST_PORT */
		0xeb, 0xfe,                         /* 2: jmp 2b */
	};
	/* clang-format on */
	uint8_t patched[sizeof(code)];
	memcpy(patched, code, sizeof(code));
	store_le64(patched + 2, iterations);
	int ret = guest_write(&vm->mem, MICRO_GUEST_GPA, patched, sizeof(patched));
	if (ret < 0)
		return err_set(err, ret, "micro guest: no memory for it");
	return cpu_enter_long(&vm->vcpus[0], MICRO_GUEST_GPA, 0, err);
}

const unsigned arch_micro_guest_loop_instructions = 2;

/* ---- exits, crash reports */

/* With the interrupt controllers in KVM and no filter asked for, all exits of x86 are known to src/vcpu.c. */
enum arch_exit arch_vcpu_exit(struct vcpu *vcpu)
{
	return ARCH_EXIT_UNKNOWN;
}

static void describe_regs(struct text *text, const struct kvm_regs *regs)
{
	const struct {
		const char *name;
		uint64_t val;
	} all[] = {
		{ "rip", regs->rip }, { "rsp", regs->rsp }, { "rfl", regs->rflags }, { "rax", regs->rax },
		{ "rbx", regs->rbx }, { "rcx", regs->rcx }, { "rdx", regs->rdx },    { "rsi", regs->rsi },
		{ "rdi", regs->rdi }, { "rbp", regs->rbp }, { "r8 ", regs->r8 },     { "r9 ", regs->r9 },
		{ "r10", regs->r10 }, { "r11", regs->r11 }, { "r12", regs->r12 },    { "r13", regs->r13 },
		{ "r14", regs->r14 }, { "r15", regs->r15 },
	};
	for (size_t i = 0; i < ARRAY_SIZE(all); i++)
		text_add(text, "%s %016" PRIx64 "%c", all[i].name, all[i].val, i % 3 == 2 ? '\n' : ' ');
}

static void describe_sregs(struct text *text, const struct kvm_sregs *sregs)
{
	const struct {
		const char *name;
		const struct kvm_segment *seg;
	} all[] = {
		{ "cs ", &sregs->cs }, { "ds ", &sregs->ds }, { "es ", &sregs->es }, { "fs ", &sregs->fs },
		{ "gs ", &sregs->gs }, { "ss ", &sregs->ss }, { "tr ", &sregs->tr }, { "ldt", &sregs->ldt },
	};
	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		const struct kvm_segment *seg = all[i].seg;
		text_add(text, "%s %04x base %016llx limit %08x type %x s %u dpl %u p %u l %u db %u g %u\n",
		         all[i].name, seg->selector, seg->base, seg->limit, seg->type, seg->s, seg->dpl, seg->present,
		         seg->l, seg->db, seg->g);
	}
	text_add(text, "gdt base %016llx limit %04x  idt base %016llx limit %04x\n", sregs->gdt.base, sregs->gdt.limit,
	         sregs->idt.base, sregs->idt.limit);
	text_add(text, "cr0 %llx cr2 %llx cr3 %llx cr4 %llx cr8 %llx efer %llx apic %llx\n", sregs->cr0, sregs->cr2,
	         sregs->cr3, sregs->cr4, sregs->cr8, sregs->efer, sregs->apic_base);
}

/* The bytes at the instruction pointer, as far as its page goes and guest memory holds them. */
static void describe_code(struct text *text, const struct vcpu *vcpu, uint64_t linear)
{
	enum { CODE_LEN = 16, PAGE = 4096 };
	uint8_t code[CODE_LEN];
	size_t len = MIN((size_t)CODE_LEN, PAGE - linear % PAGE);
	struct kvm_translation where = { .linear_address = linear };
	int ret = kvm_ioctl_ptr(vcpu->fd, KVM_TRANSLATE, &where);
	if (ret < 0 || !where.valid || guest_read(&vcpu->vm->mem, where.physical_address, code, len) < 0) {
		text_add(text, "code at %016" PRIx64 ": not readable\n", linear);
		return;
	}
	text_add(text, "code at %016" PRIx64 " (gpa %llx):", linear, where.physical_address);
	for (size_t i = 0; i < len; i++)
		text_add(text, " %02x", code[i]);
	text_add(text, "\n");
}

void arch_vcpu_describe(struct vcpu *vcpu, struct text *text)
{
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	if (kvm_ioctl_ptr(vcpu->fd, KVM_GET_REGS, &regs) < 0 || kvm_ioctl_ptr(vcpu->fd, KVM_GET_SREGS, &sregs) < 0) {
		text_add(text, "registers are not readable\n");
		return;
	}
	describe_regs(text, &regs);
	describe_sregs(text, &sregs);
	describe_code(text, vcpu, sregs.cs.base + regs.rip);
}
