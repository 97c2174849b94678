// Package defaults fills in what a configuration leaves unset: of one service (Service) and of the process (Globals). It is
// pure, and the one source of defaults: the API server fills in none.
package defaults
