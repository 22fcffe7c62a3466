"""UEFI specification 2.10, sections 14.4.2.1 (PCI option ROM), 19.2 (compression header) and
2.1.1 (images), and Microsoft's PE format and Authenticode documents, as far as they are read here.
"""

from construct import Bytes, Const, Int16ul, Int32ul, Int64ul, Struct

#: The expansion ROM header of a code type 3 image.
EFI_PCI_EXPANSION_ROM_HEADER = Struct(
    "signature" / Bytes(2),  # 55 AA
    "initialization_size" / Int16ul,  # units of 512 bytes
    "efi_signature" / Int32ul,  # 0x00000EF1
    "efi_subsystem" / Int16ul,
    "efi_machine_type" / Int16ul,
    "compression_type" / Int16ul,  # 0 none, 1 the UEFI compression algorithm
    "reserved" / Bytes(8),
    "efi_image_header_offset" / Int16ul,
    "pcir_offset" / Int16ul,
)

#: In front of a compressed stream.
EFI_COMPRESSION_HEADER = Struct(
    "compressed_size" / Int32ul,  # bytes after this header
    "original_size" / Int32ul,  # bytes
)

#: "PE header" at e_lfanew: signature and COFF file header.
PE_FILE_HEADER = Struct(
    "signature" / Const(b"PE\0\0"),
    "machine" / Int16ul,
    "number_of_sections" / Int16ul,
    "time_date_stamp" / Int32ul,
    "pointer_to_symbol_table" / Int32ul,
    "number_of_symbols" / Int32ul,
    "size_of_optional_header" / Int16ul,
    "characteristics" / Int16ul,
)

#: The pointer to the PE header, at 0x3C of every image that starts with "MZ".
E_LFANEW = Struct("e_lfanew" / Int32ul)
E_LFANEW_AT = 0x3C

#: First field of the optional header.
OPTIONAL_HEADER_MAGIC = Struct("magic" / Int16ul)
PE32 = 0x10B
PE32_PLUS = 0x20B

#: The optional header of PE32+, up to its data directories.
OPTIONAL_HEADER_PE32_PLUS = Struct(
    "magic" / Int16ul,  # 0x20B
    "linker_version" / Bytes(2),
    "size_of_code" / Int32ul,
    "size_of_initialized_data" / Int32ul,
    "size_of_uninitialized_data" / Int32ul,
    "address_of_entry_point" / Int32ul,  # from the image base
    "base_of_code" / Int32ul,
    "image_base" / Int64ul,
    "section_alignment" / Int32ul,
    "file_alignment" / Int32ul,
    "operating_system_version" / Int32ul,
    "image_version" / Int32ul,
    "subsystem_version" / Int32ul,
    "win32_version_value" / Int32ul,
    "size_of_image" / Int32ul,  # bytes in memory
    "size_of_headers" / Int32ul,  # bytes in the file
    "check_sum" / Int32ul,
    "subsystem" / Int16ul,
    "dll_characteristics" / Int16ul,
    "size_of_stack_reserve" / Int64ul,
    "size_of_stack_commit" / Int64ul,
    "size_of_heap_reserve" / Int64ul,
    "size_of_heap_commit" / Int64ul,
    "loader_flags" / Int32ul,
    "number_of_rva_and_sizes" / Int32ul,  # data directories
)

#: The optional header of PE32, up to its data directories.
OPTIONAL_HEADER_PE32 = Struct(
    "magic" / Int16ul,  # 0x10B
    "linker_version" / Bytes(2),
    "size_of_code" / Int32ul,
    "size_of_initialized_data" / Int32ul,
    "size_of_uninitialized_data" / Int32ul,
    "address_of_entry_point" / Int32ul,
    "base_of_code" / Int32ul,
    "base_of_data" / Int32ul,
    "image_base" / Int32ul,
    "section_alignment" / Int32ul,
    "file_alignment" / Int32ul,
    "operating_system_version" / Int32ul,
    "image_version" / Int32ul,
    "subsystem_version" / Int32ul,
    "win32_version_value" / Int32ul,
    "size_of_image" / Int32ul,
    "size_of_headers" / Int32ul,
    "check_sum" / Int32ul,
    "subsystem" / Int16ul,
    "dll_characteristics" / Int16ul,
    "size_of_stack_reserve" / Int32ul,
    "size_of_stack_commit" / Int32ul,
    "size_of_heap_reserve" / Int32ul,
    "size_of_heap_commit" / Int32ul,
    "loader_flags" / Int32ul,
    "number_of_rva_and_sizes" / Int32ul,
)

#: From the start of the optional header to its CheckSum, in PE32 and PE32+ alike.
CHECK_SUM_AT = 64

#: One data directory.
IMAGE_DATA_DIRECTORY = Struct(
    "virtual_address" / Int32ul,  # entry 4: a file offset, not an address
    "size" / Int32ul,  # bytes
)
IMAGE_DIRECTORY_ENTRY_SECURITY = 4
IMAGE_DIRECTORY_ENTRY_DEBUG = 6

#: One entry of the section table, which follows the optional header.
IMAGE_SECTION_HEADER = Struct(
    "name" / Bytes(8),  # padded with zeros
    "virtual_size" / Int32ul,
    "virtual_address" / Int32ul,  # from the image base
    "size_of_raw_data" / Int32ul,
    "pointer_to_raw_data" / Int32ul,  # file offset
    "pointer_to_relocations" / Int32ul,
    "pointer_to_linenumbers" / Int32ul,
    "number_of_relocations" / Int16ul,
    "number_of_linenumbers" / Int16ul,
    "characteristics" / Int32ul,
)

#: One entry of the debug directory.
IMAGE_DEBUG_DIRECTORY = Struct(
    "characteristics" / Int32ul,
    "time_date_stamp" / Int32ul,
    "major_version" / Int16ul,
    "minor_version" / Int16ul,
    "type" / Int32ul,  # 2: CodeView
    "size_of_data" / Int32ul,  # bytes
    "address_of_raw_data" / Int32ul,
    "pointer_to_raw_data" / Int32ul,  # file offset
)

#: One entry of the attribute certificate table; entries start at multiples of 8.
WIN_CERTIFICATE = Struct(
    "length" / Int32ul,  # bytes, with this header
    "revision" / Int16ul,  # 0x0200
    "certificate_type" / Int16ul,  # 2: PKCS #7 SignedData
)
