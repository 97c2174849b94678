// Package upstream holds what is live about clusters: their endpoints with health, ejection, in-flight counts and idle
// connections, the pickers that choose one (a file each), and the groups that routes balance over.
//
// Clusters is the registry of all of them and has one writer; Pick, RoundTrip and Report are for every goroutine.
// A Cluster lives on under its ID and an Endpoint under its address, however often the configuration around them is
// replaced; Group keeps its position under its key.
//
// Asking endpoints how they are is left to package health, resolving names to package resolver, and deciding whether a
// failed attempt is tried again to package proxy.
package upstream
