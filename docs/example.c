// SPDX-License-Identifier: Apache-2.0
/*
 * Boot a Linux kernel on this terminal, from a program of your own:
 *
 *     cc example.c $(pkg-config --cflags --libs libcvmm) -o example && ./example vmlinuz initrd
 */
#include <stdio.h>

#include <cvmm.h>

static void print_log(void *opaque, enum cvmm_log_level level, const char *line)
{
	fprintf(stderr, "%s: %s%s\n", (const char *)opaque, level == CVMM_LOG_WARN ? "warning: " : "", line);
}

static int describe(struct cvmm_vm *vm, const char *kernel, const char *initrd, struct cvmm_error *err)
{
	int ret = cvmm_vm_set(vm, "kernel", kernel, err);
	if (ret == 0 && initrd != NULL)
		ret = cvmm_vm_set(vm, "initrd", initrd, err);
	if (ret == 0)
		ret = cvmm_vm_set_memory(vm, 512, err);
	if (ret == 0)
		ret = cvmm_vm_set_console_fds(vm, 0, 1, err); /* the terminal stays as it is: no raw mode */
	return ret == 0 ? cvmm_vm_set_log(vm, CVMM_LOG_WARN, print_log, "example", err) : ret;
}

int main(int argc, char **argv)
{
	struct cvmm_error err = { 0, "out of memory" };
	struct cvmm_result result = { .end = CVMM_END_NONE };
	struct cvmm_vm *vm = cvmm_vm_new();

	if (argc < 2 || vm == NULL || describe(vm, argv[1], argv[2], &err) < 0 || cvmm_vm_start(vm, &err) < 0)
		fprintf(stderr, "example: %s\n", argc < 2 ? "usage: example KERNEL [INITRD]" : err.msg);
	else
		cvmm_vm_wait(vm, -1, &result);

	cvmm_vm_free(vm);
	return result.end == CVMM_END_POWER_OFF ? 0 : 1;
}
