"""Windows registry hives: as msuhanov's specification of the format and hivex describe them.

Offsets in a hive count from its first bin, 4096 bytes behind its start. They point to cells: a
signed size (negative where the cell is in use), then one of these.
"""

from construct import Bytes, Const, Int16ul, Int32sl, Int32ul, Struct

#: From the start of the file to the first bin.
BINS_AT = 0x1000

CELL = Struct("size" / Int32sl)

#: A key.
KEY_NODE = Struct(
    "signature" / Const(b"nk"),
    "flags" / Int16ul,  # 0x20: the name is not UTF-16
    "last_written" / Bytes(8),
    "access" / Int32ul,
    "parent" / Int32ul,
    "number_of_subkeys" / Int32ul,
    "number_of_volatile_subkeys" / Int32ul,
    "subkeys_list" / Int32ul,
    "volatile_subkeys_list" / Int32ul,
    "number_of_values" / Int32ul,
    "values_list" / Int32ul,
    "security" / Int32ul,
    "class_name" / Int32ul,
    "largest" / Bytes(16),
    "work_var" / Int32ul,
    "key_name_length" / Int16ul,  # bytes
    "class_name_length" / Int16ul,
)
KEY_HIVE_ENTRY = 0x0004
KEY_COMP_NAME = 0x0020

#: A value.
KEY_VALUE = Struct(
    "signature" / Const(b"vk"),
    "name_length" / Int16ul,  # bytes
    "data_size" / Int32ul,  # bit 31: the data stand in place of their offset
    "data_offset" / Int32ul,
    "data_type" / Int32ul,
    "flags" / Int16ul,  # 1: the name is not UTF-16
    "spare" / Int16ul,
)

#: Data of more than 16344 bytes, in hives of version 1.4 and later.
BIG_DATA = Struct("signature" / Const(b"db"), "number_of_segments" / Int16ul, "list" / Int32ul)
BIG_DATA_SEGMENT = 16344
