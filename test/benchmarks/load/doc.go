// Package load reads what wrk and h2load report.
package load
