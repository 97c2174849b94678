package balance

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
)

// Every stretch as long as the sum of the weights visits every place exactly as often as its weight says.
func TestRotationIsExactInEveryWindow(t *testing.T) {
	equal := slices.Repeat([]uint32{7}, 5000)
	for _, c := range []struct {
		weights []uint32
		live    bool
	}{
		{weights: []uint32{1}},
		{weights: []uint32{1, 1, 1}},
		{weights: []uint32{5, 1, 1}},
		{weights: []uint32{3, 2, 7, 1}},
		{weights: []uint32{100, 50, 250}},
		{weights: []uint32{4095, 1}},
		{weights: []uint32{4096, 1}, live: true},
		{weights: []uint32{5000, 3001, 2}, live: true},
		{weights: equal},
	} {
		name := fmt.Sprint(c.weights[:min(len(c.weights), 4)], len(c.weights))
		t.Run(name, func(t *testing.T) {
			r := NewRotation(c.weights)
			if got := r.live != nil; got != c.live {
				t.Fatalf("live = %t", got)
			}
			reduced, sum := reduce(c.weights)
			var position atomic.Uint64
			visits := make([]int, 0, 3*sum)
			for range 3 * sum {
				visits = append(visits, r.Next(&position))
			}
			window := make([]int, len(reduced))
			for i, place := range visits {
				window[place]++
				if i < int(sum)-1 {
					continue
				}
				if i >= int(sum) {
					window[visits[i-int(sum)]]--
				}
				if i%97 != 0 && i != len(visits)-1 && len(reduced) > 100 {
					continue // looking at every place of every window of the long one takes long
				}
				for p, n := range window {
					if n != int(reduced[p]) {
						t.Fatalf("window up to %d visits place %d %d times, want %d", i, p, n, reduced[p])
					}
				}
			}
		})
	}
}

func TestRotationIsSmooth(t *testing.T) {
	for _, c := range []struct {
		weights []uint32
		want    string
	}{
		{[]uint32{5, 1, 1}, "a a b a c a a"}, // as nginx's documentation of the algorithm has it
		{[]uint32{10, 2, 2}, "a a b a c a a"},
		{[]uint32{1, 1, 1}, "a b c"},
		{[]uint32{2, 1}, "a b a"},
	} {
		r := NewRotation(c.weights)
		var position atomic.Uint64
		var got []string
		for range strings.Fields(c.want) {
			got = append(got, string(rune('a'+r.Next(&position))))
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%v: %s, want %s", c.weights, s, c.want)
		}
	}
}
