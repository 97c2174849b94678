// Package optional reads fields that may be unset.
package optional
