// Package peers runs the programs that the proxy is compared with and tested against: nginx, HAProxy, wrk and the like.
//
// [Find] takes a program from PATH or, where it is not installed, unpacks its Debian package without privileges into the
// user's cache. [Start] runs a program as a child in the foreground and knows when it is ready; [StartNginx] and
// [StartHAProxy] do the same with a generated configuration on a free port of the loopback. What the programs are
// configured to do, and what is measured, is the caller's business.
package peers
