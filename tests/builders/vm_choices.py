"""Valid profiles at random: each section in one of some ways that belong together."""

from __future__ import annotations

from hypothesis import strategies as st

GPU = '[gpu]\naddress = "01:00.0"\n'

_CHOICES = {
    "machine": ('type = "pc-q35-7.2"', 'type = "q35"', 'irqchip = "split"', 'clock = "utc"'),
    "cpu": ("cores = 1", "sockets = 2\ncores = 2\nthreads = 2", 'features = ["-x2apic"]',
            'model = "qemu64"', 'pin = ["0", "0-1"]', "cores = 40\nthreads = 2"),
    "memory": ('size = "256M"', 'size = "128M"\nlock = true', 'hugepages = "2M"'),
    "firmware": ('kind = "bios"', 'kind = "uefi"', 'vars = "my, vars.fd"', "secure_boot = true"),
    "hide": ("kvm = false", 'vendor_id = ""\nhyperv = []', 'vendor_id = "a b=c"',
             'hyperv = ["time", "vpindex", "synic", "stimer", "relaxed"]',
             'hyperv = ["relaxed", "vapic", "spinlocks", "runtime", "reset", "frequencies"]'),
    "media": ('install = "cd.iso"', 'drivers = ["cd.iso", "a, b.iso"]'),
    "integrated": ('mdev = "i915-GVTg_V5_4"', 'mdev = "x"\nramfb = true\nrom = "vbios.rom"',
                   'mdev = "x"\ndisplay = false\nopregion = false\nguest_address = "00:10.0"'),
    "display": ('video = "none"', 'video = "std"\nshow = "none"', 'video = "virtio"',
                'video = "ramfb"\nshow = "vnc"', 'video = "qxl"\nport = 5999'),
    "looking_glass": ('size = "1M"\npath = "lg, mem"', 'size = "32M"'),
    "input": ("tablet = false", 'usb = ["1234:5678", "9-7"]',
              'evdev = ["/dev/input/by-id/x-kbd"]'),
    "tpm": ('kind = "emulator"', 'kind = "emulator"\nmodel = "tis"'),
    "smbios": ('manufacturer = "A, b"\nproduct = "c=d"', 'bios_vendor = "x"',
               'board_product = "y"\nserial = "1"'),
    "qemu": ('arguments = ["-device", "virtio-rng-pci,bus=pcie.0,addr=1d.0"]',),
}  # fmt: skip

_GPUS = (
    "", GPU, f'{GPU}rom = "vbios.rom"\nrom_bar = false', f'{GPU}guest_address = "00:08.0"',
    f'{GPU}port = "00:03.0"\nhotplug = true', f'{GPU}audio = "none"\nsubsystem = "none"',
    f'{GPU}subsystem = "1025:118b"',
)  # fmt: skip
_DISKS = ('bus = "virtio"\ndiscard = true', 'bus = "nvme"', 'bus = "sata"\nserial = "A"',
          'bus = "virtio"\nread_only = true', 'format = "raw"\ncache = "writeback"')  # fmt: skip
_NETWORKS = ('kind = "user"', 'kind = "user"\nforward = ["tcp:0000:1"]', 'kind = "vde"',
             'kind = "tap"\ninterface = "tap0"', 'kind = "bridge"\ninterface = "br0"',
             'kind = "none"', 'model = "e1000e"', 'model = "rtl8139"')  # fmt: skip
_ACPI = ("battery = true", 'chassis = "notebook"', 'tables = ["extra.aml"]')


@st.composite
def profiles(draw: st.DrawFn) -> str:
    """The text of a profile without its name."""
    rows = []
    chosen = draw(st.lists(st.sampled_from(sorted(_CHOICES)), unique=True))
    for section in chosen:
        rows += [f"[{section}]", draw(st.sampled_from(_CHOICES[section]))]
    gpu = draw(st.sampled_from(_GPUS))
    rows.append(gpu)
    for number in range(draw(st.integers(0, 3))):
        rows += ["[[disk]]", f'path = "disk, {number}.img"', draw(st.sampled_from(_DISKS))]
    networks = [n for n in _NETWORKS if "0000" not in n]
    for network in draw(st.lists(st.sampled_from(networks), max_size=3)):
        rows += ["[[network]]", network]
    acpi = draw(st.lists(st.sampled_from(_ACPI), unique=True))
    if "rom" in gpu and draw(st.booleans()):
        acpi.append(draw(st.sampled_from(("vbios = true", 'vbios = true\nvbios_by = "fw_cfg"'))))
    rows += ["[acpi]", *acpi]
    for number in range(draw(st.integers(0, 2))):
        rows += ["[[fw_cfg]]", f'name = "opt/x/{number}"', 'text = "a, b"']
    return "\n".join(rows) + "\n"
