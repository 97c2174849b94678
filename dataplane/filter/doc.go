// Package filter says what a feature on the way of a request is: Config, plain data made from the user's
// configuration, and Filter, the live instance that Apply makes of it and keeps for as long as an equal Config stands
// in the configuration, so that its counters survive reloads.
//
// It holds no feature itself: each is a package below it.
package filter
