#!/bin/bash
# Everything that a Debian machine needs to build aarch64 tests and to run them under emulation, without building std.
# usage: bash .ci/arm.sh FOLDER; then NIBBLE_ARM=FOLDER cargo xtask test arm
#
# Debian ships std for arm64 with its own rustc (rustc-web), so the compiler and std both come from Debian, of the very same version, in a
# sysroot of their own: rustup's toolchain is untouched. rustc-web moves with security updates, so the version is asked for, not written down.
set -euo pipefail
folder=${1:?usage: bash .ci/arm.sh FOLDER}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
export DEBIAN_FRONTEND=noninteractive
sudo=
[ "$(id -u)" = 0 ] || sudo=sudo

for package in gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user rustc-web cargo-web; do
  if [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" != installed ]; then
    [ -n "${updated-}" ] || $sudo apt-get -qq update || true
    updated=1
    $sudo apt-get -o DPkg::Lock::Timeout=600 -y -qq --no-install-recommends install "$package" >/dev/null
  fi
done

version=$(dpkg-query -W -f '${Version}' libstd-rust-web-dev)
if [ "$(cat "$folder/std/.version" 2>/dev/null)" != "$version" ]; then
  # Debian's arm64 build of std: unpacked, not installed, with package lists of its own, so that no foreign architecture is added.
  rm -rf "$folder/std" "$folder/apt"
  mkdir -p "$folder"/apt/{lists/partial,cache/archives/partial,debs} "$folder/std"
  options="-oAPT::Architecture=amd64 -oAPT::Architectures::=amd64 -oAPT::Architectures::=arm64
    -oDir::State::Lists=$folder/apt/lists -oDir::Cache=$folder/apt/cache -oAPT::Sandbox::User=root"
  # shellcheck disable=SC2086
  apt-get $options -qq update || true
  # shellcheck disable=SC2086
  (cd "$folder/apt/debs" && apt-get $options -qq download "libstd-rust-web-dev:arm64=$version")
  dpkg --fsys-tarfile "$folder"/apt/debs/*.deb | tar -x -C "$folder/std" --wildcards './usr/lib/rustlib/aarch64-unknown-linux-gnu*'
  rm -rf "$folder/apt"
  echo "$version" >"$folder/std/.version"
fi

tools=$folder/toolchain
rm -rf "$tools"
mkdir -p "$tools"/{bin,lib/rustlib}
for program in rustc rustdoc; do
  printf '#!/bin/sh\nexec /usr/bin/%s --sysroot %s "$@"\n' "$program" "$tools" >"$tools/bin/$program"
  chmod +x "$tools/bin/$program"
done
ln -s /usr/bin/cargo "$tools/bin/cargo"
for part in x86_64-unknown-linux-gnu src etc; do
  [ ! -e "/usr/lib/rustlib/$part" ] || ln -s "/usr/lib/rustlib/$part" "$tools/lib/rustlib/"
done
ln -s "$folder/std/usr/lib/rustlib/aarch64-unknown-linux-gnu" "$tools/lib/rustlib/"
cat >"$folder/env" <<X
export PATH=$tools/bin:\$PATH
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc CC_aarch64_unknown_linux_gnu=aarch64-linux-gnu-gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64 -L /usr/aarch64-linux-gnu"
X
