// SPDX-License-Identifier: Apache-2.0
/* Linux Documentation/arch/arm64/booting.rst: an Image, an FDT and perhaps an initrd in RAM, X0 at the FDT. */
#include <errno.h>
#include <inttypes.h>
#include <sys/random.h>

#include "arch/aarch64/layout.h"
#include "arch/aarch64/machine.h"
#include "arch/aarch64/place.h"
#include "src/base/util.h"

enum { CMDLINE_MAX = 2047 }; /* arm64's COMMAND_LINE_SIZE less its terminator; Linux cuts off the rest in silence */

/* Where kernel, FDT and an initrd of that length go. */
static int place_boot(const struct vm *vm, const struct boot *boot, uint64_t initrd_len, struct placement *at,
                      struct cvmm_error *err)
{
	const struct kernel_image *kernel = boot->kernel;
	struct place_request want = {
		.ram_gpa = RAM_BASE,
		.ram_size = guest_memory_size(&vm->mem),
		.text_offset = kernel->text_offset,
		.initrd_len = initrd_len,
	};
	if (kernel->format != KERNEL_ARM64_IMAGE)
		return err_set(err, -ENOEXEC, "kernel is not an arm64 Image");
	for (unsigned i = 0; i < kernel->segment_count; i++)
		want.kernel_len = MAX(want.kernel_len, kernel->segments[i].gpa + kernel->segments[i].mem_len);
	return place(&want, at, err);
}

int arch_place_kernel(const struct vm *vm, struct boot *boot, struct cvmm_error *err)
{
	struct placement at = { 0 };
	int ret = place_boot(vm, boot, 0, &at, err);
	boot->load_gpa = at.kernel;
	return ret;
}

int arch_place_initrd(const struct vm *vm, struct boot *boot, struct cvmm_error *err)
{
	struct placement at = { 0 };
	int ret = place_boot(vm, boot, boot->initrd_len, &at, err);
	boot->initrd_gpa = at.initrd;
	return ret;
}

static int write_fdt(struct vm *vm, const struct boot *boot, uint64_t gpa, struct cvmm_error *err)
{
	struct fdt_machine machine = {
		.cmdline = boot->cmdline,
		.ram_base = RAM_BASE,
		.ram_size = guest_memory_size(&vm->mem),
		.initrd = boot->initrd_gpa,
		.initrd_len = boot->initrd_len,
		.mpidr = vm->arch->mpidr,
		.vcpus = vm->vcpu_count,
		.gic = vm->arch->gic.v3 ? FDT_GIC_V3 : FDT_GIC_V2,
		.its = vm->arch->gic.its_fd >= 0,
		.pmu = vm->arch->features & 1u << KVM_ARM_VCPU_PMU_V3,
		.devices = vm->arch->fdt,
		.device_count = vm->arch->fdt_count,
	};
	void *at = guest_at(&vm->mem, gpa, FDT_ROOM);
	size_t len;
	if (!at)
		return err_set(err, -EFAULT, "device tree at 0x%" PRIx64 " is outside guest memory", gpa);
	if (getrandom(machine.rng_seed, sizeof(machine.rng_seed), 0) < 0 ||
	    getrandom(&machine.kaslr_seed, sizeof(machine.kaslr_seed), 0) < 0)
		return err_set(err, -errno, "getrandom: %m");
	return fdt_build(&machine, at, FDT_ROOM, &len, err);
}

int arch_boot(struct vm *vm, const struct boot *boot, struct cvmm_error *err)
{
	struct placement at = { 0 };
	if (strlen(boot->cmdline) > CMDLINE_MAX)
		return err_set(err, -EINVAL, "command line of %zu bytes: the kernel takes %d", strlen(boot->cmdline),
		               CMDLINE_MAX);
	int ret = place_boot(vm, boot, boot->initrd_len, &at, err);
	if (ret == 0)
		ret = write_fdt(vm, boot, at.fdt, err);
	if (ret < 0)
		return ret;
	return arm_vcpu_set_entry(&vm->vcpus[0], boot->load_gpa + boot->kernel->entry, (uint64_t[4]){ at.fdt }, err);
}

/* ---- doctor's micro guest --------------------------------------------------------------------------------------- */

enum { MICRO_GUEST_MMIO = 0xf4 }; /* no memory and no device there */

const unsigned arch_micro_guest_loop_instructions = 2;

int arch_micro_guest(struct vm *vm, uint64_t iterations, struct cvmm_error *err)
{
	static const uint32_t code[] = {
		0xf1000400, /* loop: subs x0, x0, #1 */
		0x54ffffe1, /*       b.ne loop */
		0xb9000041, /*       str  w1, [x2] */
		0x14000000, /*       b    . */
	};
	int ret = guest_write(&vm->mem, RAM_BASE, code, sizeof(code));
	if (ret < 0)
		return err_set(err, ret, "no memory for the micro guest");
	return arm_vcpu_set_entry(&vm->vcpus[0], RAM_BASE, (uint64_t[4]){ MAX(iterations, 1u), 0, MICRO_GUEST_MMIO },
	                          err);
}
