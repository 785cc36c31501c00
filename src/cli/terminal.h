/* SPDX-License-Identifier: Apache-2.0 */
/* The user's terminal in raw mode, put back on every way out. One terminal a process, as there is one a user. */
#ifndef CVMM_SRC_CLI_TERMINAL_H
#define CVMM_SRC_CLI_TERMINAL_H

/* Raw mode for the terminal @fd: each key goes to the guest at once, Ctrl-C included. From here on signals that kill
 * the process put the terminal back first. 0, or a negative errno and nothing has changed. */
int terminal_raw(int fd);

/* Put the terminal back if it was changed and is ours to change. Async-signal-safe. */
void terminal_restore(void);

/* Raw again after a stop, if it was. */
void terminal_resume(void);

#endif
