// SPDX-License-Identifier: Apache-2.0
#include "src/kvm.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>

#include "src/base/util.h"

enum { KVM_API = 12 }; /* api.rst, 4.1: it is 12 and will not change */

const struct kvm_cap_need kvm_caps[] = {
	{ KVM_CAP_USER_MEMORY, "USER_MEMORY", true, "guest memory" },
	{ KVM_CAP_DESTROY_MEMORY_REGION_WORKS, "DESTROY_MEMORY_REGION_WORKS", true, "guest memory" },
	{ KVM_CAP_IRQCHIP, "IRQCHIP", true, "interrupts" },
	{ KVM_CAP_IRQFD, "IRQFD", true, "interrupts from I/O threads" },
	{ KVM_CAP_IRQ_ROUTING, "IRQ_ROUTING", true, "message-signalled interrupts" },
	{ KVM_CAP_IOEVENTFD, "IOEVENTFD", true, "device notifications without exits" },
	{ KVM_CAP_MP_STATE, "MP_STATE", true, "several CPUs" },
	{ KVM_CAP_IMMEDIATE_EXIT, "IMMEDIATE_EXIT", true, "pausing a guest" },
	{ KVM_CAP_SIGNAL_MSI, "SIGNAL_MSI", false, "message-signalled interrupts" },
	{ KVM_CAP_IOEVENTFD_ANY_LENGTH, "IOEVENTFD_ANY_LENGTH", false, "cheaper device notifications" },
	{ KVM_CAP_READONLY_MEM, "READONLY_MEM", false, "read-only guest memory" },
	{ KVM_CAP_BINARY_STATS_FD, "BINARY_STATS_FD", false, "exit statistics" },
	{ 0 },
};

int kvm_ioctl(int fd, unsigned long request, unsigned long arg)
{
	int ret;
	do
		ret = ioctl(fd, request, arg);
	while (ret < 0 && errno == EINTR);
	return ret < 0 ? -errno : ret;
}

int kvm_cap(int fd, unsigned cap)
{
	int value = kvm_ioctl(fd, KVM_CHECK_EXTENSION, cap); /* not inside MAX(), which would ask twice */
	return MAX(value, 0);
}

int kvm_check_version(int kvm_fd, struct cvmm_error *err)
{
	int version = kvm_ioctl(kvm_fd, KVM_GET_API_VERSION, 0);
	if (version < 0)
		return err_set(err, version, "/dev/kvm: not a KVM device: %s", strerror(-version));
	if (version != KVM_API)
		return err_set(err, -EOPNOTSUPP, "/dev/kvm: API version %d, expected %d", version, KVM_API);
	return 0;
}

static const char *open_hint(int code)
{
	switch (code) {
	case ENOENT:
		return ": load the kvm module, or enable virtualization in the firmware or outer hypervisor";
	case EACCES:
	case EPERM:
		return ": join the group that owns it (often kvm)";
	default:
		return "";
	}
}

int kvm_open(struct cvmm_error *err)
{
	CLEANUP_CLOSE int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (fd < 0) {
		int code = errno;
		return err_set(err, -code, "/dev/kvm: %m%s (cvmm doctor says more)", open_hint(code));
	}
	int ret = kvm_check_version(fd, err);
	return ret < 0 ? ret : TAKE_FD(fd);
}
