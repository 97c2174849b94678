package snapshot

// A Protocol is what the endpoints of a cluster speak.
type Protocol uint8

// The protocols.
const (
	HTTP1 Protocol = iota
	HTTP2
)

// UpstreamTLS says how connections to the endpoints of a cluster are secured. Certificates are verified unless Insecure
// is set.
type UpstreamTLS struct {
	ServerName  string       // that the endpoint's certificate must name; empty: the cluster's DNS name, else the endpoint's address
	CA          []byte       // in PEM; empty: those that the system trusts
	Certificate *Certificate // shown to endpoints that ask for one; nil: none
	Insecure    bool         // whatever the endpoint shows is believed
	Invalid     string       // why it cannot be used: no connection is opened then
}
