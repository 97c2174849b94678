package readers

import (
	"fmt"
	"slices"
	"strings"
)

// next stands behind a message whose readings are compared: who reads a byte too many or too few trips over it.
const next = "GET /next HTTP/1.1\r\nHost: next.example\r\n\r\n"

var nextReading = Reading{Method: "GET", Target: "/next", Host: "next.example", Length: len(next)}

// Requests compares what differing readers make of a canonical request, and of where the one behind it begins: a strict
// reader, net/http, and lenient readers with each of laxnesses. It returns where one of them reads anything else than
// want, whose Framing and Length are filled in.
func Requests(raw []byte, want Reading, laxnesses []Laxness) (problems []string) {
	stream := append(slices.Clip(raw), next...)
	strict, err := ReadRequest(stream, 0)
	want.Framing, want.Length = strict.Framing, len(raw)
	if problem := framingProblem(strict.Framing); problem != "" {
		problems = append(problems, problem)
	}
	compare := func(who string, got Reading, err error, behind func([]byte) (Reading, error)) {
		if err != nil || got != want {
			problems = append(problems, fmt.Sprintf("%s reads %+v (%v) and not %+v", who, got, err, want))
			return
		}
		if got, err := behind(stream[got.Length:]); err != nil || got != nextReading {
			problems = append(problems, fmt.Sprintf("%s reads %+v (%v) behind it", who, got, err))
		}
	}
	compare("a strict reader", strict, err, func(raw []byte) (Reading, error) { return ReadRequest(raw, 0) })
	got, err := ReadRequestStandard(stream)
	compare("net/http", got, err, ReadRequestStandard)
	for _, lax := range laxnesses {
		if want.Body != "" && !strings.Contains(want.Framing, "chunked") {
			lax &^= IgnoredLength // an endpoint that ignores Content-Length is out of step with everybody
		}
		got, err := ReadRequest(stream, lax)
		compare("a reader with "+lax.String(), got, err, func(raw []byte) (Reading, error) { return ReadRequest(raw, lax) })
	}
	return problems
}

// Responses does the same for a response to a request of that method. Where ends is set, the end of the connection ends it.
func Responses(raw []byte, method string, ends bool, want Reading, laxnesses []Laxness) (problems []string) {
	stream := slices.Clip(raw)
	if !ends {
		stream = append(stream, "HTTP/1.1 204 No Content\r\n\r\n"...)
	}
	strict, err := ReadResponse(stream, method, 0)
	want.Framing, want.Length = strict.Framing, len(raw)
	if problem := framingProblem(strict.Framing); problem != "" {
		problems = append(problems, problem)
	}
	compare := func(who string, got Reading, err error) {
		if err != nil || got != want {
			problems = append(problems, fmt.Sprintf("%s reads %+v (%v) and not %+v", who, got, err, want))
		}
	}
	compare("a strict reader", strict, err)
	got, err := ReadResponseStandard(stream, method)
	compare("net/http", got, err)
	for _, lax := range laxnesses {
		if strings.Contains(want.Framing, "content-length") {
			lax &^= IgnoredLength
		}
		got, err := ReadResponse(stream, method, lax)
		compare("a reader with "+lax.String(), got, err)
	}
	return problems
}

// framingProblem says what is wrong with the framing fields of a message that a proxy has written: there is at most one
// Content-Length or Transfer-Encoding, in its canonical form.
func framingProblem(list string) string {
	count := 0
	for line := range strings.SplitSeq(list, "\n") {
		value, length := strings.CutPrefix(line, "content-length: ")
		if length {
			count++
			if value != "0" && (value == "" || value[0] == '0' || strings.Trim(value, "0123456789") != "") {
				return fmt.Sprintf("the length %q is not canonical", value)
			}
		}
		if value, coding := strings.CutPrefix(line, "transfer-encoding: "); coding {
			count++
			if value != "chunked" {
				return fmt.Sprintf("the coding %q is not canonical", value)
			}
		}
	}
	if count > 1 {
		return fmt.Sprintf("more than one framing: %q", list)
	}
	return ""
}

// Alone are each laxness alone, and all of them.
func Alone() (list []Laxness) {
	for i := range LaxnessCount {
		list = append(list, 1<<i)
	}
	return append(list, All)
}

// Pairs are each laxness alone, each pair, and all of them.
func Pairs() (list []Laxness) {
	for i := range LaxnessCount {
		for j := range i + 1 {
			list = append(list, 1<<i|1<<j)
		}
	}
	return append(list, All)
}
