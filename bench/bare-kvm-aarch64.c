// SPDX-License-Identifier: Apache-2.0
/*
 * bare-kvm KERNEL INITRD RAM_MIB - the least that can be done to enter an arm64 Image under KVM, as the benchmark's floor:
 * no checks, no devices but a GICv3, no device tree (so that the kernel does not come far), 4 KiB pages. It ends with the
 * guest's first exit to user space.
 */
#include <fcntl.h>
#include <linux/kvm.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { RAM = 0x40000000, GICD = 0x8000000, GICR = 0x80a0000, IRQS = 64 };

static size_t size_of(int fd)
{
	struct stat st;
	return fstat(fd, &st) < 0 ? 0 : (size_t)st.st_size;
}

static void set_gic(int gic, uint32_t group, uint64_t attr, const void *val)
{
	struct kvm_device_attr what = { .group = group, .attr = attr, .addr = (uintptr_t)val };
	ioctl(gic, KVM_SET_DEVICE_ATTR, &what);
}

static void make_gic(int vm)
{
	const uint64_t dist = GICD, redist = GICR;
	const uint32_t irqs = IRQS;
	struct kvm_create_device gic = { .type = KVM_DEV_TYPE_ARM_VGIC_V3 };
	ioctl(vm, KVM_CREATE_DEVICE, &gic);
	set_gic((int)gic.fd, KVM_DEV_ARM_VGIC_GRP_ADDR, KVM_VGIC_V3_ADDR_TYPE_DIST, &dist);
	set_gic((int)gic.fd, KVM_DEV_ARM_VGIC_GRP_ADDR, KVM_VGIC_V3_ADDR_TYPE_REDIST, &redist);
	set_gic((int)gic.fd, KVM_DEV_ARM_VGIC_GRP_NR_IRQS, 0, &irqs);
	set_gic((int)gic.fd, KVM_DEV_ARM_VGIC_GRP_CTRL, KVM_DEV_ARM_VGIC_CTRL_INIT, NULL);
}

static int make_vcpu(int kvm, int vm)
{
	struct kvm_vcpu_init init;
	int vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
	ioctl(vm, KVM_ARM_PREFERRED_TARGET, &init);
	init.features[0] |= 1 << KVM_ARM_VCPU_PSCI_0_2;
	ioctl(vcpu, KVM_ARM_VCPU_INIT, &init);
	(void)mmap(NULL, (size_t)ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0), PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
	return vcpu;
}

static void set_pc(int vcpu, uint64_t pc)
{
	struct kvm_one_reg reg = {
		.id = KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE | KVM_REG_ARM_CORE_REG(regs.pc),
		.addr = (uintptr_t)&pc,
	};
	ioctl(vcpu, KVM_SET_ONE_REG, &reg);
}

int main(int argc, char **argv)
{
	if (argc < 4)
		return 2;
	int kvm = open("/dev/kvm", O_RDWR), kernel = open(argv[1], O_RDONLY), initrd = open(argv[2], O_RDONLY);
	size_t ram = strtoul(argv[3], NULL, 10) << 20, initrd_len = size_of(initrd);
	int vm = ioctl(kvm, KVM_CREATE_VM, 0);
	uint8_t *memory = mmap(NULL, ram, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	struct kvm_userspace_memory_region slot = {
		.guest_phys_addr = RAM,
		.memory_size = ram,
		.userspace_addr = (uintptr_t)memory,
	};
	ioctl(vm, KVM_SET_USER_MEMORY_REGION, &slot);
	if (read(kernel, memory, ram) <= 0 || read(initrd, memory + ram - initrd_len, initrd_len) <= 0)
		return 1;
	int vcpu = make_vcpu(kvm, vm);
	make_gic(vm);
	set_pc(vcpu, RAM);
	return ioctl(vcpu, KVM_RUN, 0) < 0;
}
