/* SPDX-License-Identifier: Apache-2.0 */
/* Tiny guests run through the public API, their console on a pipe. */
#ifndef CVMM_TESTS_KVM_H
#define CVMM_TESTS_KVM_H

#include "tests/unit/unit.h"

#include <cvmm.h>

struct guest {
	struct cvmm_vm *vm;
	int to_fd, from_fd;   /* our ends of its console */
	char output[1 << 16]; /* what it said so far, NUL-terminated */
	size_t output_len;
};

/* Give up the whole program with status 77 where /dev/kvm cannot be used at all. */
void skip_without_kvm(void);

/* Describe a VM that boots the tiny guest @name with 64 MiB; options may be set before guest_start(). */
void guest_new(struct guest *guest, const char *name);
void guest_set(struct guest *guest, const char *option, const char *value);
void guest_start(struct guest *guest);
/* Read until @text was said; fails the test after a time that is long on any machine. */
void guest_expect(struct guest *guest, const char *text);
void guest_type(struct guest *guest, const char *text);
/* Wait for the end, read the rest of the output; fails the test unless it ended so. */
void guest_ends(struct guest *guest, enum cvmm_end end, struct cvmm_result *result);
void guest_free(struct guest *guest);

/* How many entries a folder of /proc/self has: "fd", "task". */
unsigned count_self(const char *what);

/*
 * Threads, before anything is tried and after. A joined thread may be listed for a moment longer, since the kernel wakes
 * who waits for it before it takes it away.
 */
unsigned threads_before(void);
unsigned threads_after(unsigned before);

#endif
