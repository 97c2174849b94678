package ratelimit

import "sync"

// GCRA keeps one number a client: the time at which its allowance is whole again (the theoretical arrival time). Each
// request moves it by one interval into the future; one that would move it further than the tolerance is above the limit. A
// time that is past says nothing: its client is like one that never came.
//
// A table holds those times by the hash of what they are counted for, 16 bytes each. The hash has 64 bits and a seed of its
// own: nobody outside can make two clients one, nor aim at a place. Memory grows with the clients that are not whole again,
// to maxSlots, and no further; it goes back as they become fewer.
type table struct {
	shards [shardCount]shard
	slots  int // at most, in one shard
}

const (
	shardCount = 32
	bucketSize = 8       // 128 bytes: two cache lines
	maxSlots   = 1 << 21 // 32 MiB
	// shrinkAfter is how often a shard looks whether it has become too large, in nanoseconds.
	shrinkAfter = 60e9
)

type shard struct {
	mu      sync.Mutex
	buckets []bucket // a power of two of them; none until the first client comes
	looked  int64    // when it was looked whether there are too many
	_       [24]byte // a shard is a cache line
}

type bucket [bucketSize]slot

// A slot is free when its time is past.
type slot struct {
	hash uint64
	at   int64
}

func newTable() *table { return &table{slots: maxSlots / shardCount} }

// take asks for one request at a time, in nanoseconds; see gcra for what it returns.
func (t *table) take(hash uint64, now, interval, tolerance int64) (allowed bool, spare int64) {
	s := &t.shards[hash>>59]
	s.mu.Lock()
	at := s.find(hash)
	if at == nil {
		at = s.place(hash, now, t.slots)
		*at = slot{hash: hash}
	}
	at.at, allowed, spare = gcra(at.at, now, interval, tolerance)
	s.mu.Unlock()
	return allowed, spare
}

// gcra is the algorithm: at is when the allowance is whole again. It returns when it is afterwards, whether the request is
// within the limit, and by how much time: spare divided by the interval is how many more may come at once; where the
// request is not allowed, spare is below 0 and one will be after that time.
func gcra(at, now, interval, tolerance int64) (next int64, allowed bool, spare int64) {
	at = min(max(at, now), now+tolerance) // beyond it where the limit was changed
	if spare = now + tolerance - at - interval; spare < 0 {
		return at, false, spare
	}
	return at + interval, true, spare
}

// homes are the two buckets that a hash may be in.
func (s *shard) homes(hash uint64) (first, second *bucket) {
	mask := uint64(len(s.buckets) - 1)
	i, j := hash&mask, hash>>24&mask
	if i == j {
		j ^= mask & 1
	}
	return &s.buckets[i], &s.buckets[j]
}

func (s *shard) find(hash uint64) *slot {
	if len(s.buckets) == 0 {
		return nil
	}
	first, second := s.homes(hash)
	for i := range first {
		if first[i].hash == hash {
			return &first[i]
		}
	}
	for i := range second {
		if second[i].hash == hash {
			return &second[i]
		}
	}
	return nil
}

// place finds a slot for a hash that has none.
func (s *shard) place(hash uint64, now int64, most int) *slot {
	if len(s.buckets) == 0 {
		s.buckets = make([]bucket, 1)
		s.looked = now
	}
	if now-s.looked > shrinkAfter {
		s.shrink(now)
	}
	for {
		least := s.least(hash, now)
		if least.at <= now {
			return least
		}
		if 2*len(s.buckets)*bucketSize > most {
			// Evict: of the sixteen clients that share two buckets the one that used least of its allowance is forgotten. So a
			// flood of new clients, which have used one request each, pushes out one of its own: who has used a limit up is
			// forgotten only for others that have as well.
			return least
		}
		s.resize(2*len(s.buckets), now)
	}
}

// least is a free slot in the emptier of a hash's buckets, else the slot whose time comes first.
func (s *shard) least(hash uint64, now int64) *slot {
	first, second := s.homes(hash)
	a, free := first.least(now)
	b, more := second.least(now)
	if more > free || free == 0 && b.at < a.at {
		return b
	}
	return a
}

// least is a bucket's slot whose time comes first, and how many are free.
func (b *bucket) least(now int64) (least *slot, free int) {
	least = &b[0]
	for i := range b {
		if b[i].at <= now {
			free++
		}
		if b[i].at < least.at {
			least = &b[i]
		}
	}
	return least, free
}

// shrink halves the shard until its clients fill an eighth of it.
func (s *shard) shrink(now int64) {
	s.looked = now
	live := 0
	for i := range s.buckets {
		for j := range s.buckets[i] {
			if s.buckets[i][j].at > now {
				live++
			}
		}
	}
	n := len(s.buckets)
	for n > 1 && live*8 < n*bucketSize {
		n /= 2
	}
	if n < len(s.buckets) {
		s.resize(n, now)
	}
}

// resize moves the clients to n buckets. Where two buckets are full the client that used least is lost; half of the slots at
// most are taken, so that it takes more luck than there is.
func (s *shard) resize(n int, now int64) {
	old := s.buckets
	s.buckets = make([]bucket, n)
	for i := range old {
		for _, from := range old[i] {
			if from.at <= now {
				continue
			}
			if to := s.least(from.hash, now); to.at < from.at {
				*to = from
			}
		}
	}
}
