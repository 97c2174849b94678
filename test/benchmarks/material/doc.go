// Package material makes what a benchmark needs beside its programs: certificates, tokens, and a collector of spans.
package material
