/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Log lines, one a call, subject first, lower case, no full stop: log_warn("pl031: ..."). Each thread of a VM speaks
 * into that VM's sink, which log_use() gave it; without one it is silent. What a guest can provoke goes through
 * log_guest() or log_limited(), which are rate-limited for each VM.
 */
#ifndef CVMM_BASE_LOG_H
#define CVMM_BASE_LOG_H

#include <stdatomic.h>

#include <cvmm.h>

struct log {
	enum cvmm_log_level level;                                             /* lines above it are not formatted */
	void (*fn)(void *opaque, enum cvmm_log_level level, const char *line); /* NULL: silent */
	void *opaque;
	const char *name;                    /* in front of each line; not owned; NULL: none */
	atomic_uint_fast64_t guest_window_s; /* the second in which guest_lines were spoken */
	atomic_uint_fast32_t guest_lines, guest_dropped;
};

/* This thread's lines go to @log (not owned, may be NULL) from now on; returns the sink before, to be put back. */
struct log *log_use(struct log *log);

void log_line(enum cvmm_log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* A line that a guest's doing can provoke: at most 10 a second a VM; the rest are counted. */
void log_limited(enum cvmm_log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...) log_line(CVMM_LOG_ERROR, __VA_ARGS__)
#define log_warn(...) log_line(CVMM_LOG_WARN, __VA_ARGS__)
#define log_info(...) log_line(CVMM_LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_line(CVMM_LOG_DEBUG, __VA_ARGS__)
#define log_guest(...) log_limited(CVMM_LOG_DEBUG, __VA_ARGS__)

#endif
