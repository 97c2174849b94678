package balance

import (
	"encoding/binary"
	"math"
	"net/netip"

	"github.com/cespare/xxhash/v2"
)

const (
	bucketBits = 15
	// buckets is how many parts the keys are divided into. It is the same for any number of endpoints, because another
	// number would move keys of all of them.
	buckets = 1 << bucketBits
	// boundFactor is how much more than its share of what runs an endpoint may get.
	boundFactor = 1.25
	// maxProbes is how many buckets a key is led to while endpoints are full, before all of them are looked at in turns. Not
	// more than four fifths can be full at a time.
	maxProbes = 32
)

// Hash is the hash of a key, the same in every process, and never 0.
func Hash(key []byte) uint64 { return max(xxhash.Sum64(key), 1) }

// HashAddr is the hash of an address; one of IPv4 is the same in its IPv6 form.
func HashAddr(addr netip.Addr) uint64 {
	b := addr.As16()
	return Hash(b[:])
}

// KeyOf is the Key of the endpoint of an address.
func KeyOf(addr netip.AddrPort) uint64 {
	b := addr.Addr().As16()
	return Hash(binary.BigEndian.AppendUint16(b[:], addr.Port()))
}

// A table says which endpoint has a bucket: the one with the highest score there, as in rendezvous hashing. Scores do not
// depend on who else there is. So an endpoint that comes takes buckets, and one that goes leaves its own to others; no
// other bucket changes hands, and all replicas agree, in whatever order they learnt of the endpoints. (Maglev moves a few
// others; a ring whose points depend on weights does when the scale of the weights changes.)
type table struct {
	owner   []uint16 // places by bucket; nil where there is but one endpoint
	members []Member
	share   []float64 // of what runs, by place: the bound of its load, for each request that runs
}

// maxMembers is how many endpoints a table can tell apart.
const maxMembers = 1 << 16

// newTable makes the table of members. What old says is kept where it still holds: looking at all endpoints for all
// buckets takes some 10 ms for a hundred of them, for one that comes or goes 0.4 ms (BenchmarkTable).
func newTable(members []Member, old *table) *table {
	t := &table{members: members, share: make([]float64, len(members))}
	sum := 0.0
	for _, m := range members {
		sum += float64(m.Weight)
	}
	for i, m := range members {
		t.share[i] = boundFactor * float64(m.Weight) / sum
	}
	if len(members) < 2 {
		return t
	}
	members = members[:min(len(members), maxMembers)]
	t.owner = make([]uint16, buckets)
	type identity struct {
		key    uint64
		weight uint32
	}
	places := make(map[identity]int, len(members)) // of those that old does not know
	for i, m := range members {
		places[identity{m.Key, m.Weight}] = i
	}
	var moved []int // by place in old; -1: gone, or of another weight now
	if old != nil && old.owner != nil {
		moved = make([]int, len(old.members))
		for i, m := range old.members {
			id := identity{m.Key, m.Weight}
			if at, ok := places[id]; ok {
				moved[i] = at
				delete(places, id)
			} else {
				moved[i] = -1
			}
		}
	}
	for bucket := range buckets {
		best := -1
		if moved != nil {
			best = moved[old.owner[bucket]]
		}
		w := winner{bucket: uint64(bucket), members: members}
		if best >= 0 {
			w.take(best)
			for _, i := range places {
				w.challenge(i)
			}
		} else {
			w.take(0)
			for i := 1; i < len(members); i++ {
				w.challenge(i)
			}
		}
		t.owner[bucket] = uint16(w.place)
	}
	return t
}

// A winner is the place with the highest score in a bucket, among those that were looked at. The score is the logarithm of a
// random number that is made of bucket and endpoint, divided by the weight (weighted rendezvous hashing): each wins as many
// buckets as its weight says. Between equal weights the numbers alone decide.
type winner struct {
	bucket  uint64
	members []Member
	place   int
	number  uint64
}

func (w *winner) take(i int) { w.place, w.number = i, mix(w.bucket, w.members[i].Key) }

// challenge makes i the winner if its score is higher.
func (w *winner) challenge(i int) {
	m, best := &w.members[i], &w.members[w.place]
	number := mix(w.bucket, m.Key)
	wins := number > w.number
	if number == w.number {
		wins = m.Key > best.Key
	} else if m.Weight != best.Weight {
		wins = math.Log(unit(number))/float64(m.Weight) > math.Log(unit(w.number))/float64(best.Weight)
	}
	if wins {
		w.place, w.number = i, number
	}
}

// unit makes an evenly distributed x one between 0 and 1, neither included.
func unit(x uint64) float64 { return (float64(x>>11) + 0.5) / (1 << 53) }

// mix makes one number of two (the finish of SplitMix64).
func mix(a, b uint64) uint64 {
	x := b ^ (a+1)*0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// consistent takes the endpoint that has the key's bucket. One that is full, or was tried, leads to another bucket, by the
// same way for every request of that key ("consistent hashing with bounded loads").
func (b *Balance) consistent(t *Tried, hash uint64) int {
	if b.table.owner == nil {
		return b.untried(t)
	}
	running := float64(b.state.Running.Load() + 1)
	h := hash
	for range maxProbes {
		at := int(b.table.owner[h>>(64-bucketBits)])
		if (t == nil || !t.Has(b.loads[at])) && b.fits(at, running) {
			return at
		}
		h = mix(h, hash)
	}
	from := scale(h, uint64(len(b.loads)))
	for i := range b.loads {
		at := (from + i) % len(b.loads)
		if (t == nil || !t.Has(b.loads[at])) && b.fits(at, running) {
			return at
		}
	}
	return b.untried(t)
}

// fits reports whether one more request keeps an endpoint within its bound. Two are always within: a client that has its
// answer may ask again before the endpoint's side knows that the first request is over.
func (b *Balance) fits(at int, running float64) bool {
	n := b.loads[at].Load()
	return n <= 1 || float64(n) < b.table.share[at]*running
}
