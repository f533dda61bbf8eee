#!/bin/sh
# Unpack the Debian font packages of font_packages.txt into DIR/<package>/ without installing them.
# Usage: sh tools/bundled_models/fetch_fonts.sh DIR      (on Debian 12, after `apt-get update`)
set -eu
list=$(cd "$(dirname "$0")" && pwd)/font_packages.txt
mkdir -p "$1" && cd "$1"
grep -v '^#' "$list" | while read -r package style; do
    apt-get download -q "$package"
    dpkg -x "$package"_*.deb "$package"
    rm "$package"_*.deb
done
