"""AMD ATOM BIOS: what can be read without the command tables.

Sources: linux drivers/gpu/drm/amd/include/atombios.h, and measurements on 415 ROMs.
"""

from construct import Bytes, Int8ul, Int16ul, Struct

#: Pointer at 0x48 of the legacy image.
ATOM_ROM_HEADER = Struct(
    "structure_size" / Int16ul,
    "table_format_revision" / Int8ul,
    "table_content_revision" / Int8ul,
    "firmware_signature" / Bytes(4),  # "ATOM"
    "bios_runtime_seg_address" / Int16ul,
    "protected_mode_info_offset" / Int16ul,
    "config_filename_offset" / Int16ul,
    "crc_block_offset" / Int16ul,
    "bios_bootup_message_offset" / Int16ul,
    "int10_offset" / Int16ul,
    "pci_bus_dev_init_code" / Int16ul,
    "io_base_address" / Int16ul,
    "subsystem_vendor_id" / Int16ul,
    "subsystem_id" / Int16ul,
    "pci_info_offset" / Int16ul,
    "master_command_table_offset" / Int16ul,
    "master_data_table_offset" / Int16ul,
    "extended_function_code" / Int8ul,
    "reserved" / Int8ul,
)

#: Fixed places in the legacy image (atomfirmware.h, enum atombios_image_offset).
ATOM_ROM_HEADER_POINTER = Struct("rom_header_offset" / Int16ul)
ATOM_ROM_HEADER_POINTER_AT = 0x48
NUMBER_OF_STRINGS_AT = 0x2F
STRINGS_POINTER = Struct("strings_offset" / Int16ul)
STRINGS_POINTER_AT = 0x6E
DATE_AT = 0x50
DATE_SIZE = 14  # MM/DD/YY, a blank or a comma, HH:MM
#: The part number of images that count no strings.
PART_NUMBER_AT = 0x80
PART_NUMBER_SIZE = 43
MAGIC_AT = 0x30
MAGIC = b" 761295520"

#: In front of the version, within the first kilobyte (linux amdgpu/atom.c).
VERSION_PREFIX = b"ATOMBIOSBK-AMD VER"
VERSION_WITHIN = 1024
