"""The virtual machine: a profile, and what QEMU and libvirt have to be told of it."""
