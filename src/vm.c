// SPDX-License-Identifier: Apache-2.0
#include "src/vm.h"

#include <errno.h>
#include <inttypes.h>
#include <sys/ioctl.h>
#include <time.h>

#include "arch/arch.h"
#include "src/base/util.h"
#include "src/kvm.h"
#include "src/virtio_devices.h"
#include "src/virtio_wiring.h"

static void vm_machine_request(void *opaque, enum machine_request request)
{
	vm_end(opaque, request == MACHINE_RESET ? CVMM_END_RESET : CVMM_END_POWER_OFF, NULL);
}

void vm_init(struct vm *vm)
{
	*vm = (struct vm){
		.fd = -1,
		.kvm_fd = -1,
		.mmio.name = "mmio",
		.pio.name = "pio",
		.machine = { .request = vm_machine_request, .opaque = vm },
	};
	pthread_mutex_init(&vm->lock, NULL);
	pthread_cond_init(&vm->changed, NULL);
}

void vm_fini(struct vm *vm)
{
	while (vm->device_count)
		device_free(vm->devices[--vm->device_count]);
	virtio_wiring_fini(vm);
	arch_vm_fini(vm);
	for (unsigned i = 0; i < vm->vcpu_count; i++)
		vcpu_fini(&vm->vcpus[i]);
	free(vm->vcpus);
	cleanup_close(&vm->fd);
	guest_memory_fini(&vm->mem);
	free(vm->report);
	pthread_cond_destroy(&vm->changed);
	pthread_mutex_destroy(&vm->lock);
}

/* ---- building --------------------------------------------------------------------------------------------------- */

static int check_caps(int kvm_fd, const struct kvm_cap_need *need, struct cvmm_error *err)
{
	for (; need->name; need++)
		if (need->required && !kvm_cap(kvm_fd, need->cap))
			return err_set(err, -EOPNOTSUPP, "this KVM lacks %s (%s); cvmm doctor says more", need->name,
			               need->what_for);
	return 0;
}

static int create_vm_fd(struct vm *vm, struct cvmm_error *err)
{
	int64_t type = arch_vm_type(vm->kvm_fd, vm->config, err);
	if (type < 0)
		return (int)type;
	vm->fd = kvm_ioctl(vm->kvm_fd, KVM_CREATE_VM, (unsigned long)type);
	if (vm->fd < 0) {
		int code = vm->fd;
		return err_set(err, code, "KVM_CREATE_VM: %s", strerror(-code));
	}
	int size = kvm_ioctl(vm->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (size < 0)
		return err_set(err, size, "KVM_GET_VCPU_MMAP_SIZE: %s", strerror(-size));
	if ((size_t)size < sizeof(struct kvm_run))
		return err_set(err, -EOPNOTSUPP, "KVM_GET_VCPU_MMAP_SIZE: only %d bytes", size);
	vm->vcpu_run_size = (size_t)size;
	return 0;
}

static int give_memory(struct vm *vm, struct cvmm_error *err)
{
	for (unsigned i = 0; i < vm->mem.count; i++) {
		const struct guest_region *region = &vm->mem.regions[i];
		struct kvm_userspace_memory_region slot = {
			.slot = i,
			.guest_phys_addr = region->gpa,
			.memory_size = region->size,
			.userspace_addr = (uintptr_t)region->hva,
		};
		int ret = kvm_ioctl_ptr(vm->fd, KVM_SET_USER_MEMORY_REGION, &slot);
		if (ret < 0)
			return err_set(err, ret, "%" PRIu64 " MiB of guest memory at 0x%" PRIx64 ": %s",
			               region->size / MIB, region->gpa, strerror(-ret));
	}
	return 0;
}

static int make_vcpus(struct vm *vm, struct cvmm_error *err)
{
	unsigned cpus = (unsigned)vm->config->cpus;
	int max = kvm_cap(vm->kvm_fd, KVM_CAP_MAX_VCPUS);
	if (max && cpus > (unsigned)max)
		return err_set(err, -EOPNOTSUPP, "cpus %u: this KVM has at most %d vCPUs for a guest", cpus, max);
	vm->vcpus = calloc(cpus, sizeof(*vm->vcpus));
	if (!vm->vcpus)
		return err_set(err, -ENOMEM, "out of memory");
	while (vm->vcpu_count < cpus) {
		unsigned i = vm->vcpu_count++;
		int ret = vcpu_init(&vm->vcpus[i], vm, i, err);
		if (ret < 0)
			return ret;
	}
	return arch_vcpus_init(vm, err);
}

int vm_build(struct vm *vm, struct cvmm_error *err)
{
	int ret = check_caps(vm->kvm_fd, kvm_caps, err);
	if (ret == 0)
		ret = check_caps(vm->kvm_fd, arch_kvm_caps, err);
	if (ret == 0)
		ret = create_vm_fd(vm, err);
	if (ret == 0)
		ret = arch_vm_init(vm, err);
	if (ret == 0)
		ret = give_memory(vm, err);
	if (ret == 0)
		ret = arch_irqchip_init(vm, err);
	if (ret == 0)
		ret = make_vcpus(vm, err);
	if (ret == 0)
		ret = arch_add_devices(vm, err);
	if (ret == 0)
		ret = virtio_devices_add(vm, err);
	return ret;
}

int vm_add_device(struct vm *vm, struct bus *bus, uint64_t base, uint64_t size, struct device *dev,
                  struct cvmm_error *err)
{
	if (!dev)
		return err_set(err, -ENOMEM, "out of memory for a device");
	int ret = vm->device_count < VM_DEVICES_MAX
	                  ? bus_add(bus, base, size, dev, err)
	                  : err_set(err, -ENOSPC, "%s: more than %d devices", dev->ops->name, VM_DEVICES_MAX);
	if (ret < 0)
		device_free(dev);
	else
		vm->devices[vm->device_count++] = dev;
	return ret;
}

void vm_finish_devices(struct vm *vm)
{
	for (unsigned i = 0; i < vm->device_count; i++) {
		struct device *dev = vm->devices[i];
		pthread_mutex_lock(&dev->lock);
		if (dev->ops->finish)
			dev->ops->finish(dev);
		pthread_mutex_unlock(&dev->lock);
	}
}

/* ---- running ---------------------------------------------------------------------------------------------------- */

/* vm->lock held. Threads that have all left may be joined at any time, and need no kick. */
static void kick_all(struct vm *vm)
{
	if (vm->left == vm->thread_count)
		return;
	for (unsigned i = 0; i < vm->vcpu_count; i++)
		vcpu_kick(&vm->vcpus[i]);
}

int vm_run(struct vm *vm, struct cvmm_error *err)
{
	/* the lock keeps the first vCPUs from ending the VM before the last has its thread */
	pthread_mutex_lock(&vm->lock);
	int ret = 0;
	for (unsigned i = 0; ret == 0 && i < vm->vcpu_count; i++) {
		ret = vcpu_start(&vm->vcpus[i], err);
		if (ret == 0)
			vm->thread_count++;
	}
	if (ret == 0) {
		atomic_store(&vm->gate, vm->end == CVMM_END_NONE ? VM_RUN : VM_LEAVE);
		pthread_cond_broadcast(&vm->changed);
	} else {
		vm->all_left = NULL; /* the caller learns of it from us */
		vm->end = CVMM_END_ERROR;
		atomic_store(&vm->gate, VM_LEAVE);
		pthread_cond_broadcast(&vm->changed);
	}
	pthread_mutex_unlock(&vm->lock);
	if (ret < 0)
		vm_join(vm);
	return ret;
}

void vm_join(struct vm *vm)
{
	for (unsigned i = 0; i < vm->vcpu_count; i++) {
		pthread_mutex_lock(&vm->lock);
		bool has_thread = vm->vcpus[i].has_thread;
		vm->vcpus[i].has_thread = false; /* from here on nobody kicks it */
		pthread_mutex_unlock(&vm->lock);
		if (has_thread)
			pthread_join(vm->vcpus[i].thread, NULL);
	}
}

int vm_pause(struct vm *vm)
{
	pthread_mutex_lock(&vm->lock);
	if (atomic_load(&vm->gate) == VM_RUN) {
		atomic_store(&vm->gate, VM_HOLD);
		kick_all(vm);
		while (atomic_load(&vm->gate) == VM_HOLD && vm->holding < vm->thread_count)
			pthread_cond_wait(&vm->changed, &vm->lock);
	}
	bool held = atomic_load(&vm->gate) == VM_HOLD;
	pthread_mutex_unlock(&vm->lock);
	return held ? 0 : -EALREADY;
}

void vm_resume(struct vm *vm)
{
	pthread_mutex_lock(&vm->lock);
	if (atomic_load(&vm->gate) == VM_HOLD) {
		atomic_store(&vm->gate, VM_RUN);
		pthread_cond_broadcast(&vm->changed);
	}
	pthread_mutex_unlock(&vm->lock);
}

void vm_end(struct vm *vm, enum cvmm_end end, const struct cvmm_error *error)
{
	vm_end_reported(vm, end, error, NULL);
}

void vm_end_reported(struct vm *vm, enum cvmm_end end, const struct cvmm_error *error, char *report)
{
	pthread_mutex_lock(&vm->lock);
	if (vm->end == CVMM_END_NONE) {
		vm->end = end;
		vm->report = TAKE_PTR(report);
		if (error)
			vm->end_error = *error;
	}
	atomic_store(&vm->gate, VM_LEAVE);
	pthread_cond_broadcast(&vm->changed);
	kick_all(vm);
	pthread_mutex_unlock(&vm->lock);
	free(report); /* another reason came first */
}

/* ---- the micro guest -------------------------------------------------------------------------------------------- */

static uint64_t monotonic_ns(void)
{
	return clock_monotonic_ns(&clock_host);
}

/* Run vCPU 0 on this thread to its one exit, an access to a port or an address. */
static int micro_guest_run(struct vcpu *vcpu, uint64_t *elapsed_ns, struct cvmm_error *err)
{
	uint64_t start = monotonic_ns();
	int ret;
	do
		ret = kvm_ioctl(vcpu->fd, KVM_RUN, 0);
	while (ret == -EAGAIN);
	*elapsed_ns = monotonic_ns() - start;
	if (ret < 0)
		return err_set(err, ret, "micro guest: KVM_RUN: %s", strerror(-ret));
	uint32_t reason = vcpu->run->exit_reason;
	if (reason != KVM_EXIT_IO && reason != KVM_EXIT_MMIO)
		return err_set(err, -EIO, "micro guest: it left by exit %u instead of an I/O access", reason);
	return 0;
}

int vm_run_micro_guest(int kvm_fd, uint64_t iterations, uint64_t *elapsed_ns, struct cvmm_error *err)
{
	struct config config;
	if (config_init(&config) < 0)
		return err_set(err, -ENOMEM, "out of memory");
	config.memory_mib = 2;
	struct vm vm;
	vm_init(&vm);
	vm.config = &config;
	vm.kvm_fd = kvm_fd;
	int ret = create_vm_fd(&vm, err);
	if (ret == 0)
		ret = arch_vm_init(&vm, err);
	if (ret == 0)
		ret = give_memory(&vm, err);
	if (ret == 0)
		ret = arch_irqchip_init(&vm, err);
	if (ret == 0)
		ret = make_vcpus(&vm, err);
	if (ret == 0)
		ret = arch_micro_guest(&vm, iterations, err);
	if (ret == 0)
		ret = micro_guest_run(&vm.vcpus[0], elapsed_ns, err);
	vm_fini(&vm);
	config_fini(&config);
	return ret;
}
