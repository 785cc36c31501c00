/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The description of a machine: what the API, the JSON file and the command line all fill in. One table (config.c)
 * holds each option's name, type, range, default, help and field.
 */
#ifndef CVMM_SRC_CONFIG_H
#define CVMM_SRC_CONFIG_H

#include <cvmm.h>

#include "src/devconf.h"

enum on_reset { ON_RESET_STOP, ON_RESET_RESTART };
enum { CONFIG_IOTHREADS_MAX = 16 };
enum entry_choice { ENTRY_AUTO, ENTRY_LINUX64, ENTRY_PVH };

struct config {
	char *name;         /* owned strings; NULL: not set */
	char *kernel;       /* path */
	char *initrd;       /* path */
	char *cmdline;      /* appended to the architecture's default */
	char *cmdline_only; /* replaces it */
	char *console;      /* stdio, file=PATH, pty, unix=PATH, none, fds (set by API) */
	uint64_t cpus;
	uint64_t memory_mib;
	uint64_t iothreads;
	enum on_reset on_reset;
	enum entry_choice entry; /* x86_64 ELF kernels: which entry */
	bool i8042;
	int kernel_fd, initrd_fd, kvm_fd;  /* owned; -1: not given */
	int console_in_fd, console_out_fd; /* owned; used when console_fds */
	bool console_fds;
	struct device_config *devices; /* owned array, in the order given */
	size_t device_count;
};

int config_init(struct config *config); /* every option at its default; 0 or -ENOMEM, then it is empty */
void config_fini(struct config *config);
int config_copy(struct config *to, const struct config *from, struct cvmm_error *err); /* @to is uninitialised */

/* These leave @config as it was on failure. Messages begin with the option's name: "cpus: expected ...". */
int config_set(struct config *config, const char *name, const char *value, struct cvmm_error *err);
int config_add(struct config *config, const char *kind, const char *keys, struct cvmm_error *err); /* a device */
int config_set_number(struct config *config, const char *name, uint64_t value, struct cvmm_error *err); /* or MiB */
int config_load_file(struct config *config, const char *path, struct cvmm_error *err);
int config_load_text(struct config *config, const char *text, size_t len, struct cvmm_error *err);

/* The value as text, as snprintf() would put it into @buf; -ENOENT: no such option. */
int config_get(const struct config *config, const char *name, char *buf, size_t size);

/* What can be known without KVM or the file system: a kernel is given, options do not contradict each other. */
int config_check(const struct config *config, struct cvmm_error *err);

#endif
