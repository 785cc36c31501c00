// SPDX-License-Identifier: Apache-2.0
/* Sends back what it gets, in the other case of letters, until a dot. */
#include "tiny.h"

void tiny_main(void)
{
	put_string("ready\n");
	for (char c = get_char(); c != '.'; c = get_char())
		put_char(c >= 'a' && c <= 'z' ? c - 32 : c);
}
