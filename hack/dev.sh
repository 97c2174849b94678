#!/usr/bin/env bash
# Builds and serves like `make run`, and does it again whenever a Go file, go.mod or a file of config/ changes. A build that
# fails leaves the running one alone. The watch is a check sum a second: it needs no other program.
set -uo pipefail

# As in hack/run.sh: Ctrl-C is for this script, which passes it on once.
apart=$(command -v setsid || true)
run=''

state() {
	find api cmd controllers dataplane config go.mod go.sum -type f \
		\( -name '*.go' -o -name '*.yaml' -o -name 'go.*' \) -exec cksum {} + 2>/dev/null | sort | cksum
}

stop() {
	if [[ -n $run ]] && kill -0 "$run" 2>/dev/null; then
		kill -TERM "$run" 2>/dev/null
		wait "$run" 2>/dev/null
	fi
	run=''
}
trap 'trap "" INT TERM HUP; stop' EXIT
trap 'exit 0' INT TERM HUP

seen=''
while :; do
	now=$(state)
	if [[ $now != "$seen" ]]; then
		[[ -n $seen ]] && echo "make dev: a file changed, building"
		seen=$now
		if make build; then
			stop
			$apart hack/run.sh &
			run=$!
		else
			echo 'make dev: the build failed; waiting for the next change' >&2
		fi
	fi
	sleep 1
done
