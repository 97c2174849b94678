// Package reliability counts what becomes of requests when something happens to the proxy, or to what stands around it:
// reloads, killed and broken upstreams, overload, the end of the process, millions of requests. The proxy is the real
// program in a process of its own; so is an origin that is killed.
//
// A case is a file of this package with one variable of type scenario, which main_test.go lists. It has a name, for -run; a
// title; what may fail or be lost, and why; and a function, which takes its numbers from run.of(short, long) and hands
// every count to run.report. A request is answered (whole, and to this very request), failed (with the right status and
// reason, where nobody could do better), or lost. Requests that origins received more often than they may count as
// replayed. What is lost beyond what may be, and whatever is replayed, fails the test.
//
// `make test` runs the short form of each, which takes seconds and writes nothing: first those that fill the machine, then the
// others and their parts side by side. RACE=1 builds the program with the race detector, and clients and origins without. `make soak` runs the long form, one case after the
// other, and writes its rows into docs/reliability.md, beside those of the cases that did not run:
//
//	SOAK=1           asks for the long form
//	SOAK_SCALE=0.1   makes it shorter, or longer; such a run writes nothing
//
// One case alone: make soak CASES=reloads.
package reliability
