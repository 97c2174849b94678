#!/usr/bin/env bash
# Builds the container image from a root file system that hack/rootfs.sh assembled: no base image is fetched, and BuildKit is
# not needed. It is the last stage of the Dockerfile, with the directory in place of the stage before it.
#
#   hack/image.sh ROOTFS IMAGE...
set -euo pipefail

usage='usage: hack/image.sh ROOTFS IMAGE...'
root=${1:?$usage}
shift
dockerfile=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)/Dockerfile
tags=()
for image in "${@:?$usage}"; do
	tags+=(--tag "$image")
done
sed -n '/^FROM scratch/,$ {s|^COPY --from=build /rootfs/ /$|COPY . /|; p}' "$dockerfile" |
	docker build --quiet "${tags[@]}" --file - "$root" >/dev/null
echo "built $*"
