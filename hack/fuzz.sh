#!/usr/bin/env bash
# Runs every fuzz target of the tree for FUZZTIME each; the first finding ends it with Go's report of the input, which is
# kept in that package's testdata/fuzz and becomes a test case.
set -euo pipefail

fuzztime=${FUZZTIME:-20s}
count=0
while IFS=: read -r file target; do
	package=./$(dirname "$file")
	echo "fuzz $package $target for $fuzztime"
	go test -run '^$' -fuzz "^$target\$" -fuzztime "$fuzztime" "$package"
	count=$((count + 1))
done < <(git ls-files -co --exclude-standard -- '*_test.go' |
	xargs -r grep -HoE '^func Fuzz[A-Za-z0-9_]*\(' | sed -E 's/:func (Fuzz[A-Za-z0-9_]*)\(/:\1/')

if ((count == 0)); then
	echo 'hack/fuzz.sh: no fuzz target found' >&2
	exit 1
fi
echo "$count fuzz targets ran, no finding"
