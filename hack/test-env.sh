#!/usr/bin/env bash
# Runs a command with the variables by which tests find what is not in the Go module: KUBEBUILDER_ASSETS, a directory with
# kube-apiserver, etcd, kube-controller-manager and kubectl; HELM, KUSTOMIZE and CONTROLLER_GEN, the programs.
#
#   hack/test-env.sh go test ./controllers/...
#
# The first time it builds what is missing. HELM, KUSTOMIZE and CONTROLLER_GEN that are set are left as they are.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# Assigned before they are exported: `export A=$(b)` hides that b failed.
KUBEBUILDER_ASSETS=$("$here/kubernetes.sh")
HELM=${HELM:-$("$here/tool.sh" helm)}
KUSTOMIZE=${KUSTOMIZE:-$("$here/tool.sh" kustomize)}
CONTROLLER_GEN=${CONTROLLER_GEN:-$("$here/tool.sh" controller-gen)}
export KUBEBUILDER_ASSETS HELM KUSTOMIZE CONTROLLER_GEN
exec "${@:?usage: hack/test-env.sh COMMAND...}"
