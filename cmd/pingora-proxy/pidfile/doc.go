// Package pidfile writes down which process serves, and reads it.
package pidfile
