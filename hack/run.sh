#!/usr/bin/env bash
# Serves config/default.yaml together with two demo upstreams until Ctrl-C, SIGTERM, or until one of them ends.
# Called by `make run`, which has built the binary.
set -uo pipefail

# The two programs are started in sessions of their own: Ctrl-C then reaches this script alone, which stops them in order.
# They would else get the signal from the terminal and a second one from here, which means "at once". (Job control would do
# that too, but under it bash does not run the trap of SIGINT while it waits.)
apart=$(command -v setsid || true)

binary=${BINARY:-bin/pingora-proxy}
config=${CONFIG:-config/default.yaml}
demo='' proxy='' stopping=''

fail() {
	echo "make run: $*" >&2
	exit 1
}

# answers PORT: something accepts connections there.
answers() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# ready: the proxy's admin address says that it serves its first configuration.
ready() {
	local line
	exec 4<>/dev/tcp/127.0.0.1/9901 || return 1
	printf 'GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' >&4
	IFS= read -r -t 2 line <&4
	exec 4>&-
	[[ ${line:-} == 'HTTP/1.1 200'* ]]
} 2>/dev/null

alive() { [[ -n $1 ]] && kill -0 "$1" 2>/dev/null; }

# shellcheck disable=SC2317 # called by the trap
stop() {
	trap '' INT TERM HUP
	stopping=yes
	local pid
	# The proxy first, so that what it still serves finds its upstreams.
	for pid in $proxy $demo; do
		if alive "$pid"; then
			kill -TERM "$pid" 2>/dev/null
			wait "$pid" 2>/dev/null
		fi
	done
}
trap stop EXIT
trap 'echo; echo "make run: stopping"; exit 0' INT TERM HUP

[[ -x $binary ]] || fail "there is no $binary; run 'make build' first"

taken=''
for port in 3001 3002 6188 6189 9901; do
	answers "$port" && taken+=" $port"
done
if [[ -n $taken ]]; then
	fail "already in use on 127.0.0.1:$taken
  3001 and 3002 are the demo upstreams, 6188 and 6189 the services of config/default.yaml, 9901 the admin address.
  Stop the program that listens there ('ss -ltnp' names it) and try again."
fi

# await WHAT COMMAND...: until the command succeeds, as long as both programs run.
await() {
	local what=$1 deadline=$((SECONDS + 30))
	shift
	until "$@"; do
		alive "$demo" || fail 'the demo upstreams ended before they were ready; their message is above'
		[[ -z $proxy ]] || alive "$proxy" || fail 'the proxy ended before it was ready; its message is above'
		((SECONDS < deadline)) || fail "$what not ready after 30 seconds; see the messages above"
		sleep 0.1
	done
}

both_answer() { answers 3001 && answers 3002; }

# The demo upstreams first: the proxy checks its endpoints at once, and one that is not up yet would get no request until
# its next check.
$apart "$binary" demo --listen 127.0.0.1:3001 --listen 127.0.0.1:3002 &
demo=$!
await 'the demo upstreams are' both_answer
$apart "$binary" --config "$config" &
proxy=$!
await 'the proxy is' ready

cat <<EOF

  ready: try these in another terminal

    curl http://127.0.0.1:6188/            # admin-portal, from the demo upstream on 3002
    curl http://127.0.0.1:6189/            # oauth-service, from the demo upstream on 3001
    curl http://127.0.0.1:6188/health      # is an endpoint of admin-portal able to serve?
    curl http://127.0.0.1:9901/api/v1/overview
    curl http://127.0.0.1:9102/metrics

  Ctrl-C stops the proxy and the demo upstreams.

EOF

# Whichever ends first ends the run: neither is of use without the other.
wait -n "$proxy" "$demo"
if [[ -z $stopping ]]; then
	if alive "$proxy"; then fail 'the demo upstreams ended'; else fail 'the proxy ended'; fi
fi
