import pytest
from builders.pe import GOP_GUID, build_pe, utf16
from hypothesis import given
from hypothesis import strategies as st

from romkit.efi.gop import GopRole, driver_name, gop_role, read_gop

AMD = "AMD GOP X64 Release Driver Rev.1.60.0.15.50.Feb  1 2016.14:59:32"
WITH_GUID = build_pe(b"\x90" * 7 + GOP_GUID)


def intel(version: str) -> bytes:
    """The driver's name in its field of 0x88 bytes, then the version in one of 0x18."""
    return utf16("Intel(R) GOP Driver").ljust(0x88, b"\0") + utf16(version).ljust(0x18, b"\0")


@pytest.mark.parametrize(
    ("raw", "version", "family"),
    [
        (0x00010033, "0x10033", "Tesla to Maxwell 1"),
        (0x00020007, "0x20007", "Maxwell 2"),
        (0x00030013, "0x30013", "Pascal"),
        (0x00040006, "0x40006", "Volta"),
        (0x0005001D, "0x5001D", "Turing"),
        (0x0006000D, "0x6000D", "Ampere"),
        (0x00070002, "0x70002", "Ada"),
        (0x0008000F, "0x8000F", "Blackwell"),
        (0x00770002, "0x770002", ""),
    ],
)
def test_nvidias_version_stands_in_npde(raw: int, version: str, family: str) -> None:
    gop = read_gop(build_pe(utf16("NVIDIA GPU UEFI Driver")), raw)
    assert gop is not None
    assert (gop.vendor, gop.version, gop.family, gop.raw) == ("NVIDIA", version, family, raw)
    assert gop.description == "NVIDIA GPU UEFI Driver"
    assert gop.known_by == "NPDE +0x0C"


def test_npde_speaks_for_a_driver_that_cannot_be_read() -> None:
    gop = read_gop(None, 0x0005001D)
    assert gop is not None
    assert repr(gop) == "<Gop NVIDIA 0x5001D Turing>"
    assert gop.description == ""


def test_nvidia_without_npde_has_no_version() -> None:
    gop = read_gop(build_pe(utf16("NVIDIA GPU UEFI Driver (xx.xx.xx.xx.xx)")), None)
    assert gop is not None
    assert (gop.vendor, gop.version, gop.raw) == ("NVIDIA", "", None)
    assert read_gop(build_pe(utf16("NVIDIA GPU UEFI Driver")), 0) == gop


@pytest.mark.parametrize(
    ("text", "version"),
    [
        (AMD, "1.60.0.15.50"),
        ("AMD GOP X64 Rel Driver Rev.3.10.0.Jun  7 2024", "3.10.0"),
        ("AMD GOP ARM64 Release Driver, Rev. 3.1.0.Mar 14 2021.23:19:12", "3.1.0"),
    ],
)
def test_amds_name_holds_everything(text: str, version: str) -> None:
    gop = read_gop(build_pe(b"\x01" + utf16("AMD GOP something") + utf16(text)), None)
    assert gop is not None
    assert (gop.vendor, gop.version, gop.description) == ("AMD", version, text)


@pytest.mark.parametrize(
    ("version", "read"), [("1077", "1077"), ("21.0.1061", "21.0.1061"), ("", ""), ("x", "")]
)
def test_intels_version_follows_its_name(version: str, read: str) -> None:
    gop = read_gop(build_pe(intel(version)), None)
    assert gop is not None
    assert (gop.vendor, gop.version, gop.description) == ("Intel", read, "Intel(R) GOP Driver")


def test_nobodys() -> None:
    assert read_gop(build_pe(utf16("A Driver")), None) is None
    assert read_gop(None, None) is None


def test_the_name_of_an_unknown_driver() -> None:
    pe = build_pe(b"\x01" + utf16("Driver of nothing") + b"\x01" + utf16("i915 Driver"))
    assert driver_name(pe) == "i915 Driver"
    assert driver_name(build_pe(utf16("Drivers"))) == ""
    assert driver_name(utf16("x" * 5000 + "Driver")).endswith("xDriver") is False


@pytest.mark.parametrize(
    ("class_code", "vendor", "role"),
    [
        (0x030000, 0x10DE, GopRole.PRODUCER),
        (0x030200, 0x10DE, GopRole.PRODUCER),
        (0x038000, 0x1234, GopRole.PRODUCER),
        (0x020000, 0x8086, GopRole.CONSUMER),
        (0x010802, 0x1002, GopRole.CONSUMER),
        (0x000000, 0x10DE, GopRole.PRODUCER),
        (0x000000, 0x8086, GopRole.PRODUCER),
        (0x000000, 0x1AF4, GopRole.UNKNOWN),
    ],
)
def test_the_guid_and_the_class_decide(class_code: int, vendor: int, role: GopRole) -> None:
    assert gop_role(WITH_GUID, None, class_code, vendor) is role


def test_a_bare_gop_file_without_class_and_vendor_is_known_by_its_name() -> None:
    pe = build_pe(GOP_GUID + utf16(AMD))
    assert gop_role(pe, read_gop(pe, None), 0, 0x0210) is GopRole.PRODUCER
    assert gop_role(WITH_GUID, read_gop(WITH_GUID, 0x0005001D), 0, 0) is GopRole.PRODUCER


def test_without_the_guid_there_is_no_gop() -> None:
    pe = build_pe(utf16(AMD))
    assert gop_role(pe, read_gop(pe, None), 0x030000, 0x1002) is GopRole.ABSENT


def test_what_cannot_be_read_is_unknown_and_not_absent() -> None:
    assert gop_role(None, None, 0x030000, 0x1002) is GopRole.UNKNOWN


@given(
    st.lists(
        st.sampled_from(
            [
                utf16("AMD GOP Rev."),
                utf16(AMD),
                utf16("Intel(R) GOP Driver"),
                utf16("1077")[:-2],
                utf16("Driver"),
                GOP_GUID,
                b"\0",
                b"1\0",
                b".\0",
                b"\x1b\0",
                b"\xff",
            ]
        ),
        max_size=30,
    ).map(b"".join)
)
def test_texts_are_printable_whatever_stands_there(pe: bytes) -> None:
    gop = read_gop(pe, None)
    if gop is not None:
        assert (gop.version + gop.description).isprintable()
    assert driver_name(pe).isprintable()
