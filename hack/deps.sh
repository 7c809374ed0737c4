#!/bin/bash
# Installs from Debian's packages what building, running and testing needs and
# this machine lacks. Does nothing, and needs no network, where all is there. With the
# word test: also what only tests need.
set -euo pipefail
declare -A need=(
  [gcc]=gcc [git]=git [curl]=curl [ip]=iproute2 [nft]=nftables [pkg-config]=pkg-config [mkfs.xfs]=xfsprogs [mkfs.btrfs]=btrfs-progs
)
[ "${1:-}" != test ] || need+=([mpirun]=openmpi-bin [mpicc]=libopenmpi-dev)
missing=()
for tool in "${!need[@]}"; do
  command -v "$tool" >/dev/null || missing+=("${need[$tool]}")
done
[ -x /bin/busybox ] || missing+=(busybox-static)
[ -e /usr/include/seccomp.h ] || missing+=(libseccomp-dev)
[ -e /usr/lib/x86_64-linux-gnu/libc.a ] || [ -e /usr/lib/aarch64-linux-gnu/libc.a ] || missing+=(libc6-dev)
[ ${#missing[@]} -eq 0 ] && exit 0
if [ "$(id -u)" != 0 ]; then
  echo "error: ${missing[*]} must be installed: run as root, or: apt-get install ${missing[*]}" >&2
  exit 1
fi
echo "installing ${missing[*]}" >&2
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq >&2
apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2
