// Package inspect holds the commands that look at a configuration or at a running proxy and change neither: explain, diff
// and convert.
package inspect
