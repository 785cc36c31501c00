// SPDX-License-Identifier: Apache-2.0
/* KVM Documentation/virt/kvm/devices/arm-vgic{,-v3,-its}.rst. */
#include "arch/aarch64/gic.h"

#include <errno.h>
#include <string.h>

#include "arch/aarch64/layout.h"
#include "arch/arch.h"
#include "src/base/util.h"
#include "src/kvm.h"

enum { GICV2_MAX_CPUS = 8 };
_Static_assert((uint64_t)ARCH_MAX_CPUS *GICR_SIZE <= GICR_ROOM, "redistributors run into what follows");
_Static_assert((INTID_SPI + SPI_COUNT) % 32 == 0, "KVM counts interrupts by the 32");

/* One step of setting up a KVM device; tables of these say the order. */
struct gic_step {
	const char *what;
	uint32_t group;
	uint64_t attr;
	uint64_t value; /* KVM reads 64 bits of addresses, the low 32 of counts */
};

static const struct gic_step v3_steps[] = {
	{ "distributor address", KVM_DEV_ARM_VGIC_GRP_ADDR, KVM_VGIC_V3_ADDR_TYPE_DIST, GICD_BASE },
	{ "redistributor address", KVM_DEV_ARM_VGIC_GRP_ADDR, KVM_VGIC_V3_ADDR_TYPE_REDIST, GICR_BASE },
	{ "interrupt count", KVM_DEV_ARM_VGIC_GRP_NR_IRQS, 0, INTID_SPI + SPI_COUNT },
	{ "start", KVM_DEV_ARM_VGIC_GRP_CTRL, KVM_DEV_ARM_VGIC_CTRL_INIT, 0 },
	{ NULL },
};

static const struct gic_step v2_steps[] = {
	{ "distributor address", KVM_DEV_ARM_VGIC_GRP_ADDR, KVM_VGIC_V2_ADDR_TYPE_DIST, GICD_BASE },
	{ "CPU interface address", KVM_DEV_ARM_VGIC_GRP_ADDR, KVM_VGIC_V2_ADDR_TYPE_CPU, GICC_BASE },
	{ "interrupt count", KVM_DEV_ARM_VGIC_GRP_NR_IRQS, 0, INTID_SPI + SPI_COUNT },
	{ "start", KVM_DEV_ARM_VGIC_GRP_CTRL, KVM_DEV_ARM_VGIC_CTRL_INIT, 0 },
	{ NULL },
};

static const struct gic_step its_steps[] = {
	{ "address", KVM_DEV_ARM_VGIC_GRP_ADDR, KVM_VGIC_ITS_ADDR_TYPE, ITS_BASE },
	{ "start", KVM_DEV_ARM_VGIC_GRP_CTRL, KVM_DEV_ARM_VGIC_CTRL_INIT, 0 },
	{ NULL },
};

static bool device_offered(int vm_fd, uint32_t type)
{
	struct kvm_create_device create = { .type = type, .flags = KVM_CREATE_DEVICE_TEST };
	return kvm_ioctl_ptr(vm_fd, KVM_CREATE_DEVICE, &create) == 0;
}

/* Make a KVM device and take it through @steps. @fd receives its descriptor, also when a step fails. */
static int device_create(int vm_fd, uint32_t type, const char *name, const struct gic_step *steps, int *fd,
                         struct cvmm_error *err)
{
	struct kvm_create_device create = { .type = type };
	int ret = kvm_ioctl_ptr(vm_fd, KVM_CREATE_DEVICE, &create);
	if (ret < 0)
		return err_set(err, ret, "%s: KVM_CREATE_DEVICE: %s", name, strerror(-ret));
	*fd = (int)create.fd;
	for (; steps->what; steps++) {
		struct kvm_device_attr attr = { .group = steps->group,
			                        .attr = steps->attr,
			                        .addr = (uintptr_t)&steps->value };
		ret = kvm_ioctl_ptr(*fd, KVM_SET_DEVICE_ATTR, &attr);
		if (ret < 0)
			return err_set(err, ret, "%s: %s: %s", name, steps->what, strerror(-ret));
	}
	return 0;
}

int gic_choose(struct gic *gic, int vm_fd, unsigned vcpus, struct cvmm_error *err)
{
	*gic = (struct gic){ .fd = -1, .its_fd = -1 };
	gic->v3 = device_offered(vm_fd, KVM_DEV_TYPE_ARM_VGIC_V3);
	if (gic->v3)
		return 0;
	if (!device_offered(vm_fd, KVM_DEV_TYPE_ARM_VGIC_V2))
		return err_set(err, -EOPNOTSUPP,
		               "this host's KVM has no in-kernel interrupt controller (GICv3 or GICv2)");
	if (vcpus > GICV2_MAX_CPUS)
		return err_set(err, -EOPNOTSUPP, "cpus %u: this host has only a GICv2, which serves %d", vcpus,
		               GICV2_MAX_CPUS);
	return 0;
}

int gic_create(struct gic *gic, int vm_fd, struct cvmm_error *err)
{
	if (!gic->v3)
		return device_create(vm_fd, KVM_DEV_TYPE_ARM_VGIC_V2, "GICv2", v2_steps, &gic->fd, err);
	int ret = device_create(vm_fd, KVM_DEV_TYPE_ARM_VGIC_V3, "GICv3", v3_steps, &gic->fd, err);
	if (ret < 0 || !device_offered(vm_fd, KVM_DEV_TYPE_ARM_VGIC_ITS))
		return ret;
	return device_create(vm_fd, KVM_DEV_TYPE_ARM_VGIC_ITS, "GIC ITS", its_steps, &gic->its_fd, err);
}

void gic_fini(struct gic *gic)
{
	cleanup_close(&gic->its_fd);
	cleanup_close(&gic->fd);
	gic->fd = gic->its_fd = -1;
}
