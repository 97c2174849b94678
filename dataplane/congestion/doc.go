// Package congestion keeps connections within this machine from being paced.
//
// Where the kernel's default congestion control is BBR, TCP sends no faster than it believes the path to be, and starts a
// timer for the next segment. That is for queues in a network; the loopback device has none, and a response of 1 MiB cost
// twice the CPU time there (358 µs against 154, `make bench BENCH_FLAGS="-rows 1m"` with either default). Connections to
// other machines keep what the operator chose.
package congestion
