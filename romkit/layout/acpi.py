"""ACPI specification 6.5, section 5.2.6 (table header), and AMD's VFCT table.

VFCT: linux drivers/gpu/drm/amd/include/atombios.h (UEFI_ACPI_VFCT, VFCT_IMAGE_HEADER).
"""

from construct import Bytes, Int8ul, Int16ul, Int32ul, Struct

DESCRIPTION_HEADER = Struct(
    "signature" / Bytes(4),
    "length" / Int32ul,
    "revision" / Int8ul,
    "checksum" / Int8ul,  # all bytes of the table sum to zero
    "oem_id" / Bytes(6),
    "oem_table_id" / Bytes(8),
    "oem_revision" / Int32ul,
    "creator_id" / Bytes(4),
    "creator_revision" / Int32ul,
)

#: Follows the table header of a VFCT.
VFCT = Struct(
    "table_uuid" / Bytes(16),
    "vbios_image_offset" / Int32ul,
    "lib1_image_offset" / Int32ul,
    "reserved" / Bytes(16),
)

#: In front of each image of a VFCT.
VFCT_IMAGE_HEADER = Struct(
    "pci_bus" / Int32ul,
    "pci_device" / Int32ul,
    "pci_function" / Int32ul,
    "vendor_id" / Int16ul,
    "device_id" / Int16ul,
    "subsystem_vendor_id" / Int16ul,
    "subsystem_id" / Int16ul,
    "revision" / Int32ul,
    "image_length" / Int32ul,  # bytes
)
