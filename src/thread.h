/* SPDX-License-Identifier: Apache-2.0 */
/* What the library's threads have in common. */
#ifndef CVMM_SRC_THREAD_H
#define CVMM_SRC_THREAD_H

#include <pthread.h>
#include <signal.h>

/* The process's signals are not for our threads, which inherit the mask of their maker: block all but those that a
 * thread brings on itself. @before receives the mask to put back. */
static inline void thread_block_signals(sigset_t *before)
{
	static const int own_faults[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS };
	sigset_t set;
	sigfillset(&set);
	for (unsigned i = 0; i < sizeof(own_faults) / sizeof(own_faults[0]); i++)
		sigdelset(&set, own_faults[i]);
	pthread_sigmask(SIG_SETMASK, &set, before);
}

#endif
