// Package upstream holds what is live about clusters: their endpoints with health, ejection, in-flight counts and idle
// connections, and the circuit breakers before them.
//
// Clusters is the registry of all of them and has one writer; Choose, RoundTrip and Report are for every goroutine.
// A Cluster lives on under its ID and an Endpoint under its address, however often the configuration around them is
// replaced.
//
// Which of several endpoints serves is package balance's to say, and which of several clusters package group's. Asking
// endpoints how they are is left to package health, resolving names to package resolver, and deciding whether a failed
// attempt is tried again to package proxy.
package upstream
