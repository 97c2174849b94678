// Package affinity makes and reads the cookies that keep a client at its endpoint. A cookie names an endpoint by a keyed
// hash, so that it shows no address, and is signed, so that nobody can choose one. Which endpoint a name stands for, and
// whether it can serve, is left to package upstream.
package affinity
