#!/usr/bin/env bash
# The function that hack/tool.sh and hack/kubernetes.sh build programs with. They source this file, so that whoever ends them
# ends the build.

# build_program MODULE-DIRECTORY PACKAGE FILE [LDFLAGS] builds a program of a module into a file, unless the file is there.
# Everything that it says goes to stderr, with the time it takes: some of these builds take minutes.
build_program() {
	local module=$1 package=$2 file=$3 ldflags=${4:-}
	local name started build
	name=$(basename "$file")

	[[ ! -x $file ]] || return 0
	mkdir -p "$(dirname "$file")"
	# One build at a time where flock is there: a second one waits and finds the file. Without it both build, see below.
	exec 9>"$file.lock"
	if command -v flock >/dev/null && ! flock -n 9; then
		echo "waiting for another build of $name to end ..." >&2
		flock 9
		[[ ! -x $file ]] || return 0
	fi

	echo "building $name, once for this version (the first time takes minutes) ..." >&2
	started=$SECONDS
	# Built beside its place and moved there: whoever looks finds a whole program or none. For this machine, whatever the
	# caller builds for. Compilers and linkers collect garbage only above a size: an eighth of their time.
	env -u GOOS -u GOARCH GOGC=off GOMEMLIMIT=2GiB CGO_ENABLED=0 GOWORK=off go build -C "$module" -mod=readonly -buildvcs=false -trimpath \
		-ldflags="-s -w $ldflags" -o "$file.$$" "$package" >&2 9>&- &
	build=$!
	# shellcheck disable=SC2064 # what is local now is not there at the end
	trap "kill $build 2>/dev/null || true; rm -f '$file.$$'" EXIT
	while kill -0 "$build" 2>/dev/null; do
		sleep 1 9>&-
		if (((SECONDS - started) % 20 == 0)); then
			echo "  still building $name, $((SECONDS - started)) s ..." >&2
		fi
	done
	wait "$build"
	trap - EXIT
	mv -f "$file.$$" "$file"
	exec 9>&-
	echo "built $name in $((SECONDS - started)) s" >&2
}
