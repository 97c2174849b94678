#!/usr/bin/env bash
# Looks for known vulnerabilities in what the binary and its tests are built of, Go itself included. Called by `make verify`.
#
# VULNDB names a folder with a copy of Go's vulnerability database (the one that has ID/ and index/ in it); without it the
# database is asked online. VULNDB=off leaves the check out, and says so: for work without a network, never for CI.
set -euo pipefail

database=()
where="asked online"
case ${VULNDB:-} in
off)
	echo "known vulnerabilities: NOT checked, VULNDB=off"
	exit 0
	;;
?*)
	# A folder without an index would say that there is nothing to be found.
	if ! folder=$(cd "$VULNDB" 2>/dev/null && pwd) || [[ ! -s $folder/index/modules.json && ! -s $folder/index/modules.json.gz ]]; then
		echo "VULNDB=$VULNDB: no copy of Go's vulnerability database: there is no index/modules.json in it" >&2
		exit 1
	fi
	database=(-db "file://$folder")
	# The newest number says how old a copy is.
	newest=$(find "$folder/ID" -name 'GO-*.json' 2>/dev/null | sed 's|.*/||; s|[.]json$||' | sort -V | tail -n 1)
	where="a copy with entries up to ${newest:-none}"
	;;
esac

govulncheck=$(hack/tool.sh govulncheck)

# Packages first, which takes a second: where no package has an entry, none of its functions has one. Only where one has, the
# slow question follows whether what is vulnerable is ever called.
if said=$("$govulncheck" "${database[@]}" -test -scan package ./... 2>&1); then
	echo "known vulnerabilities: none in any package ($where)"
	exit 0
elif (($? != 3)); then
	echo "$said" >&2
	if [[ ${#database[@]} == 0 ]]; then
		cat >&2 <<-'EOF'
			The vulnerability database cannot be asked. Unpack a copy of it somewhere and name the folder, the one with ID/ and index/:
			  make verify VULNDB=/path/to/the/copy
			or leave this check out, for as long as there is no network:
			  make verify VULNDB=off
		EOF
	fi
	exit 1
fi
"$govulncheck" "${database[@]}" -test ./...
