"""NVIDIA's additions to the PCI option ROM.

Sources: open-gpu-kernel-modules (kernel_gsp_vbios_tu102.c), linux nova-core (vbios.rs),
envytools (BIT), and measurements on real ROMs.
"""

from construct import Bytes, Const, Int8ul, Int16ul, Int32ul, Struct

#: In front of the ROM on boards whose flash is read by hardware at power-up ("init from ROM").
NVGI_HEADER = Struct(
    "signature" / Const(b"NVGI"),
    "fixed_data" / Int32ul,  # bits 8..15 version, bits 16..30 size of the fixed part
    "total_data_size" / Int32ul,  # bits 0..19
    "subsystem_vendor_id" / Int16ul,
    "subsystem_id" / Int16ul,
)

#: ROM directory of NVGI version 3 and of NVFW flashes.
RFRD_HEADER = Struct(
    "signature" / Const(b"RFRD"),
    "version" / Int16ul,
    "header_size" / Int16ul,
    "pci_rom_offset" / Int32ul,
    "pci_rom_length" / Int32ul,  # 0xFFFFFFFF: not stated
)

#: NVIDIA PCI data extension, at the next multiple of 16 after the PCI data structure.
NPDE = Struct(
    "signature" / Const(b"NPDE"),
    "revision" / Int16ul,
    "length" / Int16ul,
)

#: The rest of NPDE, as far as `length` says it is there.
NPDE_SUBIMAGE = Struct("subimage_length" / Int16ul)  # units of 512 bytes
NPDE_LAST = Struct("last_image" / Int8ul)  # bit 7
NPDE_FLAGS = Struct("flags" / Int8ul)
NPDE_GOP_VERSION = Struct("gop_version" / Int32ul)
NPDE_SUBSYSTEM = Struct("subsystem_vendor_id" / Int16ul, "subsystem_id" / Int16ul)

#: BIOS information table: the index of everything in the legacy image.
BIT_HEADER = Struct(
    "identifier" / Const(b"\xff\xb8"),
    "signature" / Const(b"BIT\0"),
    "bcd_version" / Int16ul,
    "header_size" / Int8ul,
    "token_size" / Int8ul,
    "token_entries" / Int8ul,
    "header_checksum" / Int8ul,  # all header bytes sum to zero
)

BIT_TOKEN = Struct(
    "token_id" / Int8ul,
    "data_version" / Int8ul,
    "data_size" / Int16ul,
    "data_pointer" / Int16ul,
)

#: The same where `token_size` is 8 or more (open-gpu-kernel-modules, kernel_gsp_fwsec.c).
BIT_TOKEN_32 = Struct(
    "token_id" / Int8ul,
    "data_version" / Int8ul,
    "data_size" / Int16ul,
    "data_pointer" / Int32ul,
)

#: BIT token 'B', as far as every version of it goes.
BIT_BIOS_DATA = Struct(
    "bios_version" / Int32ul,
    "bios_oem_version" / Int8ul,
)

#: BIT token 'S' is a row of these; which string each one is depends on the data version.
BIT_STRING_PTR = Struct(
    "pointer" / Int16ul,
    "size" / Int8ul,  # the most the string may hold, without its zero
)

#: BIT token 'i' (internal use), the part that every size of it has. The names are those of
#: envytools and of what nvflash prints.
BIT_INTERNAL_USE = Struct(
    "bios_version" / Int32ul,
    "bios_oem_version" / Int8ul,
    "features" / Int16ul,
    "build_number" / Int32ul,
    "board_id" / Int16ul,
    "dac_load_pointer" / Int16ul,
    "build_date" / Bytes(8),  # MM/DD/YY
    "device_id" / Int16ul,  # behind a bridge; else zero
)

#: BIT token 'i' from BIT_INTERNAL_BOARD_AT on, where the token is long enough.
BIT_INTERNAL_BOARD = Struct(
    "chip_sku" / Bytes(3),
    "chip_sku_modifier" / Bytes(1),
    "project" / Bytes(4),
    "project_sku" / Bytes(4),
)
BIT_INTERNAL_BOARD_AT = 0x30

#: Fixed places in the legacy image.
MODIFICATION_DATE_AT = 0x38
LEGACY_SUBSYSTEM_AT = 0x54

#: What later images (Pascal and on) have there instead: a VBE 3.0 protected mode information
#: block, or zeros.
VBE_PROTECTED_MODE_BLOCK = b"PMID"
