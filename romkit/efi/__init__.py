"""The UEFI driver inside a code type 3 image: its header, its PE image, whose GOP it is, who
signed it.

driver → compression, pe, gop, signature → pkcs7 → certificate → der, text. Nothing is
decompressed, hashed or decoded before it is asked for.
"""
