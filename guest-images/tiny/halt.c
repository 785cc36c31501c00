// SPDX-License-Identifier: Apache-2.0
/* Halts with interrupts masked: nothing the guest does can end this. */
#include "tiny.h"

void tiny_main(void)
{
	put_string("halting\n");
	wait_forever();
}
