// Package convert makes ProxyService objects of the standalone file, and the file of objects. What is not set stays unset,
// values stay as they are; comments and the order of keys do not survive. What has no place on the other side is found by
// the rules that the other side goes by itself, and nothing is left out silently.
package convert
