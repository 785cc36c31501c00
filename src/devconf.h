/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Devices in the description: --disk, --rng, each any number of times, each a list of keys ("path=a.img,readonly"). One
 * table a kind (options.c) holds each key's name, type, range, default, help and field: the command line, the JSON file
 * and the API all parse by it, and help, man page and completion are printed from it.
 */
#ifndef CVMM_SRC_DEVCONF_H
#define CVMM_SRC_DEVCONF_H

#include <stdbool.h>
#include <stdint.h>

#include <cvmm.h>

enum devconf_kind { DEVCONF_DISK, DEVCONF_RNG, DEVCONF_KINDS };

#define DEVCONF_ANY UINT64_MAX /* a slot or an I/O thread that the user left to us */

/* What the rings of any virtio device may do; the defaults are the kind's. */
struct virtio_config {
	bool packed, in_order, event_idx, indirect, notification_data, ring_reset;
	uint64_t queue_size; /* a power of two */
};

enum { DISK_QUEUES_MAX = 16 };

enum disk_zoned { DISK_ZONED_OFF, DISK_ZONED_FILE, DISK_ZONED_HOST }; /* in the order of the key's choices */

struct disk_config {
	char *path;          /* owned; NULL: memory */
	uint64_t memory_mib; /* 0: a file */
	bool readonly, direct, share;
	unsigned cache;              /* enum block_cache */
	unsigned zoned;              /* enum disk_zoned */
	char *serial;                /* owned, at most 20 bytes */
	uint64_t block_size, queues; /* block_size 0: the back end's */
	uint64_t iops, bw_mib;       /* a second; 0: no limit */
	uint64_t burst_ms;
};

struct rng_config {
	uint64_t rate; /* bytes a second; 0: no limit */
};

struct device_config {
	enum devconf_kind kind;
	uint64_t slot, iothread; /* or DEVCONF_ANY */
	struct virtio_config virtio;
	union {
		struct disk_config disk;
		struct rng_config rng;
	};
};

/* The kind called @name, or -ENOENT; and back. */
int devconf_kind(const char *name);
const char *devconf_kind_name(enum devconf_kind kind);
/* The key called @name, where '-' and '_' are the same; NULL, with @err, if there is none. */
const struct cvmm_option *devconf_key(enum devconf_kind kind, const char *name, struct cvmm_error *err);

/* A device with every key at its default. 0 or -ENOMEM; devconf_fini() is welcome after either. */
int devconf_init(struct device_config *dev, enum devconf_kind kind, struct cvmm_error *err);
void devconf_fini(struct device_config *dev);
int devconf_copy(struct device_config *to, const struct device_config *from); /* 0 or -ENOMEM, then as after fini */
/* From "key=value,switch": a comma in a value is written twice; "switch" is "switch=on". On failure @dev owns
 * nothing. Messages begin with the key. */
int devconf_parse(struct device_config *dev, enum devconf_kind kind, const char *text, struct cvmm_error *err);
/* What keys have to do with each other. */
int devconf_check(const struct device_config *dev, struct cvmm_error *err);

#endif
