package balance

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// key is the hash of the key of that number.
func key(n int) uint64 { return Hash(fmt.Appendf(nil, "tenant-%d", n)) }

const keys = 10000

// owners returns the endpoint of each key.
func owners(b *Balance) []uint64 {
	out := make([]uint64, keys)
	for i := range out {
		out[i] = b.table.members[b.Pick(nil, key(i))].Key
	}
	return out
}

// Hashes are the same in every process and in every version: replicas must agree, also while they are replaced.
func TestHashesStayTheSame(t *testing.T) {
	if got := Hash([]byte("tenant-1")); got != 0xe5af04048faa8656 {
		t.Errorf("%#x", got)
	}
	var s State
	b := newHash(&s, members(&s, 1, 1, 2, 5), nil)
	sum := uint64(0)
	for _, o := range b.table.owner {
		sum = mix(sum, uint64(o))
	}
	if sum != 0x2f1be3b0c1d0cf92 {
		t.Errorf("the table is another one: %#x", sum)
	}
}

func TestKeysFollowWeights(t *testing.T) {
	for _, weights := range [][]uint32{{1, 1}, {1, 1, 1, 1, 1}, {9, 1}, {1, 2, 3, 4}, {1000000, 500000, 500000}, slices.Repeat([]uint32{1}, 50)} {
		var s State
		b := newHash(&s, members(&s, weights...), nil)
		sum := 0.0
		for _, w := range weights {
			sum += float64(w)
		}
		parts := make([]int, len(weights))
		for _, o := range b.table.owner {
			parts[o]++
		}
		for i, w := range weights {
			if !near(parts[i], buckets, float64(w)/sum) {
				t.Errorf("%v: endpoint %d has %d of %d buckets", weights, i, parts[i], buckets)
			}
		}
	}
}

// When endpoints go only their keys move; when they come, keys move to them alone; and a table that was changed step by
// step is the one that is made at once.
func TestOnlyTheKeysMoveThatMust(t *testing.T) {
	for _, weights := range [][]uint32{slices.Repeat([]uint32{1}, 10), {1, 2, 3, 4, 5, 6, 7, 8, 9, 10}} {
		var s State
		all := members(&s, weights...)
		full := newHash(&s, all, nil)
		before := owners(full)
		for name, gone := range map[string][]int{"the first": {0}, "the last": {9}, "three": {2, 5, 8}} {
			var left []Member
			away := map[uint64]bool{}
			for i, m := range all {
				if slices.Contains(gone, i) {
					away[m.Key] = true
				} else {
					left = append(left, m)
				}
			}
			rand.Shuffle(len(left), func(i, j int) { left[i], left[j] = left[j], left[i] })
			for how, b := range map[string]*Balance{"at once": newHash(&s, left, nil), "step by step": newHash(&s, left, full)} {
				moved := 0
				for i, o := range owners(b) {
					if o != before[i] {
						moved++
						if !away[before[i]] {
							t.Fatalf("%v without %s, %s: key %d moved from an endpoint that stays", weights, name, how, i)
						}
					}
				}
				if moved == 0 {
					t.Errorf("%v without %s, %s: no key moved", weights, name, how)
				}
				if !slices.Equal(owners(newHash(&s, all, b)), before) {
					t.Errorf("%v without %s, %s: they came back, and other keys moved", weights, name, how)
				}
			}
		}
		heavier := slices.Clone(all)
		heavier[3].Weight *= 2
		for i, o := range owners(newHash(&s, heavier, full)) {
			if o != before[i] && o != heavier[3].Key {
				t.Fatalf("%v: a weight grew, and key %d moved to another endpoint", weights, i)
			}
		}
		lighter := slices.Clone(heavier)
		lighter[3].Weight = all[3].Weight
		if !slices.Equal(owners(newHash(&s, lighter, newHash(&s, heavier, nil))), before) {
			t.Errorf("%v: a weight that grew and shrank has moved keys", weights)
		}
	}
}

// However the keys are spread, no endpoint gets more than a quarter above its share of what runs.
func TestLoadIsBounded(t *testing.T) {
	for name, next := range map[string]func() uint64{
		"one key":   func() uint64 { return key(1) },
		"few keys":  func() uint64 { return key(rand.IntN(3)) },
		"many keys": func() uint64 { return key(rand.IntN(keys)) },
	} {
		for _, weights := range [][]uint32{{1, 1, 1, 1, 1}, {1, 2, 7}, slices.Repeat([]uint32{1}, 60)} {
			var s State
			list := members(&s, weights...)
			b := newHash(&s, list, nil)
			sum := 0.0
			for _, w := range weights {
				sum += float64(w)
			}
			for n := 1; n <= 1000; n++ {
				at := b.Pick(nil, next())
				list[at].Load.Add(1)
				bound := boundFactor * float64(n) * float64(weights[at]) / sum
				if got := float64(list[at].Load.Load()); got > 2 && got >= bound+1 {
					t.Fatalf("%s, %v: %v of %d run at endpoint %d", name, weights, got, n, at)
				}
			}
		}
	}
}

// A key goes back to its endpoint when that has room again, and every request of it is led the same way until then.
func TestTheDisplacedComeBack(t *testing.T) {
	var s State
	list := members(&s, 1, 1, 1, 1)
	b := newHash(&s, list, nil)
	home := b.Pick(nil, key(7))
	list[home].Load.Add(10)
	other := b.Pick(nil, key(7))
	if other == home {
		t.Fatal("a full endpoint was picked")
	}
	for range 50 {
		if b.Pick(nil, key(7)) != other {
			t.Fatal("the key is led to several others")
		}
	}
	list[home].Load.Add(-10)
	if b.Pick(nil, key(7)) != home {
		t.Error("the key did not come back")
	}
}

func TestRequestsWithoutKeyTakeTurns(t *testing.T) {
	var s State
	b := newHash(&s, members(&s, 1, 1, 1), nil)
	seen := map[int]int{}
	for range 30 {
		seen[b.Pick(nil, 0)]++
	}
	if seen[0] != 10 || seen[1] != 10 || seen[2] != 10 {
		t.Errorf("%v", seen)
	}
}

func TestRetriesOfAKeyGoElsewhere(t *testing.T) {
	var s State
	list := members(&s, 1, 1, 1, 1)
	b := newHash(&s, list, nil)
	for i := range 200 {
		var tried Tried
		seen := map[int]bool{}
		for range list {
			at := b.Pick(&tried, key(i))
			if at < 0 || seen[at] {
				t.Fatalf("picked %d after %v", at, seen)
			}
			seen[at] = true
			tried.Add(list[at].Load)
		}
		if at := b.Pick(&tried, key(i)); at >= 0 {
			t.Fatalf("a fifth of four: %d", at)
		}
	}
}

func TestHashAllocates(t *testing.T) {
	var s State
	list := members(&s, 1, 2, 3, 4)
	b := newHash(&s, list, nil)
	k := []byte("0123456789abcdef0123456789abcdef")
	if n := testing.AllocsPerRun(100, func() {
		var tried Tried
		at := b.Pick(&tried, Hash(k))
		tried.Add(list[at].Load)
		b.Pick(&tried, Hash(k))
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkConsistentHash(b *testing.B) {
	for _, n := range []int{3, 100, 1000} {
		for _, busy := range []int64{0, 10} {
			var s State
			list := members(&s, slices.Repeat([]uint32{1}, n)...)
			for i := range list {
				list[i].Load.Add(busy + int64(i%3))
			}
			balance := newHash(&s, list, nil)
			k := []byte("0123456789abcdef0123456789abcdef")
			b.Run(fmt.Sprintf("%d endpoints, %d running", n, busy), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					k[0]++
					balance.Pick(nil, Hash(k))
				}
			})
		}
	}
}

func BenchmarkTable(b *testing.B) {
	for _, n := range []int{3, 100, 1000} {
		var s State
		list := members(&s, slices.Repeat([]uint32{1}, n)...)
		full := newTable(list, nil)
		b.Run(fmt.Sprintf("%d endpoints", n), func(b *testing.B) {
			for b.Loop() {
				newTable(list, nil)
			}
		})
		b.Run(fmt.Sprintf("%d endpoints, one goes", n), func(b *testing.B) {
			for b.Loop() {
				newTable(list[1:], full)
			}
		})
	}
}
