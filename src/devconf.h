/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Devices in the description: --disk, --net, --rng, each any number of times, each a list of keys ("path=a.img,readonly").
 * One table a kind (devconf.c) holds each key's name, type, range, default, help and field: it parses the command line,
 * the JSON object and the API's text alike, and prints help.
 */
#ifndef CVMM_SRC_DEVCONF_H
#define CVMM_SRC_DEVCONF_H

#include <stdbool.h>
#include <stdint.h>

#include "src/base/error.h"

enum devconf_kind { DEVCONF_DISK, DEVCONF_NET, DEVCONF_RNG, DEVCONF_KINDS };

/* What the rings of any virtio device may do; the defaults are the kind's. */
struct virtio_config {
	bool packed, in_order, event_idx, indirect, notification_data;
	uint64_t queue_size; /* a power of two */
};

struct disk_config {
	char *path; /* owned; NULL: memory */
	uint64_t memory_mib;
	bool readonly, direct, share;
	unsigned cache; /* enum block_cache */
	char *serial;   /* owned, at most 20 bytes */
	uint64_t logical_block, queues, iops, bw; /* 0: default, no limit */
};

struct rng_config {
	uint64_t rate; /* bytes a second; 0: no limit */
};

struct net_config {
	char *backend; /* owned: "tap", "passt", "unix" */
	char *ifname, *socket, *mac; /* owned */
	uint64_t mtu, queues;
};

struct device_config {
	enum devconf_kind kind;
	uint64_t slot;     /* virtio-mmio slot, UINT64_MAX: the next free one */
	uint64_t iothread; /* which of --iothreads, UINT64_MAX: in turn */
	struct virtio_config virtio;
	union {
		struct disk_config disk;
		struct rng_config rng;
		struct net_config net;
	};
};

#endif
