package report

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A Machine is where something was measured.
type Machine struct {
	CPU    string
	CPUs   int
	Memory string
	Kernel string
	Go     string
}

// ThisMachine describes the machine on which it is called.
func ThisMachine() (Machine, error) {
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return Machine{}, err
	}
	cpuinfo, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return Machine{}, err
	}
	meminfo, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return Machine{}, err
	}
	m := Machine{
		CPU:    field(string(cpuinfo), "model name"),
		CPUs:   runtime.NumCPU(),
		Kernel: cString(uts.Sysname[:]) + " " + cString(uts.Release[:]) + " " + cString(uts.Machine[:]),
		Go:     runtime.Version(),
	}
	if m.CPU == "" { // arm64 has no such line
		m.CPU = cString(uts.Machine[:])
	}
	kib, err := strconv.ParseFloat(strings.TrimSuffix(field(string(meminfo), "MemTotal"), " kB"), 64)
	if err != nil {
		return Machine{}, fmt.Errorf("/proc/meminfo: MemTotal: %w", err)
	}
	m.Memory = fmt.Sprintf("%.0f GiB", kib/(1<<20))
	return m, nil
}

// String is the machine in a few words.
func (m Machine) String() string {
	return fmt.Sprintf("%d CPUs (%s), %s, %s, %s", m.CPUs, m.CPU, m.Memory, m.Kernel, m.Go)
}

// field returns the value of the first line "key : value".
func field(text, key string) string {
	for line := range strings.Lines(text) {
		k, v, ok := strings.Cut(line, ":")
		if ok && strings.TrimSpace(k) == key {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

func cString(b []byte) string {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}
