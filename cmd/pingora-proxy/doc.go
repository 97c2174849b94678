// Command pingora-proxy is a reverse proxy that is driven by one YAML file. This package holds flags, environment and
// wiring, a file a command; everything else lives in the packages that it wires together.
package main
