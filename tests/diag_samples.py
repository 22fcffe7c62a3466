"""One text of each kind, with cards that do not exist."""

from __future__ import annotations

from builders.config_space import Function, dump

LISTING = """$ lspci -nnk
00:01.0 PCI bridge [0604]: Acme Port (x16) [8086:1901] (rev 05)
\tKernel driver in use: pcieport
01:00.0 VGA compatible controller [0300]: Acme GX1 [Turbo 9] [10de:1234] (rev a1)
\tDeviceName:  Onboard Video
\tSubsystem: Laptop Co. GX1 [Turbo 9] [1558:0042]
\tKernel driver in use: vfio-pci
\tKernel modules: nouveau, nvidia_drm, nvidia
01:00.1 Audio device [0403]: Acme Tone [10de:0fff] (rev ff)
\t!!! Unknown header type 7f
\tKernel driver in use: snd_hda_intel
"""
VERBOSE = """01:00.0 VGA compatible controller: Acme GX1 (rev a1) (prog-if 00 [VGA controller])
\tControl: I/O- Mem- BusMaster-
\tIOMMU group: 12
\tRegion 0: Memory at e0000000 (64-bit, prefetchable) [size=256M]
\tCapabilities: [50] Power Management version 3
\t\tStatus: D3 NoSoftRst- PME-Enable-
\t\tLnkSta:\tSpeed 2.5GT/s (ok), Width x4 (downgraded)
\tCapabilities: [220 v1] Access Control Services
\t\tACSCap:\tSrcValid+ TransBlk+ ReqRedir+
\t\tACSCtl:\tSrcValid+ TransBlk- ReqRedir-
"""
RECORDS = """Slot:\t0000:01:00.0
Class:\tVGA compatible controller [0300]
Vendor:\tAcme Corp. [10de]
Device:\tGX1 [1234]
Driver:\tvfio-pci
Module:\tnouveau
IOMMUGroup:\t8

01:00.1 "Audio device [0403]" "Acme [10de]" "Tone [0fff]" -ra1 "" ""
"""
TREE = r"""-+-[0000:00]-+-00.0  Acme Root
 |           \-01.0-[01]--+-00.0  Acme GX1 [10de:1234]
 |                        \-00.1  Acme Tone
 \-[10000:e0]-+-06.0-[e1]----00.0  Acme SSD
              \-17.0  Acme SATA
"""
GROUPS = """IOMMU Group 1:
\t00:01.0 PCI bridge [0604]: Acme Port [8086:1901]
\t01:00.0 VGA compatible controller [0300]: Acme GX1 [10de:1234] (rev a1)
\t02:00.0 SATA controller [0106]: Acme Disk [1b21:0612]
IOMMU Group 2 03:00.0 USB controller [0c03]: Acme Bus [1b21:1242]
Group 9:  [10de:1d01] [R] 04:00.0  VGA compatible controller    Acme
          [10de:0fb8]     04:00.1  Audio device                 Acme
/sys/kernel/iommu_groups/7/devices/0000:05:00.0 # VGA compatible controller
IOMMU Group: 8
Group Device: 0000:06:00.0 - USB controller: Acme
│ class    │ device │ id           │ iommugroup │ vendor │ device_name
│ 0x030000 │ 0x1234 │ 0000:07:00.0 │          9 │ 0x10de │ GX1
"""
LOG = """[    0.000000] Command line: BOOT_IMAGE=/vmlinuz root=/dev/sda1 intel_iommu=on
[    0.1] DMAR: IOMMU enabled
[    0.5] pci 0000:01:00.0: Adding to iommu group 1
Aug 16 19:25:51 host kernel: [85385.2] NVRM: Xid (PCI:0000:01:00): 79, GPU has
fallen off the bus.
Aug 16 19:25:51 host kernel: vfio-pci 0000:01:00.0: not ready 1023ms after FLR; waiting
"""
BOOT = """GRUB_CMDLINE_LINUX_DEFAULT="quiet acpi_osi=\\"Windows 2015\\" vfio-pci.ids=10de:1234"
options root=/dev/sda1 rw iommu=pt
boot.kernelParams = [ "amd_iommu=on" ];
"""
SAMPLES = [LISTING, VERBOSE, RECORDS, TREE, GROUPS, LOG, BOOT, dump(Function(), 256)]
