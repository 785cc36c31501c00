/* SPDX-License-Identifier: Apache-2.0 */
/* The kinds of things a console can end in, each a way to open, read, write and close descriptors. */
#ifndef CVMM_SRC_CONSOLE_ENDPOINT_H
#define CVMM_SRC_CONSOLE_ENDPOINT_H

#include <sys/types.h>

#include "src/config.h"

enum endpoint_kind { ENDPOINT_NONE, ENDPOINT_FDS, ENDPOINT_FILE, ENDPOINT_PTY, ENDPOINT_UNIX };

struct endpoint {
	enum endpoint_kind kind;
	char name[128];            /* as the user wrote it, for messages */
	char *path;                /* owned: the pty's or socket's; NULL: none */
	int in_fd, out_fd;         /* -1: none, or nobody is attached */
	int listen_fd;             /* unix: -1 else */
	int pty_fd;                /* pty: the master, attached or not; -1 else */
	bool in_owned, out_owned;  /* close them */
	bool in_socket, out_socket; /* written with MSG_DONTWAIT */
	bool created;              /* file, socket: by us, so to be removed if nothing comes of it */
	bool started;
	bool reattaches;           /* users come and go */
	bool keeps_newest;         /* nobody is attached: a full ring drops the oldest */
};

int endpoint_open(struct endpoint *end, const struct config *config, struct cvmm_error *err);
/* The VM runs: what was there before (an old file's contents) may go. */
int endpoint_start(struct endpoint *end, struct cvmm_error *err);
void endpoint_close(struct endpoint *end);

/* Never block. Bytes; 0: end of input; -EAGAIN; another negative errno. */
ssize_t endpoint_read(struct endpoint *end, void *buf, size_t len);
ssize_t endpoint_write(struct endpoint *end, const void *buf, size_t len);

/* Whether arrivals are seen only by asking (pty), not by an event. */
bool endpoint_needs_polling(const struct endpoint *end);
/* Somebody came: in_fd and out_fd are set. */
bool endpoint_try_attach(struct endpoint *end);
void endpoint_detach(struct endpoint *end);

#endif
