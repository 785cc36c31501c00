// SPDX-License-Identifier: Apache-2.0
/* Starts every other CPU and says how many came up. */
#include "tiny.h"

void tiny_main(void)
{
	unsigned started = start_other_cpus();
	put_string("started ");
	put_number(started);
	put_string(", up ");
	put_number(other_cpus);
	put_string("\n");
}
