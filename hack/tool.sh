#!/usr/bin/env bash
# Prints the path of a development tool, after building it once from the modules under hack/tools.
#
#   hack/tool.sh golangci-lint
#
# The binary lives outside the checkout, under a key made of the tool's module and the Go version: a clone that asks
# for the same versions finds it built, and one that asks for others never gets it by mistake. Tools that would disagree
# about a library, or that few people need, have a module of their own: what one needs never rebuilds another.
set -euo pipefail

name=${1:?usage: hack/tool.sh NAME}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=hack/build.sh
source "$here/build.sh"

case $name in
golangci-lint) module=. package=github.com/golangci/golangci-lint/v2/cmd/golangci-lint ;;
gofumpt) module=. package=mvdan.cc/gofumpt ;;
controller-gen) module=controller-gen package=sigs.k8s.io/controller-tools/cmd/controller-gen ;;
kustomize) module=kustomize package=sigs.k8s.io/kustomize/kustomize/v5 ;;
helm) module=helm package=helm.sh/helm/v4/cmd/helm ;;
kind) module=kind package=sigs.k8s.io/kind ;;
kwok) module=kwok package=sigs.k8s.io/kwok/cmd/kwok ;;
kwokctl) module=kwok package=sigs.k8s.io/kwok/cmd/kwokctl ;;
toxiproxy) module=toxiproxy package=github.com/Shopify/toxiproxy/v2/cmd/server ;;
h2spec) module=h2spec package=github.com/summerwind/h2spec/cmd/h2spec ;;
govulncheck) module=govulncheck package=golang.org/x/vuln/cmd/govulncheck ;;
gitleaks) module=gitleaks package=github.com/zricethezav/gitleaks/v8 ;;
*)
	echo "hack/tool.sh: no tool named '$name'; there are golangci-lint, gofumpt, controller-gen, kustomize, helm, kind, kwok, kwokctl, toxiproxy, h2spec, govulncheck and gitleaks" >&2
	exit 2
	;;
esac

cd "$here/tools/$module"
cache=${XDG_CACHE_HOME:-${HOME:?set HOME or XDG_CACHE_HOME}/.cache}/pingora-proxy/tools
key=$({ go version && cat go.mod go.sum; } | git hash-object --stdin | cut -c1-16)
binary=$cache/$key/$name
build_program "$PWD" "$package" "$binary"
echo "$binary"
