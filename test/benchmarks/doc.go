// Package benchmarks measures pingora-proxy beside nginx, HAProxy, Caddy, Traefik and a bare TCP relay, doing the same work on the
// same machine at the same time.
//
// What counts is the CPU time that a proxy uses for a request, because it is what a deployment pays for and because it
// is steadier than throughput. Every proxy has one CPU for itself; the load generator and the origin share another one.
// Measurements go in rounds in which each proxy has its turn; the ratio between two proxies is taken within a round, whose
// measurements are neighbours in time, so that the machine's drift cancels, and the median over the rounds is reported.
//
// The command in cmd/bench runs it; peers starts the programs, and configs holds their configurations.
package benchmarks
