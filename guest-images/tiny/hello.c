// SPDX-License-Identifier: Apache-2.0
/* Says hello and powers off. */
#include "tiny.h"

void tiny_main(void)
{
	put_string("hello\n");
}
