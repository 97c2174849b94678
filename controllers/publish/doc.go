// Package publish keeps the ports of the proxy's own Service equal to the ports that the proxy listens on, and says at which
// addresses clients reach them.
//
// It writes by server-side apply and owns nothing but the entries of spec.ports that it made. Which replica publishes, and when, is the
// caller's to decide.
package publish
