"""The lab: Debian's kernel in QEMU, with an IOMMU and a GPU to lose.

`open_lab(TOPOLOGIES["laptop"])` boots one; `python -m lab` (from the folder tests) does it by hand.
"""
