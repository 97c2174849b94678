#!/usr/bin/env bash
# Assembles the root file system of the container image: `make image-rootfs` calls it, and so does the Dockerfile, so that
# what is tested without a container engine is what is shipped.
#
#   hack/rootfs.sh BINARY DIRECTORY
#
# No shell, no package manager, nothing writable: the binary, the account it runs as, the certificate authorities, and a
# configuration to be mounted over.
set -euo pipefail

binary=${1:?usage: hack/rootfs.sh BINARY DIRECTORY}
root=${2:?usage: hack/rootfs.sh BINARY DIRECTORY}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
authorities=/etc/ssl/certs/ca-certificates.crt

if [[ -e $root && -n $(ls -A "$root") && ! -x $root/usr/local/bin/pingora-proxy ]]; then
	echo "hack/rootfs.sh: $root holds something else; name an empty or a new directory" >&2
	exit 1
fi
rm -rf "${root:?}/usr" "$root/etc"
umask 022
mkdir -p "$root/usr/local/bin" "$root/etc/pingora-proxy" "$root/etc/ssl/certs"

install -m 0755 "$binary" "$root/usr/local/bin/pingora-proxy"
install -m 0644 "$here/config/default.yaml" "$root/etc/pingora-proxy/config.yaml"

cat >"$root/etc/passwd" <<'EOF'
root:x:0:0:root:/:/sbin/nologin
pingora:x:65532:65532:pingora-proxy:/:/sbin/nologin
EOF
cat >"$root/etc/group" <<'EOF'
root:x:0:
pingora:x:65532:
EOF
# The names a container has besides DNS: the hosts file first, as everywhere.
echo 'hosts: files dns' >"$root/etc/nsswitch.conf"

if [[ -r $authorities ]]; then
	install -m 0644 "$authorities" "$root$authorities"
else
	echo "hack/rootfs.sh: no $authorities on this machine; the root file system trusts no certificate authority" >&2
fi
echo "$root: $(du -sh "$root" | cut -f1)"
