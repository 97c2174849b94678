package benchmarks

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// machine describes where a benchmark ran.
type machine struct {
	CPU    string
	CPUs   int
	Memory string
	Kernel string
	Go     string
}

func thisMachine() (machine, error) {
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return machine{}, err
	}
	cpuinfo, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return machine{}, err
	}
	meminfo, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return machine{}, err
	}
	m := machine{
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
		return machine{}, fmt.Errorf("/proc/meminfo: MemTotal: %w", err)
	}
	m.Memory = fmt.Sprintf("%.0f GiB", kib/(1<<20))
	return m, nil
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
