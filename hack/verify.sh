#!/usr/bin/env bash
# Checks what no test and no linter looks at: that generated files, modules and format are up to date, and the wording of the
# tree. Called by `make verify`; works on a fresh clone. It reports every check that fails, then exits 1.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

failed=0
check() {
	local name=$1
	shift
	# In a subshell with -e of its own: a function called as a condition would go on after a failed command.
	local code=0
	set +e
	(
		set -e
		"$@"
	)
	code=$?
	set -e
	if ((code == 0)); then
		echo "ok    $name"
	else
		echo "FAIL  $name" >&2
		failed=1
	fi
}

# fingerprint of everything under the given paths that git tracks or would add.
fingerprint() { git ls-files -co --exclude-standard -- "$@" | sort -u | xargs -r -d '\n' cksum 2>/dev/null; }

generated() {
	local before after paths=(api docs config/crd config/rbac charts)
	before=$(fingerprint "${paths[@]}")
	make generate manifests >/dev/null
	after=$(fingerprint "${paths[@]}")
	if [[ $before != "$after" ]]; then
		echo "generated files were out of date; 'make generate manifests' has just rewritten these, commit them:"
		diff <(echo "$before") <(echo "$after") | awk '/^[<>]/ {print "  " $4}' | sort -u
		return 1
	fi
}

# kustomize builds what `kubectl apply -k` would, and nothing in it may use a wildcard to say what is allowed.
kustomized() {
	local built
	built=$("$(hack/tool.sh kustomize)" build config/default)
	if grep -nE "^ *- ['\"]\*['\"]\$" <<<"$built"; then
		echo "config/default grants everything of something; name what is needed in controllers/rbac.go"
		return 1
	fi
}

modules() {
	go mod verify >/dev/null
	go mod tidy -diff
}

format() {
	local gofumpt unformatted
	gofumpt=$(hack/tool.sh gofumpt)
	unformatted=$(git ls-files -co --exclude-standard -- '*.go' | sort -u | xargs -r -d '\n' "$gofumpt" -l)
	if [[ -n $unformatted ]]; then
		echo "not formatted; run \"\$(hack/tool.sh gofumpt)\" -w on:"$'\n'"$unformatted"
		return 1
	fi
}

# Like what the Makefile compiles: garbage is collected only above a size.
vet() { GOGC=off GOMEMLIMIT=2GiB go vet ./...; }

# gosec runs inside golangci-lint, which remembers what it found in files that did not change; its exceptions are in .golangci.yml.
insecure() {
	local linter
	linter=$(hack/tool.sh golangci-lint)
	"$linter" run --allow-parallel-runners --enable-only gosec ./...
}

scripts() {
	local script
	while read -r script; do
		bash -n "$script"
		[[ -x $script ]] || { echo "$script is not executable" && return 1; }
	done < <(git ls-files -co --exclude-standard -- 'hack/*.sh' .ci/run)
}

# absent PATTERN WHY [PATHS]: no file of the tree has a line that matches.
absent() {
	local pattern=$1 why=$2 hits
	shift 2
	# --untracked sees what is about to be added; -I leaves binaries out.
	if hits=$(git grep --untracked -nIE "$pattern" -- "${@:-.}"); then
		echo "$why"
		# A long line is cut; its place is enough to find it.
		cut -c1-200 <<<"$hits" | sed 's/^/  /'
		return 1
	fi
}

# literal TEXT as an extended regular expression.
literal() { sed 's/[][\.*^$+?(){}|/]/\\&/g' <<<"$1"; }

# The brackets keep these lines from matching themselves.
places() {
	absent '(proxy|sum)[.]golang[.]org|registry[.]npmjs|pypi[.]org|static[.]crates|deb[.]debian[.]org|repo1?[.]maven' \
		'the tree names a package registry: which one a machine uses is its own configuration'
	# Those of root and of build machines by name, those of whoever runs this by value.
	local home=${HOME:-/}
	[[ $home != / ]] || home=/nonexistent
	absent "(^|[^A-Za-z0-9_.])(/[w]ork/|/[r]oot/|$(literal "$PWD")/|$(literal "$home")/)" \
		'the tree names a path of one machine; use a path inside the checkout, $HOME or a temporary directory'
}

words() {
	absent '\b(T[O]DO|F[I]XME|X[X]X)\b' 'unfinished work is an issue, not a comment'
	absent '^package (u[t]ils?|h[e]lpers?|c[o]mmon|m[a]nagers?)$' 'a package is named after what it holds (docs/architecture.md, vocabulary)' '*.go'
}

check 'generated files are up to date' generated
check 'config/default builds, without wildcards in its roles' kustomized
check 'modules are tidy and unchanged' modules
check 'format' format
check 'go vet' vet
check 'scripts' scripts
check 'no machine of its own in the tree' places
check 'words' words
check 'systemd unit' hack/check-systemd.sh
check 'gosec' insecure
check 'known vulnerabilities (govulncheck)' hack/check-vulnerabilities.sh
check 'leaked secrets (gitleaks)' hack/check-leaks.sh

exit "$failed"
