// Package architecture checks the shape of the code: which package may import which (docs/architecture.md shows the
// same table to people), how large files and packages may grow, and that nothing registers itself in an init function
// or keeps mutable state in a package variable.
//
// The linter enforces the arrows too, while one types; a test here sees to it that .golangci.yml and the table of this
// package say the same. What only the whole program shows, that the data plane reaches no Kubernetes code even
// through a third package, is checked here alone.
package architecture
