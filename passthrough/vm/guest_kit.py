"""What a driver disc carries for the guest besides drivers: written here, for both systems."""

from __future__ import annotations

import re
from collections.abc import Iterable
from xml.sax.saxutils import escape

#: Drivers that Windows Setup needs before it sees a disk or a network of virtio.
_VIRTIO = ("viostor", "vioscsi", "netkvm")

#: Letters that a disc may get while Windows is set up.
_LETTERS = "DEFGH"

_REGISTRY = r"""# Message-signalled interrupts for the passed-through GPU and its audio function.
# Run as administrator, once after each driver installation:  enable-msi.cmd
# With -Undo the settings are removed again. Restart Windows afterwards.
param([switch]$Undo)
$ErrorActionPreference = 'Stop'
$vendors = 'VEN_10DE', 'VEN_1002', 'VEN_8086'
$devices = Get-PnpDevice -PresentOnly | Where-Object {
    $instance = $_.InstanceId
    if ($instance -notlike 'PCI\*') { return $false }
    if (@($vendors | Where-Object { $instance -like "*$_*" }).Count -eq 0) { return $false }
    # Base class 03 is a display, 0403 is HD audio: nothing else is touched.
    $ids = (Get-PnpDeviceProperty -InstanceId $instance `
            -KeyName 'DEVPKEY_Device_CompatibleIds').Data
    @($ids | Where-Object { $_ -match '&CC_(03|0403)' }).Count -gt 0
}
foreach ($device in $devices) {
    $key = "HKLM:\SYSTEM\CurrentControlSet\Enum\$($device.InstanceId)\Device Parameters\" +
           'Interrupt Management\MessageSignaledInterruptProperties'
    $now = (Get-ItemProperty -Path $key -Name MSISupported -ErrorAction Ignore).MSISupported
    $name = "$($device.FriendlyName): $($device.InstanceId)"
    if (-not $Undo -and $now -eq 1) { Write-Host "$name is set already"; continue }
    if ($Undo) {
        if (Test-Path $key) {
            Remove-ItemProperty -Path $key -Name MSISupported -ErrorAction Ignore
        }
    } else {
        New-Item -Path $key -Force | Out-Null
        New-ItemProperty -Path $key -Name MSISupported -PropertyType DWord `
            -Value 1 -Force | Out-Null
    }
    Write-Host $name
}
if (-not $devices) { Write-Host 'No GPU of NVIDIA, AMD or Intel was found.' }
"""

_START = """@echo off
rem Message-signalled interrupts for the GPU: right-click, "Run as administrator".
powershell -NoProfile -ExecutionPolicy Bypass -File "%~dp0enable-msi.ps1" %*
pause
"""

_MODPROBE = """# Message-signalled interrupts for the passed-through GPU and its audio function.
# Copy to /etc/modprobe.d/, rebuild the initramfs and restart the guest.
options snd_hda_intel enable_msi=1
options nvidia NVreg_EnableMSI=1
"""

_CHECKLIST = """What to do in the guest, in this order

 1. Windows Setup shows no disk? Choose "Load driver" and this disc. With the virtio drivers on
    it (passthrough media drivers --virtio) the file autounattend.xml loads them by itself.
 2. Look at Device Manager before any GPU driver is installed. There must be a display adapter
    and a High Definition Audio controller behind a PCI Express root port.
 3. Install the GPU's driver from this disc. Laptop drivers look for the maker's subsystem ids:
    "no compatible hardware" means that they differ from the host's. On the host:
    passthrough vm check
 4. Restart. Device Manager must show the card by its name, without a mark. If it shows
    "Code 43": diag explain on the host names the causes that are known, and looks for them.
 5. Run windows\\enable-msi.cmd as administrator and restart. In Linux see linux/dgpukit-msi.conf.
    Whether it works: Device Manager, View, Resources by type, IRQ: negative numbers are MSI.
    In Linux: grep -i msi /proc/interrupts, and for the driver's speed
    __GL_SYNC_TO_VBLANK=0 glxgears: thousands of frames a second, every time.
 6. Turn off fast startup and hibernation (powercfg /h off): a guest that only sleeps has not
    let go of its GPU, and the host gets it back in a state that it does not know.
 7. Shut the guest down from inside. The host's drivers must be back afterwards:
    passthrough status
"""


def guest_kit(paths: Iterable[str]) -> dict[str, bytes]:
    """The files of the kit, by their paths on the disc.

    Args:
        paths: what else is on the disc; autounattend.xml names the virtio drivers among them,
            and is left out where there are none.
    """
    kit = {
        "CHECKLIST.txt": _dos(_CHECKLIST),
        "windows/enable-msi.cmd": _dos(_START),
        "windows/enable-msi.ps1": _dos(_REGISTRY),
        "linux/dgpukit-msi.conf": _MODPROBE.encode(),
    }
    folders = virtio_folders(paths)
    if folders:
        kit["autounattend.xml"] = _dos(unattend(folders))
    return kit


def _dos(text: str) -> bytes:
    return text.replace("\n", "\r\n").encode()


def virtio_folders(paths: Iterable[str]) -> tuple[str, ...]:
    """The folders with virtio drivers for the setup of a 64-bit Windows: the newest for which
    there are any."""
    found: dict[str, set[str]] = {}
    for path in paths:
        folder, _, name = path.rpartition("/")
        parts = [part.lower() for part in folder.split("/")]
        if name.lower().removesuffix(".inf") not in _VIRTIO or "amd64" not in parts:
            continue
        system = next((p for p in parts if re.fullmatch(r"w1\d", p)), "")
        if name.lower().endswith(".inf") and system:
            found.setdefault(system, set()).add(folder)
    # The drivers of both are the same files; Windows 10 is what both versions' setup loads.
    best = "w10" if "w10" in found else max(found, default="")
    return tuple(sorted(found.get(best, set())))


def unattend(folders: Iterable[str]) -> str:
    """An answer file for Windows Setup that loads drivers, and answers nothing else.

    Setup reads it from the root of any disc (Microsoft, "Windows Setup automation overview"); the
    component is Microsoft-Windows-PnpCustomizationsWinPE, pass windowsPE. A path that is not
    there is passed over, so that every letter that the disc may get is named.
    """
    lines = []
    number = 0
    for folder in folders:
        for letter in _LETTERS:
            number += 1
            place = escape(f"{letter}:\\" + folder.replace("/", "\\"))
            lines.append(
                f'        <PathAndCredentials wcm:action="add" wcm:keyValue="{number}">\n'
                f"          <Path>{place}</Path>\n"
                "        </PathAndCredentials>"
            )
    paths = "\n".join(lines)
    return f"""<?xml version="1.0" encoding="utf-8"?>
<unattend xmlns="urn:schemas-microsoft-com:unattend"
          xmlns:wcm="http://schemas.microsoft.com/WMIConfig/2002/State">
  <settings pass="windowsPE">
    <component name="Microsoft-Windows-PnpCustomizationsWinPE" processorArchitecture="amd64"
               publicKeyToken="31bf3856ad364e35" language="neutral" versionScope="nonSxS">
      <DriverPaths>
{paths}
      </DriverPaths>
    </component>
  </settings>
</unattend>
"""
