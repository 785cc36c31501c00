// SPDX-License-Identifier: Apache-2.0
/* x86_64: runs into device memory, from which no instruction can be fetched. */
#include "tiny.h"

void tiny_main(void)
{
	put_string("jumping\n");
	((void (*)(void))0xd0000000ul)();
}
