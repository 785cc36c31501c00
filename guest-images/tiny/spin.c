// SPDX-License-Identifier: Apache-2.0
/* Talks without end, with long pauses in which it makes no exit. */
#include "tiny.h"

void tiny_main(void)
{
	for (;;) {
		put_char('.');
		for (volatile unsigned i = 0; i < 500; i++)
			;
	}
}
