package basic

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"runtime"
	"sync"
	"time"
)

const (
	remembered = 5 * time.Minute // a password that was right
	maxRight   = 4096            // of these
	maxJobs    = 128             // passwords that wait to be hashed
	maxPerPeer = 8               // of these, of one client
	patience   = 2 * time.Second // how long one waits
)

// A digest stands for a name and a password, under a key of the process.
type digest = [sha256.Size]byte

// A verdict is what is known of a name and a password.
type verdict uint8

const (
	wrong verdict = iota
	right
	unknown // there was no time to find out
)

// A judge finds out whether passwords are right.
type judge struct {
	users []user
	at    map[string]int // in users
	key   [32]byte
	slots chan struct{} // of those who hash now

	mu      sync.Mutex
	right   map[digest]memory
	flights map[digest]*flight
	peers   map[netip.Addr]int // how many flights they have
}

// A memory is a password that was right.
type memory struct {
	name  string
	until time.Time
}

// A flight is a password that is being hashed, for all requests that came with it.
type flight struct {
	done   chan struct{}
	result verdict
}

func newJudge(users []user) *judge {
	j := &judge{
		users: users, at: make(map[string]int, len(users)),
		slots:   make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)), // the other half serves those who have been in before
		right:   map[digest]memory{},
		flights: map[digest]*flight{},
		peers:   map[netip.Addr]int{},
	}
	_, _ = rand.Read(j.key[:]) // it never fails
	for i, u := range users {
		j.at[u.name] = i
	}
	return j
}

// digest makes the digest of credentials as they were sent.
func (j *judge) digest(credentials []byte) digest {
	var buffer [len(j.key) + maxCredentials]byte
	n := copy(buffer[:], j.key[:])
	n += copy(buffer[n:], credentials)
	return sha256.Sum256(buffer[:n])
}

// remembers returns the name of credentials that were right not long ago.
func (j *judge) remembers(of digest, now time.Time) (name string, ok bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	m, ok := j.right[of]
	if ok && now.After(m.until) {
		delete(j.right, of)
		return "", false
	}
	return m.name, ok
}

func (j *judge) remember(of digest, name string, now time.Time) {
	if len(j.right) >= maxRight {
		for other, m := range j.right {
			if now.After(m.until) {
				delete(j.right, other)
			}
		}
	}
	for other := range j.right { // any one: its owner pays for one hash more
		if len(j.right) < maxRight {
			break
		}
		delete(j.right, other)
	}
	j.right[of] = memory{name, now.Add(remembered)}
}

// hash finds out with the hash of the name. Requests that come with the same credentials at once share one.
func (j *judge) hash(of digest, name string, password []byte, client netip.Addr) verdict {
	client = peer(client)
	j.mu.Lock()
	if f := j.flights[of]; f != nil {
		j.mu.Unlock()
		<-f.done
		return f.result
	}
	if len(j.flights) >= maxJobs || j.peers[client] >= maxPerPeer {
		j.mu.Unlock()
		return unknown
	}
	f := &flight{done: make(chan struct{}), result: unknown}
	j.flights[of] = f
	j.peers[client]++
	j.mu.Unlock()

	defer func() {
		j.mu.Lock()
		defer j.mu.Unlock()
		if f.result == right {
			j.remember(of, name, time.Now())
		}
		delete(j.flights, of)
		if j.peers[client]--; j.peers[client] == 0 {
			delete(j.peers, client)
		}
		close(f.done)
	}()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case j.slots <- struct{}{}:
		defer func() { <-j.slots }()
		f.result = j.compare(name, password)
	case <-timer.C:
	}
	return f.result
}

// compare hashes a password. For a name that is not in the list, one of the list's hashes is taken, always the same, so
// that it takes as long as for a name that is.
func (j *judge) compare(name string, password []byte) verdict {
	i, known := j.at[name]
	if !known {
		of := j.digest([]byte(name))
		i = int(binary.LittleEndian.Uint64(of[:]) % uint64(len(j.users)))
	}
	if j.users[i].hash.matches(password) && known {
		return right
	}
	return wrong
}

// peer is whom an address is counted for: in IPv6 the network, of whose addresses one client has as many as it likes.
func peer(a netip.Addr) netip.Addr {
	if a = a.Unmap(); a.Is6() {
		if p, err := a.WithZone("").Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return a
}
