// SPDX-License-Identifier: Apache-2.0
/* Disks on I/O threads, kicked through KVM's ioeventfd; what becomes of them when the guest resets, or others want them. */
#include "tests/kvm/kvm.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char all_starts[] = "start 1\nstart 2\nstart 3\n";

static void add_disk(struct guest *guest, const char *keys)
{
	struct cvmm_error err = { 0 };
	guest_new(guest, "disk");
	guest_set(guest, "on-reset", "restart");
	guest_set(guest, "iothreads", "3");
	if (cvmm_vm_add(guest->vm, "disk", keys, &err) < 0)
		fail_msg("%s", err.msg);
}

static void counts_its_starts(const char *keys)
{
	struct guest guest;
	struct cvmm_result result;
	unsigned fds = count_self("fd"), threads = threads_before();
	add_disk(&guest, keys);
	guest_start(&guest);
	guest_ends(&guest, CVMM_END_POWER_OFF, &result);
	assert_string_equal(guest.output, all_starts);
	assert_int_equal(result.resets, 2);
	guest_free(&guest);
	assert_int_equal(count_self("fd"), fds);
	assert_int_equal(threads_after(threads), threads);
}

static void test_memory_outlives_resets(void **state)
{
	counts_its_starts("memory=1M");
	counts_its_starts("memory=1M,iothread=0"); /* the thread that also makes the machine anew */
	counts_its_starts("memory=1M,iothread=2,event-idx=off,indirect=off,queue-size=8");
}

static char path[] = "/tmp/cvmm-test-disk-XXXXXX";

static void make_file(void)
{
	static const char template[] = "/tmp/cvmm-test-disk-XXXXXX";
	memcpy(path, template, sizeof(path));
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, 1 << 20), 0);
	close(fd);
}

static uint64_t starts_in_file(void)
{
	uint64_t starts = 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_int_equal(read(fd, &starts, sizeof(starts)), sizeof(starts));
	close(fd);
	return starts;
}

static void test_file_keeps_what_was_written(void **state)
{
	char keys[64];
	make_file();
	snprintf(keys, sizeof(keys), "path=%s", path);
	counts_its_starts(keys);
	assert_int_equal(starts_in_file(), 3);
	unlink(path);
}

/* The image is ours from create to free, also while the guest resets; then it is free for the next. */
static void test_second_machine_is_refused(void **state)
{
	struct guest first, second;
	struct cvmm_error err = { 0 };
	char keys[64];
	make_file();
	snprintf(keys, sizeof(keys), "path=%s", path);
	add_disk(&first, keys);
	assert_int_equal(cvmm_vm_create(first.vm, &err), 0);
	add_disk(&second, keys);
	assert_true(cvmm_vm_create(second.vm, &err) < 0);
	assert_non_null(strstr(err.msg, "is in use"));
	assert_int_equal(cvmm_vm_state(second.vm), CVMM_DESCRIBED);
	guest_start(&first);
	guest_ends(&first, CVMM_END_POWER_OFF, NULL);
	assert_true(cvmm_vm_create(second.vm, &err) < 0);
	guest_free(&first);
	assert_int_equal(cvmm_vm_create(second.vm, &err), 0);
	guest_free(&second);
	unlink(path);
}

static void test_read_only_disk_refuses_writes(void **state)
{
	struct guest guest;
	char keys[64];
	make_file();
	snprintf(keys, sizeof(keys), "path=%s,readonly", path);
	add_disk(&guest, keys);
	guest_start(&guest);
	guest_ends(&guest, CVMM_END_POWER_OFF, NULL);
	assert_string_equal(guest.output, "failed 1\n"); /* VIRTIO_BLK_S_IOERR */
	assert_int_equal(starts_in_file(), 0);
	guest_free(&guest);
	unlink(path);
}

/* Stopped at any moment, with requests under way or not. */
static void test_stops_with_a_disk(void **state)
{
	struct guest guest;
	for (unsigned i = 0; i < 3; i++) {
		add_disk(&guest, "memory=1M");
		guest_start(&guest);
		if (i)
			guest_expect(&guest, i == 1 ? "start 1\n" : "start 2\n");
		cvmm_vm_stop(guest.vm);
		guest_free(&guest);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_memory_outlives_resets),    cmocka_unit_test(test_file_keeps_what_was_written),
		cmocka_unit_test(test_second_machine_is_refused), cmocka_unit_test(test_read_only_disk_refuses_writes),
		cmocka_unit_test(test_stops_with_a_disk),
	};
	skip_without_kvm();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
