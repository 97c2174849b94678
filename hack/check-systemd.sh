#!/usr/bin/env bash
# Checks the systemd units: no warning, and an exposure of at most 2.0. Called by `make verify`. Where systemd-analyze is not on PATH
# it is unpacked from its Debian package, once.
set -euo pipefail

unit=config/systemd/pingora-proxy.service
analyze=(systemd-analyze)
if ! systemd-analyze security --help 2>/dev/null | grep -q -- --offline; then
	# None, or one that is too old to look at a unit that is not installed.
	analyze=(go run -buildvcs=false ./test/benchmarks/cmd/peer systemd-analyze)
fi

directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
# The binary is not installed where the unit expects it, which is the one complaint that a checkout always has.
sed 's|/usr/local/bin/pingora-proxy|/bin/true|' "$unit" >"$directory/pingora-proxy.service"
# The units that every service hangs on, so that the answer does not depend on what this machine has installed.
for target in sysinit basic shutdown network-online sockets; do
	printf '[Unit]\nDescription=%s\nDefaultDependencies=no\n' "$target" >"$directory/$target.target"
done
export SYSTEMD_UNIT_PATH=$directory
cp -r config/systemd/pingora-proxy.socket config/systemd/pingora-proxy.service.d "$directory/"
if ! said=$("${analyze[@]}" verify "$directory/pingora-proxy.service" "$directory/pingora-proxy.socket" 2>&1) || [[ -n $said ]]; then
	echo "$unit: systemd-analyze verify says:"$'\n'"$said" >&2
	exit 1
fi

# The threshold is in tenths.
if ! said=$("${analyze[@]}" security --offline=true --no-pager --threshold=20 "$unit" 2>&1); then
	echo "$said" >&2
	echo "$unit: more exposed than 2.0" >&2
	exit 1
fi
echo "the systemd unit: verified, $(grep -oE 'exposure level.*: [0-9.]+' <<<"$said" | sed -E 's/.*: /exposure /')"
