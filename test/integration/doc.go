// Package integration runs the whole program the way a user does: real sockets, real processes in front and behind, one
// file a feature. What can be shown beside the code is left to the packages' own tests.
package integration
