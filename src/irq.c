// SPDX-License-Identifier: Apache-2.0
#include "src/irq.h"

#include <string.h>

#include "arch/arch.h"
#include "src/base/log.h"
#include "src/kvm.h"
#include "src/vm.h"

static void irq_line_set(void *opaque, unsigned gsi, bool level)
{
	const struct vm *vm = opaque;
	struct kvm_irq_level line = { .irq = arch_irq_line_number(gsi), .level = level };
	int ret = kvm_ioctl_ptr(vm->fd, KVM_IRQ_LINE, &line);
	if (ret < 0)
		log_limited(CVMM_LOG_ERROR, "irq %u: KVM_IRQ_LINE: %s", gsi, strerror(-ret));
}

struct irq_line irq_line(struct vm *vm, unsigned gsi)
{
	return (struct irq_line){ .set = irq_line_set, .opaque = vm, .irq = gsi };
}
