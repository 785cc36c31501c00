// SPDX-License-Identifier: Apache-2.0
#include "src/base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>

#include "src/base/text.h"

enum { LOG_LINE_MAX = 512, GUEST_LINES_PER_SECOND = 10 };

static _Thread_local struct log *thread_log;

struct log *log_use(struct log *log)
{
	struct log *before = thread_log;
	thread_log = log;
	return before;
}

static void __attribute__((format(printf, 3, 0)))
log_speak(struct log *log, enum cvmm_log_level level, const char *fmt, va_list args)
{
	char line[LOG_LINE_MAX];
	struct text text;
	text_init(&text, line, sizeof(line));
	if (log->name)
		text_add(&text, "%s: ", log->name);
	vsnprintf(line + text.len, sizeof(line) - text.len, fmt, args);
	text_one_line(line);
	log->fn(log->opaque, level, line);
}

static bool log_wants(const struct log *log, enum cvmm_log_level level)
{
	return log && log->fn && level <= log->level;
}

void log_line(enum cvmm_log_level level, const char *fmt, ...)
{
	struct log *log = thread_log;
	if (!log_wants(log, level))
		return;
	va_list args;
	va_start(args, fmt);
	log_speak(log, level, fmt, args);
	va_end(args);
}

/* May a guest's line be spoken this second? Says how many were dropped in seconds before. */
static bool log_guest_admit(struct log *log, uint32_t *dropped)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	*dropped = 0;
	if (atomic_exchange(&log->guest_window_s, (uint64_t)now.tv_sec) != (uint64_t)now.tv_sec) {
		atomic_store(&log->guest_lines, 0);
		*dropped = (uint32_t)atomic_exchange(&log->guest_dropped, 0);
	}
	if (atomic_fetch_add(&log->guest_lines, 1) < GUEST_LINES_PER_SECOND)
		return true;
	atomic_fetch_add(&log->guest_dropped, 1);
	return false;
}

void log_limited(enum cvmm_log_level level, const char *fmt, ...)
{
	struct log *log = thread_log;
	uint32_t dropped;
	if (!log_wants(log, level) || !log_guest_admit(log, &dropped))
		return;
	if (dropped)
		log_line(level, "guest: %u lines like the next were not shown", dropped);
	va_list args;
	va_start(args, fmt);
	log_speak(log, level, fmt, args);
	va_end(args);
}
