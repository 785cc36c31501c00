// SPDX-License-Identifier: Apache-2.0
#include "src/base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "src/base/text.h"

int err_set(struct cvmm_error *err, int code, const char *fmt, ...)
{
	if (!err)
		return code;
	va_list args;
	va_start(args, fmt);
	vsnprintf(err->msg, sizeof(err->msg), fmt, args);
	va_end(args);
	text_one_line(err->msg);
	err->code = code;
	return code;
}

int err_prefix(struct cvmm_error *err, int code, const char *fmt, ...)
{
	if (!err)
		return code;
	char cause[sizeof(err->msg)];
	memcpy(cause, err->msg, sizeof(cause));
	va_list args;
	va_start(args, fmt);
	int used = vsnprintf(err->msg, sizeof(err->msg), fmt, args);
	va_end(args);
	if (used >= 0 && (size_t)used < sizeof(err->msg))
		snprintf(err->msg + used, sizeof(err->msg) - (size_t)used, ": %s", cause);
	text_one_line(err->msg);
	err->code = code;
	return code;
}
