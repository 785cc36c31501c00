/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host's end of the guest's serial line: standard input and output, a file, a pseudo-terminal, a socket or
 * descriptors of the caller's. Output waits in a ring and is written by the I/O thread, so that no vCPU blocks; when the
 * ring is full the guest's transmitter stays busy. Where nobody is attached (pty, unix) the newest output is kept.
 */
#ifndef CVMM_SRC_CONSOLE_H
#define CVMM_SRC_CONSOLE_H

#include "devices/chardev.h"
#include "src/base/loop.h"
#include "src/config.h"

struct console;

struct console_escape {
	unsigned char key;                  /* 0: none */
	void (*fn)(void *opaque, char key); /* on the I/O thread, no lock held */
	void *opaque;
};

struct console_owner {
	/* Output can no longer be written; said once, on the I/O thread. */
	void (*failed)(void *opaque, const struct cvmm_error *error);
	void *opaque;
};

/*
 * Open what @config->console names. A file is not truncated, nor output lost, before console_start().
 * @console: receives the console, NULL for "none". 0 or a negative errno with @err.
 */
int console_open(struct console **console, const struct config *config, const struct console_escape *escape,
                 struct loop *loop, struct console_owner owner, struct cvmm_error *err);

/* The VM will run: begin to read input. */
int console_start(struct console *console, struct cvmm_error *err);

struct chardev *console_chardev(struct console *console); /* NULL for NULL */
/* The pty's or socket's name, or NULL. */
const char *console_path(const struct console *console);

/* On the I/O thread: unplug the device, which is about to be freed; output that waits is kept. */
void console_unplug(struct console *console);
/* On the I/O thread: write what waits, for at most @timeout_ms. */
void console_drain(struct console *console, int timeout_ms);
/* Close, and remove the socket. The loop must have stopped. NULL is welcome. */
void console_free(struct console *console);

#endif
