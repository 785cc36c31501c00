/* SPDX-License-Identifier: Apache-2.0 */
/* The caller-owned error of set-up code: the lowest level words the cause, callers prefix. Fixed size, no allocation. */
#ifndef CVMM_BASE_ERROR_H
#define CVMM_BASE_ERROR_H

#include <cvmm.h>

/* Fill @err (may be NULL) with @code and the formatted line; returns @code. %m is the errno at the call. It is one line
 * whatever it cites: control characters become question marks. */
int err_set(struct cvmm_error *err, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Put "<formatted>: " in front of the message in @err (may be NULL); returns @code. */
int err_prefix(struct cvmm_error *err, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#endif
