// SPDX-License-Identifier: Apache-2.0
/* The x86_64 machine: guest memory, KVM's interrupt controllers, and the table of its devices. */
#include "arch/x86_64/machine.h"

#include <errno.h>
#include <inttypes.h>

#include "arch/arch.h"
#include "arch/x86_64/layout.h"
#include "devices/platform.h"
#include "devices/serial.h"
#include "devices/virtio/virtio.h"
#include "src/irq.h"
#include "src/kvm.h"

const char arch_name[] = "x86_64";
const enum kernel_arch arch_kernel = KERNEL_X86_64;
/* The kernel's log on COM1, the only UART; no search for chipset quirks all over PCI, up to 220 exits; a panic restarts
 * at once, so that it ends the VM. */
const char arch_default_cmdline[] = "console=ttyS0 8250.nr_uarts=1 pci=noearly panic=-1";

int arch_check_config(const struct config *config, struct cvmm_error *err)
{
	return 0;
}

int64_t arch_vm_type(int kvm_fd, const struct config *config, struct cvmm_error *err)
{
	return 0;
}

uint32_t arch_irq_line_number(unsigned gsi)
{
	return gsi;
}

/* ---- memory and KVM's own parts */

static int vm_add_memory(struct vm *vm, struct cvmm_error *err)
{
	uint64_t ram = vm->config->memory_mib * MIB, high = layout_high_ram(ram);
	unsigned bits = cpuid_physical_bits(&vm->arch->cpuid);
	if (high && bits < 52 && HIGH_RAM_START + high > UINT64_C(1) << bits)
		return err_set(err, -EINVAL, "memory: %" PRIu64 " MiB do not fit into this CPU's %u address bits",
		               vm->config->memory_mib, bits);
	int ret = guest_memory_add(&vm->mem, 0, layout_low_ram(ram), err);
	return ret || !high ? ret : guest_memory_add(&vm->mem, HIGH_RAM_START, high, err);
}

static int vm_place_kvm_pages(struct vm *vm, struct cvmm_error *err)
{
	const uint64_t identity_map = IDENTITY_MAP_GPA;
	int ret = kvm_ioctl_ptr(vm->fd, KVM_SET_IDENTITY_MAP_ADDR, &identity_map);
	if (!ret)
		ret = kvm_ioctl(vm->fd, KVM_SET_TSS_ADDR, TSS_GPA);
	return ret < 0 ? err_set(err, ret, "KVM: identity map and TSS: %s", strerror(-ret)) : 0;
}

/* After the memory: from Linux 6.17 on this leaves a leisurely RCU grace period behind, for which the next memory slot
 * would have to wait, some milliseconds. */
int arch_irqchip_init(struct vm *vm, struct cvmm_error *err)
{
	int ret = kvm_ioctl(vm->fd, KVM_CREATE_IRQCHIP, 0);
	return ret < 0 ? err_set(err, ret, "KVM_CREATE_IRQCHIP: %s", strerror(-ret)) : 0;
}

int arch_vm_init(struct vm *vm, struct cvmm_error *err)
{
	vm->arch = calloc(1, sizeof(*vm->arch));
	if (!vm->arch)
		return err_set(err, -ENOMEM, "out of memory");
	struct cpuid *cpuid = &vm->arch->cpuid;
	cpuid->count = CPUID_ENTRIES_MAX;
	int ret = kvm_ioctl_ptr(vm->kvm_fd, KVM_GET_SUPPORTED_CPUID, cpuid);
	if (ret < 0)
		return err_set(err, ret, "KVM_GET_SUPPORTED_CPUID: %s", strerror(-ret));
	ret = vm_add_memory(vm, err);
	return ret ? ret : vm_place_kvm_pages(vm, err);
}

void arch_vm_fini(struct vm *vm)
{
	free(vm->arch);
	vm->arch = NULL;
}

/* ---- devices */

static struct device *make_com1(struct vm *vm, struct irq_line irq)
{
	return uart16550_new(irq, vm->console);
}

static struct device *make_acpi_regs(struct vm *vm, struct irq_line irq)
{
	vm->arch->acpi_regs = acpi_regs_new(irq, vm->machine);
	return vm->arch->acpi_regs;
}

static struct device *make_i8042(struct vm *vm, struct irq_line irq)
{
	return i8042_new(irq, vm->machine);
}

static struct device *make_reset_port(struct vm *vm, struct irq_line irq)
{
	return reset_port_new(vm->machine);
}

static struct device *make_pci_conf1(struct vm *vm, struct irq_line irq)
{
	return pci_conf1_new();
}

static bool with_i8042(const struct config *config)
{
	return config->i8042;
}

static bool without_i8042(const struct config *config)
{
	return !config->i8042;
}

enum { NO_GSI = -1 };

/* The machine's devices, one a line: the bus and the DSDT are both filled from here. */
static const struct machine_device {
	struct device *(*make)(struct vm *vm, struct irq_line irq);
	bool (*wanted)(const struct config *config); /* NULL: always */
	bool mmio;                                   /* else ports */
	uint32_t base, size;
	int gsi;
	enum acpi_kind acpi;
} machine_devices[] = {
	{ make_com1, NULL, false, COM1_PORT, UART16550_WINDOW, COM1_GSI, ACPI_COM },
	{ make_acpi_regs, NULL, false, ACPI_REGS_PORT, ACPI_REGS_WINDOW, GED_GSI, ACPI_EVENTS },
	{ make_i8042, with_i8042, false, I8042_PORT, I8042_WINDOW, KEYBOARD_GSI, ACPI_KEYBOARD },
	{ make_reset_port, without_i8042, false, RESET_PORT, 1, NO_GSI, ACPI_NONE },
	{ make_pci_conf1, NULL, false, PCI_CONF1_PORT, PCI_CONF1_WINDOW, NO_GSI, ACPI_NONE },
};

static unsigned acpi_count_kind(const struct arch_vm *arch, enum acpi_kind kind)
{
	unsigned count = 0;
	for (unsigned i = 0; i < arch->acpi_count; i++)
		count += arch->acpi[i].kind == kind;
	return count;
}

static int machine_add(struct vm *vm, const struct machine_device *line, struct cvmm_error *err)
{
	struct arch_vm *arch = vm->arch;
	struct irq_line irq = line->gsi == NO_GSI ? (struct irq_line){ 0 } : irq_line(vm, line->gsi);
	struct bus *bus = line->mmio ? &vm->mmio : &vm->pio;
	int ret = vm_add_device(vm, bus, line->base, line->size, line->make(vm, irq), err);
	if (ret || line->acpi == ACPI_NONE)
		return ret;
	arch->acpi[arch->acpi_count++] = (struct acpi_device){
		.kind = line->acpi,
		.index = acpi_count_kind(arch, line->acpi),
		.base = line->base,
		.size = line->size,
		.gsi = line->gsi,
	};
	return 0;
}

int arch_add_devices(struct vm *vm, struct cvmm_error *err)
{
	int ret = 0;
	for (size_t i = 0; !ret && i < ARRAY_SIZE(machine_devices); i++)
		if (!machine_devices[i].wanted || machine_devices[i].wanted(vm->config))
			ret = machine_add(vm, &machine_devices[i], err);
	return ret;
}

const unsigned arch_virtio_slots = VIRTIO_MMIO_SLOTS;

struct virtio_slot arch_virtio_slot(unsigned slot)
{
	return (struct virtio_slot){ VIRTIO_MMIO_BASE + slot * VIRTIO_MMIO_STRIDE, virtio_mmio_gsis[slot] };
}

int arch_add_virtio(struct vm *vm, unsigned slot, struct device *dev, struct cvmm_error *err)
{
	struct virtio_slot at = arch_virtio_slot(slot);
	int ret = vm_add_device(vm, &vm->mmio, at.base, VIRTIO_MMIO_WINDOW, dev, err);
	if (ret == 0)
		vm->arch->acpi[vm->arch->acpi_count++] = (struct acpi_device){
			.kind = ACPI_VIRTIO_MMIO,
			.index = slot,
			.base = (uint32_t)at.base,
			.size = VIRTIO_MMIO_WINDOW,
			.gsi = at.gsi,
		};
	return ret;
}

void arch_press_power_button(struct vm *vm)
{
	acpi_regs_press_power_button(vm->arch->acpi_regs);
}
