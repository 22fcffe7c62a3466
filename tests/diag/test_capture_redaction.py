"""Nothing that names somebody is in a capture, and what was equal there is equal still."""

from __future__ import annotations

import io
import tarfile

import pytest
from builders.captured import laptop, reopened
from builders.config_space import Function, config_space
from builders.host import HostTree
from hypothesis import given
from hypothesis import strategies as st

from diag.capture import archive_capture, open_capture, read_capture
from diag.capture.redact import Redactor

UUID = "6D3e2f1a-94c7-4b21-8f6e-0123456789ab"
SECRETS = (
    *(UUID, UUID.lower(), "1A2B-3C4D", "PF2ABC7X", "thinkbox", "alice", "hunter2"),
    *("52:54:00:ab:cd:ef", "52-54-00-AB-CD-EF", "525400abcdef", "5254.00ab.cdef"),
)


def named() -> HostTree:
    tree = laptop()
    tree.cmdline(
        f"root=UUID={UUID} resume=/dev/disk/by-uuid/{UUID.lower()} esp=UUID=1A2B-3C4D "
        "ifname=lan0:52:54:00:ab:cd:ef x=52-54-00-AB-CD-EF y=525400abcdef z=5254.00ab.cdef "
        "thinkbox.serial=PF2ABC7X systemd.hostname=thinkbox luks.password=hunter2"
    )
    tree.file("/sys/class/net/eth0/address", "52:54:00:ab:cd:ef")
    tree.file("/sys/class/dmi/id/product_serial", "PF2ABC7X")
    tree.file("/sys/class/dmi/id/product_name", "20XW")
    tree.file("/proc/sys/kernel/hostname", "thinkbox")
    tree.file("/etc/passwd", "root:x:0:0::/root:/bin/sh\nalice:x:1000:1000::/home/alice:/bin/sh")
    tree.file("/etc/modprobe.d/alice.conf", "# written on ThinkBox\noptions x path=/home/alice/rom")
    tree.file("/etc/security/limits.conf", "alice hard memlock unlimited\n@kvm - memlock 1")
    tree.said("uname", "-a", out="Linux thinkbox 6.1.0-18-amd64 #1 SMP\n")
    log = (
        "[0.1] Linux version 6.1.0-18-amd64\n[0.2] Command line: root=UUID=" + UUID + "\n"
        "[1.0] wlan0: associated with 52:54:00:ab:cd:ef\n"
        "[2.0] vfio-pci 0000:01:00.0: used by alice\n"
    )
    return tree.said("dmesg", out=log)


def everything(data: bytes) -> str:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        texts = []
        for member in tar:
            content = tar.extractfile(member) if member.isfile() else None
            texts += [
                member.name,
                member.linkname,
                content.read().decode("latin-1") if content else "",
            ]
    return "\n".join(texts)


def test_nothing_that_names_somebody_is_in_a_capture() -> None:
    tree = named()
    before = tree.files["/proc/cmdline"].decode()
    assert all(secret in before for secret in SECRETS if secret not in ("alice", "hunter2"))
    text = everything(archive_capture(read_capture(tree.host())))
    assert [secret for secret in SECRETS if secret.lower() in text.lower()] == []
    assert "20XW" in text
    assert "intel_iommu" not in text  # this command line has none


def test_what_was_equal_stays_equal_and_what_was_another_stays_another() -> None:
    host = reopened(named().host())
    words = dict(w.partition("=")[::2] for w in (host.text("/proc/cmdline") or "").split())
    root = words["root"].removeprefix("UUID=")
    assert words["resume"] == f"/dev/disk/by-uuid/{root}"
    assert root not in words["esp"]
    plain = {
        "".join(c for c in words[key][-17:] if c.isalnum()) for key in ("ifname", "x", "y", "z")
    }
    assert len({mac[-12:] for mac in plain}) == 1
    said = host.run("dmesg")
    assert said is not None
    assert f"root=UUID={root}" in said.out
    assert "vfio-pci 0000:01:00.0" in said.out
    assert "wlan0" not in said.out
    assert words["systemd.hostname"] == "host-1"
    uname = host.run("uname", "-a")
    assert uname is not None
    assert uname.out == "Linux host-1 6.1.0-18-amd64 #1 SMP\n"
    assert host.names("/etc/modprobe.d") == ("user-1.conf",)
    assert host.text("/etc/security/limits.conf") == (
        "user-1 hard memlock unlimited\n@kvm - memlock 1"
    )


def test_the_manifest_counts_what_was_redacted() -> None:
    counts = read_capture(named().host()).redacted
    assert set(counts) == {
        "UUID", "MAC address", "serial number", "host name", "user name", "password",
    }  # fmt: skip
    assert counts["password"] == 1


def test_files_that_are_not_allowed_stay() -> None:
    tree = named().file("/etc/shadow", "root:x").file("/home/alice/.ssh/id_rsa", "key")
    tree.file("/sys/firmware/acpi/tables/MSDM", b"windows key").file(
        "/sys/firmware/acpi/tables/DSDT", b"DSDT PF2ABC7X"
    )
    tree.file("/sys/firmware/acpi/tables/DMAR", b"DMAR")
    capture = read_capture(tree.host())
    text = everything(archive_capture(capture))
    assert "shadow" not in text
    assert "id_rsa" not in text
    assert "windows key" not in text
    assert capture.host().data("/sys/firmware/acpi/tables/DMAR") == b"DMAR"
    # A table that holds the serial number is left out, and said to be there.
    assert list(capture.left_out) == ["/sys/firmware/acpi/tables/DSDT"]
    names = capture.host().names("/sys/firmware/acpi/tables") or ()
    assert {"DSDT", "MSDM", "DMAR"} <= set(names)


def test_of_a_firmwares_attributes_only_the_switches_are_taken() -> None:
    folder = "/sys/class/firmware-attributes/hp-bioscfg/attributes"
    secrets = {
        "Serial Number": "5CD1234XYZ", "Asset Tracking Number": "ACME-4711",
        "Ownership Tag": "Anna Kovacs",
    }  # fmt: skip
    tree = laptop().refused("/sys/class/dmi/id/product_serial")
    for name, value in secrets.items():
        tree.file(f"{folder}/{name}/current_value", value)
    tree.file(f"{folder}/gpu_mux_mode/current_value", "1")
    tree.file(f"{folder}/dgpu_disable/current_value", "0")
    archive = archive_capture(read_capture(tree.host()))
    text = everything(archive)
    assert [value for value in secrets.values() if value in text] == []
    host = open_capture(archive)
    assert host.text(f"{folder}/gpu_mux_mode/current_value") == "1"
    assert host.text(f"{folder}/dgpu_disable/current_value") == "0"


def test_people_whom_only_a_directory_knows_are_people() -> None:
    tree = named()
    lines = tree.files["/etc/passwd"].decode()
    tree.file("/etc/passwd", f"{lines}libvirt-qemu:x:64055:64055::/var/lib/libvirt:/bin/false")
    tree.file("/etc/group", "root:x:0:\nlibvirt:x:111:alice,bobby\nkvm:x:112:libvirt-qemu,bobby")
    tree.file("/etc/apparmor.d/local/abstractions/libvirt-qemu", "# for bobby")
    host = reopened(tree.host())
    said = host.text("/etc/group") or ""
    assert "bobby" not in said
    # Who is in both groups is the same person in both; an account of a program is nobody's.
    first, second = (line.rpartition(":")[2].split(",") for line in said.splitlines()[1:])
    assert (first[1], second[0]) == (second[1], "libvirt-qemu")
    rules = host.text("/etc/apparmor.d/local/abstractions/libvirt-qemu")
    assert rules == f"# for {first[1]}"


def test_numbers_that_only_their_names_give_away() -> None:
    tree = laptop().cmdline("quiet netdev.mac=aabbccddee02 g_ether.iSerialNumber=SER00042")
    tree.file("/etc/default/grub", "# password_pbkdf2 x grub.pbkdf2.sha512.10000.DEADBEEF.CAFE")
    tree.file("/etc/modprobe.d/wifi.conf", "options wl psk=foobarbaz mode=2")
    tree.file("/sys/module/usb_f_mass/parameters/serialnumber", "ABC123SER")
    tree.file("/sys/module/usb_f_mass/parameters/stall", "Y")
    fire = "[2.2] firewire_core 0000:04:00.0: created device fw0: GUID 00110d1234567890, S800\n"
    tree.said("dmesg", out=f"[0.1] Linux version 6.1.0-18-amd64\n{fire}")
    archive = archive_capture(read_capture(tree.host()))
    text, host = everything(archive).lower(), open_capture(archive)
    secrets = ("aabbccddee02", "ser00042", "deadbeef", "cafe", "foobarbaz", "abc123ser")
    assert [secret for secret in (*secrets, "00110d1234567890") if secret in text] == []
    assert host.text("/etc/modprobe.d/wifi.conf") == "options wl psk=redacted mode=2"
    assert host.text("/sys/module/usb_f_mass/parameters/stall") == "Y"
    assert host.exists("/sys/module/usb_f_mass/parameters/serialnumber")


@pytest.mark.parametrize("line", [
    "GUID 00110d1234567890", "netdev.mac=aabbccddee02", "psk=foobarbaz", "iSerialNumber=SER00042",
    "grub.pbkdf2.sha512.10000.DEADBEEF.CAFE",
])  # fmt: skip
def test_each_of_them_is_redacted_once(line: str) -> None:
    once = Redactor().text(line)
    assert once != line
    again = Redactor()
    assert (again.text(once), dict(again.counts)) == (once, {})


def test_a_network_cards_serial_number_is_no_part_of_its_config() -> None:
    data = bytearray(config_space(Function(class_code=0x0200)))
    data[0x100:0x104] = (0x0003 | 1 << 16).to_bytes(4, "little")
    data[0x104:0x10C] = bytes.fromhex("efcdabffff005452")
    tree = HostTree().device("0000:02:00.0", class_=0x020000, config=bytes(data))
    read = reopened(tree.host()).data("/sys/bus/pci/devices/0000:02:00.0/config")
    assert read == bytes(data[:0x104]) + bytes(8) + bytes(data[0x10C:])


@given(st.text(st.characters(codec="utf-8"), max_size=200))
def test_redacting_twice_changes_nothing_more(text: str) -> None:
    redactor = Redactor(hosts=["thinkbox"], users=["alice"], serials=["PF2ABC7X"])
    once = redactor.text(
        f"{text} {UUID} UUID=1A2B-3C4D 52:54:00:ab:cd:ef thinkbox /home/bob/ {text}"
    )
    assert redactor.text(once) == once


def test_addresses_and_ids_are_no_secrets() -> None:
    text = (
        "0000:01:00.0 10000:e1:00.0 10de:1c20 pci:v000010DEd00001C20sv00001558bc03sc00i00 "
        "0x00000000f6000000 0x00000000f6ffffff 6.1.0-18-amd64 535.183.01 QEMU 7.2.22 00:1f.3 "
        "SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c vfio-pci.ids=10de:1c20,10de:10f1"
    )
    redactor = Redactor(hosts=["debian", "vm", "host"], users=["user", "on"])
    assert redactor.text(text) == text
    assert not redactor.counts
