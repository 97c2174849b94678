// Package tree reads YAML into a tree of nodes, within bounds: a file may come from anybody who can write it, and costs the
// parser time and memory.
package tree
