// SPDX-License-Identifier: Apache-2.0
/* x86_64: waits for the power button by asking the event register. */
#include "arch/x86_64/layout.h"
#include "devices/platform.h"
#include "machine-x86_64.h"
#include "tiny.h"

void tiny_main(void)
{
	put_string("waiting\n");
	while (!(in8(ACPI_REGS_PORT + ACPI_REGS_EVENT) & ACPI_EVENT_POWER_BUTTON))
		;
	put_string("pressed\n");
}
