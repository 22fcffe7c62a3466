#!/bin/sh
# Install the programs that some tests compare romkit with, where that is allowed and possible.
# Never fails: a test whose program is missing skips and names the package.
want="fwupd:fwupdtool osslsigncode:osslsigncode"
missing=""
for pair in $want; do
    command -v "${pair#*:}" >/dev/null 2>&1 || missing="$missing ${pair%%:*}"
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
echo "installing$missing"
# shellcheck disable=SC2086
DEBIAN_FRONTEND=noninteractive $root apt-get install -qq -y --no-install-recommends $missing >/dev/null 2>&1 ||
    { $root apt-get update -qq >/dev/null 2>&1 &&
        DEBIAN_FRONTEND=noninteractive $root apt-get install -qq -y --no-install-recommends $missing >/dev/null 2>&1; } ||
    echo "could not install$missing: their tests skip"
exit 0
