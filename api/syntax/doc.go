// Package syntax reads and checks the small languages inside the schema's strings: bind addresses, addresses of backends,
// networks, hosts, paths, tokens and regular expressions. It knows no field: which string must be what, and where it
// stands, is api/v1alpha1's to say.
package syntax
