"""Intel video BIOS table.

Source: linux drivers/gpu/drm/i915/display/intel_vbt_defs.h (struct vbt_header).
"""

from construct import Bytes, Int8ul, Int16ul, Int32ul, Struct

VBT_HEADER = Struct(
    "signature" / Bytes(20),  # "$VBT " and the platform's name
    "version" / Int16ul,
    "header_size" / Int16ul,
    "vbt_size" / Int16ul,
    "vbt_checksum" / Int8ul,  # does not verify on real ROMs: informative only
    "reserved" / Int8ul,
    "bdb_offset" / Int32ul,
    "aim_offsets" / Bytes(16),
)

BDB_HEADER = Struct(
    "signature" / Bytes(16),  # "BIOS_DATA_BLOCK "
    "version" / Int16ul,
    "header_size" / Int16ul,
    "bdb_size" / Int16ul,
)

#: In front of each block of the BDB.
BDB_BLOCK_HEADER = Struct(
    "block_id" / Int8ul,
    "block_size" / Int16ul,
)

#: Block 254, the VBIOS's own. Older headers of the kernel describe it as struct vbios_data, two
#: bytes shorter in front of the sign-on message than what real ROMs have.
BDB_SKIP = 254
BDB_VBIOS_DATA = Struct(
    "type" / Int8ul,  # 0 desktop, 1 mobile
    "release_stage" / Int8ul,
    "chipset" / Int8ul,
    "lvds_tv_present" / Int8ul,
    "reserved" / Bytes(2),
    "build_number" / Bytes(4),  # digits
    "sign_on" / Bytes(155),
    "copyright" / Bytes(61),
)

#: The word at 0x1A of the legacy image points to the video BIOS table.
VBT_POINTER = Struct("vbt_offset" / Int16ul)
VBT_POINTER_AT = 0x1A
