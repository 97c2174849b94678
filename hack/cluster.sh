#!/usr/bin/env bash
# The cluster that `make kind-up`, `kind-load`, `kind-down`, `deploy` and `e2e` work with.
#
#   hack/cluster.sh up               make a kind cluster of three nodes and point the current kubeconfig at it
#   hack/cluster.sh load IMAGE...    copy images of the local Docker into its nodes
#   hack/cluster.sh down             remove it
#   hack/cluster.sh kubectl ...      kubectl on it
#   hack/cluster.sh kubeconfig FILE  write its kubeconfig
#
# KIND_CLUSTER       its name (pingora-proxy), unless E2E_KUBECONFIG tells it
# E2E_KUBECONFIG     the kubeconfig of a cluster that exists: it is used, and neither made nor removed
# E2E_EXEC_PREFIX    what to put before commands that talk to it, such as `nsenter --net=/run/netns/dk`
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cluster=${KIND_CLUSTER:-pingora-proxy}
read -ra prefix <<<"${E2E_EXEC_PREFIX:-}"
if [[ -n ${E2E_KUBECONFIG:-} ]]; then
	if [[ ! -r $E2E_KUBECONFIG ]]; then
		echo "hack/cluster.sh: E2E_KUBECONFIG=$E2E_KUBECONFIG cannot be read; name the kubeconfig of a cluster, or unset it" >&2
		exit 1
	fi
	export KUBECONFIG=$E2E_KUBECONFIG
	# kind names the context after the cluster: images are loaded into the one that is used.
	context=$(sed -n 's/^current-context: kind-//p' "$E2E_KUBECONFIG")
	cluster=${context:-$cluster}
fi

kind() {
	local program
	if ! docker version >/dev/null 2>&1; then
		echo 'hack/cluster.sh: no Docker engine answers; start one, or set DOCKER_HOST. A cluster of your own works too: E2E_KUBECONFIG' >&2
		exit 1
	fi
	program=$("$here/tool.sh" kind)
	"${prefix[@]}" "$program" "$@"
}

kubectl() {
	local program
	program=$(type -P kubectl || echo "$("$here/kubernetes.sh")/kubectl")
	"${prefix[@]}" "$program" "$@"
}

case ${1:-} in
up)
	if [[ -n ${E2E_KUBECONFIG:-} ]]; then
		kubectl get nodes
	elif kind get clusters 2>/dev/null | grep -qxF "$cluster"; then
		kind export kubeconfig --name "$cluster"
	else
		kind create cluster --name "$cluster" --config "$here/kind.yaml" --wait 3m
	fi
	;;
load)
	shift
	kind load docker-image --name "$cluster" "$@"
	;;
down)
	if [[ -n ${E2E_KUBECONFIG:-} ]]; then
		echo "the cluster of E2E_KUBECONFIG=$E2E_KUBECONFIG was not made here and stays"
	else
		kind delete cluster --name "$cluster"
	fi
	;;
kubeconfig)
	file=${2:?usage: hack/cluster.sh kubeconfig FILE}
	if [[ -n ${E2E_KUBECONFIG:-} ]]; then
		cat "$E2E_KUBECONFIG"
	else
		kind get kubeconfig --name "$cluster"
	fi | install -D -m 0600 /dev/stdin "$file"
	;;
kubectl)
	shift
	kubectl "$@"
	;;
*)
	sed -n '2,/^set/ {/^set/d; s/^# \{0,1\}//; p}' "${BASH_SOURCE[0]}" >&2
	exit 2
	;;
esac
