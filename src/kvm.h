/* SPDX-License-Identifier: Apache-2.0 */
/* Thin wrappers over the KVM ioctls, each returning 0 (or what the ioctl returns) or a negative errno. */
#ifndef CVMM_SRC_KVM_H
#define CVMM_SRC_KVM_H

#include <linux/kvm.h>
#include <stdint.h>

#include "src/base/error.h"

/* Open /dev/kvm and check the API version; @err says why not and what to do. Returns the descriptor. */
int kvm_open(struct cvmm_error *err);
/* -EOPNOTSUPP: @kvm_fd speaks another API version, or is not KVM. */
int kvm_check_version(int kvm_fd, struct cvmm_error *err);

/* ioctl() that restarts on EINTR and returns a negative errno. */
int kvm_ioctl(int fd, unsigned long request, unsigned long arg);
static inline int kvm_ioctl_ptr(int fd, unsigned long request, const void *arg)
{
	return kvm_ioctl(fd, request, (unsigned long)arg);
}

/* The value of a capability on this VM; 0: missing. @fd: the VM's or /dev/kvm. */
int kvm_cap(int fd, unsigned cap);

/* What cvmm asks of KVM, for start-up checks and `cvmm doctor` alike. */
struct kvm_cap_need {
	unsigned cap;
	const char *name; /* as in <linux/kvm.h>, without KVM_CAP_ */
	bool required;
	const char *what_for;
};
extern const struct kvm_cap_need kvm_caps[]; /* ends with name NULL; both common and the architecture's */

#endif
