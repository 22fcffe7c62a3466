"""What UEFI firmware images are made of.

UEFI Platform Initialization specification 1.8, volume 3 (firmware volumes, files, sections); UEFI
specification 2.10, section 23.2 (capsules); Intel's flash descriptor as coreboot's ifdtool and
UEFITool read it; AMD's zlib section as uefi-firmware reads it.
"""

from construct import Bytes, Const, Int8ul, Int16ul, Int24ul, Int32ul, Int64ul, Struct

#: EFI_FIRMWARE_VOLUME_HEADER, without its block map.
FIRMWARE_VOLUME_HEADER = Struct(
    "zero_vector" / Bytes(16),
    "file_system_guid" / Bytes(16),
    "fv_length" / Int64ul,  # bytes, header included
    "signature" / Const(b"_FVH"),
    "attributes" / Int32ul,
    "header_length" / Int16ul,
    "checksum" / Int16ul,  # the header's 16-bit words sum to zero
    "ext_header_offset" / Int16ul,  # 0: none
    "reserved" / Int8ul,
    "revision" / Int8ul,
)

#: Where the signature stands in the header.
FVH_AT = 0x28

#: EFI_FIRMWARE_VOLUME_EXT_HEADER.
FIRMWARE_VOLUME_EXT_HEADER = Struct("fv_name" / Bytes(16), "ext_header_size" / Int32ul)

#: EFI_FFS_FILE_HEADER.
FFS_FILE_HEADER = Struct(
    "name" / Bytes(16),
    "integrity_check" / Int16ul,
    "type" / Int8ul,
    "attributes" / Int8ul,
    "size" / Int24ul,  # bytes, header included
    "state" / Int8ul,
)

#: EFI_FFS_FILE_HEADER2: behind the header of a file with FFS_ATTRIB_LARGE_FILE.
FFS_EXTENDED_SIZE = Struct("extended_size" / Int64ul)
FFS_ATTRIB_LARGE_FILE = 0x01

#: EFI_COMMON_SECTION_HEADER.
SECTION_HEADER = Struct("size" / Int24ul, "type" / Int8ul)

#: EFI_COMMON_SECTION_HEADER2: behind the header of a section whose size is 0xFFFFFF.
SECTION_EXTENDED_SIZE = Struct("extended_size" / Int32ul)

#: EFI_COMPRESSION_SECTION, behind the common header.
COMPRESSION_SECTION = Struct("uncompressed_length" / Int32ul, "compression_type" / Int8ul)

#: EFI_GUID_DEFINED_SECTION, behind the common header.
GUID_DEFINED_SECTION = Struct(
    "section_definition_guid" / Bytes(16),
    "data_offset" / Int16ul,  # from the start of the section
    "attributes" / Int16ul,  # bit 0: the data need processing
)
PROCESSING_REQUIRED = 0x01

#: In front of AMD's zlib data.
AMD_ZLIB_HEADER = Struct("zero_header" / Bytes(0x14), "compressed_size" / Int32ul)
AMD_ZLIB_DATA_AT = 0x100

#: EFI_CAPSULE_HEADER.
CAPSULE_HEADER = Struct(
    "capsule_guid" / Bytes(16),
    "header_size" / Int32ul,
    "flags" / Int32ul,
    "capsule_image_size" / Int32ul,
)

#: The start of Intel's flash descriptor; the signature is 0FF0A55Ah.
FLASH_DESCRIPTOR = Struct(
    "reserved_vector" / Bytes(16),
    "signature" / Const(b"\x5a\xa5\xf0\x0f"),
    "flmap0" / Int32ul,  # bits 16 to 23: region table, in units of 16 bytes
)

#: One entry of the region table: base in bits 0 to 14, limit in 16 to 30, units of 4 KiB.
FLASH_REGION = Struct("base" / Int16ul, "limit" / Int16ul)
