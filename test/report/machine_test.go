package report

import (
	"strings"
	"testing"
)

func TestField(t *testing.T) {
	const text = "processor\t: 0\nmodel name\t: AMD: EPYC\nmodel name\t: other\n"
	if got := field(text, "model name"); got != "AMD: EPYC" {
		t.Errorf("got %q", got)
	}
	if got := field(text, "model"); got != "" {
		t.Errorf("of a missing key: %q", got)
	}
}

func TestThisMachine(t *testing.T) {
	m, err := ThisMachine()
	if err != nil || m.CPUs == 0 || m.CPU == "" || !strings.Contains(m.String(), m.Go) {
		t.Errorf("%v %v", m, err)
	}
}
