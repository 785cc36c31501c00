// SPDX-License-Identifier: Apache-2.0
/* The aarch64 machine: memory, interrupt controller, devices; one table of devices feeds bus and FDT alike. */
#include <errno.h>
#include <inttypes.h>

#include "arch/aarch64/layout.h"
#include "arch/aarch64/machine.h"
#include "devices/rtc.h"
#include "devices/serial.h"
#include "devices/virtio/virtio.h"
#include "src/base/util.h"

const char arch_name[] = "aarch64";
const enum kernel_arch arch_kernel = KERNEL_AARCH64;
const char arch_default_cmdline[] = "console=ttyAMA0 panic=-1";

const struct kvm_cap_need arch_kvm_caps[] = {
	{ KVM_CAP_ONE_REG, "ONE_REG", true, "vCPU registers" },
	{ KVM_CAP_DEVICE_CTRL, "DEVICE_CTRL", true, "the interrupt controller" },
	{ KVM_CAP_ARM_PSCI_0_2, "ARM_PSCI_0_2", true, "guests that start CPUs, power off and reset" },
	{ KVM_CAP_ARM_VM_IPA_SIZE, "ARM_VM_IPA_SIZE", false, "guest memory beyond 40 address bits" },
	{ KVM_CAP_ARM_NISV_TO_USER, "ARM_NISV_TO_USER", false, "aborts in answer to odd accesses to nothing" },
	{ KVM_CAP_ARM_INJECT_EXT_DABT, "ARM_INJECT_EXT_DABT", false, "aborts in answer to odd accesses to nothing" },
	{ KVM_CAP_ARM_PMU_V3, "ARM_PMU_V3", false, "a performance monitor in guests" },
	{ KVM_CAP_ARM_SVE, "ARM_SVE", false, "scalable vectors in guests" },
	{ KVM_CAP_ARM_PTRAUTH_ADDRESS, "ARM_PTRAUTH_ADDRESS", false, "pointer authentication in guests" },
	{ KVM_CAP_ARM_PTRAUTH_GENERIC, "ARM_PTRAUTH_GENERIC", false, "pointer authentication in guests" },
	{ .name = NULL },
};

/* ---- devices ---------------------------------------------------------------------------------------------------- */

static struct device *make_uart(struct vm *vm, struct irq_line irq)
{
	return pl011_new(irq, vm->console);
}

static struct device *make_rtc(struct vm *vm, struct irq_line irq)
{
	return pl031_new(irq, vm->clock, vm->loop);
}

/*
 * The power button is a virtio keyboard with one key. Debian's kernel honours nothing else on a machine described by an
 * FDT: gpio-keys and AMBA keyboards are not built, and ACPI's button would cost the clock (no ACPI binding for PL031).
 */
static struct device *make_power_key(struct vm *vm, struct irq_line irq)
{
	vm->arch->power_key = virtio_power_key_new(irq, &vm->mem);
	return vm->arch->power_key;
}

static const struct {
	struct fdt_device fdt;
	struct device *(*make)(struct vm *vm, struct irq_line irq);
} machine_devices[] = {
	{ { FDT_PL011, UART_BASE, PL011_WINDOW, SPI_UART }, make_uart },
	{ { FDT_PL031, RTC_BASE, PL031_WINDOW, SPI_RTC }, make_rtc },
	{ { FDT_VIRTIO_MMIO, VIRTIO_BASE, VIRTIO_MMIO_WINDOW, SPI_VIRTIO }, make_power_key },
};

static int machine_add(struct vm *vm, const struct fdt_device *fdt, struct device *dev, struct cvmm_error *err)
{
	int ret = vm_add_device(vm, &vm->mmio, fdt->base, fdt->size, dev, err);
	if (ret == 0)
		vm->arch->fdt[vm->arch->fdt_count++] = *fdt;
	return ret;
}

int arch_add_devices(struct vm *vm, struct cvmm_error *err)
{
	int ret = 0;
	for (size_t i = 0; ret == 0 && i < ARRAY_SIZE(machine_devices); i++) {
		const struct fdt_device *fdt = &machine_devices[i].fdt;
		ret = machine_add(vm, fdt, machine_devices[i].make(vm, irq_line(vm, fdt->spi)), err);
	}
	return ret;
}

/* The power key has the first slot. */
const unsigned arch_virtio_slots = VIRTIO_SLOTS - 1;

struct virtio_slot arch_virtio_slot(unsigned slot)
{
	return (struct virtio_slot){ VIRTIO_BASE + (slot + 1ull) * VIRTIO_STRIDE, SPI_VIRTIO + slot + 1 };
}

int arch_add_virtio(struct vm *vm, unsigned slot, struct device *dev, struct cvmm_error *err)
{
	struct virtio_slot at = arch_virtio_slot(slot);
	return machine_add(vm, &(struct fdt_device){ FDT_VIRTIO_MMIO, at.base, VIRTIO_MMIO_WINDOW, at.gsi }, dev, err);
}

void arch_press_power_button(struct vm *vm)
{
	virtio_power_key_press(vm->arch->power_key);
}

uint32_t arch_irq_line_number(unsigned gsi)
{
	return (uint32_t)KVM_ARM_IRQ_TYPE_SPI << KVM_ARM_IRQ_TYPE_SHIFT | (gsi + INTID_SPI);
}

/* ---- the VM ----------------------------------------------------------------------------------------------------- */

int arch_check_config(const struct config *config, struct cvmm_error *err)
{
	if (config->entry != ENTRY_AUTO)
		return err_set(err, -EINVAL, "entry: only x86_64 machines have a choice");
	if (config->i8042)
		return err_set(err, -EINVAL, "i8042: only x86_64 machines can have one");
	return 0;
}

enum { IPA_BITS_DEFAULT = 40, IPA_BITS_MIN = 32 };

/* The fewest address bits that hold all of RAM: stage 2 tables have fewer levels for them. */
int64_t arch_vm_type(int kvm_fd, const struct config *config, struct cvmm_error *err)
{
	uint64_t last = RAM_BASE + config->memory_mib * MIB - 1;
	int need = MAX(64 - __builtin_clzll(last), IPA_BITS_MIN);
	int cap = kvm_cap(kvm_fd, KVM_CAP_ARM_VM_IPA_SIZE);
	int limit = cap > 0 ? cap : IPA_BITS_DEFAULT;
	if (need > limit)
		return err_set(err, -EOPNOTSUPP,
		               "%" PRIu64 " MiB of memory need %d address bits, this host's KVM has %d",
		               config->memory_mib, need, limit);
	return cap > 0 ? need : 0; /* 0: KVM's default */
}

/* Odd accesses to nothing come to arch_vcpu_exit() instead of failing KVM_RUN. */
static int enable_nisv(struct vm *vm, struct cvmm_error *err)
{
	struct kvm_enable_cap cap = { .cap = KVM_CAP_ARM_NISV_TO_USER };
	if (!kvm_cap(vm->fd, KVM_CAP_ARM_NISV_TO_USER) || !kvm_cap(vm->fd, KVM_CAP_ARM_INJECT_EXT_DABT))
		return 0;
	int ret = kvm_ioctl_ptr(vm->fd, KVM_ENABLE_CAP, &cap);
	return ret < 0 ? err_set(err, ret, "enabling ARM_NISV_TO_USER: %s", strerror(-ret)) : 0;
}

int arch_vm_init(struct vm *vm, struct cvmm_error *err)
{
	vm->arch = calloc(1, sizeof(*vm->arch));
	if (!vm->arch)
		return err_set(err, -ENOMEM, "no memory for the machine");
	int ret = gic_choose(&vm->arch->gic, vm->fd, (unsigned)vm->config->cpus, err);
	if (ret < 0)
		return ret;
	vm->arch->features = arm_vcpu_features(vm->fd);
	ret = enable_nisv(vm, err);
	return ret < 0 ? ret : guest_memory_add(&vm->mem, RAM_BASE, vm->config->memory_mib * MIB, err);
}

/* vCPUs, then the GIC, which wants all of them, then the PMUs, which want the GIC. */
int arch_vcpus_init(struct vm *vm, struct cvmm_error *err)
{
	for (unsigned i = 0; i < vm->vcpu_count; i++) {
		int ret = arm_vcpu_init(&vm->vcpus[i], err);
		if (ret < 0)
			return err_prefix(err, ret, "vcpu %u", i);
	}
	int ret = gic_create(&vm->arch->gic, vm->fd, err);
	if (ret < 0 || !(vm->arch->features & 1u << KVM_ARM_VCPU_PMU_V3))
		return ret;
	for (unsigned i = 0; i < vm->vcpu_count; i++) {
		ret = arm_vcpu_init_pmu(&vm->vcpus[i], err);
		if (ret < 0)
			return err_prefix(err, ret, "vcpu %u", i);
	}
	return 0;
}

/* The GIC is made when all vCPUs are there: arch_vcpus_init(). */
int arch_irqchip_init(struct vm *vm, struct cvmm_error *err)
{
	return 0;
}

void arch_vm_fini(struct vm *vm)
{
	if (!vm->arch)
		return;
	gic_fini(&vm->arch->gic);
	free(vm->arch);
	vm->arch = NULL;
}
