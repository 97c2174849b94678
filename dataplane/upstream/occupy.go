package upstream

// Occupy counts a connection of DialFor among what runs on the endpoint, until Vacate is called.
func (e *Endpoint) Occupy() {
	e.requests.Add(1)
	e.inFlight.Add(1)
}

// Vacate says that the connection has ended.
func (e *Endpoint) Vacate() { e.inFlight.Add(-1) }
