#!/bin/bash
# The official clients of Ollama's and OpenAI's interfaces, pinned, in a folder of their own; and a browser for the page.
# usage: bash .ci/clients.sh FOLDER; then NIBBLE_CLIENTS=FOLDER cargo xtask test clients web
set -euo pipefail
folder=${1:?usage: bash .ci/clients.sh FOLDER}
here=$(cd "$(dirname "$0")/../tests/clients" && pwd)
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
export DEBIAN_FRONTEND=noninteractive
sudo=
[ "$(id -u)" = 0 ] || sudo=sudo

install() {
  [ -n "${updated-}" ] || $sudo apt-get -qq update || true
  updated=1
  $sudo apt-get -o DPkg::Lock::Timeout=600 -y -qq --no-install-recommends install "$@" >/dev/null
}
python3 -c 'import ensurepip, venv' 2>/dev/null || install python3 python3-venv
# Debian's nodejs has no npm in it; others' have.
node --version >/dev/null 2>&1 || install nodejs
npm --version >/dev/null 2>&1 || install npm
chromium --version >/dev/null 2>&1 || install chromium

pinned=$(cat "$here/requirements.txt" "$here/package-lock.json" | sha256sum | cut -d' ' -f1)
if [ "$(cat "$folder/.pinned" 2>/dev/null)" != "$pinned" ]; then
  rm -rf "$folder/venv" "$folder/node_modules" "$folder/.pinned"
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet --disable-pip-version-check --require-hashes -r "$here/requirements.txt"
  cp "$here/package.json" "$here/package-lock.json" "$folder/"
  (cd "$folder" && npm ci --silent --no-audit --no-fund --ignore-scripts)
  echo "$pinned" >"$folder/.pinned"
fi
