#!/bin/sh
# Unpack Debian's pgbouncer into a directory, without root and without installing it; where that
# is impossible, say so and succeed: the tests have a stand-in.
# usage: fetch_pgbouncer.sh DIRECTORY
set -eu

if command -v pgbouncer >/dev/null || [ -x /usr/sbin/pgbouncer ]; then
  exit 0
fi
mkdir -p "$1"
directory=$(cd "$1" && pwd)
download=$(mktemp -d)
trap 'rm -rf "$download"' EXIT
cd "$download"

fetch() {
  timeout 60 apt-get download -qq -o Acquire::Retries=0 -o Acquire::http::Timeout=10 \
    -o Acquire::https::Timeout=10 "$1" >/dev/null 2>&1
}

for library in libcares2 libc-ares2 libevent-2.1-7 libevent-2.1-7t64; do
  fetch "$library" || continue
done
if fetch pgbouncer; then
  for package in ./*.deb; do
    dpkg-deb -x "$package" "$directory"
  done
fi
libraries=$(find "$directory" -name '*.so*' -exec dirname {} + | sort -u | paste -sd: -)
if ! LD_LIBRARY_PATH="$libraries" "$directory/usr/sbin/pgbouncer" --version >/dev/null 2>&1; then
  rm -rf "$directory"
  echo 'pgbouncer: no package for this machine; the tests of poolers use the stand-in' >&2
fi
