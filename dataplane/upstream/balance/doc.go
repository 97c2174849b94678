// Package balance chooses one of several endpoints by their weights, by what runs at them, and by what a request says: in
// turns, at random, the less busy of two, or the same one for the same key. It knows endpoints as places in a list; who
// they are, and whether they can serve, is left to package upstream.
package balance
