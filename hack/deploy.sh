#!/usr/bin/env bash
# Installs config/default on the cluster of hack/cluster.sh and waits until it is ready. Called by `make deploy`.
#
#   hack/deploy.sh IMAGE BINARY
#
# The pods are told the check sum of the binary, so that an image that was built again under the same name replaces them.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage='usage: hack/deploy.sh IMAGE BINARY'
image=${1:?$usage}
binary=${2:?$usage}
sum=unknown
[[ ! -r $binary ]] || sum=$(cksum <"$binary" | cut -d' ' -f1)
mkdir -p bin/deploy
cat >bin/deploy/kustomization.yaml <<END
resources: [../../config/default]
images: [{name: pingora-proxy, newName: '${image%:*}', newTag: '${image##*:}'}]
patches:
- target: {kind: Deployment, name: pingora-proxy}
  patch: |
    - op: add
      path: /spec/template/metadata/annotations/pingora-proxy.dev~1binary
      value: "$sum"
END

echo "installing $image on $(hack/cluster.sh kubectl config current-context)"
kustomize=$(hack/tool.sh kustomize)
"$kustomize" build bin/deploy | hack/cluster.sh kubectl apply --server-side -f -
hack/cluster.sh kubectl --namespace pingora-proxy-system rollout status deployment/pingora-proxy --timeout 3m
