package benchmarks

import (
	"errors"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestRoundsAreRepeatedWhenOneFails(t *testing.T) {
	failing := errors.New("socket errors")
	for _, tc := range []struct {
		name                     string
		fails                    map[int]bool // by call
		wantRounds, wantRepeated int
		wantErr                  error
		wantFirst                []string // contenders measured first, by round
		contenders               []string
	}{
		{name: "all well", wantRounds: 3, contenders: []string{"a", "b"}, wantFirst: []string{"a", "b", "a"}},
		{name: "one fails", fails: map[int]bool{1: true}, wantRounds: 3, wantRepeated: 1, contenders: []string{"a", "b"}, wantFirst: []string{"a", "b", "a", "b"}},
		{name: "too many fail", fails: map[int]bool{0: true, 1: true, 2: true}, wantRepeated: 2, wantErr: failing, contenders: []string{"a"}, wantFirst: []string{"a", "a", "a"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := &Bench{opt: Options{Contenders: tc.contenders, Progress: io.Discard}}
			var res Result
			var first []string
			calls, inRound := 0, 0
			b.rounds(t.Context(), &res, 3, func(name string) (Sample, error) {
				if inRound == 0 {
					first = append(first, name)
				}
				fail := tc.fails[calls]
				calls++
				if inRound++; fail || inRound == len(tc.contenders) {
					inRound = 0
				}
				if fail {
					return Sample{}, failing
				}
				return Sample{CPU: 1}, nil
			})
			if len(res.Rounds) != tc.wantRounds || len(res.Repeated) != tc.wantRepeated || !errors.Is(res.Err, tc.wantErr) {
				t.Errorf("%d rounds, repeated %q, error %v", len(res.Rounds), res.Repeated, res.Err)
			}
			for _, round := range res.Rounds {
				if len(round) != len(tc.contenders) {
					t.Errorf("an incomplete round counts: %v", round)
				}
			}
			if diff := cmp.Diff(tc.wantFirst, first); diff != "" {
				t.Errorf("who began: %s", diff)
			}
		})
	}
}

func TestSplicePicksTheCheaper(t *testing.T) {
	for _, tc := range []struct{ mode, row, want string }{
		{SpliceBest, "tiny64", SpliceAuto},
		{SpliceBest, "100k", SpliceAlways},
		{SpliceBest, "1m", SpliceAlways},
		{SpliceOff, "1m", SpliceOff},
		{SpliceAuto, "1m", SpliceAuto},
	} {
		rows, err := SelectRows(tc.row)
		if err != nil {
			t.Fatal(err)
		}
		if got := splice(tc.mode, rows[0]); got != tc.want {
			t.Errorf("%s in %s: %s, want %s", tc.mode, tc.row, got, tc.want)
		}
	}
}
