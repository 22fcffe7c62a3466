#!/bin/sh
# Install the programs that some tests compare with or run on, where that is allowed and possible.
# Never fails: a test whose program is missing skips and names the package.
# A pair is a Debian package and the program or file that shows that it is there.
want="
fwupd:fwupdtool
osslsigncode:osslsigncode
qemu-system-x86:qemu-system-x86_64
qemu-utils:qemu-img
ovmf:/usr/share/OVMF
seabios:/usr/share/seabios/bios.bin
pciutils:lspci
ipxe-qemu:/usr/lib/ipxe/qemu/efi-e1000.rom
acpica-tools:iasl
libvirt-clients:virt-xml-validate
kmod:/sbin/modprobe
gcc:gcc
make:make
strace:strace
swtpm:swtpm
vde2:vde_switch
genisoimage:isoinfo
python3-hivex:/usr/lib/python3/dist-packages/hivex
"
missing=""
for pair in $want; do
    sign=${pair#*:}
    [ -e "$sign" ] || command -v "$sign" >/dev/null 2>&1 || missing="$missing ${pair%%:*}"
done
[ -z "$missing" ] && exit 0
if ! command -v apt-get >/dev/null 2>&1; then
    echo "not installed, their tests skip:$missing"
    exit 0
fi
if [ "$(id -u)" = 0 ]; then
    root=""
elif sudo -n true 2>/dev/null; then
    root="sudo -n"
else
    echo "not installed, their tests skip:$missing (to install: sudo apt-get install$missing)"
    exit 0
fi
install() {
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive $root apt-get install -qq -y --no-install-recommends $missing \
        >/dev/null 2>&1
}
echo "installing$missing"
install || { $root apt-get update -qq >/dev/null 2>&1 && install; } ||
    echo "could not install$missing: their tests skip"
exit 0
