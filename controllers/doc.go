// Package controllers serves ProxyServices of a Kubernetes cluster. It watches them and what they name, translates the
// whole of them whenever something changes, and drives the data plane of this process, which is handed in as an
// interface.
//
// Every replica does so for itself. What only one may do, writing status and the ports of the proxy's own Service, is
// done by the leader; losing the lead, or the API server, ends that and nothing else. Reading a standalone file is left
// to package standalone, and flags to the command.
package controllers
