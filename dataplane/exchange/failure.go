package exchange

import "fmt"

// A Failure says why an exchange went wrong on one of its sides: a round trip without a response, or a response that
// was not passed on whole.
type Failure struct {
	Reason   Reason
	Sent     bool // a byte of the request may have reached the endpoint
	BodyRead bool // bytes of the request's body were taken from the client: it cannot be sent again
	Err      error
}

// Error implements error.
func (f *Failure) Error() string { return fmt.Sprintf("%s: %v", f.Reason, f.Err) }

// Unwrap returns the cause.
func (f *Failure) Unwrap() error { return f.Err }
