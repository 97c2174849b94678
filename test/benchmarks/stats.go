package benchmarks

import (
	"math"
	"slices"
	"time"
)

// peersOfGoal are the contenders whose better one a goal refers to.
var peersOfGoal = []string{Nginx, HAProxy}

// median returns the middle of the values, for an even number of them the mean of the two in the middle; NaN for none.
func median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	mid := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[mid]
	}
	return (sorted[mid-1] + sorted[mid]) / 2
}

// rotate returns the names beginning with another one in each turn.
func rotate(names []string, turn int) []string {
	if len(names) == 0 {
		return nil
	}
	turn %= len(names)
	return slices.Concat(names[turn:], names[:turn])
}

// value is what a row compares of a sample: CPU time per request, or memory per connection.
func (r Row) value(s Sample) float64 {
	if r.Idle > 0 {
		return s.PerConn
	}
	return s.CPU
}

// better returns the smaller value of the peers that goals refer to, NaN when none of them was measured.
func (r Round) better(row Row) float64 {
	best := math.NaN()
	peers := peersOfGoal
	if row.Against != "" {
		peers = []string{row.Against}
	}
	if row.Contenders != nil {
		peers = row.Contenders[:1]
	}
	for _, name := range peers {
		s, ok := r[name]
		if ok && !(row.value(s) >= best) { // also while best is NaN
			best = row.value(s)
		}
	}
	return best
}

// Ratio returns the median over the rounds of the ratio, within a round, of the contender's value to that of the better
// of nginx and HAProxy. It is NaN when one side was not measured.
func (r Result) Ratio(name string) float64 {
	var ratios []float64
	for _, round := range r.Rounds {
		s, ok := round[name]
		if best := round.better(r.Row); ok && best > 0 {
			ratios = append(ratios, r.Row.value(s)/best)
		}
	}
	return median(ratios)
}

// Median returns the medians over the rounds of a contender's figures, and whether it was measured.
func (r Result) Median(name string) (Sample, bool) {
	var samples []Sample
	for _, round := range r.Rounds {
		if s, ok := round[name]; ok {
			samples = append(samples, s)
		}
	}
	if len(samples) == 0 {
		return Sample{}, false
	}
	of := func(figure func(Sample) float64) float64 {
		values := make([]float64, len(samples))
		for i, s := range samples {
			values[i] = figure(s)
		}
		return median(values)
	}
	return Sample{
		CPU:      of(func(s Sample) float64 { return s.CPU }),
		RPS:      of(func(s Sample) float64 { return s.RPS }),
		P50:      time.Duration(of(func(s Sample) float64 { return float64(s.P50) })),
		P99:      time.Duration(of(func(s Sample) float64 { return float64(s.P99) })),
		Resident: int64(of(func(s Sample) float64 { return float64(s.Resident) })),
		PerConn:  of(func(s Sample) float64 { return s.PerConn }),
	}, true
}

// Reached returns the figure that the row's goal is about, and whether the goal is met; it is not when there is no figure.
func (r Result) Reached() (figure float64, met bool) {
	if r.Row.Idle == 0 {
		figure = r.Ratio(Ours)
	} else if s, ok := r.Median(Ours); ok {
		figure = s.PerConn / 1024
	} else {
		figure = math.NaN()
	}
	return figure, figure <= r.Row.Goal
}
