// SPDX-License-Identifier: Apache-2.0
#include "tests/kvm/kvm.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PATIENCE_MS = 60000 };

void skip_without_kvm(void)
{
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (fd < 0) {
		printf("SKIP: /dev/kvm: %s\n", strerror(errno));
		exit(77);
	}
	close(fd);
}

void guest_set(struct guest *guest, const char *option, const char *value)
{
	struct cvmm_error err = { 0 };
	if (cvmm_vm_set(guest->vm, option, value, &err) < 0)
		fail_msg("%s: %s", option, err.msg);
}

void guest_new(struct guest *guest, const char *name)
{
	char path[4096];
	int to[2], from[2];
	snprintf(path, sizeof(path), "%s/%s" TINY_GUEST_SUFFIX, getenv("TINY_GUESTS"), name);
	assert_int_equal(pipe2(to, O_CLOEXEC), 0);
	assert_int_equal(pipe2(from, O_CLOEXEC), 0);
	*guest = (struct guest){ .vm = cvmm_vm_new(), .to_fd = to[1], .from_fd = from[0] };
	assert_non_null(guest->vm);
	assert_int_equal(cvmm_vm_set_console_fds(guest->vm, to[0], from[1], NULL), 0);
	close(to[0]);
	close(from[1]);
	guest_set(guest, "kernel", path);
	guest_set(guest, "memory", "64");
}

void guest_start(struct guest *guest)
{
	struct cvmm_error err = { 0 };
	if (cvmm_vm_start(guest->vm, &err) < 0)
		fail_msg("start: %s", err.msg);
}

/* Take in what is there, waiting for it a while; false: nothing came, or the other end is closed. */
static bool guest_listen(struct guest *guest, int timeout_ms)
{
	struct pollfd wait = { .fd = guest->from_fd, .events = POLLIN };
	if (poll(&wait, 1, timeout_ms) <= 0)
		return false;
	size_t room = sizeof(guest->output) - 1 - guest->output_len;
	ssize_t got = read(guest->from_fd, guest->output + guest->output_len, room);
	if (got <= 0)
		return false;
	guest->output_len += (size_t)got;
	guest->output[guest->output_len] = 0;
	return true;
}

void guest_expect(struct guest *guest, const char *text)
{
	while (!strstr(guest->output, text))
		if (!guest_listen(guest, PATIENCE_MS))
			fail_msg("waited for \"%s\", got \"%s\"", text, guest->output);
}

void guest_type(struct guest *guest, const char *text)
{
	assert_int_equal(write(guest->to_fd, text, strlen(text)), strlen(text));
}

void guest_ends(struct guest *guest, enum cvmm_end end, struct cvmm_result *result)
{
	struct cvmm_result own;
	result = result ? result : &own;
	if (cvmm_vm_wait(guest->vm, PATIENCE_MS, result) < 0)
		fail_msg("the guest did not end; it said \"%s\"", guest->output);
	while (guest_listen(guest, 0))
		;
	if (result->end != end)
		fail_msg("ended as %d, expected %d: %s\n%s", result->end, end, result->error.msg,
		         result->report ? result->report : "");
}

void guest_free(struct guest *guest)
{
	cvmm_vm_free(guest->vm);
	close(guest->to_fd);
	close(guest->from_fd);
}

static void *know_tid(void *tid)
{
	*(pid_t *)tid = gettid();
	return NULL;
}

/* ThreadSanitizer starts a thread of its own with the first one: have both, and wait for ours to be gone. */
static void make_first_thread(void)
{
	pthread_t thread;
	pid_t tid;
	char path[64];
	assert_int_equal(pthread_create(&thread, NULL, know_tid, &tid), 0);
	pthread_join(thread, NULL);
	snprintf(path, sizeof(path), "/proc/self/task/%d", tid);
	while (access(path, F_OK) == 0)
		usleep(1000);
}

unsigned threads_before(void)
{
	make_first_thread();
	return count_self("task");
}

unsigned threads_after(unsigned before)
{
	for (int tries = 0; count_self("task") > before && tries < 1000; tries++)
		usleep(1000);
	return count_self("task");
}

unsigned count_self(const char *what)
{
	char path[64];
	snprintf(path, sizeof(path), "/proc/self/%s", what);
	DIR *dir = opendir(path);
	unsigned count = 0;
	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}
