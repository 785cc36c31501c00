// SPDX-License-Identifier: Apache-2.0
/* A kernel into guest memory, with all that it is handed, and the boot vCPU set on its entry. */
#include "arch/x86_64/machine.h"

#include <errno.h>
#include <sys/random.h>

#include "arch/arch.h"
#include "arch/x86_64/layout.h"
#include "arch/x86_64/linux_boot.h"
#include "arch/x86_64/place.h"
#include "devices/platform.h"

int arch_place_kernel(const struct vm *vm, struct boot *boot, struct cvmm_error *err)
{
	struct place place = { 0 };
	int ret = place_kernel(boot->kernel, guest_memory_size(&vm->mem), &place, err);
	boot->load_gpa = place.load;
	return ret;
}

int arch_place_initrd(const struct vm *vm, struct boot *boot, struct cvmm_error *err)
{
	return place_initrd(boot->kernel, guest_memory_size(&vm->mem), boot->initrd_len, &boot->initrd_gpa, err);
}

/* What the kernel takes without cutting: its own word for it, or Linux's COMMAND_LINE_SIZE less the NUL. */
static size_t cmdline_max(const struct kernel_image *kernel)
{
	size_t max = kernel->format == KERNEL_BZIMAGE && kernel->cmdline_size ? kernel->cmdline_size : 2047;
	return MIN(max, (size_t)CMDLINE_MAX - 1);
}

static int load_cmdline(struct vm *vm, const struct boot *boot, struct cvmm_error *err)
{
	size_t len = strlen(boot->cmdline), max = cmdline_max(boot->kernel);
	if (len > max)
		return err_set(err, -EINVAL, "cmdline: %zu bytes, this kernel takes at most %zu", len, max);
	int ret = guest_write(&vm->mem, CMDLINE_GPA, boot->cmdline, len + 1);
	return ret < 0 ? err_set(err, ret, "cmdline: no memory for it") : 0;
}

static int load_acpi(struct vm *vm, struct cvmm_error *err)
{
	const struct acpi_machine machine = {
		.cpus = vm->vcpu_count,
		.lapic = LAPIC_BASE,
		.ioapic = IOAPIC_BASE,
		.ecam = ECAM_BASE,
		.devices = vm->arch->acpi,
		.device_count = vm->arch->acpi_count,
	};
	uint8_t *tables = guest_at(&vm->mem, ACPI_GPA, ACPI_SIZE);
	int ret = tables ? acpi_build(&machine, ACPI_GPA, tables, ACPI_SIZE) : -EFAULT;
	return ret < 0 ? err_set(err, ret, "ACPI tables: no room") : 0;
}

/*
 * Linux on hardware-reduced ACPI restarts by EFI and, without that, by a jump in real mode to where a BIOS would start;
 * it does not try FADT's reset register unless told to (reboot=a). So our "BIOS" writes that.
 */
static int load_reset_vector(struct vm *vm, struct cvmm_error *err)
{
	/* clang-format off */
	static const uint8_t code[] = {
		0xb0, ACPI_RESET_VALUE,                                                                   /* mov $.., %al */
		0xba, (ACPI_REGS_PORT + ACPI_REGS_RESET) & 0xff, (ACPI_REGS_PORT + ACPI_REGS_RESET) >> 8, /* mov $.., %dx */
		0xee,                                                                                     /* out %al, %dx */
		0xf4, 0xeb, 0xfd,                                                                         /* 1: hlt; jmp 1b */
	};
	/* clang-format on */
	int ret = guest_write(&vm->mem, RESET_VECTOR_GPA, code, sizeof(code));
	return ret < 0 ? err_set(err, ret, "reset vector: no memory for it") : 0;
}

/* A seed for the guest's random numbers, in the one setup_data node. */
static int load_setup_data(struct vm *vm, struct cvmm_error *err)
{
	uint8_t seed[RNG_SEED_LEN], node[RNG_NODE_LEN];
	if (getrandom(seed, sizeof(seed), 0) != sizeof(seed))
		return err_set(err, -errno, "getrandom: %m");
	setup_data_rng(node, seed);
	explicit_bzero(seed, sizeof(seed));
	int ret = guest_write(&vm->mem, SETUP_DATA_GPA, node, sizeof(node));
	explicit_bzero(node, sizeof(node));
	return ret < 0 ? err_set(err, ret, "setup data: no memory for it") : 0;
}

static int enter_linux64(struct vm *vm, struct linux_boot *linux_boot, uint64_t entry, struct cvmm_error *err)
{
	int ret = load_setup_data(vm, err);
	if (ret)
		return ret;
	linux_boot->setup_data_gpa = SETUP_DATA_GPA;
	uint8_t *page = guest_at(&vm->mem, ZERO_PAGE_GPA, ZERO_PAGE_SIZE);
	if (!page)
		return err_set(err, -EFAULT, "zero page: no memory for it");
	zero_page_build(page, linux_boot);
	return cpu_enter_long(&vm->vcpus[0], entry, ZERO_PAGE_GPA, err);
}

static int enter_pvh(struct vm *vm, const struct linux_boot *linux_boot, uint32_t entry, struct cvmm_error *err)
{
	const struct pvh_gpas at = { .module = PVH_MODULE_GPA, .map = ZERO_PAGE_GPA };
	uint8_t *start = guest_at(&vm->mem, PVH_START_GPA, PVH_START_LEN);
	uint8_t *module = guest_at(&vm->mem, PVH_MODULE_GPA, PVH_MODULE_LEN);
	uint8_t *map = guest_at(&vm->mem, ZERO_PAGE_GPA, E820_MAX * PVH_MAP_ENTRY_LEN);
	if (!start || !module || !map)
		return err_set(err, -EFAULT, "PVH start info: no memory for it");
	pvh_start_build(start, linux_boot, &at);
	pvh_module_build(module, linux_boot);
	pvh_map_build(map, linux_boot->map);
	return cpu_enter_pvh(&vm->vcpus[0], entry, PVH_START_GPA, err);
}

/* Which entry: -EINVAL if this kernel has not the one asked for. */
static int wants_pvh(const struct kernel_image *kernel, enum entry_choice choice, struct cvmm_error *err)
{
	bool has_pvh = kernel->format == KERNEL_ELF && kernel->has_pvh;
	if (choice == ENTRY_PVH && !has_pvh)
		return err_set(err, -EINVAL,
		               "entry: this kernel has no PVH entry; an ELF vmlinux with PVH support has");
	return has_pvh && choice != ENTRY_LINUX64;
}

/* Everything but the entry itself. */
static int load_tables(struct vm *vm, const struct boot *boot, struct cvmm_error *err)
{
	int ret = load_cmdline(vm, boot, err);
	if (!ret)
		ret = load_acpi(vm, err);
	return ret ? ret : load_reset_vector(vm, err);
}

int arch_boot(struct vm *vm, const struct boot *boot, struct cvmm_error *err)
{
	const struct kernel_image *kernel = boot->kernel;
	int pvh = wants_pvh(kernel, vm->config->entry, err);
	int ret = pvh < 0 ? pvh : load_tables(vm, boot, err);
	if (ret)
		return ret;
	struct e820 map;
	e820_build(&map, guest_memory_size(&vm->mem));
	struct linux_boot linux_boot = {
		.setup_header = kernel->setup_header,
		.setup_header_len = kernel->setup_header_len,
		.cmdline_gpa = CMDLINE_GPA,
		.cmdline_len = strlen(boot->cmdline),
		.initrd_gpa = boot->initrd_gpa,
		.initrd_len = boot->initrd_len,
		.rsdp_gpa = ACPI_GPA,
		.map = &map,
	};
	return pvh ? enter_pvh(vm, &linux_boot, kernel->pvh_entry, err)
	           : enter_linux64(vm, &linux_boot, boot->load_gpa + kernel->entry, err);
}
