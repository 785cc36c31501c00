// SPDX-License-Identifier: Apache-2.0
/* The life of a VM: every way from one state to another, and what is left behind. */
#include "tests/kvm/kvm.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct guest guest;

static unsigned fds_before, threads_at_start;

static int count_before(void **state)
{
	fds_before = count_self("fd");
	return 0;
}

static int nothing_is_left(void **state)
{
	unsigned fds = count_self("fd"), threads = threads_after(threads_at_start);
	if (fds == fds_before && threads == threads_at_start)
		return 0;
	print_error("%u descriptors and %u threads before, %u and %u after\n", fds_before, threads_at_start, fds,
	            threads);
	return -1;
}

/* What libc and sanitizers open once for themselves is open before anything is counted. */
static int run_once(void **state)
{
	threads_at_start = threads_before();
	guest_new(&guest, "hello");
	guest_start(&guest);
	guest_free(&guest);
	return 0;
}

static void test_states_and_events(void **state)
{
	struct cvmm_error err = { 0 };
	struct cvmm_result result;
	uint64_t count;
	guest_new(&guest, "hello");
	assert_int_equal(cvmm_vm_state(guest.vm), CVMM_DESCRIBED);
	assert_int_equal(cvmm_vm_wait(guest.vm, -1, NULL), -EALREADY);
	assert_int_equal(cvmm_vm_pause(guest.vm, &err), -EALREADY);
	assert_int_equal(cvmm_vm_power_button(guest.vm, NULL), -EALREADY);
	int event_fd = cvmm_vm_event_fd(guest.vm);
	assert_int_equal(cvmm_vm_create(guest.vm, &err), 0);
	assert_int_equal(cvmm_vm_state(guest.vm), CVMM_CREATED);
	assert_int_equal(cvmm_vm_set(guest.vm, "cpus", "2", &err), -EALREADY);
	assert_int_equal(cvmm_vm_create(guest.vm, &err), -EALREADY);
	assert_int_equal(read(event_fd, &count, sizeof(count)), sizeof(count));
	guest_start(&guest);
	assert_int_equal(cvmm_vm_start(guest.vm, &err), -EALREADY);
	do {
		struct pollfd wait = { .fd = event_fd, .events = POLLIN };
		assert_int_equal(poll(&wait, 1, 60000), 1);
		assert_int_equal(read(event_fd, &count, sizeof(count)), sizeof(count));
	} while (cvmm_vm_state(guest.vm) != CVMM_ENDED);
	cvmm_vm_result(guest.vm, &result);
	assert_int_equal(result.end, CVMM_END_POWER_OFF);
	assert_int_equal(cvmm_vm_start(guest.vm, &err), -EALREADY);
	cvmm_vm_stop(guest.vm); /* changes nothing any more */
	cvmm_vm_result(guest.vm, &result);
	assert_int_equal(result.end, CVMM_END_POWER_OFF);
	guest_free(&guest);
}

static void test_free_in_any_state(void **state)
{
	guest_new(&guest, "spin");
	guest_free(&guest);
	guest_new(&guest, "spin");
	assert_int_equal(cvmm_vm_create(guest.vm, NULL), 0);
	guest_free(&guest);
	guest_new(&guest, "spin");
	guest_start(&guest);
	guest_free(&guest);
	guest_new(&guest, "spin");
	guest_start(&guest);
	assert_int_equal(cvmm_vm_pause(guest.vm, NULL), 0);
	guest_free(&guest);
	cvmm_vm_free(NULL);
}

static void test_a_failed_create_can_be_mended(void **state)
{
	struct cvmm_error err = { 0 };
	char good[4096];
	guest_new(&guest, "hello");
	assert_true(cvmm_vm_get(guest.vm, "kernel", good, sizeof(good)) > 0);
	guest_set(&guest, "kernel", "/nonexistent/kernel");
	assert_int_equal(cvmm_vm_create(guest.vm, &err), -ENOENT);
	assert_string_equal(err.msg, "kernel /nonexistent/kernel: No such file or directory");
	guest_set(&guest, "kernel", "/");
	assert_int_equal(cvmm_vm_create(guest.vm, &err), -EISDIR);
	guest_set(&guest, "kernel", good);
	guest_set(&guest, "initrd", "/dev/null");
	assert_int_equal(cvmm_vm_create(guest.vm, &err), -EINVAL);
	guest_set(&guest, "initrd", good);
	guest_set(&guest, "memory", "1"); /* the guest itself does not fit, let alone an initrd */
	assert_true(cvmm_vm_create(guest.vm, &err) < 0);
	assert_int_equal(cvmm_vm_state(guest.vm), CVMM_DESCRIBED);
	guest_set(&guest, "memory", "64");
	guest_start(&guest);
	guest_ends(&guest, CVMM_END_POWER_OFF, NULL);
	guest_free(&guest);
}

static void test_a_halted_guest_is_stopped(void **state)
{
	guest_new(&guest, "halt");
	guest_start(&guest);
	guest_expect(&guest, "halting\n");
	assert_int_equal(cvmm_vm_wait(guest.vm, 50, NULL), -ETIMEDOUT);
	cvmm_vm_stop(guest.vm);
	guest_ends(&guest, CVMM_END_STOPPED, NULL);
	guest_free(&guest);
}

static void test_pause_holds_the_guest(void **state)
{
	struct cvmm_result before, after;
	guest_new(&guest, "spin");
	guest_set(&guest, "cpus", "3"); /* two of which never start */
	guest_start(&guest);
	guest_expect(&guest, "...");
	for (int i = 0; i < 5; i++) {
		assert_int_equal(cvmm_vm_pause(guest.vm, NULL), 0);
		assert_int_equal(cvmm_vm_state(guest.vm), CVMM_PAUSED);
		assert_int_equal(cvmm_vm_pause(guest.vm, NULL), -EALREADY);
		cvmm_vm_result(guest.vm, &before);
		usleep(30000);
		cvmm_vm_result(guest.vm, &after);
		assert_int_equal(before.exits, after.exits);
		assert_int_equal(cvmm_vm_resume(guest.vm, NULL), 0);
		do { /* it goes on */
			usleep(1000);
			cvmm_vm_result(guest.vm, &after);
		} while (after.exits < before.exits + 4);
	}
	assert_int_equal(cvmm_vm_resume(guest.vm, NULL), -EALREADY);
	cvmm_vm_stop(guest.vm);
	guest_ends(&guest, CVMM_END_STOPPED, NULL);
	guest_free(&guest);
}

static void test_reset_stops_by_default(void **state)
{
	struct cvmm_result result;
	guest_new(&guest, "reset");
	guest_start(&guest);
	guest_ends(&guest, CVMM_END_RESET, &result);
	assert_string_equal(guest.output, "boot 1\n");
	assert_int_equal(result.resets, 0);
	guest_free(&guest);
}

static void test_reset_restarts_if_asked(void **state)
{
	struct cvmm_result result;
	guest_new(&guest, "reset");
	guest_set(&guest, "on-reset", "restart");
	guest_start(&guest);
	/* memory is as new each time, and the console goes on */
	guest_expect(&guest, "boot 1\nboot 1\nboot 1\nboot 1\n");
	cvmm_vm_stop(guest.vm);
	guest_ends(&guest, CVMM_END_STOPPED, &result);
	assert_true(result.resets >= 3);
	guest_free(&guest);
}

/* A copy of the guest's kernel under a name of its own. */
static void copy_kernel(char *name)
{
	char path[4096], image[1 << 16];
	assert_true(cvmm_vm_get(guest.vm, "kernel", path, sizeof(path)) > 0);
	int from = open(path, O_RDONLY), to = mkstemp(name);
	ssize_t len = read(from, image, sizeof(image));
	assert_int_equal(write(to, image, (size_t)len), len);
	close(from);
	close(to);
}

static void test_a_restart_that_fails(void **state)
{
	char name[] = "/tmp/cvmm-kernel-XXXXXX";
	struct cvmm_result result;
	guest_new(&guest, "reset");
	copy_kernel(name);
	guest_set(&guest, "kernel", name);
	guest_set(&guest, "on-reset", "restart");
	assert_int_equal(cvmm_vm_create(guest.vm, NULL), 0);
	unlink(name); /* between the first boot and the second */
	guest_start(&guest);
	guest_ends(&guest, CVMM_END_ERROR, &result);
	assert_non_null(strstr(result.error.msg, "No such file or directory"));
	guest_free(&guest);
}

/* The output fails while the guest, which has asked for a reset, is still being taken off its many CPUs. */
static void test_a_console_that_fails_during_a_reset(void **state)
{
	struct cvmm_result result;
	int ends[2];
	for (int i = 0; i < 4; i++) {
		guest_new(&guest, "reset");
		guest_set(&guest, "on-reset", "restart");
		guest_set(&guest, "cpus", "64");
		assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
		close(ends[0]);
		assert_int_equal(cvmm_vm_set_console_fds(guest.vm, -1, ends[1], NULL), 0);
		close(ends[1]);
		guest_start(&guest);
		guest_ends(&guest, CVMM_END_ERROR, &result);
		assert_non_null(strstr(result.error.msg, "write: Broken pipe"));
		cvmm_vm_result(guest.vm, &result);
		uint64_t exits = result.exits;
		usleep(20000);
		cvmm_vm_result(guest.vm, &result);
		assert_int_equal(result.exits, exits); /* it has really ended */
		guest_free(&guest);
	}
}

static void *stop_soon(void *opaque)
{
	usleep(*(unsigned *)opaque);
	cvmm_vm_stop(guest.vm);
	return NULL;
}

static void test_stop_at_any_moment(void **state)
{
	for (unsigned delay_us = 0; delay_us < 20000; delay_us += 800) {
		pthread_t thread;
		guest_new(&guest, "reset");
		guest_set(&guest, "cpus", "2");
		guest_set(&guest, "on-reset", "restart");
		assert_int_equal(cvmm_vm_create(guest.vm, NULL), 0);
		pthread_create(&thread, NULL, stop_soon, &delay_us);
		int ret = cvmm_vm_start(guest.vm, NULL); /* unless the stop came first */
		pthread_join(thread, NULL);
		if (ret == 0)
			guest_ends(&guest, CVMM_END_STOPPED, NULL);
		assert_int_equal(cvmm_vm_state(guest.vm), CVMM_ENDED);
		guest_free(&guest);
	}
}

static void test_a_stop_before_create_is_kept(void **state)
{
	struct cvmm_error err = { 0 };
	guest_new(&guest, "spin");
	cvmm_vm_stop(guest.vm);
	assert_int_equal(cvmm_vm_state(guest.vm), CVMM_DESCRIBED);
	assert_int_equal(cvmm_vm_start(guest.vm, &err), -EALREADY);
	assert_int_equal(cvmm_vm_state(guest.vm), CVMM_ENDED);
	guest_ends(&guest, CVMM_END_STOPPED, NULL);
	guest_free(&guest);
}

static void test_console_descriptors_are_set_together(void **state)
{
	struct cvmm_error err = { 0 };
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	guest_new(&guest, "echo");
	/* on failure nothing has changed */
	assert_int_equal(cvmm_vm_set_console_fds(guest.vm, null, 1 << 20, &err), -EBADF);
	assert_string_equal(err.msg, "console output: descriptor 1048576: Bad file descriptor");
	guest_start(&guest);
	guest_type(&guest, "a.");
	guest_ends(&guest, CVMM_END_POWER_OFF, NULL);
	assert_string_equal(guest.output, "ready\nA");
	guest_free(&guest);
	/* -1 takes back what was there */
	guest_new(&guest, "hello");
	assert_int_equal(cvmm_vm_set_console_fds(guest.vm, -1, -1, &err), 0);
	close(null);
	guest_start(&guest);
	guest_ends(&guest, CVMM_END_POWER_OFF, NULL);
	assert_string_equal(guest.output, "");
	guest_free(&guest);
}

static void fails_on_a_full_disk(const char *name)
{
	struct cvmm_result result;
	int full = open("/dev/full", O_WRONLY);
	guest_new(&guest, name);
	assert_int_equal(cvmm_vm_set_console_fds(guest.vm, -1, full, NULL), 0);
	close(full);
	guest_start(&guest);
	guest_ends(&guest, CVMM_END_ERROR, &result);
	assert_non_null(strstr(result.error.msg, "write: No space left on device"));
	guest_free(&guest);
}

static void test_output_that_cannot_be_written(void **state)
{
	fails_on_a_full_disk("spin");
	fails_on_a_full_disk("hello"); /* its only words, perhaps after it is gone */
}

static void test_signals_are_left_alone(void **state)
{
	static struct sigaction before[65];
	struct sigaction after;
	sigset_t mask_before, mask_after;
	for (int sig = 1; sig <= 64; sig++)
		sigaction(sig, NULL, &before[sig]);
	pthread_sigmask(SIG_SETMASK, NULL, &mask_before);
	guest_new(&guest, "hello");
	guest_start(&guest);
	guest_ends(&guest, CVMM_END_POWER_OFF, NULL);
	guest_free(&guest);
	for (int sig = 1; sig <= 64; sig++)
		if (sigaction(sig, NULL, &after) == 0)
			assert_true(before[sig].sa_handler == after.sa_handler);
	pthread_sigmask(SIG_SETMASK, NULL, &mask_after);
	assert_memory_equal(&mask_before, &mask_after, 8);
}

static void on_log(void *opaque, enum cvmm_log_level level, const char *line)
{
	char *log = opaque;
	size_t len = strlen(log);
	snprintf(log + len, 4096 - len, "%d %s\n", (int)level, line);
}

static void test_log(void **state)
{
	static char log[4096];
	guest_new(&guest, "hello");
	guest_set(&guest, "name", "web 1");
	assert_int_equal(cvmm_vm_set_log(guest.vm, CVMM_LOG_INFO, on_log, log, NULL), 0);
	guest_start(&guest);
	guest_ends(&guest, CVMM_END_POWER_OFF, NULL);
	guest_free(&guest);
	assert_non_null(strstr(log, "2 web 1: vm: ended: power-off\n"));
	assert_null(strstr(log, "3 "));
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, count_before, nothing_is_left)
	skip_without_kvm();
	const struct CMUnitTest tests[] = {
		TEST(test_states_and_events),
		TEST(test_free_in_any_state),
		TEST(test_a_failed_create_can_be_mended),
		TEST(test_a_halted_guest_is_stopped),
		TEST(test_pause_holds_the_guest),
		TEST(test_reset_stops_by_default),
		TEST(test_reset_restarts_if_asked),
		TEST(test_a_restart_that_fails),
		TEST(test_a_console_that_fails_during_a_reset),
		TEST(test_stop_at_any_moment),
		TEST(test_a_stop_before_create_is_kept),
		TEST(test_console_descriptors_are_set_together),
		TEST(test_output_that_cannot_be_written),
		TEST(test_signals_are_left_alone),
		TEST(test_log),
	};
	return cmocka_run_group_tests(tests, run_once, NULL);
}
