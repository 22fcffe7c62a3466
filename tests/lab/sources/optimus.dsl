/*
 * The firmware of an Optimus laptop, for a lab whose GPU is at 01:00.0 behind the port in slot 1.
 *
 * Compiled at test time and given to QEMU beside its own tables, which already have the port
 * (\_SB.PCI0.S08) but nothing behind it. What a driver finds here:
 *
 *   _DSM  the Optimus functions. 0x1A with the power bits at 3 allows the next _PS3 to cut power.
 *   _PS3  cuts the power of the slot, but only when _DSM has allowed it.
 *   _PS0  gives power back. The GPU then starts as from a reset: its BARs are empty.
 *
 * Power is cut by the port's own power controller (PCIe: Slot Control, Power Controller Control).
 * QEMU then answers each configuration read behind the port with ones and resets what is there, and
 * a rescan does not bring it back, as with a laptop's GPU.
 *
 * A battery and a charger are here because some guests' drivers look for them.
 */
DefinitionBlock ("", "SSDT", 2, "DGPUKT", "OPTIMUS", 0x00000001)
{
    External (\_SB.PCI0.S08, DeviceObj)

    Scope (\_SB.PCI0.S08)
    {
        // QEMU's root port has its PCI Express capability at 0x54; Slot Control is 0x18 into it.
        OperationRegion (PCFG, PCI_Config, 0x54, 0x20)
        Field (PCFG, ByteAcc, NoLock, Preserve)
        {
            CAPI, 8,            // capability id: 0x10
            Offset (0x18),
            , 10,
            PCTL, 1             // 0: the slot has power, 1: it has not
        }

        Device (S00)
        {
            Name (_ADR, Zero)
            Name (ARMD, Zero)   // whether the next _PS3 is allowed to cut power

            Method (OPTM, 2, Serialized)
            {
                If (Arg0 == Zero)
                {
                    // functions 0 and 0x1A, one bit each
                    Return (Buffer (4) { 0x01, 0x00, 0x00, 0x04 })
                }
                If (Arg0 == 0x1A)
                {
                    // bit 0: the request changes something; bits 24 and 25: 3 allows power-down
                    CreateDWordField (Arg1, Zero, RQST)
                    If (RQST & One)
                    {
                        ARMD = (((RQST >> 24) & 0x03) == 0x03)
                    }
                    // enabled, hot plug of displays, dynamic power, HD audio; power is on: bit 3
                    Local0 = Buffer (4) { 0x41, 0x00, 0x00, 0x11 }
                    If (PCTL == Zero)
                    {
                        Local0 [Zero] = 0x49
                    }
                    Return (Local0)
                }
                Return (Buffer (4) { 0x00, 0x00, 0x00, 0x00 })
            }

            Method (_DSM, 4, Serialized)
            {
                If (Arg0 == ToUUID ("a486d8f8-0bda-471b-a72b-6042a6b5bee0"))
                {
                    Return (OPTM (Arg2, Arg3))
                }
                Return (Buffer (4) { 0x00, 0x00, 0x00, 0x00 })
            }

            Method (_PS3, 0, Serialized)
            {
                If (ARMD && (CAPI == 0x10))
                {
                    PCTL = One
                }
            }

            Method (_PS0, 0, Serialized)
            {
                ARMD = Zero
                If ((CAPI == 0x10) && PCTL)
                {
                    PCTL = Zero
                }
            }
        }
    }

    Scope (\_SB)
    {
        Device (BAT0)
        {
            Name (_HID, EisaId ("PNP0C0A"))
            Name (_UID, Zero)
            Name (_PCL, Package () { \_SB })
            Method (_STA)
            {
                Return (0x1F)
            }
            // mW and mWh, as in a 57 Wh battery that is full
            Name (_BIF, Package (13)
            {
                Zero, 57000, 57000, One, 11400, 2850, 1140, 10, 10, "Lab battery", "1", "LION", "dgpukit"
            })
            Name (_BST, Package (4) { Zero, Zero, 57000, 12600 })
        }

        Device (AC0)
        {
            Name (_HID, "ACPI0003")
            Name (_PCL, Package () { \_SB })
            Method (_PSR)
            {
                Return (One)
            }
        }
    }
}
