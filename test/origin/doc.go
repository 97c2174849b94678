// Package origin runs the upstream that benchmarks proxy to: an nginx that serves bodies of a few sizes as cheaply as it
// can, so that the origin is never what is measured.
package origin
