"""ACPI for guests: a battery, the VBIOS by ``_ROM``, and tables read and built.

::

    aml        terms of AML: bytes() and ASL
    table      header, checksum; outline says what a table defines
    battery    AC adapter and battery
    vbios      _ROM from a ROM, in several tables or through fw_cfg
    machine    QEMU's machine types
    path       where a PCI device stands in the guest's namespace
    chassis    the SMBIOS structure that says notebook
    qemu       the arguments for QEMU, the lines for libvirt
"""
