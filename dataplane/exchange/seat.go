package exchange

import "sync/atomic"

// An Occupancy counts what one service has to do now.
type Occupancy struct {
	Requests    atomic.Int64
	Connections atomic.Int64 // of clients, whose last request was for the service
}

// A Seat says at which service a client's connection is: that of its last request. Streams of HTTP/2 may change it at the
// same time. The zero value is at none.
type Seat struct{ at atomic.Pointer[Occupancy] }

// Take moves the connection to o, unless most are there already: then it stays where it is, and Take returns false.
func (s *Seat) Take(o *Occupancy, most int64) bool {
	if s.at.Load() == o {
		return true
	}
	if o.Connections.Add(1) > most {
		o.Connections.Add(-1)
		return s.at.Load() == o // another stream was faster, and took the last place for both
	}
	s.leave(o)
	return true
}

// Leave says that the connection has ended. Nobody takes the Seat again.
func (s *Seat) Leave() { s.leave(nil) }

// leave counts one connection less where the Seat was, which may be o itself: another stream was faster.
func (s *Seat) leave(o *Occupancy) {
	if old := s.at.Swap(o); old != nil {
		old.Connections.Add(-1)
	}
}
