#!/usr/bin/env bash
# Prints the path of a development tool, after building it once from the module hack/tools.
#
#   hack/tool.sh golangci-lint
#
# The binary lives outside the checkout, under a key made of the tools module and the Go version: a clone that asks
# for the same versions finds it built, and one that asks for others never gets it by mistake.
set -euo pipefail

name=${1:?usage: hack/tool.sh golangci-lint|gofumpt}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/tools"

case $name in
golangci-lint) package=github.com/golangci/golangci-lint/v2/cmd/golangci-lint ;;
gofumpt) package=mvdan.cc/gofumpt ;;
*)
	echo "hack/tool.sh: no tool named '$name'; the ones in hack/tools/go.mod are golangci-lint and gofumpt" >&2
	exit 2
	;;
esac

cache=${XDG_CACHE_HOME:-${HOME:?set HOME or XDG_CACHE_HOME}/.cache}/pingora-proxy/tools
key=$({ go version && cat go.mod go.sum; } | git hash-object --stdin | cut -c1-16)
binary=$cache/$key/$name

if [[ ! -x $binary ]]; then
	mkdir -p "$cache/$key"
	echo "building $name, once for this version (the first time takes minutes) ..." >&2
	started=$SECONDS
	# Built beside its place and moved there: two builds at once end with one whole binary.
	CGO_ENABLED=0 GOWORK=off go build -mod=readonly -buildvcs=false -trimpath -ldflags='-s -w' -o "$binary.$$" "$package" &
	build=$!
	trap 'kill "$build" 2>/dev/null || true; rm -f "$binary.$$"' EXIT
	while kill -0 "$build" 2>/dev/null; do
		sleep 1
		if (((SECONDS - started) % 20 == 0)); then
			echo "  still building $name, $((SECONDS - started)) s ..." >&2
		fi
	done
	wait "$build"
	trap - EXIT
	mv -f "$binary.$$" "$binary"
	echo "built $name in $((SECONDS - started)) s" >&2
fi
echo "$binary"
