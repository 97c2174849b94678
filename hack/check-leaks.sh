#!/usr/bin/env bash
# Looks for secrets in the tree and in its history, with gitleaks. Called by `make verify`. What is no secret stands in
# .gitleaks.toml, each with its reason.
set -euo pipefail

gitleaks=$(hack/tool.sh gitleaks)
# Of a finding its place is told, and never the secret.
flags=(--config .gitleaks.toml --no-banner --no-color --log-level warn --redact --verbose)

# What git tracks or would add: what it ignores (kubeconfigs of test clusters in bin/) is not published.
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
git ls-files -co --exclude-standard -z | xargs -0 -r sh -c 'for f; do [ ! -f "$f" ] || printf "%s\0" "$f"; done' sh |
	xargs -0 -r cp --parents -t "$tree"
if ! (cd "$tree" && "$gitleaks" dir "${flags[@]}" .) >&2; then
	echo "secrets in the tree: a value that is none goes into .gitleaks.toml, with the reason" >&2
	exit 1
fi

# The history up to HEAD, from the last commit that was clean under the same rules.
cache=${XDG_CACHE_HOME:-${HOME:?set HOME or XDG_CACHE_HOME}/.cache}/pingora-proxy/gitleaks
clean=$cache/$({ echo "$gitleaks" && cat .gitleaks.toml; } | git hash-object --stdin | cut -c1-16)
head=$(git rev-parse HEAD)
range=$head
if last=$(cat "$clean" 2>/dev/null) && git merge-base --is-ancestor "$last" "$head" 2>/dev/null; then
	range=$last..$head
fi
count=$(git rev-list --count "$range")
if ((count > 0)); then
	if ! "$gitleaks" git "${flags[@]}" --log-opts="--full-history $range" . >&2; then
		echo "secrets in the history: take the commit back before it is published; one that is published is known, so replace the secret" >&2
		exit 1
	fi
	mkdir -p "$cache"
	echo "$head" >"$clean.$$"
	mv -f "$clean.$$" "$clean"
fi
echo "leaked secrets: none in the tree, none in $count commits that were not looked at before"
