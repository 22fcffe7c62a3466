"""Firmware updates that are cut into blocks: Dell's PFS, AMI's PFAT, and Intel's BIOS Guard blocks
in both. As uefi-firmware, UEFITool and BIOSUtilities read them.
"""

from construct import Bytes, Const, Int8ul, Int16ul, Int32ul, Struct

#: In front of each block; script and data follow.
BIOS_GUARD_HEADER = Struct(
    "version_major" / Int16ul,
    "version_minor" / Int16ul,
    "platform_id" / Bytes(16),
    "attributes" / Int32ul,  # bit 0: a signature follows the data
    "script_version_major" / Int16ul,
    "script_version_minor" / Int16ul,
    "script_size" / Int32ul,
    "data_size" / Int32ul,
    "bios_svn" / Int32ul,
    "ec_svn" / Int32ul,
    "vendor_info" / Int32ul,
)
SIGNED_FLASH_ADDRESS_MAP = 0x01

#: The script's second instruction loads the place of the data in the flash.
BIOS_GUARD_SCRIPT = Struct("begin" / Bytes(12), "flash_offset" / Int32ul)

#: First word of a block's signature: 1 for RSA with 2048 bits, else 3072.
BIOS_GUARD_SIGNATURE = Struct("kind" / Int32ul)

#: AMI's header, in front of a list of the files as text.
AMI_PFAT_HEADER = Struct(
    "size" / Int32ul,  # bytes up to the first block
    "checksum" / Int32ul,
    "tag" / Const(b"_AMIPFAT"),
    "flags" / Int8ul,
)

#: Dell's PFS: header, entries, footer.
PFS_HEADER = Struct("tag" / Const(b"PFS.HDR."), "version" / Int32ul, "payload_size" / Int32ul)

#: One entry. Revision 1 has 16 more bytes of no known meaning, revision 2 has 32.
PFS_ENTRY = Struct(
    "guid" / Bytes(16),
    "version" / Int32ul,
    "version_type" / Bytes(4),
    "version_fields" / Bytes(8),
    "reserved" / Bytes(8),
    "data_size" / Int32ul,
    "data_signature_size" / Int32ul,
    "metadata_size" / Int32ul,
    "metadata_signature_size" / Int32ul,
)
PFS_ENTRY_SIZES = {1: 0x48, 2: 0x58}
