#!/usr/bin/env bash
# Checks the systemd unit: no warning, and an exposure of at most 2.0. Called by `make verify`.
set -euo pipefail

unit=config/systemd/pingora-proxy.service
if ! command -v systemd-analyze >/dev/null; then
	echo "the systemd unit: NOT checked, there is no systemd-analyze on PATH"
	exit 0
fi

directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
# The binary is not installed where the unit expects it, which is the one complaint that a checkout always has.
sed 's|/usr/local/bin/pingora-proxy|/bin/true|' "$unit" >"$directory/pingora-proxy.service"
if ! said=$(systemd-analyze verify "$directory/pingora-proxy.service" 2>&1) || [[ -n $said ]]; then
	echo "$unit: systemd-analyze verify says:"$'\n'"$said" >&2
	exit 1
fi

# The threshold is in tenths.
if ! said=$(systemd-analyze security --offline=true --no-pager --threshold=20 "$unit" 2>&1); then
	if grep -qE 'unrecognized option|Unknown' <<<"$said"; then
		echo "the systemd unit: verified; its exposure NOT checked, this systemd-analyze is too old for it"
		exit 0
	fi
	echo "$said" >&2
	echo "$unit: more exposed than 2.0" >&2
	exit 1
fi
echo "the systemd unit: verified, $(grep -oE 'exposure level.*: [0-9.]+' <<<"$said" | sed -E 's/.*: /exposure /')"
