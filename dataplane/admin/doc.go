// Package admin serves what operators and their tools ask of a running proxy: its health, its live state as JSON, its
// metrics, its profiles, and its log level, which is the only thing that can be changed.
//
// It has two servers. The admin API (loopback by default) shows addresses and configuration, and refuses what a web page
// could make a browser send: see guard. The metrics server answers scrapers and kubelets, from anywhere.
//
// It holds no state of its own. It asks a State, which the process implements, and turns a Snapshot into what may be
// shown: values that a user may have filled with a secret are left out (see Describe).
package admin
