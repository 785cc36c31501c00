/* SPDX-License-Identifier: Apache-2.0 */
/* Text gathered piece by piece in a buffer of fixed size: what does not fit is cut off, the NUL always fits. */
#ifndef CVMM_BASE_TEXT_H
#define CVMM_BASE_TEXT_H

#include <stddef.h>

struct text {
	char *buf;   /* not owned */
	size_t size; /* of buf; at least 1 */
	size_t len;  /* without the NUL */
};

/* @buf becomes the empty text. */
void text_init(struct text *text, char *buf, size_t size);
void text_add(struct text *text, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Make @text one line that does not steer a terminal, whoever wrote what is cited in it. */
void text_one_line(char *text);

#endif
