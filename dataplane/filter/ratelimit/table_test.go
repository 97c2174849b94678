package ratelimit

import (
	"math/rand/v2"
	"runtime"
	"testing"
	"time"
)

const second = int64(time.Second)

func TestGCRA(t *testing.T) {
	const interval, tolerance = second, 3 * second // one a second, three at once
	at := int64(0)
	for i, step := range []struct {
		now     int64
		allowed bool
		spare   int64
	}{
		{100 * second, true, 2 * second},
		{100 * second, true, second},
		{100 * second, true, 0},
		{100 * second, false, -second},
		{100*second + 400, false, -second + 400},
		{101 * second, true, 0},
		{101 * second, false, -second},
		{103*second + second/2, true, second + second/2},
		{200 * second, true, 2 * second},
	} {
		var allowed bool
		var spare int64
		if at, allowed, spare = gcra(at, step.now, interval, tolerance); allowed != step.allowed || spare != step.spare {
			t.Fatalf("step %d: %v, %d; want %v, %d", i, allowed, spare, step.allowed, step.spare)
		}
	}
	// A limit that has become smaller holds nobody up for longer than itself.
	if _, allowed, spare := gcra(1000*second, 100*second, interval, tolerance); allowed || spare != -interval {
		t.Errorf("%v, %d", allowed, spare)
	}
	// The least and the greatest that a configuration may ask for.
	for _, p := range [][2]int64{{1, maxTolerance}, {int64(maxPeriod), maxTolerance}, {1, 1}, {int64(maxPeriod), int64(maxPeriod)}} {
		if next, allowed, spare := gcra(0, 1<<62, p[0], p[1]); !allowed || spare < 0 || next < 1<<62 {
			t.Errorf("%d of %d: %d, %v, %d", p[0], p[1], next, allowed, spare)
		}
	}
}

// What the table says is what a map without any limit on memory says.
func TestTableAgainstMap(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	table, whole := newTable(), map[uint64]int64{}
	now := second
	for i := range 400_000 {
		now += random.Int64N(second / 1000)
		if i%100_000 == 0 {
			now += 1000 * second
		}
		hash := uint64(random.IntN(20_000)) * 0x9e3779b97f4a7c15
		interval := second/2 + int64(hash>>60)*second
		next, allowed, spare := gcra(whole[hash], now, interval, 3*interval)
		whole[hash] = next
		if got, left := table.take(hash, now, interval, 3*interval); got != allowed || left != spare {
			t.Fatalf("request %d: %v, %d; want %v, %d", i, got, left, allowed, spare)
		}
	}
}

func (t *table) size() (slots int) {
	for i := range t.shards {
		slots += len(t.shards[i].buckets) * bucketSize
	}
	return slots
}

// A million clients at once are all remembered, in bounded memory; half as many again do not need more.
func TestMemory(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	hashes := make([]uint64, 1_000_000)
	for i := range hashes {
		hashes[i] = random.Uint64()
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	table := newTable()
	const interval = 3600 * second
	for _, h := range hashes {
		table.take(h, second, interval, interval)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 64<<20 {
		t.Errorf("%d bytes for a million clients", grown)
	}
	forgotten := 0
	for _, h := range hashes {
		if allowed, _ := table.take(h, second, interval, interval); allowed {
			forgotten++
		}
	}
	if forgotten > 0 {
		t.Errorf("%d of a million clients are forgotten", forgotten)
	}
	for range 500_000 {
		table.take(random.Uint64(), second, interval, interval)
	}
	if n := table.size(); n > maxSlots {
		t.Errorf("%d slots, %d at most", n, maxSlots)
	}

	// Hours later nobody is limited any more: the memory goes back.
	later := second + 2*interval
	for range 100_000 {
		table.take(random.Uint64(), later, 1, 1)
		later++
	}
	if n := table.size(); n > maxSlots/16 {
		t.Errorf("%d slots for nobody", n)
	}
	runtime.KeepAlive(hashes)
}

// A flood of clients that come once cannot make the limit forget one that has used it up.
func TestFlood(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	table := newTable()
	table.slots = 256
	const interval, burst = 3600 * second, 10
	var limited []uint64
	for range 50 * shardCount {
		h := random.Uint64()
		limited = append(limited, h)
		for range burst {
			if allowed, _ := table.take(h, second, interval, burst*interval); !allowed {
				t.Fatal("limited too early")
			}
		}
	}
	for range 400_000 {
		table.take(random.Uint64(), second, interval, burst*interval)
	}
	for _, h := range limited {
		if allowed, _ := table.take(h, second, interval, burst*interval); allowed {
			t.Fatal("a client that used the limit up is forgotten for one that came once")
		}
	}
	if n := table.size(); n > 256*shardCount {
		t.Errorf("%d slots", n)
	}
}

// The client that has used least is the one that goes, whichever of the two buckets it is in.
func TestLeast(t *testing.T) {
	for which := range 2 * bucketSize {
		s := &shard{buckets: make([]bucket, 2)}
		for i := range 2 * bucketSize {
			s.buckets[i/bucketSize][i%bucketSize] = slot{hash: uint64(i), at: 100 + int64(i)}
		}
		want := &s.buckets[which/bucketSize][which%bucketSize]
		want.at = 50
		for hash := range uint64(4) {
			if got := s.place(hash, 10, 2*bucketSize); got != want {
				t.Errorf("hash %d, the least in place %d: the one at %d goes", hash, which, got.at)
			}
			want.at = 5 // it is free
			if got := s.place(hash, 10, 2*bucketSize); got != want {
				t.Errorf("hash %d, the free place %d is not taken", hash, which)
			}
			want.at = 50
		}
	}
}

func BenchmarkTable(b *testing.B) {
	for name, clients := range map[string]int{"1000": 1000, "1000000": 1_000_000} {
		b.Run(name, func(b *testing.B) {
			random := rand.New(rand.NewPCG(7, 8))
			hashes := make([]uint64, clients)
			table := newTable()
			for i := range hashes {
				hashes[i] = random.Uint64()
				table.take(hashes[i], second, 3600*second, 1<<60)
			}
			i := 0
			for b.Loop() {
				table.take(hashes[i], second, 3600*second, 1<<60)
				if i++; i == len(hashes) {
					i = 0
				}
			}
		})
	}
}
