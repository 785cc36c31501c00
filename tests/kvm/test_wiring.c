// SPDX-License-Identifier: Apache-2.0
/* How virtio devices are tied to KVM, without a guest: what KVM takes, gives back and shares. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <sys/eventfd.h>

#include "src/base/util.h"
#include "src/kvm.h"
#include "src/virtio_wiring.h"
#include "src/vm.h"

enum { BASE = 0xd0000000, GSI = 5 };

static struct config config;
static struct vm vm;

static int setup(void **state)
{
	struct cvmm_error err = { 0 };
	assert_int_equal(config_init(&config), 0);
	config.memory_mib = 2;
	vm_init(&vm);
	vm.config = &config;
	vm.kvm_fd = kvm_open(&err);
	assert_true(vm.kvm_fd >= 0);
	if (vm_build(&vm, &err) < 0)
		fail_msg("%s", err.msg);
	return 0;
}

static int teardown(void **state)
{
	close(vm.kvm_fd);
	vm_fini(&vm);
	config_fini(&config);
	return 0;
}

static struct virtio_wiring wire(uint64_t base, unsigned gsi, const struct virtio_config *rings)
{
	struct virtio_wiring wiring;
	assert_int_equal(virtio_wire(&vm, base, gsi, rings, &wiring, NULL), 0);
	return wiring;
}

static int watch(const struct virtio_wiring *wiring, unsigned queue, int fd, bool on)
{
	return wiring->kicks.watch(wiring->kicks.opaque, wiring->kicks.where, queue, fd, on);
}

static void test_kicks(void **state)
{
	const struct virtio_wiring one = wire(BASE, GSI, NULL), other = wire(BASE + 0x1000, GSI, NULL);
	int fd = eventfd(0, EFD_CLOEXEC), second = eventfd(0, EFD_CLOEXEC);
	for (unsigned round = 0; round < 3; round++) {
		assert_int_equal(watch(&one, 0, fd, true), 0);
		assert_int_equal(watch(&one, 1, second, true), 0);   /* told apart by the number written */
		assert_int_equal(watch(&other, 0, second, true), 0); /* and by the device */
		assert_int_equal(watch(&one, 0, second, true), -EEXIST);
		assert_int_equal(watch(&one, 0, fd, false), 0);
		assert_int_equal(watch(&one, 1, second, false), 0);
		assert_int_equal(watch(&other, 0, second, false), 0);
		assert_int_equal(watch(&one, 0, fd, false), -ENOENT);
	}
	close(fd);
	close(second);
}

static void test_features_follow_the_description(void **state)
{
	const struct virtio_config none = { .queue_size = 64 };
	const struct virtio_config some = { .packed = true, .in_order = true, .event_idx = true, .ring_reset = true };
	const struct virtio_wiring a = wire(BASE, GSI, &none), b = wire(BASE, GSI, &some), c = wire(BASE, GSI, NULL);
	assert_int_equal(a.rings, 0);
	assert_int_equal(a.queue_size, 64);
	assert_int_equal(b.rings,
	                 VIRTIO_RINGS_PACKED | VIRTIO_RINGS_IN_ORDER | VIRTIO_RINGS_EVENT_IDX | VIRTIO_RINGS_RESET);
	assert_int_equal(c.rings, VIRTIO_RINGS_DEFAULT);
}

/* Who shares a GSI shares its eventfd, so that KVM pulses the line for one after the other. */
static void test_interrupts_are_shared(void **state)
{
	struct irq_line a, b, c;
	assert_int_equal(irqfd_line(&vm, GSI, &a, NULL), 0);
	assert_int_equal(irqfd_line(&vm, GSI, &b, NULL), 0);
	assert_int_equal(irqfd_line(&vm, GSI + 1, &c, NULL), 0);
	assert_ptr_equal(a.opaque, b.opaque);
	assert_ptr_not_equal(a.opaque, c.opaque);
	for (unsigned i = 0; i < 1000; i++) { /* nobody takes them; the counter does not fill up */
		irq_pulse(&a);
		irq_pulse(&c);
	}
}

#if defined(__x86_64__)
/* The 8259 remembers edges: the way to see one arrive where no guest listens. */
static void test_pulse_reaches_the_interrupt_controller(void **state)
{
	struct irq_line line;
	assert_int_equal(irqfd_line(&vm, GSI, &line, NULL), 0);
	struct kvm_irqchip pic = { .chip_id = KVM_IRQCHIP_PIC_MASTER };
	assert_int_equal(kvm_ioctl_ptr(vm.fd, KVM_GET_IRQCHIP, &pic), 0);
	assert_int_equal(pic.chip.pic.irr & 1 << GSI, 0);
	irq_pulse(&line);
	while (!(pic.chip.pic.irr & 1 << GSI)) { /* the test's time limit ends this if it never comes */
		sched_yield();
		assert_int_equal(kvm_ioctl_ptr(vm.fd, KVM_GET_IRQCHIP, &pic), 0);
	}
	assert_int_equal(pic.chip.pic.irr & 0xff, 1 << GSI);
}
#endif

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	int fd = kvm_open(NULL);
	if (fd < 0) {
		puts("no KVM here");
		return 77;
	}
	close(fd);
	const struct CMUnitTest tests[] = {
		TEST(test_kicks),
		TEST(test_features_follow_the_description),
		TEST(test_interrupts_are_shared),
#if defined(__x86_64__)
		TEST(test_pulse_reaches_the_interrupt_controller),
#endif
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
