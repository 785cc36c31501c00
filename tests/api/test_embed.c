// SPDX-License-Identifier: Apache-2.0
/* Two VMs at once in one process, with everything they need handed in as descriptors: no path is opened for them. */
#include "tests/kvm/kvm.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* The tiny guest's file, in memory only. */
static int memory_file(const char *name)
{
	static char bytes[1 << 20];
	char path[512];
	snprintf(path, sizeof(path), "%s/%s%s", getenv("TINY_GUESTS"), name, TINY_GUEST_SUFFIX);
	int file = open(path, O_RDONLY | O_CLOEXEC);
	int memory = memfd_create(name, MFD_CLOEXEC);
	assert_true(file >= 0 && memory >= 0);
	ssize_t len = read(file, bytes, sizeof(bytes));
	assert_true(len > 0 && len < (ssize_t)sizeof(bytes));
	assert_int_equal(write(memory, bytes, (size_t)len), len);
	close(file);
	return memory;
}

/* A VM that knows no path: the kernel, /dev/kvm and (by guest_new()) the console are descriptors. */
static void embed(struct guest *guest, const char *name, int kvm_fd)
{
	struct cvmm_error err = { 0 };
	int kernel = memory_file(name);
	guest_new(guest, name);
	guest_set(guest, "kernel", "/no/such/file"); /* the descriptor comes first */
	assert_int_equal(cvmm_vm_set_kernel_fd(guest->vm, kernel, &err), 0);
	assert_int_equal(cvmm_vm_set_kvm_fd(guest->vm, kvm_fd, &err), 0);
	assert_string_equal(err.msg, ""); /* untouched on success */
	close(kernel);
}

static void test_two_at_once(void **state)
{
	struct guest talker, other;
	unsigned fds = count_self("fd"), threads = threads_before();
	int kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	assert_true(kvm_fd >= 0);
	embed(&talker, "echo", kvm_fd);
	embed(&other, "hello", kvm_fd);
	close(kvm_fd); /* the VMs have their own */

	guest_start(&talker);
	guest_expect(&talker, "ready\n");
	guest_start(&other);
	guest_ends(&other, CVMM_END_POWER_OFF, NULL);
	assert_string_equal(other.output, "hello\n");
	guest_free(&other);

	assert_int_equal(cvmm_vm_state(talker.vm), CVMM_RUNNING); /* the end of one is not the other's business */
	guest_type(&talker, "still here.");
	guest_ends(&talker, CVMM_END_POWER_OFF, NULL);
	assert_string_equal(talker.output, "ready\nSTILL HERE");
	guest_free(&talker);
	assert_int_equal(count_self("fd"), fds);
	assert_int_equal(threads_after(threads), threads);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_two_at_once),
	};
	skip_without_kvm();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
