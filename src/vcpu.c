// SPDX-License-Identifier: Apache-2.0
#include "src/vcpu.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/ioctl.h>

#include "arch/arch.h"
#include "src/base/util.h"
#include "src/crash.h"
#include "src/kvm.h"
#include "src/thread.h"
#include "src/vm.h"

enum { VCPU_STACK = 512 << 10, KERNEL_SIGSET_BYTES = 8 };

/*
 * The kick: SIGRTMAX, blocked in the thread but not in KVM_RUN (KVM_SET_SIGNAL_MASK), so that it ends KVM_RUN, or the
 * next one, without a handler and without a race; the thread then takes it off its queue. The process's own use of the
 * signal is not touched.
 */
#define VCPU_KICK_SIGNAL SIGRTMAX

int vcpu_init(struct vcpu *vcpu, struct vm *vm, unsigned index, struct cvmm_error *err)
{
	*vcpu = (struct vcpu){ .vm = vm, .index = index, .fd = -1 };
	vcpu->fd = kvm_ioctl(vm->fd, KVM_CREATE_VCPU, index);
	if (vcpu->fd < 0) {
		int code = vcpu->fd;
		return err_set(err, code, "vCPU %u: KVM_CREATE_VCPU: %s", index, strerror(-code));
	}
	void *run = mmap(NULL, vm->vcpu_run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
	if (run == MAP_FAILED)
		return err_set(err, -errno, "vCPU %u: mapping kvm_run: %m", index);
	vcpu->run = run;
	return 0;
}

void vcpu_fini(struct vcpu *vcpu)
{
	if (vcpu->run)
		munmap(vcpu->run, vcpu->vm->vcpu_run_size);
	cleanup_close(&vcpu->fd);
	vcpu->run = NULL;
	vcpu->fd = -1;
}

/* ---- exits ------------------------------------------------------------------------------------------------------ */

static void vcpu_trace(struct vcpu *vcpu, uint64_t n, uint64_t addr, unsigned size, bool write, const void *data)
{
	struct vcpu_exit *exit = &vcpu->trace[n % VCPU_TRACE_LEN];
	*exit = (struct vcpu_exit){
		.reason = vcpu->run->exit_reason, .addr = addr, .size = (uint8_t)size, .write = write
	};
	if (data)
		memcpy(&exit->data, data, MIN(size, sizeof(exit->data)));
}

/* Port I/O; string instructions come as one exit with many items. */
static void vcpu_exit_io(struct vcpu *vcpu, uint64_t n)
{
	const struct kvm_run *run = vcpu->run;
	struct bus *pio = &vcpu->vm->pio;
	bool write = run->io.direction == KVM_EXIT_IO_OUT;
	uint8_t *data = (uint8_t *)run + run->io.data_offset;
	unsigned size = run->io.size;
	for (uint32_t i = 0; i < run->io.count; i++) {
		if (write)
			bus_write(pio, run->io.port, data + i * size, size);
		else
			bus_read(pio, run->io.port, data + i * size, size);
	}
	vcpu_trace(vcpu, n, run->io.port, size, write, data);
}

static void vcpu_exit_mmio(struct vcpu *vcpu, uint64_t n)
{
	struct kvm_run *run = vcpu->run;
	struct bus *mmio = &vcpu->vm->mmio;
	unsigned size = MIN(run->mmio.len, (uint32_t)sizeof(run->mmio.data));
	if (run->mmio.is_write)
		bus_write(mmio, run->mmio.phys_addr, run->mmio.data, size);
	else
		bus_read(mmio, run->mmio.phys_addr, run->mmio.data, size);
	vcpu_trace(vcpu, n, run->mmio.phys_addr, size, run->mmio.is_write, run->mmio.data);
}

static void vcpu_crash(struct vcpu *vcpu, const char *what)
{
	crash_report(vcpu, what);
}

static void vcpu_exit_internal_error(struct vcpu *vcpu)
{
	static const char *const suberrors[] = {
		[KVM_INTERNAL_ERROR_EMULATION] = "an instruction that KVM cannot emulate",
		[KVM_INTERNAL_ERROR_SIMUL_EX] = "simultaneous exceptions",
		[KVM_INTERNAL_ERROR_DELIVERY_EV] = "an exit while an event was delivered",
		[KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON] = "an unexpected hardware exit",
	};
	uint32_t suberror = vcpu->run->internal.suberror;
	const char *name = suberror < ARRAY_SIZE(suberrors) ? suberrors[suberror] : NULL;
	char what[96];
	snprintf(what, sizeof(what), "KVM internal error %u (%s)", suberror, name ? name : "unknown");
	vcpu_crash(vcpu, what);
}

static void vcpu_exit_system_event(struct vcpu *vcpu)
{
	uint32_t type = vcpu->run->system_event.type;
	char what[48];
	switch (type) {
	case KVM_SYSTEM_EVENT_SHUTDOWN:
		vm_end(vcpu->vm, CVMM_END_POWER_OFF, NULL);
		break;
	case KVM_SYSTEM_EVENT_RESET:
		vm_end(vcpu->vm, CVMM_END_RESET, NULL);
		break;
	default:
		snprintf(what, sizeof(what), "system event %u", type);
		vcpu_crash(vcpu, type == KVM_SYSTEM_EVENT_CRASH ? "the guest reported a crash" : what);
	}
}

static void vcpu_exit_other(struct vcpu *vcpu)
{
	char what[64];
	switch (vcpu->run->exit_reason) {
	case KVM_EXIT_SHUTDOWN:
		vcpu_crash(vcpu, "triple fault");
		break;
	case KVM_EXIT_SYSTEM_EVENT:
		vcpu_exit_system_event(vcpu);
		break;
	case KVM_EXIT_INTERNAL_ERROR:
		vcpu_exit_internal_error(vcpu);
		break;
	case KVM_EXIT_FAIL_ENTRY:
		snprintf(what, sizeof(what), "the CPU refused to enter the guest (hardware reason 0x%llx)",
		         (unsigned long long)vcpu->run->fail_entry.hardware_entry_failure_reason);
		vcpu_crash(vcpu, what);
		break;
	default:
		if (arch_vcpu_exit(vcpu) == ARCH_EXIT_HANDLED)
			break;
		snprintf(what, sizeof(what), "unknown exit, reason %u", vcpu->run->exit_reason);
		vcpu_crash(vcpu, what);
	}
}

static void vcpu_dispatch(struct vcpu *vcpu)
{
	uint64_t n = atomic_load_explicit(&vcpu->exits, memory_order_relaxed);
	switch (vcpu->run->exit_reason) {
	case KVM_EXIT_INTR: /* not an exit of the guest's */
		return;
	case KVM_EXIT_IO:
		vcpu_exit_io(vcpu, n);
		break;
	case KVM_EXIT_MMIO:
		vcpu_exit_mmio(vcpu, n);
		break;
	default:
		vcpu_trace(vcpu, n, 0, 0, false, NULL);
		vcpu_exit_other(vcpu);
	}
	atomic_store_explicit(&vcpu->exits, n + 1, memory_order_relaxed);
}

/* ---- the thread ------------------------------------------------------------------------------------------------- */

static void kick_mask(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, VCPU_KICK_SIGNAL);
}

/* In KVM_RUN all signals but the kick are blocked. Without that nothing could stop the vCPU: then the VM ends. The
 * kernel's sigset is shorter than libc's. */
static void vcpu_set_signal_mask(struct vcpu *vcpu)
{
	struct {
		struct kvm_signal_mask head;
		uint8_t set[KERNEL_SIGSET_BYTES];
	} mask = { .head.len = KERNEL_SIGSET_BYTES };
	sigset_t set;
	sigfillset(&set);
	sigdelset(&set, VCPU_KICK_SIGNAL);
	memcpy(mask.set, &set, sizeof(mask.set));
	int ret = kvm_ioctl_ptr(vcpu->fd, KVM_SET_SIGNAL_MASK, &mask);
	if (ret == 0)
		return;
	struct cvmm_error error;
	err_set(&error, ret, "vCPU %u: KVM_SET_SIGNAL_MASK: %s", vcpu->index, strerror(-ret));
	vm_end(vcpu->vm, CVMM_END_ERROR, &error);
}

static void vcpu_take_kicks(void)
{
	static const struct timespec at_once = { 0 };
	sigset_t set;
	kick_mask(&set);
	while (sigtimedwait(&set, NULL, &at_once) > 0)
		;
}

/* A port or MMIO access is only finished by the next KVM_RUN (api.rst, 5): let that happen without running the guest.
 * An access of several parts exits once for each. A vCPU that waits to be started has none. */
static void vcpu_complete_exit(struct vcpu *vcpu)
{
	if (!atomic_load_explicit(&vcpu->exits, memory_order_relaxed))
		return;
	vcpu->run->immediate_exit = 1;
	while (ioctl(vcpu->fd, KVM_RUN, 0) == 0)
		vcpu_dispatch(vcpu);
	vcpu->run->immediate_exit = 0;
}

/* Wait while the gate holds; false: leave. */
static bool vcpu_pass_gate(struct vcpu *vcpu)
{
	struct vm *vm = vcpu->vm;
	if (atomic_load(&vm->gate) == VM_RUN)
		return true;
	vcpu_complete_exit(vcpu);
	pthread_mutex_lock(&vm->lock);
	if (atomic_load(&vm->gate) == VM_HOLD) {
		vm->holding++;
		pthread_cond_broadcast(&vm->changed);
		while (atomic_load(&vm->gate) == VM_HOLD)
			pthread_cond_wait(&vm->changed, &vm->lock);
		vm->holding--;
		/* the time it was held is not the guest's fault: spare it its watchdogs (api.rst, 4.69) */
		kvm_ioctl(vcpu->fd, KVM_KVMCLOCK_CTRL, 0);
	}
	bool run = atomic_load(&vm->gate) == VM_RUN;
	pthread_mutex_unlock(&vm->lock);
	return run;
}

static void vcpu_run_failed(struct vcpu *vcpu, int code)
{
	char what[64];
	switch (code) {
	case EINTR:
	case EAGAIN: /* a vCPU that was not started yet was kicked */
		vcpu_take_kicks();
		return;
	default:
		snprintf(what, sizeof(what), "KVM_RUN: %s", strerror(code));
		vcpu_crash(vcpu, what);
	}
}

static void *vcpu_main(void *opaque)
{
	struct vcpu *vcpu = opaque;
	struct vm *vm = vcpu->vm;
	log_use(vm->log);
	vcpu_set_signal_mask(vcpu);
	while (vcpu_pass_gate(vcpu)) {
		if (ioctl(vcpu->fd, KVM_RUN, 0) < 0)
			vcpu_run_failed(vcpu, errno);
		else
			vcpu_dispatch(vcpu);
	}
	pthread_mutex_lock(&vm->lock);
	bool last = ++vm->left == vm->thread_count;
	pthread_cond_broadcast(&vm->changed);
	pthread_mutex_unlock(&vm->lock);
	if (last && vm->all_left)
		loop_post(vm->loop, vm->all_left);
	return NULL;
}

int vcpu_start(struct vcpu *vcpu, struct cvmm_error *err)
{
	pthread_attr_t attr;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, VCPU_STACK);
	sigset_t before;
	thread_block_signals(&before);
	int code = pthread_create(&vcpu->thread, &attr, vcpu_main, vcpu);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	if (code)
		return err_set(err, -code, "vCPU %u: cannot make a thread: %s", vcpu->index, strerror(code));
	vcpu->has_thread = true;
	char name[16];
	snprintf(name, sizeof(name), "cvmm-vcpu%u", vcpu->index & 0xfff);
	pthread_setname_np(vcpu->thread, name);
	return 0;
}

void vcpu_kick(struct vcpu *vcpu)
{
	if (vcpu->has_thread)
		pthread_kill(vcpu->thread, VCPU_KICK_SIGNAL);
}
