"""Messages of drivers, QEMU and libvirt that people meet, and what each means.

`diag.text.problems` has the failures that make a log worth showing; here are the further ones that
a driver's refusal or a program's complaint consists of.
"""

from __future__ import annotations

import re

from diag.text.problems import PROBLEMS, Problem


def _problem(name: str, pattern: str, meaning: str) -> Problem:
    return Problem(name, re.compile(pattern), meaning)


#: What drivers say in the kernel's log.
DRIVER_MESSAGES = (
    _problem(
        "memlock_exceeded",
        r"RLIMIT_MEMLOCK \(\d{1,20}\) exceeded|vfio_dma_map\(.{0,120}\) = -12\b"
        r"|VFIO_MAP_DMA failed: Cannot allocate memory",
        "The VM's memory may not be locked: VFIO pins all of it, and the limit of the user who "
        "starts QEMU (ulimit -l) is smaller.",
    ),
    _problem(
        "nvidia_in_use",
        r"NVRM: Attempting to remove device \S{1,20} with non-zero usage count",
        "The nvidia driver was unbound while something used the GPU. It waits inside the kernel "
        "until that ends, and often for ever: only a restart of the host helps then. Unload the "
        "nvidia modules before the driver is unbound.",
    ),
    _problem(
        "vfio_held",
        r"No device request channel registered, blocked until released by user"
        r"|Device is currently in use, task .{1,40} blocked until device is released",
        "vfio-pci was unbound, or the device removed, while a VM had it open. It waits until that "
        "VM ends.",
    ),
    _problem(
        "bbswitch_refused",
        r"bbswitch: device \S{1,20} is in use by driver",
        "bbswitch does not switch a GPU off that a driver is bound to; vfio-pci counts too.",
    ),
    _problem(
        "bbswitch_no_method",
        r"No discrete VGA device found|bbswitch: No suitable _DSM call found",
        "bbswitch finds no GPU, or no method of the firmware to switch it: it cannot be used on "
        "this machine as it is. Linux' own runtime power management may do.",
    ),
    _problem(
        "nvhda_no_audio",
        r"nvhda: (?:Not multifunction, no audio|No nv audio device found)",
        "nvhda finds no audio function to switch on: the GPU has none, or is off.",
    ),
    _problem(
        "gvt_unsupported",
        r"Unsupported device\. GVT-g is disabled",
        "The integrated GPU cannot be divided by GVT-g: that works from Broadwell to Comet Lake.",
    ),
    _problem(
        "module_refused",
        r"Loading of (?:unsigned )?module is (?:rejected|restricted)"
        r"|module verification failed: signature and/or required key missing"
        r"|Lockdown: .{1,40}: unsigned module loading is restricted",
        "The kernel refuses a module that nobody whom it trusts has signed: Secure Boot is on.",
    ),
    _problem(
        "reset_method_unsupported",
        r"(?:Unsupported|Invalid) reset method '",
        "What was written into reset_method is no way in which this device can be reset now. "
        '"bus" needs that it is alone on its bus.',
    ),
    _problem(
        "not_ready_resume",
        r"not ready \d{1,9}ms after (?!FLR|bus reset)",
        "The device has not answered within a second after it was woken or reset; the kernel goes "
        'on waiting, up to a minute, and then says "giving up". A card that comes back only late '
        "works; one that is given up has no power: power_state in sysfs, diag explain power.",
    ),
    _problem(
        "no_interrupt_remapping",
        r"No interrupt remapping support",
        "The IOMMU cannot keep a device's interrupts apart, or intremap=off is on the command "
        "line, and VFIO refuses. Update the firmware, or turn its x2APIC and VT-d options on. "
        "options vfio_iommu_type1 allow_unsafe_interrupts=1 in /etc/modprobe.d accepts that a "
        "guest can send the host any interrupt: for guests that are trusted only.",
    ),
)  # fmt: skip

#: What QEMU and libvirt say.
PROGRAM_MESSAGES = (
    _problem(
        "group_not_bound",
        r"Please ensure all devices within the iommu_group are bound",
        "Another device of the IOMMU group is still with a host driver: bind every device of the "
        "group to vfio-pci, or leave it without a driver. Bridges may keep theirs. diag iommu "
        "shows who is in the group.",
    ),
    _problem(
        "nvidia_reset_in_use",
        r"In use by another client",
        "nvidia-smi does not reset a GPU that anything has open; persistence mode counts. Turn it "
        "off (nvidia-smi -pm 0 -i ID), and end what fuser -v /dev/nvidia* names.",
    ),
    _problem(
        "virqfd_module",
        r"module not found: '?vfio_virqfd",
        "vfio_virqfd has been a part of vfio since Linux 6.2: take it out of MODULES in "
        "/etc/mkinitcpio.conf, or of the like list of another initramfs. Nothing is missing "
        "without it.",
    ),
    _problem(
        "no_iommu_group",
        r"no iommu_group found",
        "The device is in no IOMMU group: no IOMMU is in use. Look at diag iommu.",
    ),
    _problem(
        "group_open_failed",
        r"failed to open /dev/vfio/\d{1,6}|Could not open '?/dev/vfio/",
        "The user who starts QEMU may not open the group's file in /dev/vfio, or another VM has "
        "it open.",
    ),
    _problem(
        "romfile_missing",
        r'failed to find romfile "',
        "The file that romfile= names is not there, or AppArmor or its permissions hide it.",
    ),
    _problem(
        "slot_taken",
        r"PCI: slot \d{1,3} function \d not available for",
        "Two devices of the VM have the same address.",
    ),
    _problem(
        "not_multifunction",
        r"single function device can't be populated in function",
        "Function 1 of a card needs multifunction=on at function 0.",
    ),
    _problem(
        "chassis_slot",
        r"Can't add chassis slot, error -16",
        "Two root ports of the VM have the same chassis and slot number.",
    ),
    _problem(
        "acpi_table_short",
        r"ACPI table claiming to have header is too short",
        "The file of -acpitable is no compiled table: it is empty, or source. Compile it (iasl).",
    ),
    _problem(
        "kvm_denied",
        r"Could not access KVM kernel module|failed to initialize kvm",
        "/dev/kvm is missing, or its permissions keep this user out.",
    ),
    _problem(
        "unknown_property",
        r"Property '[\w.-]{1,80}' not found",
        "This QEMU does not know an option; qemu-system-x86_64 -device vfio-pci,help prints those "
        "that it knows.",
    ),
    _problem(
        "vendor_id_cut",
        r"hv-vendor-id truncated to 12 characters",
        "hv_vendor_id has more than 12 characters; what is behind them is left out.",
    ),
    _problem(
        "msr_refused",
        r"failed to set MSR 0x[0-9a-f]{1,16}",
        "KVM does not let the guest have this register; often KVM inside a VM.",
    ),
    _problem(
        "virsh_busy",
        r"PCI device \S{1,20} is in use by driver|Requested operation is not valid: PCI device",
        "Another VM that libvirt runs has this device.",
    ),
)  # fmt: skip

#: What people see of a guest, in the words that they use. These are reports of single machines
#: (field report: Acer Nitro 5 AN515-51) and say so: no measured rule is behind them.
SYMPTOMS = (
    _problem(
        "video_tdr_failure",
        r"(?i)VIDEO[_ ]TDR[_ ](?:FAILURE|TIMEOUT)",
        "A graphics driver in the guest did not answer in time. One report has it from Intel's "
        "driver after the resolution of a GVT-g screen was forced; its author is not sure. Leave "
        "the resolution as the guest found it.",
    ),
    _problem(
        "tianocore_hang",
        r"(?i)tiano ?core",
        "The VM's firmware goes no further. One report: after a frozen VM was forced off, every VM "
        "with virtio disks stayed there with one processor at 100 %, until the host was restarted; "
        "the cause is unknown. Another: deleting the VM's NVRAM variables helped.",
    ),
    _problem(
        "host_stutter",
        r"(?i)\bstutter",
        "One report: the host stutters when the VM starts, although its processors are idle, if "
        "the GPU's audio function was handed over without a reset before. Reset it before it is "
        "bound to vfio-pci, or leave it out: diag explain audio.",
    ),
    _problem(
        "no_optimus",
        r"(?i)nvidia control panel|\boptimus\b.{0,40}\bguest",
        "A guest's NVIDIA control panel offers no choice of the GPU: Optimus, which copies the "
        "picture from one GPU to the other, is not known to work in a VM like this. One author "
        "says that on a muxless laptop he got the control panel to work (Reddit, r/VFIO, i80ffe). "
        "Use the GPU's own output, or Looking Glass, or a remote desktop.",
    ),
    _problem(
        "no_guest_picture",
        r"(?i)\bno (?:picture|signal|output|image|video)\b|\bhdmi\b.{0,40}\bnot? work",
        "The guest shows nothing on the GPU's output. A muxless GPU (class 0302: diag gpu) has "
        "none; on other laptops HDMI may hang on the integrated GPU, and a ROM without a GOP that "
        "firmware reaches shows nothing before the guest's driver runs (romkit verify). The GPU "
        "can work all the same: set up a remote desktop (RDP) in the guest, or show its picture "
        "with a virtual display or Looking Glass.",
    ),
    _problem(
        "blank_screen",
        r"(?i)\b(?:blank|black) screen|\bscreen (?:stays?|stayed|is|was|remains?) (?:blank|black)",
        "The host's screen stays blank when the display manager starts (one report: LightDM, on a "
        "laptop in mshybrid mode): the display server has chosen the GPU that the panel does not "
        "hang on. Boot without the display manager: add systemd.unit=multi-user.target (or 3) to "
        "the kernel's command line in the boot menu. Then tell Xorg which GPU is the host's, with "
        "Driver and BusID in /etc/X11/xorg.conf.d; diag explain gpu.mux.",
    ),
)  # fmt: skip

#: All of them.
MESSAGES = (*PROBLEMS, *DRIVER_MESSAGES, *PROGRAM_MESSAGES, *SYMPTOMS)


def find_messages(text: str) -> tuple[Problem, ...]:
    """The messages that a line holds."""
    return tuple(message for message in MESSAGES if message.pattern.search(text))
