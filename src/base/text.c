// SPDX-License-Identifier: Apache-2.0
#include "src/base/text.h"

#include <stdarg.h>
#include <stdio.h>

#include "src/base/util.h"

void text_init(struct text *text, char *buf, size_t size)
{
	*text = (struct text){ .buf = buf, .size = size };
	*buf = '\0';
}

void text_add(struct text *text, const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	int len = vsnprintf(text->buf + text->len, text->size - text->len, fmt, args);
	va_end(args);
	text->len += MIN((size_t)MAX(len, 0), text->size - text->len - 1);
}

void text_one_line(char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < ' ' || *text == 0x7f)
			*text = '?';
}
