"""ZIP archives: PKWARE's APPNOTE 6.3, sections 4.3.7, 4.3.12 and 4.3.16."""

from construct import Const, Int16ul, Int32ul, Struct

END_OF_CENTRAL_DIRECTORY = Struct(
    "signature" / Const(b"PK\5\6"),
    "disk" / Int16ul,
    "directory_disk" / Int16ul,
    "entries_on_disk" / Int16ul,
    "entries" / Int16ul,
    "directory_size" / Int32ul,
    "directory_offset" / Int32ul,
    "comment_length" / Int16ul,
)

#: One entry of the central directory; name, extra field and comment follow.
CENTRAL_HEADER = Struct(
    "signature" / Const(b"PK\1\2"),
    "version_made_by" / Int16ul,
    "version_needed" / Int16ul,
    "flags" / Int16ul,  # bit 0: encrypted
    "method" / Int16ul,
    "time" / Int16ul,
    "date" / Int16ul,
    "crc_32" / Int32ul,
    "compressed_size" / Int32ul,
    "uncompressed_size" / Int32ul,
    "name_length" / Int16ul,
    "extra_length" / Int16ul,
    "comment_length" / Int16ul,
    "disk_start" / Int16ul,
    "internal_attributes" / Int16ul,
    "external_attributes" / Int32ul,
    "local_header_offset" / Int32ul,
)

#: In front of a member's data; name and extra field stand between.
LOCAL_HEADER = Struct(
    "signature" / Const(b"PK\3\4"),
    "version_needed" / Int16ul,
    "flags" / Int16ul,
    "method" / Int16ul,
    "time" / Int16ul,
    "date" / Int16ul,
    "crc_32" / Int32ul,
    "compressed_size" / Int32ul,
    "uncompressed_size" / Int32ul,
    "name_length" / Int16ul,
    "extra_length" / Int16ul,
)
