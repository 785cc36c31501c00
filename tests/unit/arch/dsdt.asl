// SPDX-License-Identifier: Apache-2.0
// The DSDT of test_acpi.c's devices as one would write it: iasl makes the bytes of it that arch/x86_64/acpi.c makes.
DefinitionBlock ("", "DSDT", 2, "CVMM  ", "CVMM    ", 1)
{
	Scope (\_SB)
	{
		Device (COM1)
		{
			Name (_HID, EisaId ("PNP0501"))
			Name (_UID, One)
			Name (_CRS, ResourceTemplate ()
			{
				IO (Decode16, 0x3F8, 0x3F8, 1, 8)
				Interrupt (ResourceConsumer, Level, ActiveHigh, Exclusive) { 4 }
			})
		}
		Device (GED)
		{
			Name (_HID, "ACPI0013")
			Name (_UID, Zero)
			Name (_CRS, ResourceTemplate ()
			{
				Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive) { 9 }
			})
			OperationRegion (EVTR, SystemIO, 0x603, One)
			Field (EVTR, ByteAcc, NoLock, Preserve)
			{
				EVTB, 8
			}
			Method (_EVT, 1, Serialized)
			{
				Store (EVTB, Local0)
				If (And (Local0, One))
				{
					Notify (\_SB.PWRB, 0x80)
				}
			}
		}
		Device (PWRB)
		{
			Name (_HID, EisaId ("PNP0C0C"))
			Name (_UID, Zero)
		}
		Device (VR00)
		{
			Name (_HID, "LNRO0005")
			Name (_UID, Zero)
			Name (_CCA, One)
			Name (_CRS, ResourceTemplate ()
			{
				Memory32Fixed (ReadWrite, 0xC0000000, 0x1000)
				Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive) { 16 }
			})
		}
		Device (VR1F)
		{
			Name (_HID, "LNRO0005")
			Name (_UID, 31)
			Name (_CCA, One)
			Name (_CRS, ResourceTemplate ()
			{
				Memory32Fixed (ReadWrite, 0xC001F000, 0x1000)
				Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive) { 23 }
			})
		}
		Device (KBD)
		{
			Name (_HID, EisaId ("PNP0303"))
			Name (_CRS, ResourceTemplate ()
			{
				IO (Decode16, 0x60, 0x60, 1, 1)
				IO (Decode16, 0x64, 0x64, 1, 1)
				Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive) { 1 }
			})
		}
	}
	Name (\_S5, Package () { 5 })
}
