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

// reference are the contenders that the tables and the plot compare a row's figures to: those of its first goal.
func (r Row) reference() []string {
	switch {
	case r.Contenders != nil:
		return r.Contenders[:1]
	case len(r.Goals) > 0 && r.Goals[0].Against != nil:
		return r.Goals[0].Against
	default:
		return peersOfGoal
	}
}

// better returns the smaller value of some contenders, NaN when none of them was measured.
func (r Round) better(row Row, names []string) float64 {
	best := math.NaN()
	for _, name := range names {
		s, ok := r[name]
		if ok && !(row.value(s) >= best) { // also while best is NaN
			best = row.value(s)
		}
	}
	return best
}

// Ratio returns the contender's ratio to what the tables compare the row's figures to; see RatioTo.
func (r Result) Ratio(name string) float64 { return r.RatioTo(name, r.Row.reference()) }

// RatioTo returns the median over the rounds of the ratio, within a round, of the contender's value to that of the better
// of others. It is NaN when one side was not measured.
func (r Result) RatioTo(name string, others []string) float64 {
	var ratios []float64
	for _, round := range r.Rounds {
		s, ok := round[name]
		if best := round.better(r.Row, others); ok && best > 0 {
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

// twice returns what two cores do of what one does: the median over the rounds of the ratio of requests/s, where the load
// left the proxy its cores, and else what the CPU time of a request allows.
func (r Result) twice() float64 {
	var ratios []float64
	for _, round := range r.Rounds {
		one, two := round[Ours], round[OursTwo]
		if r.Row.Direct {
			ratios = append(ratios, two.RPS/one.RPS)
		} else {
			ratios = append(ratios, 2*one.CPU/two.CPU)
		}
	}
	return median(ratios)
}

// Reached returns the figure that a goal of the row is about, and whether it is met; it is not when there is no figure.
func (r Result) Reached(g Goal) (figure float64, met bool) {
	switch {
	case r.Row.Cores:
		figure = r.twice()
		return figure, figure >= g.Bound
	case r.Row.Idle == 0:
		figure = r.RatioTo(Ours, g.Against)
	default:
		figure = math.NaN()
		if s, ok := r.Median(Ours); ok {
			figure = s.PerConn / 1024
		}
	}
	return figure, figure <= g.Bound
}
