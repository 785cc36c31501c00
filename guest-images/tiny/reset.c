// SPDX-License-Identifier: Apache-2.0
/* Says which boot this is, as far as its memory knows (always the first: a reset clears it), and resets. */
#include "tiny.h"

static unsigned boots;

void tiny_main(void)
{
	put_string("boot ");
	put_number(++boots);
	put_string("\n");
	reset();
}
