package benchmarks

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// The plot's measures in pixels.
const (
	plotLeft   = 320 // of titles
	plotWidth  = 520 // of the longest bar
	plotRight  = 70  // of figures
	plotTop    = 78
	plotBottom = 20
	barHeight  = 13
	barGap     = 3
	rowGap     = 16
)

// plotStyle has colours for light and for dark pages.
const plotStyle = `<style>
text{font:13px system-ui,-apple-system,"Segoe UI",sans-serif;fill:#1f2328}
.head{font-size:16px;font-weight:600}.small{font-size:11px;fill:#59636e}.num{font-size:11px}
.ours{fill:#0969da}.nginx{fill:#8c959f}.haproxy{fill:#bcc4cd}.haproxy-splice{fill:#d9dee3}.relay{fill:#9a86c9}.caddy{fill:#d8b4a0}.traefik{fill:#e3cba4}
.one{stroke:#59636e;stroke-width:1}.goal{stroke:#cf222e;stroke-width:2.5}
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.small{fill:#9198a1}
.ours{fill:#4493f8}.nginx{fill:#6e7681}.haproxy{fill:#484f58}.haproxy-splice{fill:#343a42}.relay{fill:#6e5aa8}
.caddy{fill:#7d5a47}.traefik{fill:#86704a}.one{stroke:#9198a1}.goal{stroke:#ff7b72}}
</style>
`

// Plot returns an SVG of the ratios of CPU time per request to the better of nginx and HAProxy. Rows without a ratio and
// those of memory are left out; bars that would leave the plot are cut and their figure tells.
func (r Report) Plot() string {
	names := r.plotted()
	scale := r.plotScale(names)
	x := func(v float64) float64 { return plotLeft + plotWidth*math.Min(v, scale)/scale }

	var body strings.Builder
	y := plotTop
	for _, res := range r.Results {
		if res.Row.Idle > 0 || res.Row.Contenders != nil {
			continue
		}
		top := y
		for _, name := range names {
			ratio := res.Ratio(name)
			if math.IsNaN(ratio) {
				continue
			}
			fmt.Fprintf(&body, `<rect class="%s" x="%d" y="%d" width="%.1f" height="%d" rx="2"/>`+"\n", class(name), plotLeft, y, x(ratio)-plotLeft, barHeight)
			fmt.Fprintf(&body, `<text class="num" x="%.1f" y="%d">%.2f</text>`+"\n", x(ratio)+6, y+barHeight-3, ratio)
			y += barHeight + barGap
		}
		if y == top {
			continue
		}
		fmt.Fprintf(&body, `<text x="%d" y="%d" text-anchor="end">%s</text>`+"\n", plotLeft-12, (top+y-barGap)/2+5, html.EscapeString(res.Row.Title))
		if len(res.Row.Goals) > 0 { // the others are not relative to what the bars are
			goal := x(res.Row.Goals[0].Bound)
			fmt.Fprintf(&body, `<line class="goal" x1="%.1f" y1="%d" x2="%.1f" y2="%d"/>`+"\n", goal, top-3, goal, y)
		}
		y += rowGap
	}
	height, width := y+plotBottom, plotLeft+plotWidth+plotRight

	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img">`+"\n", width, height, width, height)
	b.WriteString("<title>CPU time per request, relative to the better of nginx and HAProxy</title>\n" + plotStyle)
	fmt.Fprintf(&b, `<text class="head" x="16" y="28">CPU time per request</text>`+"\n")
	fmt.Fprintf(&b, `<text class="small" x="16" y="46">relative to the better of nginx and HAProxy in the same round, median of %d rounds; less is better; red: goal</text>`+"\n", r.opt.Rounds)
	legend := plotLeft
	for _, name := range names {
		fmt.Fprintf(&b, `<rect class="%s" x="%d" y="56" width="11" height="11" rx="2"/><text class="small" x="%d" y="66">%s</text>`+"\n", class(name), legend, legend+16, html.EscapeString(name))
		legend += 36 + 6*len(name)
	}
	fmt.Fprintf(&b, `<line class="one" x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke-dasharray="3 3"/>`+"\n", x(1), plotTop-6, x(1), y-rowGap+6)
	b.WriteString(body.String())
	b.WriteString("</svg>\n")
	return b.String()
}

// plotted returns the contenders, ours first.
func (r Report) plotted() []string {
	names := make([]string, 0, len(r.contenders))
	for _, name := range r.contenders {
		if name == Ours {
			names = append([]string{name}, names...)
		} else {
			names = append(names, name)
		}
	}
	return names
}

// plotScale is the largest ratio that the plot shows, at least 1.2 and at most 3, so that one slow contender does not
// press the others together.
func (r Report) plotScale(names []string) float64 {
	scale := 1.2
	for _, res := range r.Results {
		for _, name := range names {
			if ratio := res.Ratio(name); res.Row.Idle == 0 && ratio > scale {
				scale = ratio
			}
		}
	}
	return math.Min(scale, 3)
}

func class(name string) string {
	if name == Ours {
		return "ours"
	}
	return name
}
