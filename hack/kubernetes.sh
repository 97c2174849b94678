#!/usr/bin/env bash
# Prints a directory with kube-apiserver, etcd, kubectl and kube-controller-manager, for tests against a real API server:
#
#   1. $KUBEBUILDER_ASSETS, if it is set;
#   2. else what setup-envtest provides, if it is on PATH;
#   3. else programs built from the modules hack/kubernetes and hack/kubernetes/etcd, once a version, outside the checkout.
#
# The first two may come without kube-controller-manager (setup-envtest's do): then that one alone is built.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=hack/build.sh
source "$here/build.sh"
cache=${XDG_CACHE_HOME:-${HOME:?set HOME or XDG_CACHE_HOME}/.cache}/pingora-proxy/kubernetes
cd "$here/kubernetes"
version=$(awk '$1 == "k8s.io/kubernetes" {print $2}' go.mod)
key=$({ go version && cat go.mod go.sum etcd/go.mod etcd/go.sum; } | git hash-object --stdin | cut -c1-16)
built=$cache/$version-$key

say() { echo "hack/kubernetes.sh: $*" >&2; }

# missing DIRECTORY PROGRAM...: the ones that it does not hold.
missing() {
	local directory=$1 program lacks=''
	shift
	for program; do
		[[ -x $directory/$program ]] || lacks+=" $program"
	done
	echo "${lacks# }"
}

# build PROGRAM...: into $built, unless they are there.
build() {
	local program minor=${version#v1.}
	local flags="-X k8s.io/component-base/version.gitVersion=$version -X k8s.io/component-base/version.gitMajor=1"
	flags+=" -X k8s.io/component-base/version.gitMinor=${minor%%.*}"
	for program; do
		case $program in
		etcd) build_program etcd go.etcd.io/etcd/server/v3 "$built/etcd" ;;
		*) build_program . "k8s.io/kubernetes/cmd/$program" "$built/$program" "$flags" ;;
		esac
	done
}

# complete DIRECTORY: prints it, or a directory that links to its programs and to a kube-controller-manager of our own.
complete() {
	local directory=$1 linked
	if [[ -z $(missing "$directory" kube-controller-manager) ]]; then
		echo "$directory"
		return
	fi
	linked=$built-with-$(git hash-object --stdin <<<"$directory" | cut -c1-16)
	if [[ -n $(missing "$built" kube-controller-manager) ]]; then
		say "$directory has no kube-controller-manager; building $version of that one, about 5 minutes on 2 cores"
	fi
	build kube-controller-manager
	mkdir -p "$linked"
	ln -sfn "$directory"/{kube-apiserver,etcd,kubectl} "$built/kube-controller-manager" "$linked/"
	echo "$linked"
}

if [[ -n ${KUBEBUILDER_ASSETS:-} ]]; then
	lacks=$(missing "$KUBEBUILDER_ASSETS" kube-apiserver etcd kubectl)
	if [[ -n $lacks ]]; then
		say "KUBEBUILDER_ASSETS=$KUBEBUILDER_ASSETS lacks $lacks; name a directory that has them, or unset it"
		exit 1
	fi
	complete "$KUBEBUILDER_ASSETS"
	exit
fi

if command -v setup-envtest >/dev/null; then
	# Of the same minor version: kube-controller-manager must not be newer than the API server.
	minor=${version#v}
	if assets=$(setup-envtest use "${minor%.*}.x" -p path) && [[ -z $(missing "$assets" kube-apiserver etcd kubectl) ]]; then
		complete "$assets"
		exit
	fi
	say "setup-envtest has no Kubernetes ${minor%.*}; building it"
fi

lacks=$(missing "$built" etcd kubectl kube-apiserver kube-controller-manager)
if [[ -n $lacks ]]; then
	say "building $lacks (Kubernetes $version) from Go modules into $built"
	say 'once for this version, 7 to 10 minutes on 2 cores, less when the Go build cache knows parts; set KUBEBUILDER_ASSETS to a directory that has them to skip it'
	started=$SECONDS
	# shellcheck disable=SC2086 # a list of words
	build $lacks
	say "built in $((SECONDS - started)) s"
fi
echo "$built"
