"""PCI Firmware Specification 3.3, section 5.1: expansion ROM header and PCI data structure."""

from construct import Bytes, Int8ul, Int16ul, Int24ul, Struct

#: 5.1.1, as far as every code type shares it. The bytes between belong to the code type.
ROM_HEADER = Struct(
    "signature" / Bytes(2),
    "processor_specific" / Bytes(22),
    "pci_data_structure_pointer" / Int16ul,
)

#: 5.1.2, the 24 bytes that revision 0 and revision 3 share.
PCI_DATA_STRUCTURE = Struct(
    "signature" / Bytes(4),
    "vendor_id" / Int16ul,
    "device_id" / Int16ul,
    "device_list_pointer" / Int16ul,  # revision 0: pointer to vital product data
    "structure_length" / Int16ul,
    "structure_revision" / Int8ul,
    "class_code" / Int24ul,
    "image_length" / Int16ul,  # units of 512 bytes
    "vendor_rom_revision" / Int16ul,
    "code_type" / Int8ul,
    "indicator" / Int8ul,  # bit 7: last image
    "max_runtime_image_length" / Int16ul,  # revision 0: reserved
)

#: 5.1.2, what revision 3 adds (structure_length >= 0x1C).
PCI_DATA_STRUCTURE_REV3 = Struct(
    "config_utility_code_header_pointer" / Int16ul,
    "dmtf_clp_entry_point_pointer" / Int16ul,
)
