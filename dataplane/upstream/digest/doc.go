// Package digest decides which changes of endpoints are logged one by one. A network that is cut changes thousands at once: a line
// for each tells nobody more, and hides everything else.
package digest
