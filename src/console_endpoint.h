/* SPDX-License-Identifier: Apache-2.0 */
/* The kinds of things a console can end in, each a way to open, read, write and close descriptors. */
#ifndef CVMM_SRC_CONSOLE_ENDPOINT_H
#define CVMM_SRC_CONSOLE_ENDPOINT_H

#include <sys/types.h>

#include "src/config.h"

enum endpoint_kind { ENDPOINT_NONE, ENDPOINT_FDS, ENDPOINT_FILE, ENDPOINT_PTY, ENDPOINT_UNIX };

/* One direction: a descriptor and what it is. */
struct endpoint_way {
	int fd;      /* -1: none, or nobody is attached */
	bool owned;  /* close it */
	bool socket; /* told call by call not to block */
	bool blocks; /* cannot be told: asked first whether it is ready, and given little at a time */
	bool tty;
};

struct endpoint {
	enum endpoint_kind kind;
	char name[128]; /* as the user wrote it, for messages */
	char *path;     /* owned: the pty's or socket's; NULL: none */
	struct endpoint_way in, out;
	int listen_fd; /* unix: -1 else */
	int pty_fd;    /* pty: the master, attached or not; -1 else */
	bool created;  /* file, socket: by us, so to be removed if nothing comes of it */
	bool started;
	bool reattaches;   /* users come and go */
	bool keeps_newest; /* nobody is attached: a full ring drops the oldest */
};

int endpoint_open(struct endpoint *end, const struct config *config, struct cvmm_error *err);
/* The VM runs: what was there before (an old file's contents) may go. */
int endpoint_start(struct endpoint *end, struct cvmm_error *err);
void endpoint_close(struct endpoint *end);

/* Never block. Bytes; 0: end of input; -EAGAIN; another negative errno. */
ssize_t endpoint_read(struct endpoint *end, void *buf, size_t len);
ssize_t endpoint_write(struct endpoint *end, const void *buf, size_t len);

/* Is it a terminal whose user is gone? @code: what endpoint_write() returned. */
bool endpoint_hung_up(const struct endpoint *end, ssize_t code);
/* Is it a terminal that another job has in the foreground now? Then reading fails. */
bool endpoint_in_background(const struct endpoint *end);

/* Whether arrivals are seen only by asking (pty), not by an event. */
bool endpoint_needs_polling(const struct endpoint *end);
/* 1: somebody came, and both ways have descriptors; 0: nobody, or one too many; a negative errno: not possible now. */
int endpoint_try_attach(struct endpoint *end);
void endpoint_detach(struct endpoint *end);

#endif
