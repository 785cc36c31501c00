// SPDX-License-Identifier: Apache-2.0
/*
 * bare-kvm KERNEL INITRD RAM_MIB - the least that can be done to enter a bzImage under KVM, as the benchmark's floor: no
 * checks, no devices, 4 KiB pages. It takes the kernel's 32-bit entry, which needs neither page tables nor a GDT in memory
 * (Documentation/arch/x86/boot.rst of Linux), and ends with the guest's first exit to user space.
 */
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ZERO_PAGE = 0x7000, CMDLINE = 0x20000, KERNEL = 0x1000000, CPUID_MAX = 256, SECTOR = 512 };

static size_t size_of(int fd)
{
	struct stat st;
	return fstat(fd, &st) < 0 ? 0 : (size_t)st.st_size;
}

static void put32(uint8_t *at, uint32_t val)
{
	memcpy(at, &val, sizeof(val));
}

/* The zero page: the kernel's own setup header, two ranges of RAM, command line and initrd. Returns the code's offset. */
static size_t fill_zero_page(uint8_t *page, int kernel, uint64_t ram, uint64_t initrd, size_t initrd_len)
{
	const uint64_t e820[][2] = { { 0, 0x9fc00 }, { 0x100000, ram - 0x100000 } };
	if (pread(kernel, page + 0x1f1, 0x7f, 0x1f1) != 0x7f)
		exit(1);
	size_t setup_len = (page[0x1f1] + 1) * SECTOR;
	page[0x210] = 0xff; /* type_of_loader */
	put32(page + 0x218, (uint32_t)initrd);
	put32(page + 0x21c, (uint32_t)initrd_len);
	put32(page + 0x228, CMDLINE);
	page[0x1e8] = 2;
	for (int i = 0; i < 2; i++) {
		memcpy(page + 0x2d0 + 20 * i, e820[i], 16);
		page[0x2d0 + 20 * i + 16] = 1; /* RAM */
	}
	return setup_len;
}

static void set_registers(int vcpu)
{
	struct kvm_sregs sregs;
	struct kvm_regs regs = { .rip = KERNEL, .rsi = ZERO_PAGE, .rflags = 2 };
	ioctl(vcpu, KVM_GET_SREGS, &sregs);
	struct kvm_segment data = {
		.limit = 0xffffffff, .selector = 0x18, .type = 3, .present = 1, .s = 1, .db = 1, .g = 1
	};
	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = data;
	sregs.cs = data;
	sregs.cs.selector = 0x10;
	sregs.cs.type = 11;
	sregs.cr0 |= 1; /* PE */
	ioctl(vcpu, KVM_SET_SREGS, &sregs);
	ioctl(vcpu, KVM_SET_REGS, &regs);
}

static int make_vcpu(int kvm, int vm)
{
	static struct {
		struct kvm_cpuid2 head;
		struct kvm_cpuid_entry2 entries[CPUID_MAX];
	} cpuid = { .head.nent = CPUID_MAX };
	int vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
	ioctl(kvm, KVM_GET_SUPPORTED_CPUID, &cpuid);
	ioctl(vcpu, KVM_SET_CPUID2, &cpuid);
	(void)mmap(NULL, (size_t)ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0), PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
	set_registers(vcpu);
	return vcpu;
}

int main(int argc, char **argv)
{
	if (argc < 4)
		return 2;
	int kvm = open("/dev/kvm", O_RDWR), kernel = open(argv[1], O_RDONLY), initrd = open(argv[2], O_RDONLY);
	size_t ram = strtoul(argv[3], NULL, 10) << 20, initrd_len = size_of(initrd),
	       initrd_at = (ram - initrd_len) & ~4095ul;
	int vm = ioctl(kvm, KVM_CREATE_VM, 0);
	uint8_t *memory = mmap(NULL, ram, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	struct kvm_userspace_memory_region slot = { .memory_size = ram, .userspace_addr = (uintptr_t)memory };
	ioctl(vm, KVM_SET_TSS_ADDR, 0xfffbd000);
	ioctl(vm, KVM_SET_USER_MEMORY_REGION, &slot);
	ioctl(vm, KVM_CREATE_IRQCHIP, 0); /* the other way round the slot waits for a grace period */
	size_t setup_len = fill_zero_page(memory + ZERO_PAGE, kernel, ram, initrd_at, initrd_len);
	strcpy((char *)memory + CMDLINE, "console=ttyS0");
	if (pread(kernel, memory + KERNEL, size_of(kernel) - setup_len, (off_t)setup_len) <= 0 ||
	    read(initrd, memory + initrd_at, initrd_len) != (ssize_t)initrd_len)
		return 1;
	return ioctl(make_vcpu(kvm, vm), KVM_RUN, 0) < 0;
}
